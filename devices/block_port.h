// A drive's way to its disk image, and the one place where a disk operation completes. A drive has at most one
// operation outstanding; it completes `delay_ns` of virtual time after it was submitted, and only then is the image
// touched, synchronously. With a SharedDisk it completes when its answer comes in from the world. What a completion
// brings into the machine (its status and, for a read, its data) passes through complete() or answered() and nowhere
// else, at one instruction count.
// Invariant: data() holds what is being moved and never exceeds kMaxTransfer bytes. At most one request is out at a
// SharedDisk: what is submitted while that of a forgotten operation is out goes out when it has its answer.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "devices/block_backend.h"
#include "emu/block_message.h"
#include "emu/clock.h"
#include "emu/event_queue.h"
#include "emu/state_visitor.h"

namespace understudy::devices {

class BlockPort {
 public:
  static constexpr uint32_t kMaxTransfer = 128 * 1024;
  static constexpr uint64_t kDefaultDelayNs = 50'000;

  BlockPort(const emu::Clock& clock, emu::EventQueue& events, std::string event_name);
  BlockPort(const BlockPort&) = delete;
  BlockPort& operator=(const BlockPort&) = delete;
  // Hears of each completion; `ok` is false when the host could not deliver.
  void on_done(std::function<void(bool ok)> done) { done_ = std::move(done); }
  // Once.
  void connect(BlockBackend* image);
  BlockBackend* image() const { return image_; }
  // Part of the machine's configuration, not of its state.
  void set_delay_ns(uint64_t delay_ns) { delay_ns_ = delay_ns; }

  // Offsets and lengths are multiples of 512. A read may run past the image's end: zeros follow it.
  void read(uint64_t offset, uint32_t length);
  void write(uint64_t offset);  // all of data()
  void flush();
  void delay();  // nothing but the time that a command takes
  // Forgets the outstanding operation; the image is not touched.
  void abandon();

  // For the SharedDisk: the request that is out, 0 for none; that request again, unless its operation is forgotten; and
  // its answer.
  uint64_t request() const { return state_.request; }
  std::optional<emu::BlockRequest> unanswered() const;
  void answered(const emu::BlockAnswer& answer);

  std::vector<uint8_t>& data() { return state_.data; }
  const std::vector<uint8_t>& data() const { return state_.data; }

  void visit_state(emu::StateVisitor& visitor);

 private:
  enum class Operation : uint8_t { kNone, kDelay, kRead, kWrite, kFlush };
  void submit(Operation operation, uint64_t offset, uint32_t length);
  void complete();
  bool perform(Operation operation);
  bool goes_out() const;
  uint32_t present() const;
  emu::BlockRequest as_request() const;

  struct State {
    Operation operation = Operation::kNone;
    uint64_t offset = 0;
    uint32_t length = 0;
    std::vector<uint8_t> data;
    // With a SharedDisk.
    uint64_t request = 0;
    bool forgotten = false;  // `request` is of an operation before the present one
  };
  State state_;
  const emu::Clock& clock_;
  emu::EventQueue& events_;
  emu::EventQueue::Id event_;
  BlockBackend* image_ = nullptr;
  SharedDisk* shared_ = nullptr;
  uint64_t delay_ns_ = kDefaultDelayNs;
  std::function<void(bool)> done_;
};

}  // namespace understudy::devices
