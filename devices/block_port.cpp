#include "devices/block_port.h"

#include <algorithm>
#include <utility>

#include "devices/shared_disk.h"

namespace understudy::devices {

BlockPort::BlockPort(const emu::Clock& clock, emu::EventQueue& events, std::string event_name)
    : clock_(clock), events_(events), event_(events.add(std::move(event_name), [this](uint64_t) { complete(); })) {}

void BlockPort::connect(BlockBackend* image) {
  image_ = image;
  shared_ = image != nullptr ? image->shared() : nullptr;
  if (shared_ != nullptr) shared_->add(*this);
}

void BlockPort::submit(Operation operation, uint64_t offset, uint32_t length) {
  state_.operation = operation;
  state_.offset = offset;
  state_.length = std::min(length, kMaxTransfer);
  if (!goes_out())
    events_.schedule(event_, clock_.now_ns() + delay_ns_);
  else if (state_.request == 0)
    state_.request = shared_->submit(as_request());
}

// What does not lie on the disk fails here, after its time.
bool BlockPort::goes_out() const {
  if (shared_ == nullptr) return false;
  const uint64_t size = shared_->size_bytes();
  switch (state_.operation) {
    case Operation::kNone:
    case Operation::kDelay:
      return false;
    case Operation::kRead:
      return state_.offset < size;
    case Operation::kWrite:
      return state_.offset <= size && state_.length <= size - state_.offset;
    case Operation::kFlush:
      return true;
  }
  return false;
}

// How much of a read lies on the disk.
uint32_t BlockPort::present() const {
  return static_cast<uint32_t>(std::min<uint64_t>(state_.length, image_->size_bytes() - state_.offset));
}

emu::BlockRequest BlockPort::as_request() const {
  emu::BlockRequest request;
  request.number = state_.request;
  switch (state_.operation) {
    case Operation::kRead:
      request.operation = emu::BlockOperation::read;
      request.offset = state_.offset;
      request.length = present();
      break;
    case Operation::kWrite:
      request.operation = emu::BlockOperation::write;
      request.offset = state_.offset;
      request.length = static_cast<uint32_t>(state_.data.size());
      request.data = state_.data;
      break;
    case Operation::kNone:
    case Operation::kDelay:
    case Operation::kFlush:
      request.operation = emu::BlockOperation::flush;
      break;
  }
  return request;
}

std::optional<emu::BlockRequest> BlockPort::unanswered() const {
  if (state_.request == 0 || state_.forgotten || !goes_out()) return std::nullopt;
  return as_request();
}

void BlockPort::answered(const emu::BlockAnswer& answer) {
  state_.request = 0;
  if (std::exchange(state_.forgotten, false)) {
    if (goes_out()) state_.request = shared_->submit(as_request());
    return;
  }
  if (!goes_out()) return;
  const Operation operation = std::exchange(state_.operation, Operation::kNone);
  bool ok = answer.ok;
  if (operation == Operation::kRead) {
    ok = ok && answer.data.size() == present();
    state_.data.assign(state_.length, 0);
    if (ok) std::copy(answer.data.begin(), answer.data.end(), state_.data.begin());
  }
  if (done_) done_(ok);
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
  const uint64_t request = state_.request;
  state_ = {};
  state_.request = request;
  state_.forgotten = request != 0;
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
      if (image_ == nullptr || state_.offset >= image_->size_bytes()) return false;
      return image_->read(state_.offset, std::span(state_.data).first(present()));
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
  if (shared_ == nullptr) return;
  visitor.value("request", state_.request);
  visitor.value("forgotten", state_.forgotten);
}

}  // namespace understudy::devices
