#include "tools/local_disks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace understudy::tools {

namespace {

using namespace std::chrono_literals;

// After a request the machine comes back soon, so that its idle time is waited for and not skipped.
constexpr uint64_t kBackWithin = 1000;
constexpr auto kLastWrites = 5s;

void report(const std::string& line) { fmt::print(stderr, "understudy: warning: {}\n", line); }

}  // namespace

LocalDisks::LocalDisks(MachineSetup& setup, Wakeup& wakeup)
    : setup_(setup), machine_(setup.pc->machine()), wakeup_(wakeup) {
  for (const MachineSetup::Shared& shared : setup.shared) {
    devices::SharedDisk& disk = *shared.disk;
    workers_.push_back(std::make_unique<DiskWorker>(
        shared.name, shared.where,
        [this, channel = disk.channel()](uint64_t, const emu::BlockAnswer& answer) { answered(channel, answer); },
        report));
    DiskWorker& worker = *workers_.back();
    if (worker.shape().bytes < disk.size_bytes())
      throw devices::NbdError(
          fmt::format("disk server {}: the disk has {} bytes, the machine was built with {}; give it "
                      "the image that it had",
                      shared.where, worker.shape().bytes, disk.size_bytes()));
    for (const uint64_t number : disk.forgotten()) answered(disk.channel(), {number, false, {}});
    // A drive has one request out at a time, so there is room for all of them.
    for (emu::BlockRequest& request : disk.unanswered()) worker.ask({0, false, std::move(request)});
    for (const emu::ChannelId channel : {disk.channel(), disk.read_channel()}) {
      channels_.push_back(channel);
      machine_.world().connect(channel, [this, &worker](std::span<const uint8_t> bytes) {
        if (auto request = emu::decode_block_request(bytes)) worker.ask({0, false, std::move(*request)});
        machine_.return_within(kBackWithin);
      });
    }
  }
}

LocalDisks::~LocalDisks() {
  for (const emu::ChannelId channel : channels_) machine_.world().connect(channel, {});
  for (const auto& worker : workers_)
    if (worker->counts().connected && !worker->drain(kLastWrites))
      report(fmt::format("disk {}: given up with requests that its server has not answered", worker->name()));
}

bool LocalDisks::busy() const {
  return std::any_of(setup_.shared.begin(), setup_.shared.end(),
                     [](const auto& shared) { return shared.disk->waits(); });
}

void LocalDisks::answered(emu::ChannelId channel, const emu::BlockAnswer& answer) {
  {
    const std::lock_guard lock(mutex_);
    answers_.push_back({channel, encode(answer)});
  }
  wakeup_.notify();
}

void LocalDisks::feed() {
  const std::lock_guard lock(mutex_);
  while (!answers_.empty() && machine_.world().post(answers_.front().channel, answers_.front().bytes))
    answers_.pop_front();
}

}  // namespace understudy::tools
