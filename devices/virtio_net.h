// A network card of type virtio (Virtual I/O Device 1.2, section 5.1): one receive and one transmit queue, a fixed
// address, link always up, no offloads, no control queue, one buffer per received frame. The card has room for the
// frame that is on the wire: its buffers come back at once, and the next one is taken when the wire, at 10 Gbit/s, is
// free. A driver that is slower than that costs no event but its own notification. A frame that finds no buffer waits
// in a bounded queue that is part of the state; when that is full, frames are dropped and counted. Frames pass through
// the channel "net0".
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "devices/ethernet.h"
#include "devices/virtio_pci.h"
#include "devices/waiting_frames.h"
#include "emu/clock.h"
#include "emu/event_queue.h"
#include "emu/world.h"

namespace understudy::devices {

class VirtioNet : public VirtioPci {
 public:
  static constexpr uint64_t kMac = 1ull << 5, kStatus = 1ull << 16, kAnyLayout = 1ull << 27;
  static constexpr uint16_t kQueueSize = 256;
  static constexpr unsigned kMaxWaiting = 128;  // frames

  VirtioNet(PciBus& pci, uint8_t devfn, const emu::Clock& clock, emu::EventQueue& events, emu::DmaMemory& dma,
            emu::World& world, const MacAddress& mac);

  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;

 protected:
  uint8_t config_byte(unsigned offset) const override;
  void config_byte_written(unsigned offset, uint8_t value) override;
  void notified(unsigned queue) override;
  void forget() override;

 private:
  size_t header_bytes() const { return negotiated(kVersion1) ? 12 : 10; }
  void receive(std::span<const uint8_t> frame);
  bool deliver(std::span<const uint8_t> frame);
  void drain();
  void transmit();
  void transmit_frame(const VirtChain& chain);

  struct State {
    MacAddress mac{};
    uint64_t wire_free_ns = 0;
    uint64_t dropped = 0;
  };
  State state_;
  WaitingFrames waiting_{kMaxWaiting};  // for a buffer
  std::vector<uint8_t> frame_;          // that leaves just now
  const MacAddress mac_;
  const emu::Clock& clock_;
  emu::EventQueue& events_;
  emu::World& world_;
  emu::EventQueue::Id drain_event_;
  emu::EventQueue::Id transmit_event_;
  emu::ChannelId channel_;
};

}  // namespace understudy::devices
