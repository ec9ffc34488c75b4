// An IDE controller on a fake board, driven through its ports as a guest drives it.
#pragma once

#include <cstdint>
#include <vector>

#include "devices/piix3_ide.h"
#include "tests/memory_disk.h"
#include "tests/pci_rig.h"

namespace understudy::tests {

struct IdeRig : PciRig {
  static constexpr uint64_t kDelay = devices::BlockPort::kDefaultDelayNs;
  static constexpr uint16_t kBm = 0xc000;
  static constexpr uint16_t kBase = 0x1f0;
  static constexpr uint16_t kControl = 0x3f6;

  devices::Piix3Ide ide{pci, clock, events, dma, emu::IrqLine(&irqs, 14), emu::IrqLine(&irqs, 15)};

  IdeRig() { ide.attach(ports); }
  void enable_bus_master() {
    config_write(9, 0x20, 4, kBm);
    config_write(9, 0x04, 2, 5);
  }

  void out(unsigned reg, uint32_t value) { ports.write(static_cast<uint16_t>(kBase + reg), 1, value); }
  uint8_t in(unsigned reg) { return static_cast<uint8_t>(ports.read(static_cast<uint16_t>(kBase + reg), 1)); }
  uint8_t status() { return in(7); }
  uint8_t alt_status() { return static_cast<uint8_t>(ports.read(kControl, 1)); }
  bool irq() { return irqs.levels[14]; }

  // Issues a command with a 28-bit address.
  void command(uint8_t code, uint32_t lba = 0, unsigned count = 0, unsigned unit = 0) {
    out(6, 0xe0 | unit << 4 | (lba >> 24 & 15));
    out(2, count & 0xff);
    out(3, lba & 0xff);
    out(4, lba >> 8 & 0xff);
    out(5, lba >> 16 & 0xff);
    out(7, code);
  }
  // The same with a 48-bit address.
  void command_ext(uint8_t code, uint64_t lba, unsigned count) {
    out(6, 0xe0);
    for (const int shift : {24, 0}) {
      out(2, shift != 0 ? count >> 8 & 0xff : count & 0xff);
      for (unsigned i = 0; i < 3; ++i) out(3 + i, static_cast<uint32_t>(lba >> (shift + 8 * i)) & 0xff);
    }
    out(7, code);
  }
  // Runs until no drive is busy any more.
  void settle() {
    for (int i = 0; i < 10000 && events.next_due() != emu::EventQueue::kNever; ++i) advance_to(events.next_due());
  }
  std::vector<uint8_t> read_data(size_t bytes, unsigned width = 2) {
    std::vector<uint8_t> data;
    while (data.size() < bytes) {
      const uint32_t value = ports.read(kBase, width);
      for (unsigned i = 0; i < width; ++i) data.push_back(static_cast<uint8_t>(value >> (8 * i)));
    }
    return data;
  }
  void write_data(const std::vector<uint8_t>& data, unsigned width = 2) {
    for (size_t at = 0; at < data.size(); at += width) {
      uint32_t value = 0;
      for (unsigned i = 0; i < width; ++i) value |= static_cast<uint32_t>(data[at + i]) << (8 * i);
      ports.write(kBase, width, value);
    }
  }

  // --- bus master of the primary channel
  void prd(uint32_t table, unsigned index, uint32_t address, uint16_t count, bool last) {
    const uint32_t at = table + 8 * index;
    for (unsigned i = 0; i < 4; ++i) dma.ram[at + i] = static_cast<uint8_t>(address >> (8 * i));
    dma.ram[at + 4] = static_cast<uint8_t>(count);
    dma.ram[at + 5] = static_cast<uint8_t>(count >> 8);
    dma.ram[at + 6] = 0;
    dma.ram[at + 7] = last ? 0x80 : 0;
  }
  void bm_start(uint32_t table, bool to_memory) {
    ports.write(kBm + 4, 4, table);
    ports.write(kBm + 2, 1, 0x66);
    ports.write(kBm, 1, to_memory ? 8 : 0);
    ports.write(kBm, 1, to_memory ? 9 : 1);
  }
  uint8_t bm_status() { return static_cast<uint8_t>(ports.read(kBm + 2, 1)); }

  // --- packets
  void packet(const std::vector<uint8_t>& cdb, uint16_t limit = 0xfffe, bool use_dma = false, unsigned unit = 0) {
    out(6, 0xa0 | unit << 4);
    out(1, use_dma ? 1 : 0);
    out(4, limit & 0xff);
    out(5, limit >> 8);
    out(7, 0xa0);
    std::vector<uint8_t> twelve = cdb;
    twelve.resize(12);
    write_data(twelve);
  }
  unsigned byte_count() { return static_cast<unsigned>(in(4) | in(5) << 8); }
};

inline std::vector<uint8_t> slice(const std::vector<uint8_t>& from, size_t at, size_t length) {
  return {from.begin() + static_cast<std::ptrdiff_t>(at), from.begin() + static_cast<std::ptrdiff_t>(at + length)};
}

}  // namespace understudy::tests
