#include "devices/virtio_net.h"

#include <algorithm>

namespace understudy::devices {

namespace {
constexpr uint16_t kDeviceId = 1, kPciDevice = 0x1000;
constexpr uint32_t kClassCode = 0x020000;
constexpr unsigned kReceiveQueue = 0, kTransmitQueue = 1;
// Configuration: the address, then the link's status.
constexpr unsigned kConfigBytes = 8, kConfigStatus = 6;
constexpr uint8_t kLinkUp = 1;
// 10 Gbit/s. At one, every other frame of a burst would wait, and stop the CPU inside a block for it.
constexpr uint64_t kPsPerByte = 800;
constexpr unsigned kHeaderBuffers = 10;
}  // namespace

VirtioNet::VirtioNet(PciBus& pci, uint8_t devfn, const emu::Clock& clock, emu::EventQueue& events, emu::DmaMemory& dma,
                     emu::World& world, const MacAddress& mac)
    : VirtioPci("virtio_net", pci, devfn, dma,
                {.id = kDeviceId,
                 .pci_device = kPciDevice,
                 .class_code = kClassCode,
                 .features = kMac | kStatus | kAnyLayout,
                 .queue_sizes = {kQueueSize, kQueueSize},
                 .config_bytes = kConfigBytes}),
      mac_(mac),
      clock_(clock),
      events_(events),
      world_(world),
      drain_event_(events.add("virtio_net.drain", [this](uint64_t) { drain(); })),
      transmit_event_(events.add("virtio_net.transmit", [this](uint64_t) { transmit(); })),
      channel_(world.add_channel("net0", [this](std::span<const uint8_t> frame) { receive(frame); })) {}

void VirtioNet::reset() {
  VirtioPci::reset();
  state_ = {};
  waiting_.clear();
  state_.mac = mac_;
}

void VirtioNet::forget() {
  for (const auto event : {drain_event_, transmit_event_}) events_.cancel(event);
  waiting_.clear();
}

uint8_t VirtioNet::config_byte(unsigned offset) const {
  if (offset < state_.mac.size()) return state_.mac[offset];
  return offset == kConfigStatus ? kLinkUp : 0;
}

// The legacy way to change the address. Nothing filters by it here: it is what the driver reads back.
void VirtioNet::config_byte_written(unsigned offset, uint8_t value) {
  if (offset < state_.mac.size()) state_.mac[offset] = value;
}

void VirtioNet::notified(unsigned queue) {
  if (queue == kReceiveQueue && !waiting_.empty()) events_.schedule(drain_event_, clock_.now_ns());
  if (queue == kTransmitQueue) events_.schedule(transmit_event_, std::max(clock_.now_ns(), state_.wire_free_ns));
}

// --- reception

void VirtioNet::receive(std::span<const uint8_t> frame) {
  if (!is_ethernet_frame(frame) || !running() || !queue(kReceiveQueue).enabled()) return;
  if (waiting_.empty() && deliver(frame)) return;
  if (running() && !waiting_.push(frame)) ++state_.dropped;
}

// False when the driver has no buffer ready. A buffer too small for the frame comes back empty, and the frame is lost.
bool VirtioNet::deliver(std::span<const uint8_t> frame) {
  VirtChain chain;
  switch (queue(kReceiveQueue).pop(chain)) {
    case VirtQueue::Next::kNone:
      return false;
    case VirtQueue::Next::kBroken:
      break_down();
      return false;
    case VirtQueue::Next::kChain:
      break;
  }
  std::vector<uint8_t> bytes(header_bytes());
  // num_buffers, where there is one: section 5.1.6.4.1 wants 1 even without mergeable buffers.
  if (bytes.size() > kHeaderBuffers) bytes[kHeaderBuffers] = 1;
  bytes.insert(bytes.end(), frame.begin(), frame.end());
  if (chain.writable_bytes < bytes.size()) {
    ++state_.dropped;
    use(kReceiveQueue, chain.head, 0);
    return true;
  }
  queue(kReceiveQueue).scatter(chain, 0, bytes);
  use(kReceiveQueue, chain.head, static_cast<uint32_t>(bytes.size()));
  return true;
}

void VirtioNet::drain() {
  // A device that breaks down forgets what waits.
  while (running() && !waiting_.empty() && deliver(waiting_.front()))
    if (running()) waiting_.pop();
}

// --- transmission

void VirtioNet::transmit() {
  if (!running() || !queue(kTransmitQueue).has_next()) return;
  if (clock_.now_ns() >= state_.wire_free_ns) {
    VirtChain chain;
    switch (queue(kTransmitQueue).pop(chain)) {
      case VirtQueue::Next::kNone:
        return;
      case VirtQueue::Next::kBroken:
        return break_down();
      case VirtQueue::Next::kChain:
        transmit_frame(chain);
    }
    if (!running() || !queue(kTransmitQueue).has_next()) return;
  }
  events_.schedule(transmit_event_, state_.wire_free_ns);
}

// What is no frame takes its turn and goes nowhere.
void VirtioNet::transmit_frame(const VirtChain& chain) {
  const uint64_t header = header_bytes();
  frame_.clear();
  if (chain.readable_bytes >= header + kEthernetHeader && chain.readable_bytes <= header + kEthernetMaxFrame) {
    frame_.resize(static_cast<size_t>(chain.readable_bytes - header));
    queue(kTransmitQueue).gather(chain, header, frame_);
  }
  const size_t on_wire = std::max(frame_.size(), kEthernetMinFrame) + kEthernetWireOverhead;
  state_.wire_free_ns = clock_.now_ns() + on_wire * kPsPerByte / 1000;
  if (is_ethernet_frame(frame_)) world_.emit(channel_, frame_);
  use(kTransmitQueue, chain.head, 0);
}

void VirtioNet::visit_state(emu::StateVisitor& visitor) {
  VirtioPci::visit_state(visitor);
  visitor.value("mac", state_.mac);
  visitor.value("wire_free_ns", state_.wire_free_ns);
  waiting_.visit_state(visitor, "waiting");
  visitor.value("dropped", state_.dropped);
}

}  // namespace understudy::devices
