#include "emu/boot_flat.h"

#include <algorithm>

namespace understudy::emu {

namespace {
constexpr uint64_t kMaxRom = 16 << 20;
constexpr uint64_t kShadow = 128 << 10;
constexpr uint64_t kFourGiB = 1ull << 32;
constexpr uint64_t kBdaEnd = 0x500;
}  // namespace

BootPlan plan_flat(const FlatBoot& boot, const MemoryLayout& memory) {
  if (boot.image.empty()) throw BootError(boot.name, "the file is empty");
  const bool low = boot.address < MemoryLayout::kLowEnd;
  if (!low || boot.address < kBdaEnd || !memory.usable(boot.address, boot.image.size()))
    throw BootError(boot.name, "a flat image of " + std::to_string(boot.image.size()) +
                                   " bytes does not fit at that address: it must lie between 0x500 and 0x9fc00");
  RealModeAddress entry;
  if (boot.entry) {
    entry = *boot.entry;
  } else if (boot.address < 0x10000) {
    entry.offset = static_cast<uint16_t>(boot.address);
  } else {
    if (boot.address % 16 != 0)
      throw BootError(boot.name, "an address above 64 KiB must be a multiple of 16, or name its CS:IP");
    entry.segment = static_cast<uint16_t>(boot.address >> 4);
  }

  BootPlan plan;
  plan.bypasses_firmware = true;
  plan.chunks.push_back({boot.address, {boot.image.begin(), boot.image.end()}});
  plan.chunks.push_back(bios_data_area());
  plan.cpu.cs = {entry.segment, static_cast<uint64_t>(entry.segment) << 4, 0xffff, 0x9b00};
  plan.cpu.rip = entry.offset;
  plan.cpu.cr0 = 0x10;
  plan.cpu.idtr = {0, 0x3ff};
  // Below a boot sector at its usual place, clear of the BIOS data area; an image elsewhere sets its own.
  plan.cpu.general[InitialCpu::rsp] = 0x7000;
  return plan;
}

BootPlan plan_rom(const std::string& name, std::span<const uint8_t> image) {
  if (image.size() < 16 || image.size() > kMaxRom)
    throw BootError(name, "a ROM of " + std::to_string(image.size()) + " bytes is not possible: 16 bytes to 16 MiB");
  if (std::all_of(image.end() - 16, image.end(), [&](uint8_t b) { return b == image.back(); }))
    throw BootError(name, "this ROM has no code at its reset vector, 16 bytes before its end: truncated?");

  std::vector<uint8_t> rom((4096 - image.size() % 4096) % 4096, 0xff);
  rom.insert(rom.end(), image.begin(), image.end());
  const auto shadow = static_cast<ptrdiff_t>(std::min<uint64_t>(rom.size(), kShadow));
  BootPlan plan;
  plan.chunks.push_back({MemoryLayout::kHighBase - static_cast<uint64_t>(shadow), {rom.end() - shadow, rom.end()}});
  plan.roms.push_back({kFourGiB - rom.size(), std::move(rom)});
  return plan;
}

}  // namespace understudy::emu
