// A disk of type virtio (Virtual I/O Device 1.2, section 5.2): one queue, reads, writes, flushes and its identity. Up
// to kLanes requests are in flight, each through a BlockPort of its own, so each completes at a virtual time of its own
// and moves at most 128 KiB at once; further requests wait in the driver's ring. A request's chain is walked again at
// each step: what the guest makes of its tables meanwhile harms itself alone.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "devices/block_port.h"
#include "devices/virtio_pci.h"

namespace understudy::devices {

class VirtioBlk : public VirtioPci {
 public:
  static constexpr uint64_t kSizeMax = 1ull << 1, kSegMax = 1ull << 2, kReadOnly = 1ull << 5, kBlkSize = 1ull << 6,
                            kFlush = 1ull << 9;
  static constexpr unsigned kLanes = 4;
  static constexpr uint16_t kQueueSize = 128;

  // `serial` is cut to 20 bytes.
  VirtioBlk(const std::string& name, PciBus& pci, uint8_t devfn, const emu::Clock& clock, emu::EventQueue& events,
            emu::DmaMemory& dma, BlockBackend& image, const std::string& serial);

  void visit_state(emu::StateVisitor& visitor) override;

 protected:
  uint8_t config_byte(unsigned offset) const override;
  void notified(unsigned queue) override;
  void forget() override;

 private:
  struct Request {
    bool busy = false;
    uint16_t head = 0;
    uint32_t type = 0;
    uint8_t status = 0;   // what it will end with, unless something fails
    uint64_t offset = 0;  // in the image
    uint64_t length = 0;  // of the data
    uint64_t moved = 0;
  };
  void start_requests();
  bool begin(unsigned lane, const VirtChain& chain);
  void next_step(unsigned lane, const VirtChain& chain);
  void step_done(unsigned lane, bool ok);
  void finish(unsigned lane, const VirtChain& chain);

  std::array<Request, kLanes> requests_;
  std::array<BlockPort, kLanes> ports_;
  const emu::Clock& clock_;
  emu::EventQueue& events_;
  emu::EventQueue::Id start_event_;
  BlockBackend& image_;
  const std::string serial_;
};

}  // namespace understudy::devices
