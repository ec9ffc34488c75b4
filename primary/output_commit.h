// The output rule's waiting room: what leaves the machine waits here until the log entry that marks it is committed
// (Scales, Nelson, Venkitachalam: The Design of a Practical System for Fault-Tolerant Virtual Machines, section 2.2).
// The machine goes on meanwhile. A backup's machine puts its outputs here too, and drops those that its primary says it
// has delivered; what is left at a takeover is sent then.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "emu/machine.h"

namespace understudy::primary {

struct OutputCounts {
  uint64_t held = 0;  // outputs that wait, and their bytes
  uint64_t held_bytes = 0;
  uint64_t released = 0;
  uint64_t dropped = 0;  // of a replay: its primary has delivered them
  // From leaving the machine to leaving this room, of the last outputs: microseconds.
  uint64_t median_wait_us = 0, worst_wait_us = 0;
};

class OutputCommit {
 public:
  // Takes an output that may leave; false if there is no room for it now: it and all that follows stay here until
  // retry() or the next release. `stream_offset`: what had left on this channel before it, since power-on.
  using Sink = std::function<bool(uint64_t stream_offset, std::span<const uint8_t> bytes)>;

  explicit OutputCommit(emu::Machine& machine);
  ~OutputCommit();
  OutputCommit(const OutputCommit&) = delete;
  OutputCommit& operator=(const OutputCommit&) = delete;

  // --- the machine's thread
  // From now on the channel's outputs come here; but not the reads of a shared disk, which change nothing in the world
  // and go wherever World connects them. `already_out`: bytes that had left on it before.
  void gate(emu::ChannelId channel, uint64_t already_out);
  // Whether the machine comes back from its run soon after an output, so that the mark is not long in coming; long
  // outputs may gather first.
  void be_prompt(bool prompt) { prompt_ = prompt; }
  // Whether something has left the machine that no mark covers yet.
  bool has_unmarked() const { return unmarked_ != 0; }
  // The entry `sequence` marks everything that has left so far.
  void mark(uint64_t sequence);
  // So much is held that the machine should wait.
  bool full() const;

  // --- any thread
  // Where a channel's outputs go from here; without one, released outputs are dropped. The sink is called by whoever
  // releases, one call at a time. `gone` is called when all that may leave now has been offered to it.
  void connect(emu::ChannelId channel, Sink sink, std::function<void()> gone = {});
  // Everything marked by `sequence` or before may leave.
  void release(uint64_t sequence);
  // From now on nothing leaves either before its mark is on this node's own disk, as on_disk() says; it is there up to
  // `sequence`.
  void require_disk(uint64_t sequence);
  void on_disk(uint64_t sequence);
  // From now on nothing leaves on another's word, by release(), unless this holds at that moment: what was held back is
  // tried again by the next release().
  void only_while(std::function<bool()> holds);
  // Whether an output could leave now, were it marked and known wherever it has to be.
  bool may_leave() const;
  // How far it is there; UINT64_MAX where that does not matter.
  uint64_t disk() const;
  void retry();
  // The first byte of a channel that is still here, or will come.
  uint64_t next_offset(emu::ChannelId channel) const;
  // What is marked may leave at once, from now on, or again only when it is released.
  void open();
  void close();
  // Everything marked by `sequence` or before has been delivered by somebody else: gone.
  void drop(uint64_t sequence);
  // All outputs marked by this sequence or before have left.
  uint64_t delivered() const;
  OutputCounts counts() const;
  // The longest that an output has waited since the last call, here still or gone. Zero while nothing waits for
  // another.
  std::chrono::microseconds take_longest_wait();

  static constexpr size_t kMaxHeldBytes = 32u << 20;

 private:
  using HostClock = std::chrono::steady_clock;
  struct Output {
    uint64_t sequence;  // of its mark; 0: none yet
    emu::ChannelId channel;
    uint64_t stream_offset;
    HostClock::time_point at;
    std::vector<uint8_t> bytes;
  };
  void hold(emu::ChannelId channel, std::span<const uint8_t> bytes);
  void release_locked();
  void release_up_to(uint64_t until);
  bool let_go(const Output& output);
  bool may_leave_locked() const { return open_ || !holds_ || holds_(); }

  emu::Machine& machine_;
  size_t unmarked_ = 0;
  bool prompt_ = false;
  mutable std::mutex mutex_;
  std::map<emu::ChannelId, uint64_t> offsets_;  // of what comes next
  struct End {
    Sink sink;
    std::function<void()> gone;
  };
  std::map<emu::ChannelId, End> ends_;
  std::deque<Output> outputs_;
  size_t bytes_ = 0;
  uint64_t committed_ = 0, marked_ = 0, delivered_ = 0;
  uint64_t disk_ = UINT64_MAX;
  std::function<bool()> holds_;
  bool open_ = false;
  uint64_t released_ = 0, dropped_ = 0;
  std::vector<uint32_t> waits_us_;  // a ring of the last ones
  size_t next_wait_ = 0;
  std::chrono::microseconds longest_wait_{0};
};

}  // namespace understudy::primary
