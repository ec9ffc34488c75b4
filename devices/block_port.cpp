#include "devices/block_port.h"

#include <algorithm>

namespace understudy::devices {

BlockPort::BlockPort(const emu::Clock& clock, emu::EventQueue& events, std::string event_name)
    : clock_(clock), events_(events), event_(events.add(std::move(event_name), [this](uint64_t) { complete(); })) {}

void BlockPort::submit(Operation operation, uint64_t offset, uint32_t length) {
  state_.operation = operation;
  state_.offset = offset;
  state_.length = std::min(length, kMaxTransfer);
  events_.schedule(event_, clock_.now_ns() + delay_ns_);
}

void BlockPort::read(uint64_t offset, uint32_t length) {
  state_.data.clear();
  submit(Operation::kRead, offset, length);
}

void BlockPort::write(uint64_t offset) { submit(Operation::kWrite, offset, static_cast<uint32_t>(state_.data.size())); }

void BlockPort::flush() { submit(Operation::kFlush, 0, 0); }

void BlockPort::delay() { submit(Operation::kDelay, 0, 0); }

void BlockPort::abandon() {
  events_.cancel(event_);
  state_ = {};
}

void BlockPort::complete() {
  const Operation operation = state_.operation;
  state_.operation = Operation::kNone;
  const bool ok = perform(operation);
  if (done_) done_(ok);
}

bool BlockPort::perform(Operation operation) {
  switch (operation) {
    case Operation::kNone:
    case Operation::kDelay:
      return true;
    case Operation::kRead: {
      state_.data.assign(state_.length, 0);
      if (image_ == nullptr) return false;
      const uint64_t size = image_->size_bytes();
      if (state_.offset >= size) return false;
      const auto present = static_cast<size_t>(std::min<uint64_t>(state_.length, size - state_.offset));
      return image_->read(state_.offset, std::span(state_.data).first(present));
    }
    case Operation::kWrite:
      return image_ != nullptr && image_->write(state_.offset, state_.data);
    case Operation::kFlush:
      return image_ == nullptr || image_->flush();
  }
  return false;
}

void BlockPort::visit_state(emu::StateVisitor& visitor) {
  visitor.value("operation", state_.operation);
  visitor.value("offset", state_.offset);
  visitor.value("length", state_.length);
  visitor.sequence("data", state_.data, kMaxTransfer);
  state_.length = std::min(state_.length, kMaxTransfer);
}

}  // namespace understudy::devices
