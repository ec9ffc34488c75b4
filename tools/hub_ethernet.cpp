#include "tools/hub_ethernet.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "tools/net_options.h"
#include "tools/run_result.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

namespace {

// Frames taken from a back end before the others get their turn.
constexpr unsigned kBurst = 64;

}  // namespace

HubEthernet::HubEthernet(const std::vector<std::string>& nets, const std::string& capture,
                         std::function<void(std::span<const uint8_t>)> to_service)
    : to_service_(std::move(to_service)) {
  if (!capture.empty()) {
    try {
      capture_ = std::make_unique<devices::PcapWriter>(capture);
    } catch (const devices::HostNetError& error) {
      throw UsageError(fmt::format("--pcap: {}", error.what()));
    }
  }
  service_ = switch_.attach([this](std::span<const uint8_t> frame) {
    this->capture(frame);
    to_service_(frame);
  });
  bool user = false;
  for (const auto& spec : nets) {
    const NetOptions options = parse_net(spec);
    if (std::holds_alternative<HubNet>(options)) throw UsageError(fmt::format("--net {}: this is the hub", spec));
    if (std::holds_alternative<devices::UserNetOptions>(options) && std::exchange(user, true))
      throw UsageError(fmt::format("--net {}: there can be one user network; it takes several hostfwd=RULE", spec));
    auto end = std::make_unique<BackEnd>();
    end->spec = spec;
    end->net = open_net(options, [queue = &end->queue](std::span<const uint8_t> frame) { return queue->push(frame); });
    if (!end->net) continue;
    end->port = switch_.attach([net = end->net.get()](std::span<const uint8_t> frame) { net->send(frame); });
    back_ends_.push_back(std::move(end));
  }
}

HubEthernet::~HubEthernet() = default;

void HubEthernet::add_items(std::vector<zmq::pollitem_t>& items) {
  for (const auto& end : back_ends_) items.push_back({nullptr, end->queue.ready(), ZMQ_POLLIN, 0});
}

bool HubEthernet::serve() {
  bool more = false;
  for (const auto& end : back_ends_) {
    end->queue.clear_ready();
    unsigned taken = 0;
    for (; taken < kBurst && end->queue.pop(frame_); ++taken) switch_.receive(end->port, frame_, now_ns());
    more = more || taken == kBurst;
  }
  return more;
}

void HubEthernet::from_service(std::span<const uint8_t> frame) {
  capture(frame);
  switch_.receive(service_, frame, now_ns());
}

void HubEthernet::capture(std::span<const uint8_t> frame) {
  if (!capture_) return;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  capture_->write(static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count()), frame);
}

uint64_t HubEthernet::now_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

nlohmann::ordered_json HubEthernet::status() const {
  const devices::HostNetSwitch::Counts& counts = switch_.counts();
  nlohmann::ordered_json nets = nlohmann::ordered_json::array();
  for (const auto& end : back_ends_)
    nets.push_back({{"net", end->spec}, {"counts", net_counts_json(end->net->counts())}});
  return {{"forwarded", counts.forwarded},  {"flooded", counts.flooded},
          {"filtered", counts.filtered},    {"bad", counts.bad},
          {"stations", switch_.stations()}, {"nets", nets}};
}

}  // namespace understudy::tools
