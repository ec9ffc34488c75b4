#include "tools/net_link.h"

#include <fmt/format.h>

#include "tools/net_options.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

NetLink::NetLink(const std::string& spec, const std::string& capture, emu::Machine& machine, Wakeup& wakeup,
                 primary::OutputCommit* outputs)
    : machine_(machine), outputs_(outputs), channel_(machine.world().find_channel("net0")) {
  emu::World& world = machine.world();
  const NetOptions options = parse_net(spec);
  if (!channel_) {
    if (!std::holds_alternative<NoNet>(options)) throw UsageError(fmt::format("--net {}: needs a network card", spec));
    if (!capture.empty()) throw UsageError(fmt::format("--pcap {}: needs a network card", capture));
    return;
  }
  if (!capture.empty()) {
    try {
      capture_ = std::make_unique<devices::PcapWriter>(capture);
    } catch (const devices::HostNetError& error) {
      throw UsageError(fmt::format("--pcap: {}", error.what()));
    }
  }
  const emu::ChannelId channel = *channel_;
  net_ = open_net(options, [&world, &wakeup, channel](std::span<const uint8_t> frame) {
    const bool taken = world.post(channel, frame);
    if (taken) wakeup.notify();
    return taken;
  });
  if (net_ && outputs_ != nullptr)
    outputs_->connect(channel, [net = net_.get()](uint64_t, std::span<const uint8_t> frame) {
      net->send(frame);
      return true;
    });
  else if (net_)
    world.connect(channel, [net = net_.get()](std::span<const uint8_t> frame) { net->send(frame); });
  if (capture_)
    world.observe(channel, [file = capture_.get(), &time = machine.time()](std::span<const uint8_t> frame) {
      file->write(time.now_ns(), frame);
    });
}

NetLink::~NetLink() {
  if (!channel_) return;
  if (outputs_ != nullptr)
    outputs_->connect(*channel_, {});
  else
    machine_.world().connect(*channel_, {});
  net_.reset();
  machine_.world().observe(*channel_, {});
}

void NetLink::send(std::span<const uint8_t> frame) {
  if (net_) net_->send(frame);
}

std::optional<devices::HostNetCounts> NetLink::counts() const {
  if (!net_) return {};
  return net_->counts();
}

}  // namespace understudy::tools
