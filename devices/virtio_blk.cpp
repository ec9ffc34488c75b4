#include "devices/virtio_blk.h"

#include <algorithm>

namespace understudy::devices {

namespace {
constexpr uint16_t kDeviceId = 2, kPciDevice = 0x1001;
constexpr uint32_t kClassCode = 0x010000;
constexpr uint64_t kSector = 512;

// Configuration (section 5.2.4): capacity in sectors, size_max, seg_max, geometry, block size.
constexpr unsigned kConfigBytes = 24, kConfigSizeMax = 8, kConfigSegMax = 12, kConfigGeometry = 16,
                   kConfigBlockSize = 20;
// A header and a status byte take a descriptor each; the largest segment keeps a request below 16 MiB.
constexpr uint32_t kMaxSegments = VirtioBlk::kQueueSize - 2, kMaxSegmentBytes = 128 * 1024;

// Requests (section 5.2.6).
constexpr unsigned kHeaderBytes = 16;
constexpr uint32_t kIn = 0, kOut = 1, kFlushRequest = 4, kGetId = 8;
constexpr uint8_t kOk = 0, kIoError = 1, kUnsupported = 2;
constexpr size_t kIdBytes = 20;
}  // namespace

VirtioBlk::VirtioBlk(const std::string& name, PciBus& pci, uint8_t devfn, const emu::Clock& clock,
                     emu::EventQueue& events, emu::DmaMemory& dma, BlockBackend& image, const std::string& serial)
    : VirtioPci(name, pci, devfn, dma,
                {.id = kDeviceId,
                 .pci_device = kPciDevice,
                 .class_code = kClassCode,
                 .features = kSizeMax | kSegMax | kBlkSize | kFlush | (image.read_only() ? kReadOnly : 0),
                 .queue_sizes = {kQueueSize},
                 .config_bytes = kConfigBytes}),
      ports_{BlockPort(clock, events, name + ".done0"), BlockPort(clock, events, name + ".done1"),
             BlockPort(clock, events, name + ".done2"), BlockPort(clock, events, name + ".done3")},
      clock_(clock),
      events_(events),
      start_event_(events.add(name + ".start", [this](uint64_t) { start_requests(); })),
      image_(image),
      serial_(serial.substr(0, kIdBytes)) {
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    ports_[lane].connect(&image);
    ports_[lane].on_done([this, lane](bool ok) { step_done(lane, ok); });
  }
}

uint8_t VirtioBlk::config_byte(unsigned offset) const {
  if (offset < kConfigSizeMax) return static_cast<uint8_t>(image_.size_bytes() / kSector >> (8 * offset));
  if (offset < kConfigSegMax) return static_cast<uint8_t>(kMaxSegmentBytes >> (8 * (offset - kConfigSizeMax)));
  if (offset < kConfigGeometry) return static_cast<uint8_t>(kMaxSegments >> (8 * (offset - kConfigSegMax)));
  if (offset < kConfigBlockSize) return 0;
  return static_cast<uint8_t>(kSector >> (8 * (offset - kConfigBlockSize)));
}

void VirtioBlk::notified(unsigned) { events_.schedule(start_event_, clock_.now_ns()); }

void VirtioBlk::forget() {
  events_.cancel(start_event_);
  for (BlockPort& port : ports_) port.abandon();
  requests_ = {};
}

void VirtioBlk::start_requests() {
  for (unsigned lane = 0; lane < kLanes && running(); ++lane) {
    if (requests_[lane].busy) continue;
    VirtChain chain;
    switch (queue(0).pop(chain)) {
      case VirtQueue::Next::kNone:
        return;
      case VirtQueue::Next::kBroken:
        return break_down();
      case VirtQueue::Next::kChain:
        if (!begin(lane, chain)) return break_down();
    }
  }
}

// False when the chain is no request: section 5.2.6 wants a header to read and a status byte to write.
bool VirtioBlk::begin(unsigned lane, const VirtChain& chain) {
  std::array<uint8_t, kHeaderBytes> header{};
  if (queue(0).gather(chain, 0, header) != header.size() || chain.writable_bytes == 0) return false;
  const auto field = [&header](unsigned at, unsigned width) {
    uint64_t value = 0;
    for (unsigned i = 0; i < width; ++i) value |= static_cast<uint64_t>(header[at + i]) << (8 * i);
    return value;
  };
  Request& request = requests_[lane];
  request = {};
  request.busy = true;
  request.head = chain.head;
  request.type = static_cast<uint32_t>(field(0, 4));
  const uint64_t sector = field(8, 8);
  if (request.type == kIn || request.type == kOut) {
    const uint64_t length = request.type == kIn ? chain.writable_bytes - 1 : chain.readable_bytes - kHeaderBytes;
    const uint64_t capacity = image_.size_bytes() / kSector;
    const bool fits = length % kSector == 0 && sector <= capacity && length / kSector <= capacity - sector;
    if (fits && (request.type == kIn || !image_.read_only())) {
      request.offset = sector * kSector;
      request.length = length;
    } else {
      request.status = kIoError;
    }
  } else if (request.type != kFlushRequest && request.type != kGetId) {
    request.status = kUnsupported;
  }
  next_step(lane, chain);
  return true;
}

void VirtioBlk::next_step(unsigned lane, const VirtChain& chain) {
  Request& request = requests_[lane];
  BlockPort& port = ports_[lane];
  if (request.status != kOk) return port.delay();
  if (request.type == kFlushRequest) return port.flush();
  if (request.moved == request.length) return port.delay();
  const auto length =
      static_cast<uint32_t>(std::min<uint64_t>(request.length - request.moved, BlockPort::kMaxTransfer));
  const uint64_t offset = request.offset + request.moved;
  if (request.type == kIn) return port.read(offset, length);
  port.data().assign(length, 0);
  queue(0).gather(chain, kHeaderBytes + request.moved, port.data());
  port.write(offset);
}

void VirtioBlk::step_done(unsigned lane, bool ok) {
  Request& request = requests_[lane];
  if (!running() || !request.busy) return;
  VirtChain chain;
  if (!queue(0).walk(request.head, chain) || chain.writable_bytes == 0) return break_down();
  if (!ok) request.status = kIoError;
  if (ok && request.status == kOk && request.moved < request.length) {
    const std::vector<uint8_t>& data = ports_[lane].data();
    // The last writable byte is the status, whatever the chain has become.
    if (request.type == kIn) {
      const uint64_t room = chain.writable_bytes - 1 - std::min(request.moved, chain.writable_bytes - 1);
      queue(0).scatter(chain, request.moved, std::span(data).first(std::min<uint64_t>(data.size(), room)));
    }
    request.moved += data.size();
    if (request.moved < request.length) return next_step(lane, chain);
  }
  finish(lane, chain);
  start_requests();
}

void VirtioBlk::finish(unsigned lane, const VirtChain& chain) {
  Request& request = requests_[lane];
  uint64_t written = request.type == kIn ? request.moved : 0;
  if (request.type == kGetId && request.status == kOk) {
    std::vector<uint8_t> id(serial_.begin(), serial_.end());
    id.resize(std::min<uint64_t>(kIdBytes, chain.writable_bytes - 1));
    written = queue(0).scatter(chain, 0, id);
  }
  queue(0).scatter(chain, chain.writable_bytes - 1, std::span(&request.status, 1));
  ports_[lane].data().clear();
  const uint16_t head = request.head;
  request = {};
  use(0, head, static_cast<uint32_t>(std::min<uint64_t>(written + 1, UINT32_MAX)));
}

void VirtioBlk::visit_state(emu::StateVisitor& visitor) {
  VirtioPci::visit_state(visitor);
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    Request& request = requests_[lane];
    visitor.begin("lane" + std::to_string(lane));
    visitor.value("busy", request.busy);
    visitor.value("head", request.head);
    visitor.value("type", request.type);
    visitor.value("status", request.status);
    visitor.value("offset", request.offset);
    visitor.value("length", request.length);
    visitor.value("moved", request.moved);
    visitor.begin("port");
    ports_[lane].visit_state(visitor);
    visitor.end();
    visitor.end();
  }
}

}  // namespace understudy::devices
