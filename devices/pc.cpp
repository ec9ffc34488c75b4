#include "devices/pc.h"

#include <algorithm>
#include <stdexcept>

#include "devices/pc_wiring.h"
#include "devices/rtl8029.h"
#include "devices/shared_disk.h"
#include "devices/virtio_blk.h"
#include "devices/virtio_net.h"
#include "emu/cpuid.h"

namespace understudy::devices {

namespace {

// Turns a line into a call.
class CallOnLevel : public emu::IrqSink {
 public:
  explicit CallOnLevel(std::function<void(bool)> call) : call_(std::move(call)) {}
  void set_irq(unsigned, bool level) override { call_(level); }

 private:
  std::function<void(bool)> call_;
};

// Boot order nibbles in CMOS: 1 floppy, 2 hard disk, 3 CD, 4 network.
constexpr uint8_t cmos_boot_code(BootDevice device) {
  switch (device) {
    case BootDevice::floppy:
      return 1;
    case BootDevice::disk:
    case BootDevice::virtio_disk:
      return 2;
    case BootDevice::cdrom:
      return 3;
    case BootDevice::network:
      return 4;
  }
  return 0;
}

constexpr uint16_t kPciAddress = 0xcf8, kPciData = 0xcfc;
constexpr uint16_t kElcr = 0x4d0;
constexpr unsigned kCommand = 0x04, kInterruptLine = 0x3c;

}  // namespace

// The wires between interrupt controllers: the 8259 feeds LINT0, each ISA interrupt goes to the 8259 and the I/O APIC.
struct Pc::Wires {
  explicit Wires(Pc& pc)
      : intr_to_cpu([&pc](bool level) { pc.machine_.cpu().set_interrupt(level); }),
        pic_to_lint0([&pc](bool level) { pc.local_apic_.set_irq(LocalApic::kLint0, level); }),
        isa(pc) {}
  struct IsaInterrupts : emu::IrqSink {
    explicit IsaInterrupts(Pc& board) : pc(board) {}
    void set_irq(unsigned irq, bool level) override {
      pc.pic_.set_irq(irq, level);
      pc.ioapic_.set_irq(irq == 0 ? wiring::kTimerGsi : irq, level);
    }
    Pc& pc;
  };
  std::array<emu::IrqLine, 16> isa_lines() {
    std::array<emu::IrqLine, 16> lines;
    for (unsigned irq = 0; irq < lines.size(); ++irq) lines[irq] = {&isa, irq};
    return lines;
  }
  CallOnLevel intr_to_cpu;
  CallOnLevel pic_to_lint0;
  IsaInterrupts isa;
};

Pc::Pc(const PcConfig& config, const std::vector<uint8_t>& firmware, const std::vector<OptionRom>& option_roms)
    : config_(config),
      machine_(config.ram_bytes, firmware),
      wires_(std::make_unique<Wires>(*this)),
      pic_(emu::IrqLine(&wires_->pic_to_lint0, 0)),
      local_apic_(machine_.time(), machine_.events()),
      ioapic_([this](const ApicMessage& message) { return local_apic_.receive(message); }),
      pci_(machine_.ports(), machine_.mmio(), [this](bool) { machine_.stop_with(emu::MachineStop::reset); }),
      host_bridge_(pci_),
      piix3_(pci_, wires_->isa_lines()),
      ide_(pci_, machine_.time(), machine_.events(), machine_.memory().dma_for("piix3_ide"), piix3_.isa_line(14),
           piix3_.isa_line(15)),
      pm_(pci_, machine_.time(), machine_.events(), piix3_.isa_line(wiring::kSci),
          [this] { machine_.stop_with(emu::MachineStop::shutdown); }),
      pit_(machine_.time(), machine_.events(), piix3_.isa_line(0)),
      port61_(machine_.time(), pit_),
      a20_([this](bool enabled) { machine_.cpu().mmu().set_a20(enabled); }),
      port92_([this](bool level) { a20_.set_from_port92(level); },
              [this] { machine_.stop_with(emu::MachineStop::reset); }),
      rtc_(machine_.time(), machine_.events(), piix3_.isa_line(8), config.rtc_start),
      i8042_(machine_.time(), machine_.events(), machine_.world(),
             {piix3_.isa_line(1), piix3_.isa_line(12), [this](bool level) { a20_.set_from_keyboard(level); },
              [this] { machine_.stop_with(emu::MachineStop::reset); }}),
      uart0_("uart0", 0x3f8, "serial0", machine_.time(), machine_.events(), piix3_.isa_line(4), machine_.world()),
      uart1_("uart1", 0x2f8, "serial1", machine_.time(), machine_.events(), piix3_.isa_line(3), machine_.world()),
      dma_(machine_.memory().dma_for("dma")),
      floppy_(machine_.time(), machine_.events(), dma_, piix3_.isa_line(6), config.floppy),
      vga_(machine_.time(), machine_.memory().ram_bytes().subspan(Vga::kMemoryBase, Vga::kMemorySize)),
      fw_cfg_(machine_.memory().dma_for("fw_cfg")),
      debug_exit_([this](uint32_t) { machine_.stop_with(emu::MachineStop::debug_exit); }),
      debugcon_(machine_.world(), "debugcon", Debugcon::kSeabiosPort),
      debugcon_e9_(machine_.world(), "debugcon_e9", Debugcon::kBochsPort) {
  if (config.disks.size() > kMaxDisks) throw std::logic_error("pc: more disks than places");
  constexpr struct { unsigned channel, unit; } kDiskPlaces[kMaxDisks] = {{0, 0}, {0, 1}, {1, 1}};
  for (size_t i = 0; i < config.disks.size(); ++i)
    ide_.attach_disk(kDiskPlaces[i].channel, kDiskPlaces[i].unit, *config.disks[i], "UD" + std::to_string(1000 + i));
  if (config.cdrom) ide_.attach_cdrom(1, 0, *config.cdrom, "UC1000");

  emu::PortBus& ports = machine_.ports();
  pic_.attach(ports);
  ioapic_.attach(machine_.mmio());
  pci_.attach();
  ide_.attach(ports);
  pm_.attach(ports);
  pit_.attach(ports);
  port61_.attach(ports);
  port92_.attach(ports);
  rtc_.attach(ports);
  i8042_.attach(ports);
  uart0_.attach(ports);
  uart1_.attach(ports);
  dma_.attach(ports);
  floppy_.attach(ports);
  vga_.attach(ports);
  fw_cfg_.attach(ports);
  debug_exit_.attach(ports);
  post_.attach(ports);
  debugcon_.attach(ports);
  debugcon_e9_.attach(ports);

  for (emu::Device* device : std::initializer_list<emu::Device*>{
           &pic_, &local_apic_, &ioapic_, &pci_,    &host_bridge_, &piix3_, &ide_,      &pm_,
           &pit_, &port61_,     &a20_,    &port92_, &rtc_,         &i8042_, &uart0_,    &uart1_,
           &dma_, &floppy_,     &vga_,    &fw_cfg_, &debug_exit_,  &post_,  &debugcon_, &debugcon_e9_})
    machine_.add(*device);
  plug_in_cards();
  attach_shared_disks();

  const emu::CpuidRegisters features = emu::cpuid(1, 0, true);
  setup_ = {config.ram_bytes, features.eax, features.edx, false, config.boot_order};
  if (!firmware.empty()) add_firmware_files(fw_cfg_, setup_, option_roms);
  set_cmos_configuration();
  wire_cpu();
}

Pc::~Pc() = default;

void Pc::plug_in(std::unique_ptr<PciDevice> card, const std::vector<uint8_t>& rom) {
  if (!rom.empty()) card->set_rom(rom);
  machine_.add(*card);
  cards_.push_back(std::move(card));
}

void Pc::plug_in_cards() {
  constexpr auto kNic = static_cast<uint8_t>(wiring::kNicSlot << 3);
  switch (config_.nic.model) {
    case NicModel::none:
      break;
    case NicModel::ne2k:
      plug_in(
          std::make_unique<Rtl8029>(pci_, kNic, machine_.time(), machine_.events(), machine_.world(), config_.nic.mac),
          config_.nic.rom);
      break;
    case NicModel::virtio:
      plug_in(std::make_unique<VirtioNet>(pci_, kNic, machine_.time(), machine_.events(),
                                          machine_.memory().dma_for("virtio_net"), machine_.world(), config_.nic.mac),
              config_.nic.rom);
      break;
  }
  if (config_.virtio_disks.size() > kMaxVirtioDisks) throw std::logic_error("pc: more virtio disks than slots");
  for (size_t i = 0; i < config_.virtio_disks.size(); ++i) {
    const std::string name = "virtio_blk" + std::to_string(i);
    plug_in(std::make_unique<VirtioBlk>(name, pci_, static_cast<uint8_t>((wiring::kVirtioDiskSlot + i) << 3),
                                        machine_.time(), machine_.events(), machine_.memory().dma_for(name),
                                        *config_.virtio_disks[i], "UV" + std::to_string(1000 + i)));
  }
}

void Pc::attach_shared_disks() {
  for (const auto* disks : {&config_.disks, &config_.virtio_disks})
    for (BlockBackend* disk : *disks)
      if (SharedDisk* shared = disk->shared()) {
        shared->attach(machine_.world());
        machine_.add(*shared);
      }
}

void Pc::wire_cpu() {
  emu::Cpu::Board board;
  board.acknowledge = [this] {
    const int vector = local_apic_.acknowledge();
    // The 8259 gives its own spurious vector when a request has gone.
    return vector >= 0 ? static_cast<uint8_t>(vector) : pic_.acknowledge();
  };
  // One tick a virtual nanosecond: a 1 GHz counter that never changes its rate.
  board.read_tsc_clock = [this] { return machine_.time().now_ns(); };
  board.msr.read_apic_base = [this] { return local_apic_.base_msr(); };
  board.msr.write_apic_base = [this](uint64_t value) { local_apic_.set_base_msr(value); };
  board.msr.read_tpr = [this] { return local_apic_.cr8(); };
  board.msr.write_tpr = [this](uint8_t value) { local_apic_.set_cr8(value); };
  machine_.cpu().connect(std::move(board));

  LocalApic::Wiring apic;
  apic.interrupt = emu::IrqLine(&wires_->intr_to_cpu, 0);
  apic.nmi = [this] { machine_.cpu().raise_nmi(); };
  apic.init = [this] { machine_.stop_with(emu::MachineStop::reset); };
  apic.pic_acknowledge = [this] { return static_cast<int>(pic_.acknowledge()); };
  apic.end_of_interrupt = [this](uint8_t vector) { ioapic_.end_of_interrupt(vector); };
  apic.accepting = [this] { ioapic_.retry(); };
  apic.base_change = [this] { move_local_apic(); };
  local_apic_.connect(std::move(apic));
  move_local_apic();
}

void Pc::move_local_apic() {
  if (local_apic_mapped_) machine_.mmio().detach(local_apic_);
  local_apic_mapped_ = false;
  if (!local_apic_.globally_enabled()) return;
  // A guest that moves the window onto other devices loses it: two devices cannot answer one address.
  if (!machine_.mmio().is_free(local_apic_.base_address(), LocalApic::kWindowBytes)) return;
  machine_.mmio().attach(local_apic_.base_address(), LocalApic::kWindowBytes, local_apic_);
  local_apic_mapped_ = true;
}

// What a BIOS reads from CMOS about the machine (as the i440FX boards of virtual machines have it).
void Pc::set_cmos_configuration() {
  const uint64_t above_1m_kib = (config_.ram_bytes >> 10) - 1024;
  const uint64_t extended = std::min<uint64_t>(above_1m_kib, 0xffff);
  const uint64_t above_16m_64k = config_.ram_bytes > 16u << 20 ? (config_.ram_bytes - (16u << 20)) >> 16 : 0;
  auto word = [this](uint8_t index, uint64_t value) {
    rtc_.set_cmos(index, static_cast<uint8_t>(value));
    rtc_.set_cmos(static_cast<uint8_t>(index + 1), static_cast<uint8_t>(value >> 8));
  };
  word(0x15, 640);
  word(0x17, extended);
  word(0x30, extended);
  word(0x34, above_16m_64k);
  // Floppy drive A as 1.44 MB; equipment: FPU, display from its ROM, and the drive.
  rtc_.set_cmos(0x10, config_.floppy != nullptr ? 0x40 : 0);
  rtc_.set_cmos(0x14, config_.floppy != nullptr ? 0x07 : 0x06);
  uint8_t order[3] = {0, 0, 0};
  for (size_t i = 0; i < config_.boot_order.size() && i < std::size(order); ++i)
    order[i] = cmos_boot_code(config_.boot_order[i]);
  rtc_.set_cmos(0x3d, static_cast<uint8_t>(order[0] | order[1] << 4));
  rtc_.set_cmos(0x38, static_cast<uint8_t>(order[2] << 4 | 1));
}

DirectBootTables Pc::tables() const { return direct_boot_tables(emu::MemoryLayout(config_.ram_bytes), setup_); }

void Pc::start(emu::BootPlan plan) {
  plan_ = std::move(plan);
  reset();
}

void Pc::reset() {
  machine_.reset();
  move_local_apic();
  if (plan_.bypasses_firmware) configure_like_firmware();
  machine_.apply(plan_);
}

// A kernel that is started without a BIOS finds the PC as a BIOS leaves it: interrupts routed, windows placed.
void Pc::configure_like_firmware() {
  emu::PortBus& ports = machine_.ports();
  auto config = [&ports](unsigned slot, unsigned function, unsigned offset, unsigned size, uint32_t value) {
    ports.write(kPciAddress, 4, 0x80000000u | slot << 11 | function << 8 | (offset & 0xfc));
    ports.write(static_cast<uint16_t>(kPciData + (offset & 3)), size, value);
  };
  for (unsigned i = 0; i < wiring::kPirqRoute.size(); ++i)
    config(wiring::kPiixSlot, 0, 0x60 + i, 1, wiring::kPirqRoute[i]);
  ports.write(kElcr, 1, wiring::kLevelIrqs & 0xff);
  ports.write(kElcr + 1, 1, wiring::kLevelIrqs >> 8);
  // IDE: bus master registers at C000h, I/O and bus mastering on.
  config(wiring::kPiixSlot, 1, 0x20, 4, 0xc000);
  config(wiring::kPiixSlot, 1, kCommand, 2, 0x5);
  config(wiring::kPiixSlot, 1, 0x40, 4, 0x80008000);  // both channels decode
  // Power management: PM block and SMBus block, the SCI's interrupt.
  config(wiring::kPiixSlot, 3, 0x40, 4, wiring::kPmBase | 1);
  config(wiring::kPiixSlot, 3, 0x80, 1, 1);
  config(wiring::kPiixSlot, 3, 0x90, 4, wiring::kSmbusBase | 1);
  config(wiring::kPiixSlot, 3, 0xd2, 1, 1);
  config(wiring::kPiixSlot, 3, kInterruptLine, 1, wiring::kSci);
  config(wiring::kPiixSlot, 3, kCommand, 2, 0x1);
  // Cards: I/O windows behind the IDE's, memory windows at the start of PCI memory, each aligned to its size.
  uint32_t next_io = 0xc100, next_memory = wiring::kPciMemoryFirst;
  for (const auto& card : cards_) {
    const unsigned slot = card->devfn() >> 3;
    for (unsigned bar = 0x10; bar < 0x28; bar += 4) {
      config(slot, 0, bar, 4, ~0u);
      const uint32_t probe = card->config_read(static_cast<uint8_t>(bar), 4);
      if (probe == 0) continue;
      const bool io = (probe & 1) != 0;
      const uint32_t length = ~(probe & (io ? ~3u : ~15u)) + 1;
      uint32_t& next = io ? next_io : next_memory;
      next = (next + length - 1) & ~(length - 1);
      config(slot, 0, bar, 4, next);
      next += length;
    }
    if (card->interrupt_pin() != 0)
      config(slot, 0, kInterruptLine, 1, wiring::kPirqRoute[wiring::pirq_of(slot, card->interrupt_pin() - 1u)]);
    config(slot, 0, kCommand, 2, 0x7);
  }
  local_apic_.enable_virtual_wire();
  // The 8259s as a BIOS programs them: vectors 08h and 70h, only the cascade and the timer unmasked.
  constexpr struct {
    uint16_t port;
    uint8_t value;
  } kPicSetup[] = {{0x20, 0x11}, {0x21, 0x08}, {0x21, 0x04}, {0x21, 0x01}, {0x21, 0xfb},
                   {0xa0, 0x11}, {0xa1, 0x70}, {0xa1, 0x02}, {0xa1, 0x01}, {0xa1, 0xff}};
  for (const auto& [port, value] : kPicSetup) ports.write(port, 1, value);
}

}  // namespace understudy::devices
