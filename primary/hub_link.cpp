#include "primary/hub_link.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <iterator>
#include <memory>
#include <random>

#include "ftlog/short_slice.h"
#include "primary/moment.h"

namespace understudy::primary {

namespace {

// So many frames fill a message, if they are long.
constexpr size_t kFullBatch = hub::FrameBatch::kMaxBytes / hub::kMaxFrame;

uint64_t random_number() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

}  // namespace

HubLink::HubLink(Options options, FrameHandler on_frame, ConsoleHandler on_console, FencedHandler on_fenced)
    : options_(std::move(options)),
      on_frame_(std::move(on_frame)),
      on_console_(std::move(on_console)),
      on_fenced_(std::move(on_fenced)),
      instance_(random_number()),
      trouble_(options_.address, options_.on_trouble) {
  if (!hub::is_node_name(options_.node))
    throw HubLinkError(fmt::format("hub: '{}' cannot name a node: want 1 to {} printable characters without spaces",
                                   options_.node, hub::kMaxNode));
  const ftlog::ShortSlice slice;  // for ZeroMQ's threads, too
  try {
    first_ = std::make_unique<HubConnection>(context_, options_.address, options_.keys);
  } catch (const zmq::error_t& error) {
    throw HubLinkError(fmt::format("hub {}: {}: want tcp://HOST:PORT or ipc://PATH", options_.address, error.what()));
  }
  thread_ = std::thread([this] { run(); });
}

HubLink::~HubLink() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  wake_.notify();
  thread_.join();
}

void HubLink::announce(uint64_t epoch, uint64_t console_in_offset, uint64_t console_out_offset) {
  assert(epoch >= 1);
  {
    const std::lock_guard lock(mutex_);
    announcement_ = Announcement{epoch};
    fenced_ = false;
    accepted_ = false;
    output_.begin(console_out_offset);
    input_.clear();
    ++input_turn_;
    input_next_ = console_in_offset;
    taken_ = 0;
  }
  wake_.notify();
}

bool HubLink::queue_locked(std::span<const uint8_t> frame) {
  if (frame.size() < hub::kMinFrame || frame.size() > hub::kMaxFrame) {
    ++counts_.out_bad_size;
    return false;
  }
  if (!announcement_ || fenced_) {
    ++counts_.out_not_live;
    return false;
  }
  if (frames_.size() >= kMaxFrames) {
    ++(connected_ ? counts_.out_queue_full : counts_.out_no_link);
    return false;
  }
  frames_.emplace_back(frame.begin(), frame.end());
  return true;
}

bool HubLink::send_frame(std::span<const uint8_t> frame) {
  bool queued = false, look = false;
  {
    const std::lock_guard lock(mutex_);
    queued = queue_locked(frame);
    if (queued) look = send_now();
  }
  if (look) wake_.notify();
  return queued;
}

bool HubLink::queue_frame(std::span<const uint8_t> frame) {
  bool queued = false, look = false;
  {
    const std::lock_guard lock(mutex_);
    queued = queue_locked(frame);
    // More than a batch's worth need not wait for the rest.
    if (queued && frames_.size() >= kFullBatch) look = send_now();
  }
  if (look) wake_.notify();
  return queued;
}

void HubLink::send_queued_frames() {
  bool look = false;
  {
    const std::lock_guard lock(mutex_);
    if (frames_.empty()) return;
    look = send_now();
  }
  if (look) wake_.notify();
}

bool HubLink::send_console(uint64_t offset, std::span<const uint8_t> bytes) {
  bool look = false;
  {
    const std::lock_guard lock(mutex_);
    // Nobody will ever want it.
    if (fenced_) return true;
    if (!output_.put(offset, bytes)) return false;
    look = send_now();
  }
  if (look) wake_.notify();
  return true;
}

bool HubLink::send_disk(const std::string& disk, emu::BlockRequest request) {
  bool look = false;
  {
    const std::lock_guard lock(mutex_);
    // Nobody will ever want it.
    if (fenced_) return true;
    const auto is_it = [&](const DiskOut& out) { return out.disk == disk && out.request.number == request.number; };
    if (std::any_of(disk_requests_.begin(), disk_requests_.end(), is_it)) return true;
    if (disk_requests_.size() >= hub::kMaxDiskRequests) return false;
    disk_requests_.push_back({disk, std::move(request), false});
    look = send_now();
  }
  if (look) wake_.notify();
  return true;
}

void HubLink::console_taken(uint64_t offset) {
  {
    const std::lock_guard lock(mutex_);
    taken_ = std::max(taken_, offset);
  }
  wake_.notify();
}

size_t HubLink::console_pending() const {
  const std::lock_guard lock(mutex_);
  return output_.size();
}

bool HubLink::is_fenced() const {
  const std::lock_guard lock(mutex_);
  return fenced_;
}

HubLink::Counts HubLink::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

bool HubLink::flush(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return progress_.wait_for(lock, patience,
                            [this] { return frames_.empty() && output_.empty() && disk_requests_.empty(); });
}

bool HubLink::send_now() { return usable_ != nullptr && (send_waiting(*usable_) || usable_->is_ready(false)); }

// True when something waits for room in the socket.
bool HubLink::send_waiting(HubConnection& connection) {
  const bool full = fenced_ || !announcement_ ? false
                                              : !send_announcement(connection) || !send_frames(connection) ||
                                                    !send_disk_requests(connection) || !send_console_output(connection);
  if (frames_.empty()) progress_.notify_all();
  return full;
}

// What went over the connection before may have been lost with it. With the lock held.
void HubLink::send_again() {
  std::deque<std::vector<uint8_t>> again;
  sent_.take(RecentFrames::Clock::now(),
             [&again](std::span<const uint8_t> frame) { again.emplace_back(frame.begin(), frame.end()); });
  counts_.frames_again += again.size();
  frames_.insert(frames_.begin(), std::make_move_iterator(again.begin()), std::make_move_iterator(again.end()));
}

// These return false when the socket is full. With the lock held.
bool HubLink::send_announcement(HubConnection& connection) {
  if (announcement_->sent) return true;
  const hub::Announce message{announcement_->epoch, instance_, input_next_, output_.front(), options_.node};
  if (!connection.send(hub::encode(message))) return false;
  announcement_->sent = true;
  connection.accepted = false;
  taken_sent_ = 0;
  ++counts_.announcements;
  return true;
}

bool HubLink::send_frames(HubConnection& connection) {
  while (!frames_.empty()) {
    batch_.clear();
    for (const auto& frame : frames_)
      if (!batch_.add(frame)) break;
    if (!connection.send(hub::encode(hub::FramesOut{announcement_->epoch, batch_.bytes()}))) return false;
    counts_.frames_out += batch_.frames();
    counts_.bytes_out += batch_.frame_bytes();
    const auto now = RecentFrames::Clock::now();
    for (size_t n = batch_.frames(); n > 0; --n) {
      sent_.add(frames_.front(), now);
      frames_.pop_front();
    }
  }
  return true;
}

bool HubLink::send_console_output(HubConnection& connection) {
  // What the hub has had comes with its answer.
  if (!connection.accepted) return true;
  if (taken_ > taken_sent_) {
    if (!connection.send(hub::encode(hub::ConsoleTaken{announcement_->epoch, taken_}))) return false;
    taken_sent_ = taken_;
  }
  while (true) {
    const ConsoleOutbox::Piece piece = output_.next(hub::kMaxConsole, hub::kOutputWindow);
    if (piece.bytes.empty()) return true;
    if (!connection.send(hub::encode(hub::ConsoleOut{announcement_->epoch, piece.offset, piece.bytes}))) return false;
    counts_.console_out += piece.bytes.size();
    output_.send_from(piece.offset + piece.bytes.size());
  }
}

bool HubLink::send_disk_requests(HubConnection& connection) {
  // Whoever is not accepted yet asks for nothing.
  if (!connection.accepted) return true;
  for (DiskOut& out : disk_requests_) {
    if (out.sent) continue;
    hub::DiskRequest message{announcement_->epoch, options_.durable, out.disk, out.request};
    if (!connection.send(hub::encode(hub::ToHub(std::move(message))))) return false;
    out.sent = true;
    ++counts_.disk_requests;
    if (out.request.operation != emu::BlockOperation::read) moment(Moment::disk_request_sent);
  }
  return true;
}

}  // namespace understudy::primary
