#include "devices/piix4_pm.h"

namespace understudy::devices {

namespace {
constexpr uint64_t kTimerHz = 3579545;
constexpr uint64_t kSecond = 1000000000;
constexpr unsigned kTimerTopBit = 23;

// PM1_STS and PM1_EN.
constexpr uint16_t kTimer = 1 << 0;
constexpr uint16_t kGlobal = 1 << 5;
constexpr uint16_t kPowerButton = 1 << 8;
constexpr uint16_t kRtc = 1 << 10;
constexpr uint16_t kWake = 1 << 15;
constexpr uint16_t kSciSources = kTimer | kGlobal | kPowerButton | kRtc;
constexpr uint16_t kStatusBits = kSciSources | 1 << 4 | kWake;
// PM1_CNT.
constexpr uint16_t kSciEnable = 1 << 0;
constexpr uint8_t kSleepEnableHigh = 1 << 5;
constexpr uint16_t kControlBits = 0x1c07;

constexpr unsigned kGlobalControl = 0x28;
constexpr uint8_t kSmbusStart = 0x40;
constexpr uint8_t kSmbusDeviceError = 0x04;
}  // namespace

Piix4Pm::Piix4Pm(PciBus& pci, const emu::Clock& clock, emu::EventQueue& events, emu::IrqLine sci,
                 std::function<void()> power_off)
    : PciDevice(pci, 0x0b,
                {.vendor = 0x8086,
                 .device = 0x7113,
                 .class_code = 0x068000,
                 .revision = 3,
                 .header_type = 0,
                 .interrupt_pin = 1}),
      clock_(clock),
      events_(events),
      overflow_event_(events.add("piix4_pm.timer_overflow", [this](uint64_t) { update(); })),
      sci_(sci),
      power_off_(std::move(power_off)) {
  define32(0x40, 0x00000001, 0x0000ffc0);  // PMBA
  for (unsigned at = 0x44; at < 0x80; ++at) define8(static_cast<uint8_t>(at), 0, 0xff);
  define8(0x5b, 0x02, 0xff);               // DEVACTB: APMC_EN is set, so firmware does not install an SMI handler
  define8(0x80, 0x00, 0x01);               // PMREGMISC: PM block enable
  define32(0x90, 0x00000001, 0x0000fff0);  // SMBBA
  define32(0xd0, 0, 0xffff0000);           // D2: SMBus host configuration, bit 0 enables the block
  define32(0xd4, 0, 0xffffffff);
  add_io_window(kPmBlock, 64, 4);
  add_io_window(kSmbusBlock, 16, 1);
}

void Piix4Pm::attach(emu::PortBus& ports) {
  ports.attach(kSmiCommandPort, kSmiStatusPort, *this, 1);
  ports.attach(kGpeBase, kGpeBase + 3, *this, 1);
}

void Piix4Pm::press_power_button() {
  state_.status |= kPowerButton;
  update();
}

void Piix4Pm::reset() {
  PciDevice::reset();
  state_ = {};
  state_.timer_half = ticks() >> kTimerTopBit;
  update();
}

void Piix4Pm::visit_state(emu::StateVisitor& visitor) {
  PciDevice::visit_state(visitor);
  visitor.value("status", state_.status);
  visitor.value("enable", state_.enable);
  visitor.value("control", state_.control);
  visitor.value("timer_half", state_.timer_half);
  visitor.value("smi_command", state_.smi_command);
  visitor.value("smi_status", state_.smi_status);
  visitor.value("gpe_enable", state_.gpe_enable);
  visitor.value("global_control", state_.global_control);
  visitor.value("smbus_status", state_.smbus_status);
  visitor.value("smbus", state_.smbus);
}

uint64_t Piix4Pm::window_base(unsigned index) const {
  if (index == kPmBlock) return (config8(0x80) & 1) != 0 ? config32(0x40) & 0xffc0 : 0;
  return (config8(0xd2) & 1) != 0 ? config32(0x90) & 0xfff0 : 0;
}

uint64_t Piix4Pm::ticks() const { return emu::scale(clock_.now_ns(), kTimerHz, kSecond); }

// TMR_STS is set whenever bit 23 of the timer changes (ACPI 4.8.3.3).
void Piix4Pm::update_timer_status() {
  const uint64_t half = ticks() >> kTimerTopBit;
  if (half != state_.timer_half) state_.status |= kTimer;
  state_.timer_half = half;
}

// Brings the SCI and the overflow event up to date. Without SCI_EN the same events would raise an SMI, which nobody
// hears. The event is armed only while it could change the line.
void Piix4Pm::update() {
  update_timer_status();
  const bool acpi = (state_.control & kSciEnable) != 0;
  sci_.set(acpi && (state_.status & state_.enable & kSciSources) != 0);
  const bool overflow_matters = acpi && (state_.enable & kTimer) != 0 && (state_.status & kTimer) == 0;
  if (overflow_matters)
    events_.schedule(overflow_event_, emu::scale_up((state_.timer_half + 1) << kTimerTopBit, kSecond, kTimerHz));
  else
    events_.cancel(overflow_event_);
}

uint64_t Piix4Pm::window_read(unsigned index, uint64_t offset, unsigned size) {
  if (index == kSmbusBlock) return read_smbus(static_cast<unsigned>(offset));
  const auto timer = static_cast<uint32_t>(ticks() & 0xffffff);
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i)
    value |= static_cast<uint64_t>(read_pm(static_cast<unsigned>(offset) + i, timer)) << (8 * i);
  return value;
}

void Piix4Pm::window_write(unsigned index, uint64_t offset, unsigned size, uint64_t value) {
  for (unsigned i = 0; i < size; ++i) {
    const auto at = static_cast<unsigned>(offset) + i;
    const auto byte = static_cast<uint8_t>(value >> (8 * i));
    if (index == kSmbusBlock)
      write_smbus(at, byte);
    else
      write_pm(at, byte);
  }
}

uint8_t Piix4Pm::read_pm(unsigned offset, uint32_t timer) {
  const auto byte_of = [](uint32_t value, unsigned at) { return static_cast<uint8_t>(value >> (8 * at)); };
  switch (offset) {
    case 0:
    case 1:
      update_timer_status();
      return byte_of(state_.status, offset);
    case 2:
    case 3:
      return byte_of(state_.enable, offset - 2);
    case 4:
    case 5:
      return byte_of(state_.control, offset - 4);
    case 8:
    case 9:
    case 10:
    case 11:
      return byte_of(timer, offset - 8);
    case kGlobalControl:
    case kGlobalControl + 1:
    case kGlobalControl + 2:
    case kGlobalControl + 3:
      return byte_of(state_.global_control, offset - kGlobalControl);
    default:
      return 0;
  }
}

void Piix4Pm::write_pm(unsigned offset, uint8_t value) {
  const auto replace = [value](uint32_t old, unsigned at) {
    return (old & ~(0xffu << (8 * at))) | static_cast<uint32_t>(value) << (8 * at);
  };
  switch (offset) {
    case 0:
    case 1:
      update_timer_status();
      state_.status &= static_cast<uint16_t>(~(value << (8 * offset)));
      break;
    case 2:
    case 3:
      state_.enable = static_cast<uint16_t>(replace(state_.enable, offset - 2) & kStatusBits);
      break;
    case 4:
      state_.control = static_cast<uint16_t>(replace(state_.control, 0) & kControlBits);
      break;
    case 5:
      write_control_high(value);
      break;
    case kGlobalControl:
    case kGlobalControl + 1:
    case kGlobalControl + 2:
    case kGlobalControl + 3:
      state_.global_control = replace(state_.global_control, offset - kGlobalControl);
      return;
    default:
      return;
  }
  update();
}

// SLP_EN is write-only. Soft-off is SLP_TYP 0; no other sleep state is offered, so a guest that asks for one wakes up
// at once, with WAK_STS set.
void Piix4Pm::write_control_high(uint8_t value) {
  state_.control = static_cast<uint16_t>(((state_.control & 0xff) | value << 8) & kControlBits);
  if ((value & kSleepEnableHigh) == 0) return;
  if ((value >> 2 & 7) != kSleepTypeOff)
    state_.status |= kWake;
  else if (power_off_)
    power_off_();
}

// The SMBus host: a transaction that is started finds no device on the bus.
uint8_t Piix4Pm::read_smbus(unsigned offset) const {
  return offset == 0 ? state_.smbus_status : state_.smbus[offset & 15];
}

void Piix4Pm::write_smbus(unsigned offset, uint8_t value) {
  if (offset == 0) {
    state_.smbus_status &= static_cast<uint8_t>(~value);
    return;
  }
  state_.smbus[offset & 15] = value;
  if (offset == 2) {
    state_.smbus[2] &= static_cast<uint8_t>(~kSmbusStart);
    if ((value & kSmbusStart) != 0) state_.smbus_status |= kSmbusDeviceError;
  }
}

uint32_t Piix4Pm::port_read(uint16_t port, unsigned) {
  switch (port) {
    case kSmiCommandPort:
      return state_.smi_command;
    case kSmiStatusPort:
      return state_.smi_status;
    case kGpeBase + 2:
      return state_.gpe_enable & 0xff;
    case kGpeBase + 3:
      return state_.gpe_enable >> 8;
    default:
      return 0;  // GPE0_STS: no general-purpose event exists on this board
  }
}

void Piix4Pm::port_write(uint16_t port, unsigned, uint32_t value) {
  switch (port) {
    case kSmiCommandPort:
      state_.smi_command = static_cast<uint8_t>(value);
      if (value == kAcpiEnable) state_.control |= kSciEnable;
      if (value == kAcpiDisable) state_.control &= static_cast<uint16_t>(~kSciEnable);
      update();
      break;
    case kSmiStatusPort:
      state_.smi_status = static_cast<uint8_t>(value);
      break;
    case kGpeBase + 2:
      state_.gpe_enable = static_cast<uint16_t>((state_.gpe_enable & 0xff00) | value);
      break;
    case kGpeBase + 3:
      state_.gpe_enable = static_cast<uint16_t>((state_.gpe_enable & 0x00ff) | value << 8);
      break;
    default:
      break;
  }
}

}  // namespace understudy::devices
