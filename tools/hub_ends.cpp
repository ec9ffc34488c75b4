#include "tools/hub_ends.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "tools/shared_disks.h"

namespace understudy::tools {

namespace {
constexpr size_t kMaxTyped = 16u << 10;
// A guest that waits for a disk for so long is spoken of.
constexpr std::chrono::seconds kSilent{5};
}  // namespace

HubEnds::HubEnds(primary::HubLink::Options options, MachineSetup& setup, primary::OutputCommit& outputs,
                 const primary::OutputSums& sums, Wakeup& wakeup,
                 std::function<void(uint64_t, const std::string&)> fenced)
    : machine_(setup.pc->machine()),
      outputs_(outputs),
      wakeup_(wakeup),
      console_(machine_.world().channel("serial0")),
      net_(machine_.world().find_channel("net0")),
      accepted_(sums.input_bytes(console_)),
      seen_(accepted_),
      link_(
          with_disks(std::move(options)),
          [this](std::span<const uint8_t> frame) {
            if (!net_ || !machine_.world().post(*net_, frame)) return false;
            wakeup_.notify();
            return true;
          },
          [this](std::span<const uint8_t> bytes) { return typed(bytes); }, std::move(fenced)) {
  outputs_.connect(
      console_, [this](uint64_t offset, std::span<const uint8_t> bytes) { return link_.send_console(offset, bytes); });
  if (net_)
    outputs_.connect(
        *net_,
        [this](uint64_t, std::span<const uint8_t> frame) {
          link_.queue_frame(frame);
          return true;
        },
        [this] { link_.send_queued_frames(); });
  for (const MachineSetup::Shared& shared : setup.shared)
    disks_.push_back(
        {hub_disk(shared.where).value_or(""), shared.disk.get(), shared.disk->next_number(), 0, {}, false});
  connect_disks();
}

HubEnds::~HubEnds() {
  outputs_.connect(console_, {});
  if (net_) outputs_.connect(*net_, {});
  for (const Disk& disk : disks_) {
    outputs_.connect(disk.disk->channel(), {});
    machine_.world().connect(disk.disk->read_channel(), {});
  }
}

primary::HubLink::Options HubEnds::with_disks(primary::HubLink::Options options) {
  options.on_disk = [this](const std::string& disk, const emu::BlockAnswer& answer) { answered(disk, answer); };
  return options;
}

void HubEnds::connect_disks() {
  for (const Disk& disk : disks_) {
    for (const uint64_t number : disk.disk->forgotten()) answered(disk.disk->channel(), {number, false, {}});
    for (emu::BlockRequest& request : disk.disk->unanswered()) link_.send_disk(disk.name, std::move(request));
    outputs_.connect(disk.disk->channel(),
                     [this, &disk](uint64_t, std::span<const uint8_t> bytes) { return ask(disk, bytes); });
    machine_.world().connect(disk.disk->read_channel(),
                             [this, &disk](std::span<const uint8_t> bytes) { ask(disk, bytes); });
  }
}

// Writes of the machine's past may still be held here: those that count were asked for again.
bool HubEnds::ask(const Disk& disk, std::span<const uint8_t> bytes) {
  auto request = emu::decode_block_request(bytes);
  if (!request || request->number < disk.first_new) return true;
  return link_.send_disk(disk.name, std::move(*request));
}

void HubEnds::answered(const std::string& name, const emu::BlockAnswer& answer) {
  for (const Disk& disk : disks_)
    if (disk.name == name) return answered(disk.disk->channel(), answer);
}

void HubEnds::answered(emu::ChannelId channel, const emu::BlockAnswer& answer) {
  {
    const std::lock_guard lock(mutex_);
    answers_.push_back({channel, encode(answer)});
  }
  wakeup_.notify();
}

void HubEnds::feed() {
  const std::lock_guard lock(mutex_);
  while (!answers_.empty() && machine_.world().post(answers_.front().channel, answers_.front().bytes))
    answers_.pop_front();
}

bool HubEnds::busy() const {
  return std::any_of(disks_.begin(), disks_.end(), [](const Disk& disk) { return disk.disk->waits(); });
}

void HubEnds::announce(uint64_t epoch) {
  // With the lock, so that nothing typed comes in between the count and the announcement.
  const std::lock_guard lock(mutex_);
  link_.announce(epoch, accepted_, outputs_.next_offset(console_));
}

bool HubEnds::typed(std::span<const uint8_t> bytes) {
  {
    const std::lock_guard lock(mutex_);
    if (input_.size() + bytes.size() > kMaxTyped) return false;
    input_.insert(input_.end(), bytes.begin(), bytes.end());
    accepted_ += bytes.size();
  }
  wakeup_.notify();
  return true;
}

std::vector<uint8_t> HubEnds::take(size_t most) {
  const std::lock_guard lock(mutex_);
  const auto count = static_cast<std::ptrdiff_t>(std::min(most, input_.size()));
  std::vector<uint8_t> bytes(input_.begin(), input_.begin() + count);
  input_.erase(input_.begin(), input_.begin() + count);
  return bytes;
}

void HubEnds::between_slices(const primary::OutputSums& sums, uint64_t appended, uint64_t committed) {
  if (const uint64_t in = sums.input_bytes(console_); in != seen_) {
    seen_ = in;
    taken_.emplace_back(appended, in);
  }
  while (!taken_.empty() && taken_.front().first <= committed) {
    link_.console_taken(taken_.front().second);
    taken_.pop_front();
  }
  outputs_.retry();
  watch_disks();
}

void HubEnds::watch_disks() {
  const auto now = std::chrono::steady_clock::now();
  for (Disk& disk : disks_) {
    if (!disk.disk->waits() || disk.disk->next_number() != disk.next_number) {
      if (disk.told)
        spdlog::warn("disk {}: it answers again, after {:.1f} s", disk.name,
                     std::chrono::duration<double>(now - disk.since).count());
      disk.told = false;
      disk.next_number = disk.disk->next_number();
      disk.since = now;
    } else if (!disk.told && now - disk.since >= kSilent) {
      disk.told = true;
      spdlog::warn("disk {}: the guest has waited for it for {} s: {}", disk.name, kSilent.count(),
                   link_.connected() ? "the hub says why" : "the hub is not there");
    }
  }
}

}  // namespace understudy::tools
