// BackupLink on its channel's thread: what the peer says, its silence, and what then becomes of this node.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "emu/machine_description.h"
#include "primary/backup_link.h"

namespace understudy::primary {

namespace {

using ftlog::ChannelMessage;
using ftlog::ChannelSocket;

// An arbiter that cannot be reached is asked again after this.
constexpr std::chrono::milliseconds kAskAgain{200};
// A joiner may take its time to build its machine (reading images), but it must show signs of life.
constexpr std::chrono::seconds kJoinerSilence{10};

}  // namespace

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
    if (busy.empty() && hello.build == options_.build) {
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
