#include "devices/uart16550.h"

#include <algorithm>
#include <utility>

namespace understudy::devices {

namespace {
enum Register : uint16_t { kData, kInterruptEnable, kIdOrFifo, kLineControl, kModemControl, kLineStatus, kModemStatus };

constexpr uint8_t kEnableReceive = 1;
constexpr uint8_t kEnableTransmit = 2;
constexpr uint8_t kEnableLineStatus = 4;
constexpr uint8_t kEnableModemStatus = 8;

constexpr uint8_t kIdNone = 0x01;
constexpr uint8_t kIdModemStatus = 0x00;
constexpr uint8_t kIdTransmit = 0x02;
constexpr uint8_t kIdReceive = 0x04;
constexpr uint8_t kIdLineStatus = 0x06;
constexpr uint8_t kIdTimeout = 0x0c;
constexpr uint8_t kIdFifosEnabled = 0xc0;

constexpr uint8_t kLcrBreak = 0x40;
constexpr uint8_t kLcrDivisorAccess = 0x80;

constexpr uint8_t kLsrDataReady = 0x01;
constexpr uint8_t kLsrOverrun = 0x02;
constexpr uint8_t kLsrFraming = 0x08;
constexpr uint8_t kLsrBreak = 0x10;
constexpr uint8_t kLsrTransmitterEmpty = 0x60;  // THRE and TEMT
constexpr uint8_t kLsrErrorInFifo = 0x80;

constexpr uint8_t kMsrDeltas = 0x0f;
constexpr uint8_t kMsrRing = 0x40;
constexpr uint8_t kMsrConnected = 0xb0;  // CTS, DSR, DCD: somebody listens
}  // namespace

Uart16550::Uart16550(std::string name, uint16_t base, const std::string& channel, const emu::Clock& clock,
                     emu::EventQueue& events, emu::IrqLine irq, emu::World& world)
    : name_(std::move(name)), base_(base), clock_(clock), events_(events), irq_(irq), world_(world) {
  channel_ = world_.add_channel(channel, [this](std::span<const uint8_t> bytes) { input(bytes); });
  timeout_event_ = events_.add(name_ + ".receive_timeout", [this](uint64_t) {
    state_.receive_timeout = true;
    update_irq();
  });
  state_.modem_status = kMsrConnected;
}

void Uart16550::reset() {
  state_ = {};
  state_.modem_status = kMsrConnected;
  events_.cancel(timeout_event_);
  update_irq();
}

void Uart16550::visit_state(emu::StateVisitor& visitor) {
  visitor.value("interrupt_enable", state_.interrupt_enable);
  visitor.value("fifo_control", state_.fifo_control);
  visitor.value("line_control", state_.line_control);
  visitor.value("modem_control", state_.modem_control);
  visitor.value("modem_status", state_.modem_status);
  visitor.value("scratch", state_.scratch);
  visitor.value("divisor", state_.divisor);
  visitor.value("overrun", state_.overrun);
  visitor.value("transmit_empty", state_.transmit_empty);
  visitor.value("receive_timeout", state_.receive_timeout);
  visitor.value("last_received", state_.last_received);
  visitor.value("receive_count", state_.receive_count);
  // A snapshot is outside input: the count indexes the FIFO.
  state_.receive_count = std::min<uint8_t>(state_.receive_count, kFifoBytes);
  visitor.value("receive_data", state_.receive_data);
  visitor.value("receive_errors", state_.receive_errors);
  visitor.value("overruns", state_.overruns);
  visitor.sequence("backlog", state_.backlog, kBacklogBytes);
}

// --- derived values

unsigned Uart16550::trigger_level() const {
  constexpr std::array<uint8_t, 4> kLevels = {1, 4, 8, 14};
  return fifo_enabled() ? kLevels[state_.fifo_control >> 6] : 1;
}

// Four character times since the last byte came or went (datasheet, section 8.3.1).
uint64_t Uart16550::timeout_ns() const {
  const unsigned data_bits = 5 + (state_.line_control & 3);
  const unsigned parity_bits = state_.line_control >> 3 & 1;
  const unsigned stop_bits = 1 + (state_.line_control >> 2 & 1);
  const uint64_t bits = 1 + data_bits + parity_bits + stop_bits;
  const uint64_t divisor = std::max<uint16_t>(state_.divisor, 1);
  return emu::scale_up(4 * bits * divisor * 16, 1'000'000'000, kInputHz);
}

uint8_t Uart16550::line_status() const {
  uint8_t status = kLsrTransmitterEmpty;
  if (state_.overrun) status |= kLsrOverrun;
  if (state_.receive_count > 0) status |= kLsrDataReady | state_.receive_errors[0];
  const auto end = state_.receive_errors.begin() + state_.receive_count;
  if (fifo_enabled() && std::any_of(state_.receive_errors.begin(), end, [](uint8_t e) { return e != 0; }))
    status |= kLsrErrorInFifo;
  return status;
}

// Table 4 of the datasheet, highest priority first.
uint8_t Uart16550::interrupt_id() const {
  const uint8_t enabled = state_.interrupt_enable;
  const bool line_error = state_.overrun || (state_.receive_count > 0 && state_.receive_errors[0] != 0);
  if ((enabled & kEnableLineStatus) != 0 && line_error) return kIdLineStatus;
  if ((enabled & kEnableReceive) != 0) {
    if (state_.receive_count >= trigger_level()) return kIdReceive;
    if (state_.receive_timeout) return kIdTimeout;
  }
  if ((enabled & kEnableTransmit) != 0 && state_.transmit_empty) return kIdTransmit;
  if ((enabled & kEnableModemStatus) != 0 && (state_.modem_status & kMsrDeltas) != 0) return kIdModemStatus;
  return kIdNone;
}

void Uart16550::update_irq() { irq_.set(interrupt_id() != kIdNone); }

// --- receiver

void Uart16550::input(std::span<const uint8_t> bytes) {
  const size_t taken = std::min(bytes.size(), kBacklogBytes - std::min(kBacklogBytes, state_.backlog.size()));
  state_.backlog.insert(state_.backlog.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
  if (taken < bytes.size()) {
    state_.overruns += bytes.size() - taken;
    state_.overrun = true;
  }
  refill();
  update_irq();
}

void Uart16550::refill() {
  if (loopback()) return;  // the receiver listens to the transmitter only
  const size_t count =
      std::min<size_t>(capacity() - std::min<size_t>(capacity(), state_.receive_count), state_.backlog.size());
  for (size_t i = 0; i < count; ++i) push(state_.backlog[i], 0);
  state_.backlog.erase(state_.backlog.begin(), state_.backlog.begin() + static_cast<std::ptrdiff_t>(count));
}

void Uart16550::push(uint8_t byte, uint8_t errors) {
  state_.receive_data[state_.receive_count] = byte;
  state_.receive_errors[state_.receive_count] = errors;
  ++state_.receive_count;
  rearm_timeout();
}

// A full FIFO keeps what it has; without FIFOs the newer byte replaces the older one (datasheet, section 8.4.2).
void Uart16550::receive_from_loop(uint8_t byte, uint8_t errors) {
  if (state_.receive_count < capacity()) return push(byte, errors);
  state_.overrun = true;
  if (fifo_enabled()) return;
  state_.receive_data[0] = byte;
  state_.receive_errors[0] = errors;
}

void Uart16550::rearm_timeout() {
  if (fifo_enabled() && state_.receive_count > 0)
    events_.schedule(timeout_event_, clock_.now_ns() + timeout_ns());
  else
    events_.cancel(timeout_event_);
}

void Uart16550::clear_receiver() {
  state_.receive_count = 0;
  state_.receive_data.fill(0);
  state_.receive_errors.fill(0);
  state_.receive_timeout = false;
  rearm_timeout();
}

uint8_t Uart16550::read_received() {
  if (state_.receive_count == 0) return state_.last_received;
  state_.last_received = state_.receive_data[0];
  std::shift_left(state_.receive_data.begin(), state_.receive_data.end(), 1);
  std::shift_left(state_.receive_errors.begin(), state_.receive_errors.end(), 1);
  --state_.receive_count;
  state_.receive_timeout = false;
  rearm_timeout();
  refill();
  update_irq();
  return state_.last_received;
}

// --- transmitter

void Uart16550::transmit(uint8_t byte) {
  // Full for no time at all, but the line shows it: an edge-triggered controller needs to see THRE come back.
  state_.transmit_empty = false;
  update_irq();
  if (loopback())
    receive_from_loop(byte, 0);
  else
    world_.emit(channel_, std::span(&byte, 1));
  state_.transmit_empty = true;
  update_irq();
}

// --- control

void Uart16550::write_interrupt_enable(uint8_t value) {
  const uint8_t switched_on = value & ~state_.interrupt_enable;
  state_.interrupt_enable = value & 0x0f;
  // Enabling the THRE interrupt with an empty transmitter raises it: drivers start sending that way.
  if ((switched_on & kEnableTransmit) != 0) state_.transmit_empty = true;
  update_irq();
}

void Uart16550::write_fifo_control(uint8_t value) {
  const bool enable = (value & 1) != 0;
  if (enable != fifo_enabled() || (value & 3) == 3) clear_receiver();
  state_.fifo_control = enable ? value & 0xc9 : 0;
  refill();
  update_irq();
}

void Uart16550::write_line_control(uint8_t value) {
  const bool break_begins = (value & ~state_.line_control & kLcrBreak) != 0;
  state_.line_control = value;
  if (break_begins && loopback()) receive_from_loop(0, kLsrBreak | kLsrFraming);
  update_irq();
}

// In loopback the four modem outputs come back as inputs (datasheet, section 8.6.7).
void Uart16550::update_modem_status() {
  uint8_t lines = kMsrConnected;
  if (loopback()) {
    const uint8_t mcr = state_.modem_control;
    lines = static_cast<uint8_t>((mcr & 0x0c) << 4 | (mcr & 0x02) << 3 | (mcr & 0x01) << 5);
  }
  const uint8_t old_lines = state_.modem_status & 0xf0;
  uint8_t changed = old_lines ^ lines;
  if ((changed & kMsrRing) != 0 && (lines & kMsrRing) != 0) changed &= ~kMsrRing;  // RI counts at its trailing edge
  state_.modem_status = static_cast<uint8_t>(lines | (state_.modem_status & kMsrDeltas) | changed >> 4);
}

uint32_t Uart16550::port_read(uint16_t port, unsigned) {
  const bool divisor_access = (state_.line_control & kLcrDivisorAccess) != 0;
  switch (port - base_) {
    case kData:
      return divisor_access ? state_.divisor & 0xff : read_received();
    case kInterruptEnable:
      return divisor_access ? state_.divisor >> 8 : state_.interrupt_enable;
    case kIdOrFifo: {
      const uint8_t id = interrupt_id();
      if (id == kIdTransmit) {
        state_.transmit_empty = false;
        update_irq();
      }
      return id | (fifo_enabled() ? kIdFifosEnabled : 0);
    }
    case kLineControl:
      return state_.line_control;
    case kModemControl:
      return state_.modem_control;
    case kLineStatus: {
      const uint8_t status = line_status();
      state_.overrun = false;
      if (state_.receive_count > 0) state_.receive_errors[0] = 0;
      update_irq();
      return status;
    }
    case kModemStatus: {
      const uint8_t status = state_.modem_status;
      state_.modem_status &= ~kMsrDeltas;
      update_irq();
      return status;
    }
    default:
      return state_.scratch;
  }
}

void Uart16550::port_write(uint16_t port, unsigned, uint32_t value) {
  const auto byte = static_cast<uint8_t>(value);
  const bool divisor_access = (state_.line_control & kLcrDivisorAccess) != 0;
  switch (port - base_) {
    case kData:
      if (divisor_access)
        state_.divisor = static_cast<uint16_t>((state_.divisor & 0xff00) | byte);
      else
        transmit(byte);
      break;
    case kInterruptEnable:
      if (divisor_access)
        state_.divisor = static_cast<uint16_t>((state_.divisor & 0x00ff) | byte << 8);
      else
        write_interrupt_enable(byte);
      break;
    case kIdOrFifo:
      write_fifo_control(byte);
      break;
    case kLineControl:
      write_line_control(byte);
      break;
    case kModemControl:
      state_.modem_control = byte & 0x1f;
      update_modem_status();
      refill();
      update_irq();
      break;
    case kLineStatus:  // factory test only
    case kModemStatus:
      break;
    default:
      state_.scratch = byte;
  }
}

}  // namespace understudy::devices
