// A live node's ends at the hub: the network card's cable, and COM1. Console input counts as taken when the log entry
// that brought it to the guest is committed, so that a successor asks for the rest and for nothing twice.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "emu/machine.h"
#include "primary/hub_link.h"
#include "primary/output_commit.h"
#include "primary/output_sums.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

class HubEnds : public SerialBackend {
 public:
  // `sums`: what has passed through the machine's channels so far. `fenced` is called on the link's thread when the hub
  // says that another node is live. Throws primary::HubLinkError.
  HubEnds(primary::HubLink::Options options, emu::Machine& machine, primary::OutputCommit& outputs,
          const primary::OutputSums& sums, Wakeup& wakeup, std::function<void(uint64_t, const std::string&)> fenced);
  ~HubEnds() override;

  // From now on this node's outputs count. Any thread.
  void announce(uint64_t epoch);
  // Between two runs of the machine: `appended` is the log's last entry, `committed` the last that cannot be lost.
  void between_slices(const primary::OutputSums& sums, uint64_t appended, uint64_t committed);
  // Waits for the console's and the card's last outputs.
  bool flush(std::chrono::milliseconds patience) { return link_.flush(patience); }
  const primary::HubLink& link() const { return link_; }

  // COM1's end.
  std::vector<uint8_t> take(size_t most) override;
  void write(std::span<const uint8_t>) override {}  // outputs come with their offsets, see the constructor

 private:
  bool typed(std::span<const uint8_t> bytes);

  emu::Machine& machine_;
  primary::OutputCommit& outputs_;
  Wakeup& wakeup_;
  emu::ChannelId console_;
  std::optional<emu::ChannelId> net_;
  std::mutex mutex_;
  std::deque<uint8_t> input_;
  uint64_t accepted_;                                // console input that came through here or before
  uint64_t seen_;                                    // of it, in the guest
  std::deque<std::pair<uint64_t, uint64_t>> taken_;  // sequence, and the input in the guest by then
  primary::HubLink link_;
};

}  // namespace understudy::tools
