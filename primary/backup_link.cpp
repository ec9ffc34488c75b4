#include "primary/backup_link.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "emu/machine_description.h"
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
// An arbiter that cannot be reached is asked again after this.
constexpr std::chrono::milliseconds kAskAgain{200};
// A joiner may take its time to build its machine (reading images), but it must show signs of life.
constexpr std::chrono::seconds kJoinerSilence{10};

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

// ---------------------------------------------------------------- the machine's thread

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

// ---------------------------------------------------------------- the channel's thread

void BackupLink::refuse(const ChannelSocket::Peer& peer, bool busy, const std::string& why) {
  uint64_t epoch;
  {
    const std::lock_guard lock(mutex_);
    epoch = status_.epoch;
  }
  socket_.send(peer, {epoch, ftlog::Refusal{busy, why}});
}

void BackupLink::hear(const ChannelSocket::Peer& peer, ChannelMessage&& message) {
  if (const auto* hello = std::get_if<ftlog::Hello>(&message.payload)) return hear_hello(peer, *hello);
  {
    const std::lock_guard lock(mutex_);
    if (peer != peer_ || message.epoch != status_.epoch) {
      ++status_.stale_messages;
      return;
    }
    heard_at_ = Clock::now();
  }
  if (const auto* ready = std::get_if<ftlog::Ready>(&message.payload)) return hear_ready(*ready);
  if (const auto* ack = std::get_if<ftlog::Ack>(&message.payload)) return hear_ack(*ack);
  if (const auto* failed = std::get_if<ftlog::Failed>(&message.payload)) return lose("it says: " + failed->reason);
  if (const auto* bye = std::get_if<ftlog::Goodbye>(&message.payload)) return lose("it left: " + bye->reason);
  const std::lock_guard lock(mutex_);
  ++status_.stale_messages;  // what only a primary says
}

void BackupLink::hear_hello(const ChannelSocket::Peer& peer, const ftlog::Hello& hello) {
  ChannelSocket::Peer old;
  {
    const std::lock_guard lock(mutex_);
    // A backup that says hello again has forgotten everything.
    if (peer == peer_ && (status_.state != PairState::joining || transfer_wanted_)) old = peer_;
  }
  if (!old.empty()) lose("it starts anew");
  ftlog::Welcome welcome;
  uint64_t epoch;
  std::string busy;
  {
    const std::lock_guard lock(mutex_);
    if (status_.state != PairState::alone && peer != peer_) {
      busy = status_.state == PairState::deciding || status_.state == PairState::deposed ||
                     status_.state == PairState::handing_over
                 ? "this primary does not know whether it still is one"
                 : fmt::format("{} is the backup already", peer_node_);
    }
    epoch = status_.epoch;
    if (busy.empty() && hello.build != options_.build) {
      busy.clear();
    } else if (busy.empty()) {
      status_.state = PairState::joining;
      peer_ = peer;
      peer_node_ = hello.node;
      transfer_wanted_ = false;
      chunks_sent_ = chunks_taken_ = parts_sent_ = 0;
      ++joiner_;
      heard_at_ = Clock::now();
    }
  }
  if (!busy.empty()) return refuse(peer, true, busy);
  if (hello.build != options_.build)
    return refuse(peer, false, fmt::format("build {} where this primary has {}", hello.build, options_.build));
  welcome.build = options_.build;
  welcome.node = options_.node;
  welcome.description = options_.description;
  welcome.start = options_.start;
  welcome.durable = options_.durable;
  welcome.timeout_ms = static_cast<uint32_t>(options_.timeout.count());
  welcome.beat_ms = static_cast<uint32_t>(beat_.count());
  socket_.send(peer, {epoch, std::move(welcome)});
}

void BackupLink::hear_ready(const ftlog::Ready& ready) {
  std::string differences;
  try {
    differences = emu::MachineDescription::from_text(options_.description)
                      .differences(emu::MachineDescription::from_text(ready.description), "the primary", "the backup");
  } catch (const std::exception& error) {
    differences = error.what();
  }
  ChannelSocket::Peer peer;
  {
    const std::lock_guard lock(mutex_);
    if (status_.state != PairState::joining) return;
    if (differences.empty()) {
      transfer_wanted_ = true;
    } else {
      peer = peer_;
      status_.state = PairState::alone;
      peer_.clear();
    }
  }
  if (!differences.empty()) {
    spdlog::warn("a backup was refused: another machine: {}", differences);
    return refuse(peer, false, "not the same machine: " + differences);
  }
  if (attention_) attention_();
}

void BackupLink::hear_ack(const ftlog::Ack& ack) {
  std::vector<ftlog::LogBlock> again;
  ChannelSocket::Peer peer;
  uint64_t epoch = 0, release = 0;
  bool attention = false, lock_step = false;
  {
    const std::lock_guard lock(mutex_);
    peer = peer_;
    epoch = status_.epoch;
    lock_step = status_.state == PairState::lock_step;
    if (status_.state == PairState::joining) {
      if (ack.chunks > chunks_sent_) return;
      attention = chunks_taken_ != ack.chunks;
      chunks_taken_ = ack.chunks;
    } else {
      if (ack.received > status_.appended) return;  // nothing that was ever sent
      status_.acknowledged = std::max(status_.acknowledged, ack.received);
      if (ack.replayed.virtual_ns >= status_.replayed.virtual_ns) status_.replayed = ack.replayed;
      while (!unacknowledged_.empty() && unacknowledged_.front().last <= ack.received) {
        unacknowledged_bytes_ -= unacknowledged_.front().block.body.size();
        unacknowledged_.pop_front();
      }
      if (ack.resend)
        for (const SentBlock& sent : unacknowledged_) again.push_back(sent.block);
      status_.resent_blocks += again.size();
      if (status_.state == PairState::catching_up && ack.received >= engaged_from_ &&
          ack.replayed.sequence >= engaged_from_)
        attention = engage_wanted_ = true;
      if (status_.state == PairState::lock_step || status_.state == PairState::handing_over)
        release = status_.acknowledged;
      knows_it_is_engaged_ = ack.engaged;
    }
  }
  for (ftlog::LogBlock& block : again) socket_.send(peer, {epoch, std::move(block)});
  if (lease_ && lock_step) lease_->renew(ack.stamp);
  if (release != 0) outputs_.release(release);
  changed_.notify_all();
  if (attention && attention_) attention_();
}

// The backup cannot be counted on any more.
void BackupLink::lose(const std::string& why) {
  std::string node;
  bool was_pair;
  {
    const std::lock_guard lock(mutex_);
    was_pair = status_.state == PairState::lock_step || status_.state == PairState::handing_over;
    const bool any = was_pair || status_.state == PairState::joining || status_.state == PairState::catching_up;
    if (!any) return;
    node = peer_node_;
    status_.state = was_pair ? PairState::deciding : PairState::alone;
    if (was_pair) ++status_.backups_lost;
    peer_.clear();
    unacknowledged_.clear();
    unacknowledged_bytes_ = 0;
    transfer_wanted_ = engage_wanted_ = false;
    decide_at_ = Clock::now();
  }
  spdlog::warn("backup {} is lost: {}", node, why);
  if (attention_) attention_();
}

// Asks the arbiter whether this node may go on alone.
void BackupLink::decide() {
  uint64_t epoch;
  {
    const std::lock_guard lock(mutex_);
    epoch = status_.epoch + 1;
  }
  const ftlog::Claim claim = arbiter_.try_acquire(epoch, options_.node);
  switch (claim.verdict) {
    case ftlog::Verdict::won: {
      {
        const std::lock_guard lock(mutex_);
        status_.epoch = epoch;
        status_.state = PairState::alone;
        epoch_won_ = epoch;
        verdict_.clear();
      }
      spdlog::warn("epoch {}: going on alone, without a backup", epoch);
      if (new_epoch_) new_epoch_(epoch);
      outputs_.open();
      break;
    }
    case ftlog::Verdict::lost: {
      const std::lock_guard lock(mutex_);
      status_.state = PairState::deposed;
      verdict_ = fmt::format("{} reigns in epoch {}", claim.holder.node, claim.holder.epoch);
      break;
    }
    case ftlog::Verdict::unreachable: {
      const std::lock_guard lock(mutex_);
      if (verdict_ != claim.reason) spdlog::error("the arbiter cannot be asked, outputs wait: {}", claim.reason);
      verdict_ = claim.reason;
      decide_at_ = Clock::now() + kAskAgain;
      if (options_.stop_when_unreachable) status_.state = PairState::deposed;
      break;
    }
  }
  changed_.notify_all();
  if (attention_) attention_();
}

// A machine that only has nothing to do comes by when it is asked to.
bool BackupLink::machine_hangs(Clock::time_point now) {
  bool nudge, tell;
  {
    const std::lock_guard lock(mutex_);
    const bool pair = status_.state == PairState::lock_step || status_.state == PairState::catching_up;
    if (options_.give_up.count() == 0 || !pair) return false;
    nudge = now - seen_at_ >= beat_ && now - nudged_at_ >= beat_;
    if (nudge) nudged_at_ = now;
    tell = !hangs_ && now - seen_at_ > options_.give_up;
    hangs_ = now - seen_at_ > options_.give_up;
  }
  if (nudge && attention_) attention_();
  if (tell)
    spdlog::error("this node's machine has not moved for {} ms: it falls silent, so that its backup takes over",
                  options_.give_up.count());
  return hangs_;
}

BackupLink::Clock::time_point BackupLink::timer() {
  const auto now = Clock::now();
  const bool hangs = machine_hangs(now);
  PairState state;
  Clock::time_point heard, decide_at;
  std::optional<ftlog::Beat> beat;
  bool engaged = false;
  std::optional<ftlog::Handover> handover;
  {
    const std::lock_guard lock(mutex_);
    state = status_.state;
    // This process was stopped, or starved: what the peer sent meanwhile has to be heard first.
    if (now - timer_at_ > options_.timeout / 2) heard_at_ = seen_at_ = now;
    timer_at_ = now;
    heard = heard_at_;
    decide_at = decide_at_;
    if (!peer_.empty() && now - beat_at_ >= beat_ && !hangs) {
      beat_at_ = now;
      beat = ftlog::Beat{status_.horizon, 0, parts_sent_, stamp()};
      // Both may have been lost with a connection.
      engaged = (state == PairState::lock_step || state == PairState::handing_over) && !knows_it_is_engaged_;
      if (state == PairState::handing_over) handover = ftlog::Handover{status_.horizon.sequence};
    }
  }
  if (beat) {
    beat->delivered = outputs_.delivered();
    send(*beat);
    if (engaged) send(ftlog::Engaged{});
    if (handover) send(*handover);
  }
  if (state == PairState::deciding) {
    if (now >= decide_at) decide();
    return std::min(now + beat_, std::max(now, decide_at));
  }
  const bool pair =
      state == PairState::lock_step || state == PairState::catching_up || state == PairState::handing_over;
  const auto patience = pair ? Clock::duration(options_.timeout) : Clock::duration(kJoinerSilence);
  if ((pair || state == PairState::joining) && now - heard > patience) {
    lose(fmt::format("silent for {} ms", std::chrono::duration_cast<std::chrono::milliseconds>(now - heard).count()));
    return now;
  }
  return now + beat_;
}

}  // namespace understudy::primary
