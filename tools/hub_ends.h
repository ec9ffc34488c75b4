// A live node's ends at the hub: the network card's cable, COM1, and the shared disks. Console input counts as taken
// when the log entry that brought it to the guest is committed, so that a successor asks for the rest and for nothing
// twice. Whatever the machine has asked its disks for and got no answer to is asked for again, in the same order; what
// the nodes before have asked for and the machine knows to be done is not.
#pragma once

#include <atomic>
#include <chrono>
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
#include "tools/disk_ends.h"
#include "tools/machine_setup.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

class HubEnds : public SerialBackend, public DiskEnds {
 public:
  // `sums`: what has passed through the machine's channels so far. `fenced` is called on the link's thread when the hub
  // says that another node is live. Throws primary::HubLinkError.
  HubEnds(primary::HubLink::Options options, MachineSetup& setup, primary::OutputCommit& outputs,
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

  // The shared disks' end.
  void feed() override;
  bool busy() const override;

 private:
  // One of the machine's disks, at the hub.
  struct Disk {
    std::string name;  // the hub's
    devices::SharedDisk* disk;
    uint64_t first_new;  // requests before this one are those of the machine's past
    // Since when the guest has asked for nothing more and waits.
    uint64_t next_number = 0;
    std::chrono::steady_clock::time_point since{};
    bool told = false;
  };
  struct Answer {
    emu::ChannelId channel;
    std::vector<uint8_t> bytes;
  };
  bool typed(std::span<const uint8_t> bytes);
  void connect_disks();
  void watch_disks();
  bool ask(const Disk& disk, std::span<const uint8_t> bytes);
  void answered(emu::ChannelId channel, const emu::BlockAnswer& answer);
  void answered(const std::string& disk, const emu::BlockAnswer& answer);
  primary::HubLink::Options with_disks(primary::HubLink::Options options);

  emu::Machine& machine_;
  primary::OutputCommit& outputs_;
  Wakeup& wakeup_;
  emu::ChannelId console_;
  std::optional<emu::ChannelId> net_;
  std::mutex mutex_;
  std::deque<uint8_t> input_;
  uint64_t accepted_;  // console input that came through here or before
  uint64_t seen_;      // of it, in the guest
  std::vector<Disk> disks_;
  std::deque<Answer> answers_;                       // of the disks, for the machine
  std::deque<std::pair<uint64_t, uint64_t>> taken_;  // sequence, and the input in the guest by then
  primary::HubLink link_;
};

}  // namespace understudy::tools
