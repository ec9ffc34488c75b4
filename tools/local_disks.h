// The shared disks of a machine on its own, each at its server.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "tools/disk_ends.h"
#include "tools/disk_worker.h"
#include "tools/machine_setup.h"
#include "tools/wakeup.h"

namespace understudy::tools {

class LocalDisks : public DiskEnds {
 public:
  // Asks again for what the machine asked for before and got no answer to. Throws devices::NbdError.
  LocalDisks(MachineSetup& setup, Wakeup& wakeup);
  // Waits a little for what was asked for last.
  ~LocalDisks() override;

  void feed() override;
  bool busy() const override;

 private:
  struct Answer {
    emu::ChannelId channel;
    std::vector<uint8_t> bytes;
  };
  void answered(emu::ChannelId channel, const emu::BlockAnswer& answer);

  MachineSetup& setup_;
  emu::Machine& machine_;
  Wakeup& wakeup_;
  std::vector<emu::ChannelId> channels_;
  std::mutex mutex_;
  std::deque<Answer> answers_;
  std::vector<std::unique_ptr<DiskWorker>> workers_;  // go first
};

}  // namespace understudy::tools
