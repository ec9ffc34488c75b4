#include "devices/ata_drive.h"

#include <algorithm>

namespace understudy::devices {

namespace {
constexpr uint8_t kDeviceReset = 0x08;
constexpr uint8_t kDiagnosticPassed = 0x01;
}  // namespace

AtaDrive::AtaDrive(BlockPort& port, Cable& cable) : port_(port), cable_(cable) {
  port_.on_done([this](bool ok) { block_done(ok); });
}

uint8_t AtaDrive::status() const {
  switch (state_.phase) {
    case Phase::kBusy:
      return kAtaStatusBsy | state_.ready_bits;
    case Phase::kIdle:
      return static_cast<uint8_t>(state_.ready_bits | (state_.failed ? kAtaStatusErr : 0));
    default:
      return state_.ready_bits | kAtaStatusDrq;
  }
}

uint8_t AtaDrive::read_register(unsigned index, bool high_order) const {
  switch (index) {
    case kAtaError:
      return state_.error;
    case kAtaDevice:
      return state_.registers[kAtaDevice] | 0xa0;
    case kAtaStatus:
      return status();
    default:
      return high_order ? state_.previous[index & 7] : state_.registers[index & 7];
  }
}

// A busy drive owns its task file; only the choice of device, which is the channel's, gets through.
void AtaDrive::write_register(unsigned index, uint8_t value) {
  if (index == kAtaDevice && state_.phase == Phase::kBusy)
    value = static_cast<uint8_t>((state_.registers[index] & ~kAtaDeviceSelect) | (value & kAtaDeviceSelect));
  else if (state_.phase == Phase::kBusy)
    return;
  state_.previous[index & 7] = state_.registers[index & 7];
  state_.registers[index & 7] = value;
}

void AtaDrive::write_command(uint8_t command) {
  if (command == kDeviceReset && obeys_device_reset()) {
    abandon();
    busy();
    state_.pending = Pending::kReset;
    port_.delay();
    return;
  }
  if (state_.phase != Phase::kIdle) return;
  clear_interrupt();
  state_.failed = false;
  state_.error = 0;
  state_.pending = Pending::kCommand;
  execute(command);
}

void AtaDrive::clear_interrupt() {
  if (!state_.interrupt) return;
  state_.interrupt = false;
  cable_.interrupt_changed();
}

void AtaDrive::raise_interrupt() {
  state_.interrupt = true;
  cable_.interrupt_changed();
}

uint32_t AtaDrive::read_data(unsigned size) {
  if (state_.phase != Phase::kPioIn) return 0;
  const uint8_t* data = port_.data().data();
  uint32_t value = 0;
  for (unsigned i = 0; i < size && state_.position < state_.end; ++i)
    value |= static_cast<uint32_t>(data[state_.position++]) << (8 * i);
  if (state_.position >= state_.end) transferred();
  return value;
}

void AtaDrive::write_data(unsigned size, uint32_t value) {
  if (state_.phase != Phase::kPioOut) return;
  uint8_t* data = port_.data().data();
  for (unsigned i = 0; i < size && state_.position < state_.end; ++i)
    data[state_.position++] = static_cast<uint8_t>(value >> (8 * i));
  if (state_.position >= state_.end) transferred();
}

std::span<uint8_t> AtaDrive::dma_window() {
  return std::span(port_.data()).subspan(state_.position, state_.end - state_.position);
}

void AtaDrive::dma_moved(size_t bytes) {
  state_.position += static_cast<uint32_t>(std::min<size_t>(bytes, state_.end - state_.position));
  if (state_.position >= state_.end) transferred();
}

void AtaDrive::offer(Phase phase, size_t from, size_t length) {
  state_.phase = phase;
  state_.begin = state_.position = static_cast<uint32_t>(from);
  state_.end = static_cast<uint32_t>(from + length);
  if (wants_dma()) cable_.dma_requested();
}

void AtaDrive::end_command() {
  state_.phase = Phase::kIdle;
  state_.begin = state_.position = state_.end = 0;
  port_.data().clear();
}

void AtaDrive::finish_quietly() { end_command(); }

void AtaDrive::finish() {
  end_command();
  raise_interrupt();
}

void AtaDrive::fail(uint8_t error) {
  end_command();
  state_.error = error;
  state_.failed = true;
  raise_interrupt();
}

void AtaDrive::finish_later() {
  busy();
  state_.pending = Pending::kFinish;
  port_.delay();
}

void AtaDrive::fail_later(uint8_t error) {
  busy();
  state_.pending = Pending::kFail;
  state_.pending_error = error;
  port_.delay();
}

void AtaDrive::block_done(bool ok) {
  const Pending pending = state_.pending;
  state_.pending = Pending::kCommand;
  switch (pending) {
    case Pending::kCommand:
      completed(ok);
      break;
    case Pending::kFinish:
      finish();
      break;
    case Pending::kFail:
      fail(state_.pending_error);
      break;
    case Pending::kReset:
    case Pending::kDiagnose:
      end_command();
      state_.error = kDiagnosticPassed;
      put_signature();
      if (pending == Pending::kDiagnose) raise_interrupt();
      break;
  }
}

void AtaDrive::abandon() {
  port_.abandon();
  end_command();
  state_.failed = false;
  clear_interrupt();
}

void AtaDrive::power_on() {
  port_.abandon();
  state_ = {};
  reset_settings();
  state_.error = kDiagnosticPassed;
  put_signature();
}

void AtaDrive::hold_reset() {
  abandon();
  state_.registers[kAtaDevice] = 0;
  busy();
}

void AtaDrive::release_reset() {
  busy();
  state_.pending = Pending::kReset;
  port_.delay();
}

void AtaDrive::diagnose(bool interrupt_after) {
  abandon();
  state_.registers[kAtaDevice] = 0;
  busy();
  state_.pending = interrupt_after ? Pending::kDiagnose : Pending::kReset;
  port_.delay();
}

void AtaDrive::visit_state(emu::StateVisitor& visitor) {
  visitor.value("registers", state_.registers);
  visitor.value("previous", state_.previous);
  visitor.value("error", state_.error);
  visitor.value("ready_bits", state_.ready_bits);
  visitor.value("failed", state_.failed);
  visitor.value("interrupt", state_.interrupt);
  visitor.value("phase", state_.phase);
  visitor.value("pending", state_.pending);
  visitor.value("pending_error", state_.pending_error);
  visitor.value("begin", state_.begin);
  visitor.value("position", state_.position);
  visitor.value("end", state_.end);
  visit_settings(visitor);
}

// A snapshot comes from outside: never trust a window to lie within the data.
void AtaDrive::state_loaded() {
  state_.end = std::min<uint32_t>(state_.end, static_cast<uint32_t>(port_.data().size()));
  state_.position = std::min(state_.position, state_.end);
  state_.begin = std::min(state_.begin, state_.position);
  if (state_.begin == state_.end && state_.phase != Phase::kBusy) state_.phase = Phase::kIdle;
}

void put_ata_string(std::span<uint16_t> words, const std::string& text) {
  const auto at = [&text](size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : static_cast<unsigned char>(' ');
  };
  for (size_t i = 0; i < words.size(); ++i) words[i] = static_cast<uint16_t>(at(2 * i) << 8 | at(2 * i + 1));
}

}  // namespace understudy::devices
