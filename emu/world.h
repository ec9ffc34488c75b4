// The doors between a machine and everything outside it. A device takes inputs only through a channel's handler, which
// the machine calls at an instruction boundary of its choosing, and gives outputs only to the outbox. Whether inputs
// come from the live world or from a log, and when outputs are let go, is decided outside: a device cannot tell.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace understudy::emu {

using ChannelId = uint16_t;

// One input that waits for, or has found, its instruction count.
struct Input {
  ChannelId channel = 0;
  std::vector<uint8_t> payload;
};

// What a channel carries, as far as those who log or hold it must know.
enum class ChannelKind : uint8_t {
  stream,      // bytes or frames
  disk,        // out: writes and flushes of a disk outside of the machine; in: what became of each request
  disk_reads,  // out: its reads; they change nothing in the world, so they may leave whenever they like
};

class World {
 public:
  using InputHandler = std::function<void(std::span<const uint8_t>)>;
  using OutputSink = std::function<void(std::span<const uint8_t>)>;

  // Wiring, in a fixed order. A channel carries either direction or both; `name` is unique ("serial0", "keyboard").
  ChannelId add_channel(std::string name, InputHandler handler = {}, ChannelKind kind = ChannelKind::stream);
  // Throws std::out_of_range for an unknown name.
  ChannelId channel(const std::string& name) const;
  // A channel that a machine may lack.
  std::optional<ChannelId> find_channel(const std::string& name) const;

  // --- the host's side
  // Any thread. Returns false, and counts a drop, when kMaxQueued inputs wait already.
  bool post(ChannelId channel, std::span<const uint8_t> payload);
  // Called by post() after queueing, on the posting thread (to wake an idle machine).
  void on_post(std::function<void()> callback) { on_post_ = std::move(callback); }
  // Where a channel's outputs go; none means they are dropped.
  void connect(ChannelId channel, OutputSink sink);
  // Hears a channel's inputs before its device, and its outputs before they leave, on the machine's thread.
  void observe(ChannelId channel, OutputSink observer);
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

  // Hears of each output before the channel's sink does, on the machine's thread (a recorder's marks).
  void observe_outputs(std::function<void(ChannelId, std::span<const uint8_t>)> observer) {
    output_observer_ = std::move(observer);
  }
  size_t channel_count() const { return channels_.size(); }
  const std::string& channel_name(ChannelId channel) const { return channels_.at(channel).name; }
  ChannelKind kind(ChannelId channel) const { return channels_.at(channel).kind; }

  // --- the machine's side, on its thread, between instructions
  bool has_input() const { return pending_.load(std::memory_order_acquire); }
  // Takes the oldest input; false when none waits.
  bool take(Input& input);
  // Hands an input to its device.
  void deliver(const Input& input);
  // The channel whose input its device is taking.
  std::optional<ChannelId> delivering() const { return delivering_; }

  // --- a device's side
  void emit(ChannelId channel, std::span<const uint8_t> payload);

  static constexpr size_t kMaxQueued = 4096;

 private:
  struct Channel {
    std::string name;
    ChannelKind kind;
    InputHandler handler;
    OutputSink sink;
    OutputSink observer;
  };
  std::vector<Channel> channels_;
  std::optional<ChannelId> delivering_;
  std::mutex mutex_;
  std::deque<Input> queue_;
  std::atomic<bool> pending_{false};
  std::atomic<uint64_t> dropped_{0};
  std::function<void()> on_post_;
  std::function<void(ChannelId, std::span<const uint8_t>)> output_observer_;
};

}  // namespace understudy::emu
