// QEMU's firmware configuration device (QEMU docs/specs/fw_cfg.rst): SeaBIOS asks it for the machine's shape and for
// named files (tables, boot order, option ROMs). Selector at port 510h, data at 511h, DMA at 514h..51Bh. The items are
// configuration, fixed when the board is built; only the selection and the position in it are state.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "emu/bus.h"
#include "emu/device.h"
#include "emu/dma.h"

namespace understudy::devices {

class FwCfg : public emu::Device, public emu::PortDevice {
 public:
  // Well-known keys.
  static constexpr uint16_t kSignature = 0x00;
  static constexpr uint16_t kId = 0x01;
  static constexpr uint16_t kRamSize = 0x03;
  static constexpr uint16_t kNoGraphic = 0x04;
  static constexpr uint16_t kCpus = 0x05;
  static constexpr uint16_t kNuma = 0x0d;
  static constexpr uint16_t kBootMenu = 0x0e;
  static constexpr uint16_t kMaxCpus = 0x0f;
  static constexpr uint16_t kFileDirectory = 0x19;
  static constexpr uint16_t kFirstFile = 0x20;
  static constexpr uint16_t kIrq0Override = 0x8002;

  static constexpr size_t kMaxFiles = 64;
  static constexpr size_t kMaxFileName = 55;
  // A longer DMA transfer fails: no item is nearly as long, and a guest must not keep the host busy for gigabytes.
  static constexpr uint32_t kMaxDma = 16 << 20;

  explicit FwCfg(emu::DmaMemory& memory);
  void attach(emu::PortBus& ports);

  // Configuration, before the machine runs. Wrong use (a name too long or taken) is a std::logic_error.
  void add_key(uint16_t key, std::vector<uint8_t> bytes);
  void add_number(uint16_t key, uint64_t value, unsigned width);
  uint16_t add_file(const std::string& name, std::vector<uint8_t> bytes);

  std::string_view name() const override { return "fw_cfg"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;

  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

 private:
  struct State {
    uint16_t selector = 0;
    uint32_t position = 0;
    uint64_t dma_address = 0;
  };
  struct File {
    std::string name;
    uint16_t key;
    uint32_t size;
  };

  const std::vector<uint8_t>& selected() const;
  void select(uint16_t key);
  uint8_t next_byte();
  void run_dma(uint64_t descriptor);
  void rebuild_directory();

  emu::DmaMemory& memory_;
  std::map<uint16_t, std::vector<uint8_t>> items_;
  std::vector<File> files_;
  State state_;
};

}  // namespace understudy::devices
