#include "devices/host_net_switch.h"

#include <algorithm>
#include <cassert>

#include "devices/host_net.h"

namespace understudy::devices {

namespace {

HostNetSwitch::Station station_at(std::span<const uint8_t> frame, size_t at) {
  HostNetSwitch::Station station;
  std::copy_n(frame.begin() + static_cast<std::ptrdiff_t>(at), station.size(), station.begin());
  return station;
}
bool is_group(const HostNetSwitch::Station& station) { return (station[0] & 1) != 0; }
// 01-80-C2-00-00-0x stays on its link (clause 7.12.6): pause frames, spanning tree, LLDP.
bool is_link_local(const HostNetSwitch::Station& station) {
  constexpr std::array<uint8_t, 5> kReserved{0x01, 0x80, 0xc2, 0x00, 0x00};
  return std::equal(kReserved.begin(), kReserved.end(), station.begin()) && station[5] < 0x10;
}

}  // namespace

HostNetSwitch::HostNetSwitch(const Limits& limits) : limits_(limits) {
  assert(limits.stations > 0 && limits.stations_per_port > 0);
}

HostNetSwitch::Port HostNetSwitch::attach(Output output) {
  ports_.emplace(next_port_, PortState{std::move(output), 0});
  return next_port_++;
}

void HostNetSwitch::detach(Port port) {
  if (ports_.find(port) == ports_.end()) return;
  for (auto entry = by_age_.begin(); entry != by_age_.end();) {
    const auto next = std::next(entry);
    if (entry->port == port) forget(entry);
    entry = next;
  }
  ports_.erase(port);
}

void HostNetSwitch::receive(Port port, std::span<const uint8_t> frame, uint64_t now) {
  if (ports_.find(port) == ports_.end()) return;
  if (frame.size() < kMinFrame || frame.size() > kMaxFrame || is_group(station_at(frame, 6)) ||
      is_link_local(station_at(frame, 0))) {
    ++counts_.bad;
    return;
  }
  expire(now);
  learn(station_at(frame, 6), port, now);
  const Station target = station_at(frame, 0);
  const Port* to = is_group(target) ? nullptr : find(target, now);
  if (to == nullptr) {
    ++counts_.flooded;
    flood(port, frame);
  } else if (*to == port) {
    ++counts_.filtered;
  } else {
    ++counts_.forwarded;
    // A copy: it may detach its own port.
    const Output output = ports_.at(*to).output;
    output(frame);
  }
}

const HostNetSwitch::Port* HostNetSwitch::find(const Station& station, uint64_t now) const {
  const auto found = table_.find(station);
  if (found == table_.end() || now - found->second->heard > limits_.max_age) return nullptr;
  return &found->second->port;
}

void HostNetSwitch::learn(const Station& station, Port port, uint64_t now) {
  if (const auto known = table_.find(station); known != table_.end()) {
    const Order::iterator entry = known->second;
    if (entry->port == port) {
      entry->heard = now;
      by_age_.splice(by_age_.end(), by_age_, entry);
      return;
    }
    ++counts_.moved;
    forget(entry);
  }
  // A port that invents stations pushes out its own, not those of others.
  if (ports_.at(port).stations >= limits_.stations_per_port) {
    ++counts_.evicted;
    forget(std::find_if(by_age_.begin(), by_age_.end(), [port](const Entry& e) { return e.port == port; }));
  } else if (table_.size() >= limits_.stations) {
    ++counts_.evicted;
    forget(by_age_.begin());
  }
  table_[station] = by_age_.insert(by_age_.end(), {station, port, now});
  ++ports_.at(port).stations;
}

void HostNetSwitch::forget(Order::iterator entry) {
  --ports_.at(entry->port).stations;
  table_.erase(entry->station);
  by_age_.erase(entry);
}

void HostNetSwitch::expire(uint64_t now) {
  while (!by_age_.empty() && now - by_age_.front().heard > limits_.max_age) forget(by_age_.begin());
}

void HostNetSwitch::flood(Port from, std::span<const uint8_t> frame) {
  // By number: an output may detach its own port or another one.
  std::vector<Port> targets;
  for (const auto& [number, state] : ports_)
    if (number != from) targets.push_back(number);
  for (const Port number : targets) {
    const auto port = ports_.find(number);
    if (port == ports_.end()) continue;
    const Output output = port->second.output;
    output(frame);
  }
}

}  // namespace understudy::devices
