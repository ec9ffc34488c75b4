// A disk whose contents lie outside of the machine, where others may change them: its requests go out through the
// world, and each completes at the count at which its answer comes in, with what that brings. So a log has everything
// that the guest ever reads of it, and a replay needs no disk. Two channels: NAME carries writes and flushes out and
// all answers in, NAME.read the reads out.
//
// Drives reach it through BlockPorts, each with at most one request that is out. Which those are is state, so that
// whoever goes on with the machine can ask again for what its predecessor may not have been told.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "devices/block_backend.h"
#include "emu/block_message.h"
#include "emu/device.h"
#include "emu/world.h"

namespace understudy::devices {

class BlockPort;

class SharedDisk : public BlockBackend, public emu::Device {
 public:
  // `name` is the disk's on the board ("disk0", "virtio_disk1").
  SharedDisk(std::string name, uint64_t size_bytes, bool read_only);

  // Wiring by the board, once.
  void attach(emu::World& world);

  // --- a drive's side
  uint64_t size_bytes() const override { return size_; }
  bool read_only() const override { return read_only_; }
  SharedDisk* shared() override { return this; }
  // Nothing completes at once.
  [[nodiscard]] bool read(uint64_t, std::span<uint8_t>) override { return false; }
  [[nodiscard]] bool write(uint64_t, std::span<const uint8_t>) override { return false; }
  [[nodiscard]] bool flush() override { return false; }
  void add(BlockPort& port) { ports_.push_back(&port); }
  // Sends the request out under the next number, which is returned.
  uint64_t submit(emu::BlockRequest request);

  // --- the host's side, between runs of the machine
  emu::ChannelId channel() const { return channel_; }
  emu::ChannelId read_channel() const { return read_channel_; }
  // The number of the next request.
  uint64_t next_number() const { return state_.next; }
  // Whether an answer is awaited.
  bool waits() const;
  // What is out and has no answer yet, by number.
  std::vector<emu::BlockRequest> unanswered() const;
  // Requests that their drive has forgotten since, in a reset, and whose answer it still waits for before it sends
  // another.
  std::vector<uint64_t> forgotten() const;

  std::string_view name() const override { return name_; }
  void reset() override {}
  void visit_state(emu::StateVisitor& visitor) override;

 private:
  void answered(std::span<const uint8_t> bytes);

  const std::string name_;
  const uint64_t size_;
  const bool read_only_;
  std::vector<BlockPort*> ports_;
  emu::World* world_ = nullptr;
  emu::ChannelId channel_ = 0, read_channel_ = 0;
  struct State {
    uint64_t next = 1;
  };
  State state_;
};

}  // namespace understudy::devices
