#include "tools/host_net_hub.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>

namespace understudy::tools {

std::string default_node_name() {
  std::array<char, 40> host{};
  std::string name;
  if (::gethostname(host.data(), host.size() - 1) == 0) name = host.data();
  return fmt::format("{}-{}", primary::hub::is_node_name(name) ? name : "node", ::getpid());
}

HostNetHub::HostNetHub(const HubNet& options, devices::FrameReceiver receiver) : receiver_(std::move(receiver)) {
  if (!options.key_file.empty()) keys_ = ftlog::load_identity(options.key_file, {options.peer_file});
  ftlog::check_address(options.address, keys_.has_value(), options.insecure);
  const std::string node = options.node.empty() ? default_node_name() : options.node;
  try {
    link_.emplace(
        primary::HubLink::Options{
            .address = options.address,
            .node = node,
            .keys = keys_ ? &*keys_ : nullptr,
            .on_trouble = [](const std::string& line) { fmt::print(stderr, "understudy: {}\n", line); }},
        [this](std::span<const uint8_t> frame) {
          const uint64_t before = counters_.frames_in.load(std::memory_order_relaxed);
          receive(frame, receiver_);
          return counters_.frames_in.load(std::memory_order_relaxed) != before;
        },
        nullptr,
        [](uint64_t epoch, const std::string& by) {
          fmt::print(stderr, "understudy: the hub has {} live by epoch {}: this machine's cable is cut\n", by, epoch);
        });
  } catch (const primary::HubLinkError& error) {
    throw devices::HostNetError(error.what());
  }
  link_->announce(options.epoch, 0, 0);
}

void HostNetHub::send(std::span<const uint8_t> frame) {
  if (!fits(frame)) {
    counters_.out_bad_size.fetch_add(1, std::memory_order_relaxed);
  } else if (link_->send_frame(frame)) {
    count_out(frame.size());
  } else if (link_->connected() && !link_->is_fenced()) {
    counters_.out_queue_full.fetch_add(1, std::memory_order_relaxed);
  } else {
    counters_.out_no_link.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace understudy::tools
