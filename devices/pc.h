// The board: an i440FX/PIIX PC with one CPU. Owns every device, wires it to a machine, and starts images on it. Two
// boards of the same configuration started from the same images are the same machine, instruction by instruction.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/a20_gate.h"
#include "devices/block_backend.h"
#include "devices/debugcon.h"
#include "devices/ethernet.h"
#include "devices/firmware_setup.h"
#include "devices/fw_cfg.h"
#include "devices/i440fx.h"
#include "devices/i8042.h"
#include "devices/i82077.h"
#include "devices/i8237.h"
#include "devices/i8254.h"
#include "devices/i8259.h"
#include "devices/ioapic.h"
#include "devices/isa_debug_exit.h"
#include "devices/local_apic.h"
#include "devices/mc146818.h"
#include "devices/pci_bus.h"
#include "devices/piix3.h"
#include "devices/piix3_ide.h"
#include "devices/piix4_pm.h"
#include "devices/port61.h"
#include "devices/port92.h"
#include "devices/post_port.h"
#include "devices/uart16550.h"
#include "devices/vga.h"
#include "emu/boot_plan.h"
#include "emu/machine.h"

namespace understudy::devices {

enum class NicModel { none, ne2k, virtio };

// A network card on PCI; its frames pass through the channel "net0", which exists only with a card.
struct NicConfig {
  NicModel model = NicModel::none;
  MacAddress mac{0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
  std::vector<uint8_t> rom;  // a boot ROM for firmware to run; may be empty
};

// What is plugged in. Images outlive the board.
struct PcConfig {
  uint64_t ram_bytes = 128ull << 20;
  int64_t rtc_start = 0;               // the guest's wall clock at power-on, seconds since 1970 UTC
  std::vector<BlockBackend*> disks;    // IDE: primary master, primary slave, then secondary slave
  std::optional<BlockBackend*> cdrom;  // secondary master; a null backend is a drive without a disc
  BlockBackend* floppy = nullptr;
  std::vector<BlockBackend*> virtio_disks;
  NicConfig nic;
  std::vector<BootDevice> boot_order;
};
constexpr size_t kMaxDisks = 3, kMaxVirtioDisks = 4;

class Pc {
 public:
  // `firmware` is the system ROM, empty for none.
  Pc(const PcConfig& config, const std::vector<uint8_t>& firmware, const std::vector<OptionRom>& option_roms);
  ~Pc();

  emu::Machine& machine() { return machine_; }
  // The plan is kept: a reset carries it out again. Resets and takes it.
  void start(emu::BootPlan plan);
  // A reset as the guest asked for it: RAM stays, everything else begins again.
  void reset();
  // Tables for a plan that bypasses firmware.
  DirectBootTables tables() const;

  TextScreen screen() const { return vga_.screen(); }
  // The code that the guest wrote to the debug exit port last.
  uint32_t debug_exit_code() const { return debug_exit_.code(); }
  uint8_t post_code() const { return post_.code(); }

 private:
  void wire_cpu();
  void move_local_apic();
  void set_cmos_configuration();
  void configure_like_firmware();
  void plug_in_cards();
  void attach_shared_disks();
  void plug_in(std::unique_ptr<PciDevice> card, const std::vector<uint8_t>& rom = {});

  PcConfig config_;
  emu::Machine machine_;
  emu::BootPlan plan_;
  FirmwareSetup setup_;
  bool local_apic_mapped_ = false;
  struct Wires;
  std::unique_ptr<Wires> wires_;

  // In the order of their parts in a snapshot.
  I8259 pic_;
  LocalApic local_apic_;
  IoApic ioapic_;
  PciBus pci_;
  I440fx host_bridge_;
  Piix3 piix3_;
  Piix3Ide ide_;
  Piix4Pm pm_;
  I8254 pit_;
  Port61 port61_;
  A20Gate a20_;
  Port92 port92_;
  Mc146818 rtc_;
  I8042 i8042_;
  Uart16550 uart0_;
  Uart16550 uart1_;
  I8237 dma_;
  I82077 floppy_;
  Vga vga_;
  FwCfg fw_cfg_;
  IsaDebugExit debug_exit_;
  PostPort post_;
  Debugcon debugcon_;
  Debugcon debugcon_e9_;
  std::vector<std::unique_ptr<PciDevice>> cards_;  // by slot
};

}  // namespace understudy::devices
