#include "tools/hub_ethernet.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

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
  for (const auto& spec : nets) {
    const NetOptions options = parse_net(spec);
    if (std::holds_alternative<HubNet>(options)) throw UsageError(fmt::format("--net {}: this is the hub", spec));
    auto end = std::make_unique<BackEnd>();
    end->spec = spec;
    if (const auto* user = std::get_if<devices::UserNetOptions>(&options))
      open_user(*end, *user);
    else
      end->net =
          open_net(options, [queue = &end->queue](std::span<const uint8_t> frame) { return queue->push(frame); });
    if (!end->net) continue;
    end->port = switch_.attach([net = end->net.get()](std::span<const uint8_t> frame) { net->send(frame); });
    back_ends_.push_back(std::move(end));
  }
}

HubEthernet::~HubEthernet() = default;

void HubEthernet::open_user(BackEnd& end, const devices::UserNetOptions& options) {
  if (user_ != nullptr)
    throw UsageError(fmt::format("--net {}: there can be one user network; it takes several hostfwd=RULE", end.spec));
  try {
    auto stack = std::make_unique<devices::UserStack>(options, [this, &end](std::span<const uint8_t> frame) {
      switch_.receive(end.port, frame, now_ns());
      return true;
    });
    user_ = stack.get();
    end.net = std::move(stack);
  } catch (const devices::HostNetError& error) {
    throw UsageError(fmt::format("--net: {}", error.what()));
  }
}

int HubEthernet::add_items(std::vector<zmq::pollitem_t>& items) {
  for (const auto& end : back_ends_)
    if (end->net.get() != user_) items.push_back({nullptr, end->queue.ready(), ZMQ_POLLIN, 0});
  int wait = -1;
  user_polls_.clear();
  if (user_ != nullptr) wait = user_->add_polls(user_polls_);
  for (const pollfd& poll : user_polls_) {
    if (poll.fd < 0) continue;
    const int wanted = ((poll.events & POLLIN) != 0 ? ZMQ_POLLIN : 0) |
                       ((poll.events & POLLOUT) != 0 ? ZMQ_POLLOUT : 0) |
                       ((poll.events & POLLPRI) != 0 ? ZMQ_POLLPRI : 0);
    items.push_back({nullptr, poll.fd, static_cast<short>(wanted), 0});
  }
  return has_more_ ? 0 : wait;
}

void HubEthernet::serve() {
  has_more_ = false;
  for (const auto& end : back_ends_) {
    if (end->net.get() == user_) continue;
    end->queue.clear_ready();
    unsigned taken = 0;
    for (; taken < kBurst && end->queue.pop(frame_); ++taken) switch_.receive(end->port, frame_, now_ns());
    has_more_ = has_more_ || taken == kBurst;
  }
  if (user_ == nullptr) return;
  serve_user();
  // An acknowledgement makes room for what only the next round reads: all of it goes to the service in one message.
  if (!std::exchange(from_service_, false)) return;
  user_polls_.clear();
  user_->add_polls(user_polls_);
  serve_user();
}

// ZeroMQ's words for what a descriptor is ready for are fewer than the kernel's.
void HubEthernet::serve_user() {
  const bool failed = ::poll(user_polls_.data(), user_polls_.size(), 0) < 0;
  user_->serve(failed ? std::span<const pollfd>() : std::span<const pollfd>(user_polls_));
}

void HubEthernet::from_service(std::span<const uint8_t> frame) {
  capture(frame);
  from_service_ = true;
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
