// The cable between a machine's network card and a back end: what the card sends goes to the back end, what the back
// end receives is posted to the machine and wakes it, and a capture file hears both, at the card's end and in virtual
// time.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "devices/host_net.h"
#include "devices/pcap_writer.h"
#include "emu/machine.h"
#include "primary/output_commit.h"
#include "tools/wakeup.h"

namespace understudy::tools {

class NetLink {
 public:
  // `spec` is --net's, `capture` a file's name or empty. Throws UsageError.
  // What the card sends goes through `outputs`, if there are any.
  NetLink(const std::string& spec, const std::string& capture, emu::Machine& machine, Wakeup& wakeup,
          primary::OutputCommit* outputs = nullptr);
  ~NetLink();
  // To the other end, as if the card had sent it, and at once.
  void send(std::span<const uint8_t> frame);
  // None without a back end.
  std::optional<devices::HostNetCounts> counts() const;

 private:
  emu::Machine& machine_;
  primary::OutputCommit* outputs_;
  std::optional<emu::ChannelId> channel_;
  std::unique_ptr<devices::PcapWriter> capture_;
  std::unique_ptr<devices::HostNetwork> net_;
};

}  // namespace understudy::tools
