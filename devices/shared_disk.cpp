#include "devices/shared_disk.h"

#include <algorithm>
#include <cassert>

#include "devices/block_port.h"

namespace understudy::devices {

SharedDisk::SharedDisk(std::string name, uint64_t size_bytes, bool read_only)
    : name_(std::move(name)), size_(size_bytes / 512 * 512), read_only_(read_only) {}

void SharedDisk::attach(emu::World& world) {
  assert(world_ == nullptr);
  world_ = &world;
  channel_ = world.add_channel(
      name_, [this](std::span<const uint8_t> bytes) { answered(bytes); }, emu::ChannelKind::disk);
  read_channel_ = world.add_channel(name_ + ".read", {}, emu::ChannelKind::disk_reads);
}

uint64_t SharedDisk::submit(emu::BlockRequest request) {
  request.number = state_.next++;
  world_->emit(request.operation == emu::BlockOperation::read ? read_channel_ : channel_, encode(request));
  return request.number;
}

// What nobody asked for is left alone: a log may hold anything.
void SharedDisk::answered(std::span<const uint8_t> bytes) {
  const auto answer = emu::decode_block_answer(bytes);
  if (!answer || answer->number == 0) return;
  const auto port =
      std::find_if(ports_.begin(), ports_.end(), [&](const BlockPort* p) { return p->request() == answer->number; });
  if (port != ports_.end()) (*port)->answered(*answer);
}

bool SharedDisk::waits() const {
  return std::any_of(ports_.begin(), ports_.end(), [](const BlockPort* port) { return port->request() != 0; });
}

std::vector<emu::BlockRequest> SharedDisk::unanswered() const {
  std::vector<emu::BlockRequest> requests;
  for (const BlockPort* port : ports_)
    if (auto request = port->unanswered()) requests.push_back(std::move(*request));
  std::sort(requests.begin(), requests.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  return requests;
}

std::vector<uint64_t> SharedDisk::forgotten() const {
  std::vector<uint64_t> numbers;
  for (const BlockPort* port : ports_)
    if (port->request() != 0 && !port->unanswered()) numbers.push_back(port->request());
  return numbers;
}

void SharedDisk::visit_state(emu::StateVisitor& visitor) { visitor.value("next", state_.next); }

}  // namespace understudy::devices
