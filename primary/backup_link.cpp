#include "primary/backup_link.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "primary/moment.h"

namespace understudy::primary {

namespace {

using ftlog::ChannelMessage;
using ftlog::ChannelSocket;

// A busy machine says this often how far it is.
constexpr std::chrono::milliseconds kHorizonEvery{10};
// So much does not wait for the next output: the backup takes it in while the machine works on it.
constexpr size_t kFullBlock = 64u << 10;
// State chunks that a joiner has not taken yet.
constexpr uint64_t kChunkWindow = 48;
constexpr uint64_t kPagesAtOnce = 256;
constexpr std::chrono::milliseconds kTransferSlice{3};
// With no more than this left, or after so many rounds, the machine stops for the rest.
constexpr uint64_t kLastPages = 384;
constexpr uint64_t kMaxRounds = 12;

}  // namespace

const char* to_string(PairState state) {
  switch (state) {
    case PairState::alone:
      return "alone";
    case PairState::joining:
      return "joining";
    case PairState::catching_up:
      return "catching-up";
    case PairState::lock_step:
      return "lock-step";
    case PairState::deciding:
      return "deciding";
    case PairState::handing_over:
      return "handing-over";
    case PairState::deposed:
      return "deposed";
  }
  return "";
}

BackupLink::BackupLink(BackupLinkOptions options, emu::Machine& machine, OutputCommit& outputs, ftlog::Arbiter& arbiter,
                       const ftlog::CodecState& log, uint64_t epoch)
    : options_(std::move(options)),
      machine_(machine),
      outputs_(outputs),
      arbiter_(arbiter),
      socket_(options_.socket),
      beat_(std::max(options_.timeout / 4, std::chrono::milliseconds(5))),
      log_(log) {
  status_.epoch = epoch;
  status_.appended = log.sequence - 1;
  status_.horizon = {log.sequence - 1, log.icount, log.virtual_ns};
  if (!options_.lease) return;
  lease_.emplace(options_.timeout);
  outputs_.only_while([this] { return lease_->holds(); });
}

BackupLink::~BackupLink() {
  socket_.stop(std::chrono::milliseconds(0));
  if (lease_) outputs_.only_while({});
}

void BackupLink::start() {
  heard_at_ = beat_at_ = decide_at_ = timer_at_ = seen_at_ = nudged_at_ = Clock::now();
  socket_.start({.message = [this](const auto& peer, ChannelMessage&& m) { hear(peer, std::move(m)); },
                 .bad =
                     [this](const auto& peer, const std::string& why, bool version) {
                       if (version) refuse(peer, false, fmt::format("this primary cannot understand you: it {}", why));
                       spdlog::debug("log channel: a peer {}", why);
                     },
                 .timer = [this] { return timer(); }});
}

uint64_t BackupLink::append(uint64_t icount, uint64_t virtual_ns, const ftlog::Payload& payload) {
  if (encoder_) {
    const uint64_t sequence = encoder_->append(icount, virtual_ns, payload);
    log_ = encoder_->state();
    if (encoder_->body().size() >= kFullBlock) flush();
    return sequence;
  }
  log_.icount = icount;
  log_.virtual_ns = virtual_ns;
  if (const auto* clock = std::get_if<ftlog::ClockChange>(&payload))
    log_.ps_per_instruction = clock->ps_per_instruction;
  return log_.sequence++;
}

void BackupLink::send(const ftlog::ChannelPayload& payload) {
  ChannelSocket::Peer peer;
  uint64_t epoch;
  {
    const std::lock_guard lock(mutex_);
    peer = peer_;
    epoch = status_.epoch;
  }
  if (!peer.empty()) socket_.send(peer, {epoch, payload});
}

void BackupLink::flush() {
  if (!encoder_ || encoder_->entries() == 0) return;
  ftlog::LogBlock block;
  block.start = encoder_->block_start();
  block.entries = encoder_->entries();
  block.body.assign(encoder_->body().begin(), encoder_->body().end());
  block.delivered = outputs_.delivered();
  block.horizon = {log_.sequence - 1, log_.icount, log_.virtual_ns};
  block.stamp = stamp();
  encoder_->begin_block();
  moment(Moment::logged_not_sent);
  {
    const std::lock_guard lock(mutex_);
    status_.appended = log_.sequence - 1;
    if (peer_.empty()) return;
    unacknowledged_bytes_ += block.body.size();
    unacknowledged_.push_back({log_.sequence - 1, block});
  }
  // A block that finds no room is asked for again.
  send(std::move(block));
  horizon_sent_at_ = Clock::now();
  moment(Moment::sent_not_acknowledged);
}

bool BackupLink::service(const OutputSums& sums) {
  const ftlog::Horizon here{log_.sequence - 1, machine_.icount(), machine_.now_ns()};
  flush();
  bool joining, ready, may_engage, flowing;
  {
    const std::lock_guard lock(mutex_);
    seen_at_ = Clock::now();
    status_.appended = log_.sequence - 1;
    status_.horizon = here;
    joining = status_.state == PairState::joining && transfer_wanted_;
    ready = status_.state == PairState::catching_up && engage_wanted_;
    flowing = status_.state == PairState::catching_up || status_.state == PairState::lock_step;
    may_engage = std::exchange(engage_wanted_, false);
    // A peer that was lost takes the log's way with it, and what was under way for it.
    if (encoder_ && !flowing && status_.state != PairState::handing_over) encoder_.reset();
    if (sender_ && (!joining || sender_for_ != joiner_)) sender_.reset();
    sender_for_ = joiner_;
  }
  if (ready && may_engage) engage();
  if (joining) return transfer(sums);
  if (flowing && Clock::now() - horizon_sent_at_ >= kHorizonEvery) send_horizon();
  return false;
}

void BackupLink::send_horizon() {
  horizon_sent_at_ = Clock::now();
  horizon_sent_ = machine_.icount();
  send(ftlog::Beat{{log_.sequence - 1, horizon_sent_, machine_.now_ns()}, outputs_.delivered(), parts_sent(), stamp()});
}

void BackupLink::tell_where() {
  flush();
  if (encoder_ && machine_.icount() != horizon_sent_) send_horizon();
}

// Copies some more of the machine to a joiner; at the end stops it for the rest. True for as long as there is more to
// do and room for it.
bool BackupLink::transfer(const OutputSums& sums) {
  const auto begin = Clock::now();
  uint64_t window;
  {
    const std::lock_guard lock(mutex_);
    window = kChunkWindow - std::min(kChunkWindow, chunks_sent_ - chunks_taken_);
  }
  if (!sender_) sender_ = std::make_unique<StateSender>(machine_);
  const StateSender::Sink sink = [this](std::vector<uint8_t>&& chunk) {
    {
      const std::lock_guard lock(mutex_);
      ++chunks_sent_;
    }
    send(ftlog::StateChunk{std::move(chunk)});
    const std::lock_guard lock(mutex_);
    ++parts_sent_;
  };
  uint64_t left = UINT64_MAX;
  for (uint64_t chunks = 0; chunks < window && Clock::now() - begin < kTransferSlice;) {
    const uint64_t before = chunks_sent_;
    left = sender_->step(kPagesAtOnce, sink);
    chunks += std::max<uint64_t>(1, chunks_sent_ - before);
    moment(Moment::transfer);
    if (left <= kLastPages || sender_->counts().rounds >= kMaxRounds) break;
  }
  if (left > kLastPages && sender_->counts().rounds < kMaxRounds) return window > 0;

  const auto stopped = Clock::now();
  sender_->finish(sink);
  ftlog::StateEnd end;
  end.log = log_;
  for (size_t i = 0; i < sums.size(); ++i)
    end.streams.push_back({static_cast<uint16_t>(i), sums.input_bytes(i), sums[i].bytes, sums[i].digest});
  encoder_ = std::make_unique<ftlog::Encoder>(log_);
  encoder_->begin_block();
  const StateSender::Counts counts = sender_->counts();
  sender_.reset();
  const auto pause = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - stopped).count();
  {
    const std::lock_guard lock(mutex_);
    if (status_.state != PairState::joining || joiner_ != sender_for_) return false;  // lost meanwhile
    status_.transfer_pages = counts.pages;
    status_.transfer_bytes = counts.bytes;
    status_.transfer_pause_us = static_cast<uint64_t>(pause);
    transfer_wanted_ = false;
    engaged_from_ = log_.sequence - 1;
    unacknowledged_.clear();
    unacknowledged_bytes_ = 0;
    status_.acknowledged = log_.sequence - 1;
    status_.replayed = {log_.sequence - 1, machine_.icount(), machine_.now_ns()};
    status_.state = PairState::catching_up;
  }
  send(std::move(end));
  {
    const std::lock_guard lock(mutex_);
    ++parts_sent_;
  }
  spdlog::info("state transfer: {} pages, {} KiB in {} rounds, machine stopped for {} us; icount {}", counts.pages,
               counts.bytes / 1024, counts.rounds, pause, machine_.icount());
  return false;
}

void BackupLink::engage() {
  std::string node;
  uint64_t epoch;
  {
    const std::lock_guard lock(mutex_);
    if (status_.state != PairState::catching_up) return;
    status_.state = PairState::lock_step;
    ++status_.backups_joined;
    knows_it_is_engaged_ = false;
    node = peer_node_;
    epoch = status_.epoch;
    heard_at_ = Clock::now();
  }
  outputs_.close();
  if (lease_) lease_->end();
  send(ftlog::Engaged{});
  spdlog::info("epoch {}: lock step with backup {} from icount {}", epoch, node, machine_.icount());
}

uint64_t BackupLink::parts_sent() const {
  const std::lock_guard lock(mutex_);
  return parts_sent_;
}

std::optional<uint64_t> BackupLink::take_new_epoch() {
  const std::lock_guard lock(mutex_);
  return std::exchange(epoch_won_, std::nullopt);
}

void BackupLink::wait(std::chrono::nanoseconds most) {
  std::unique_lock lock(mutex_);
  seen_at_ = Clock::now();
  changed_.wait_for(lock, most);
  seen_at_ = Clock::now();
}

bool BackupLink::hand_over() {
  flush();
  const ftlog::Horizon here{log_.sequence - 1, machine_.icount(), machine_.now_ns()};
  {
    const std::lock_guard lock(mutex_);
    if (status_.state != PairState::lock_step) return false;
    status_.state = PairState::handing_over;
    // What is held now is the backup's to send.
    if (lease_) lease_->end();
    status_.appended = here.sequence;
    status_.horizon = here;  // for the beats that go on
  }
  send(ftlog::Beat{here, outputs_.delivered(), parts_sent(), stamp()});
  send(ftlog::Handover{here.sequence});
  return true;
}

bool BackupLink::handed_over() const {
  const std::lock_guard lock(mutex_);
  return status_.state == PairState::handing_over && status_.acknowledged + 1 >= log_.sequence;
}

void BackupLink::finish(std::chrono::milliseconds most, const std::string& reason) {
  flush();
  const auto deadline = Clock::now() + most;
  {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [this] {
      const bool pair = status_.state == PairState::lock_step || status_.state == PairState::catching_up;
      return !pair || status_.acknowledged + 1 >= log_.sequence;
    });
  }
  send(ftlog::Goodbye{reason});
  socket_.stop(std::chrono::milliseconds(500));
}

void BackupLink::depose(const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    status_.state = PairState::deposed;
    verdict_ = why;
  }
  changed_.notify_all();
  if (attention_) attention_();
}

bool BackupLink::full() const {
  const std::lock_guard lock(mutex_);
  return unacknowledged_bytes_ > options_.max_unacknowledged_bytes;
}

uint64_t BackupLink::committed() const {
  const std::lock_guard lock(mutex_);
  const bool pair = status_.state == PairState::lock_step || status_.state == PairState::handing_over ||
                    status_.state == PairState::deciding || status_.state == PairState::deposed;
  return pair ? status_.acknowledged : log_.sequence - 1;
}

PairState BackupLink::state() const {
  const std::lock_guard lock(mutex_);
  return status_.state;
}

bool BackupLink::has_backup() const {
  const std::lock_guard lock(mutex_);
  return status_.state == PairState::lock_step || status_.state == PairState::catching_up ||
         status_.state == PairState::deciding;
}

PairStatus BackupLink::status() const {
  PairStatus status;
  {
    const std::lock_guard lock(mutex_);
    status = status_;
    status.backup = peer_node_;
  }
  status.channel = socket_.counts();
  return status;
}

std::string BackupLink::verdict() const {
  const std::lock_guard lock(mutex_);
  return verdict_;
}

}  // namespace understudy::primary
