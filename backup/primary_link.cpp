#include "backup/primary_link.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace understudy::backup {

namespace {

using ftlog::ChannelMessage;

constexpr std::chrono::milliseconds kHelloEvery{200};
constexpr std::chrono::seconds kReadyEvery{1};
// After a gap the lost blocks are asked for, and not again before this.
constexpr std::chrono::milliseconds kResendEvery{20};
// While a primary sends its machine it must show signs of life.
constexpr std::chrono::seconds kTransferSilence{10};
constexpr std::chrono::seconds kTellDamageEvery{1};
// What has been received and replayed is told within this, in one way or another: the primary waits for who is behind.
constexpr std::chrono::milliseconds kReportWithin{5};

// So much is acknowledged at once, whatever it is.
constexpr uint64_t kAckBytes = 256u << 10;

// No output waits for what has come in.
bool is_input(const ftlog::LogEntry& entry) {
  return std::holds_alternative<ftlog::Input>(entry.payload) ||
         std::holds_alternative<ftlog::BlockDone>(entry.payload) ||
         std::holds_alternative<ftlog::ClockChange>(entry.payload);
}

size_t weight(const ftlog::LogEntry& entry) {
  size_t bytes = sizeof entry;
  if (const auto* input = std::get_if<ftlog::Input>(&entry.payload)) bytes += input->bytes.size();
  if (const auto* done = std::get_if<ftlog::BlockDone>(&entry.payload)) bytes += done->bytes.size();
  return bytes;
}

}  // namespace

PrimaryLink::PrimaryLink(Options options) : options_(std::move(options)), socket_(options_.socket) {
  heard_at_ = beat_at_ = timer_at_ = seen_at_ = Clock::now();
  socket_.start({.message = [this](const auto&, ChannelMessage&& m) { hear(std::move(m)); },
                 .bad =
                     [this](const auto&, const std::string& why, bool version) {
                       if (version) return hear_version(why);
                       hear_damage(why);
                     },
                 .timer = [this] { return timer(); }});
}

PrimaryLink::~PrimaryLink() { socket_.stop(std::chrono::milliseconds(0)); }

// ---------------------------------------------------------------- the machine's thread

bool PrimaryLink::join(std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, most, [this] { return phase_ != Phase::hello || refused_; }) && !refused_ && !lost_;
}

bool PrimaryLink::has_answered() const {
  const std::lock_guard lock(mutex_);
  return phase_ != Phase::hello || refused_ || lost_;
}

void PrimaryLink::ready(const std::string& description) {
  uint64_t epoch;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::building) return;
    phase_ = Phase::transfer;
    epoch = status_.epoch;
    ready_.description = description;
    ready_at_ = Clock::now();
  }
  socket_.send({}, {epoch, ftlog::Ready{description}});
}

bool PrimaryLink::next_chunk(ftlog::Bytes& chunk) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !chunks_.empty() || state_end_ || refused_ || lost_; });
    if (chunks_.empty()) return false;
    chunk = std::move(chunks_.front());
    chunks_.pop_front();
    ++chunks_taken_;
  }
  acknowledge(false);
  return true;
}

std::optional<JoinRefused> PrimaryLink::refused() const {
  const std::lock_guard lock(mutex_);
  return refused_;
}

bool PrimaryLink::next(ftlog::LogEntry& entry) {
  const std::lock_guard lock(mutex_);
  seen_at_ = Clock::now();
  if (entries_.empty()) return false;
  entry = std::move(entries_.front());
  entries_.pop_front();
  waiting_bytes_ -= std::min<uint64_t>(waiting_bytes_, weight(entry));
  return true;
}

std::optional<ftlog::Horizon> PrimaryLink::horizon() const {
  const std::lock_guard lock(mutex_);
  if (!entries_.empty() || status_.horizon.sequence > status_.received) return std::nullopt;
  return status_.horizon;
}

LinkEvent PrimaryLink::wait(std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  const auto now = seen_at_ = Clock::now();
  const auto any = [this] { return news_ || lost_ || goodbye_ || handover_ || !entries_.empty(); };
  if (owes_report() && !changed_.wait_until(lock, std::min(now + most, beat_at_ + kReportWithin), any)) {
    lock.unlock();
    acknowledge(false);
    lock.lock();
  }
  changed_.wait_until(lock, now + most, any);
  seen_at_ = Clock::now();
  if (failed_) return LinkEvent::failed;
  if (!entries_.empty() || std::exchange(news_, false)) return LinkEvent::news;
  if (handover_ && status_.received >= *handover_) return LinkEvent::handover;
  if (goodbye_) return LinkEvent::goodbye;
  return lost_ ? LinkEvent::lost : LinkEvent::none;
}

void PrimaryLink::replayed(const ftlog::Horizon& here) {
  bool report;
  {
    const std::lock_guard lock(mutex_);
    status_.replayed = here;
    report = owes_report() && Clock::now() - beat_at_ >= kReportWithin;
  }
  if (report) acknowledge(false);
}

// With the mutex held.
bool PrimaryLink::owes_report() const {
  return phase_ == Phase::following && (status_.replayed != reported_ || owed_bytes_ != 0);
}

bool PrimaryLink::engaged() const {
  const std::lock_guard lock(mutex_);
  return status_.engaged;
}

bool PrimaryLink::is_heard() const {
  const std::lock_guard lock(mutex_);
  return phase_ == Phase::following && Clock::now() - heard_at_ <= options_.timeout;
}

std::chrono::steady_clock::time_point PrimaryLink::heard_at() const {
  const std::lock_guard lock(mutex_);
  return heard_at_;
}

uint64_t PrimaryLink::epoch() const {
  const std::lock_guard lock(mutex_);
  return status_.epoch;
}

ftlog::CodecState PrimaryLink::log_state() const {
  const std::lock_guard lock(mutex_);
  return log_;
}

std::string PrimaryLink::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

LinkStatus PrimaryLink::status() const {
  LinkStatus status;
  {
    const std::lock_guard lock(mutex_);
    status = status_;
    status.waiting_bytes = waiting_bytes_;
    status.chunks = chunks_taken_;
  }
  status.channel = socket_.counts();
  return status;
}

void PrimaryLink::fail(const std::string& reason) {
  socket_.send({}, {epoch(), ftlog::Failed{reason}});
  break_off(reason);
  socket_.stop(std::chrono::milliseconds(500));
}

void PrimaryLink::leave(const std::string& reason) {
  socket_.send({}, {epoch(), ftlog::Goodbye{reason}});
  break_off(reason);
  socket_.stop(std::chrono::milliseconds(10));
}

// ---------------------------------------------------------------- the channel's thread

void PrimaryLink::break_off(const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    if (lost_ || goodbye_) return;
    lost_ = true;
    trouble_ = why;
  }
  changed_.notify_all();
  if (options_.on_answer) options_.on_answer();
}

// Channel's thread.
void PrimaryLink::give_up(const std::string& why) {
  socket_.send({}, {epoch(), ftlog::Failed{why}});
  {
    const std::lock_guard lock(mutex_);
    failed_ = true;
  }
  break_off(why);
}

// A primary that lives, whatever it is: no reason to take over.
void PrimaryLink::hear_version(const std::string& why) {
  bool following;
  {
    const std::lock_guard lock(mutex_);
    following = phase_ == Phase::following;
  }
  const std::string what = "the primary is of another version: " + why;
  following ? give_up(what) : break_off(what);
}

// What was lost with it is asked for again.
void PrimaryLink::hear_damage(const std::string& why) {
  const auto now = Clock::now();
  bool following;
  {
    const std::lock_guard lock(mutex_);
    following = phase_ == Phase::following;
  }
  if (now - damage_at_ >= kTellDamageEvery) {
    damage_at_ = now;
    spdlog::warn("damaged bytes from the primary, {} times so far: {}", socket_.counts().bad_in, why);
  }
  if (following) acknowledge(true);
}

void PrimaryLink::acknowledge(bool resend) {
  ftlog::Ack ack;
  uint64_t epoch;
  {
    const std::lock_guard lock(mutex_);
    epoch = status_.epoch;
    beat_at_ = Clock::now();
    reported_ = status_.replayed;
    owed_bytes_ = 0;
    ack = {status_.received, status_.replayed, resend, chunks_taken_, status_.engaged, status_.stamp};
  }
  socket_.send({}, {epoch, ack});
}

void PrimaryLink::hear(ChannelMessage&& message) {
  bool acknowledge_now = false, notify = true, answer = false;
  uint64_t delivered = 0;
  {
    std::unique_lock lock(mutex_);
    const bool welcome = std::holds_alternative<ftlog::Welcome>(message.payload);
    if (phase_ != Phase::hello && message.epoch > status_.epoch && phase_ == Phase::following) {
      // The primary went on alone: it does not count on this backup any more.
      lock.unlock();
      return break_off(fmt::format("the primary has gone on alone into epoch {}", message.epoch));
    }
    if (message.epoch < status_.epoch || (welcome && phase_ != Phase::hello)) {
      ++status_.stale_messages;
      return;
    }
    heard_at_ = Clock::now();
    // What is said of a stamp is said after the silence began anew.
    if (const auto* block = std::get_if<ftlog::LogBlock>(&message.payload))
      status_.stamp = std::max(status_.stamp, block->stamp);
    if (const auto* beat = std::get_if<ftlog::Beat>(&message.payload))
      status_.stamp = std::max(status_.stamp, beat->stamp);
    if (auto* refusal = std::get_if<ftlog::Refusal>(&message.payload)) {
      refused_ = JoinRefused{refusal->busy, refusal->reason};
      answer = true;
    } else if (auto* hello = std::get_if<ftlog::Welcome>(&message.payload)) {
      welcome_ = std::move(*hello);
      status_.epoch = message.epoch;
      status_.primary = welcome_.node;
      options_.timeout = std::chrono::milliseconds(std::clamp(welcome_.timeout_ms, 10u, 600'000u));
      beat_ = std::chrono::milliseconds(std::clamp(welcome_.beat_ms, 2u, 60'000u));
      phase_ = Phase::building;
      answer = true;
    } else if (auto* chunk = std::get_if<ftlog::StateChunk>(&message.payload); chunk && phase_ == Phase::transfer) {
      chunks_.push_back(std::move(chunk->bytes));
      ++parts_heard_;
    } else if (auto* end = std::get_if<ftlog::StateEnd>(&message.payload); end && phase_ == Phase::transfer) {
      log_ = end->log;
      status_.received = end->log.sequence - 1;
      status_.horizon = {status_.received, end->log.icount, end->log.virtual_ns};
      state_end_ = std::move(*end);
      phase_ = Phase::following;
    } else if (const auto* sent = std::get_if<ftlog::Beat>(&message.payload);
               sent && phase_ == Phase::transfer && sent->parts > parts_heard_) {
      lock.unlock();
      return break_off("a part of the machine's state was lost on its way");
    } else if (phase_ != Phase::following) {
      notify = false;
    } else if (auto* block = std::get_if<ftlog::LogBlock>(&message.payload)) {
      lock.unlock();
      return hear_block(std::move(*block));
    } else if (const auto* beat = std::get_if<ftlog::Beat>(&message.payload)) {
      news_ = beat->horizon.icount > status_.horizon.icount || beat->horizon.virtual_ns > status_.horizon.virtual_ns;
      if (beat->horizon.sequence >= status_.horizon.sequence) status_.horizon = beat->horizon;
      status_.delivered = delivered = std::max(status_.delivered, beat->delivered);
      acknowledge_now = beat->horizon.sequence > status_.received && Clock::now() - resend_at_ >= kResendEvery;
      if (acknowledge_now) resend_at_ = Clock::now();
    } else if (std::holds_alternative<ftlog::Engaged>(message.payload)) {
      if (status_.engaged) return;  // said again
      lock.unlock();
      // Before this backup counts itself in.
      if (engaged_) engaged_();
      lock.lock();
      status_.engaged = true;
    } else if (const auto* handover = std::get_if<ftlog::Handover>(&message.payload)) {
      handover_ = handover->sequence;
    } else if (auto* goodbye = std::get_if<ftlog::Goodbye>(&message.payload)) {
      goodbye_ = true;
      trouble_ = std::move(goodbye->reason);
    }
  }
  if (acknowledge_now) acknowledge(true);
  if (delivered != 0 && delivered_) delivered_(delivered);
  if (notify) changed_.notify_all();
  if (answer && options_.on_answer) options_.on_answer();
}

void PrimaryLink::hear_block(ftlog::LogBlock&& block) {
  std::vector<ftlog::LogEntry> entries;
  bool gap = false;
  {
    const std::lock_guard lock(mutex_);
    if (block.start.sequence < log_.sequence) return;  // sent again, and here already
    if (block.start.sequence > log_.sequence) {
      gap = Clock::now() - resend_at_ >= kResendEvery;
      if (gap) {
        resend_at_ = Clock::now();
        ++status_.gaps;
      }
      if (!gap) return;
    } else if (block.start != log_ || waiting_bytes_ > options_.max_waiting_bytes) {
      if (block.start == log_) return;  // no room: it will be asked for again
    }
  }
  if (gap) return acknowledge(true);
  try {
    ftlog::Decoder decoder(block.start, block.body, block.entries);
    for (ftlog::LogEntry entry; decoder.next(entry);) entries.push_back(entry);
    const std::lock_guard lock(mutex_);
    if (block.start != log_) throw ftlog::DecodeError(0, "a block of another log");
    log_ = decoder.state();
  } catch (const ftlog::DecodeError& error) {
    return give_up(fmt::format("the primary's log is damaged: {}", error.what()));
  }
  if (keep_) keep_(entries);
  bool acknowledge_now = !std::all_of(entries.begin(), entries.end(), is_input);
  {
    const std::lock_guard lock(mutex_);
    for (ftlog::LogEntry& entry : entries) {
      waiting_bytes_ += weight(entry);
      entries_.push_back(std::move(entry));
    }
    status_.received = log_.sequence - 1;
    if (block.horizon.sequence >= status_.horizon.sequence) status_.horizon = block.horizon;
    status_.delivered = std::max(status_.delivered, block.delivered);
    resend_at_ = {};
    owed_bytes_ += block.body.size();
    acknowledge_now = acknowledge_now || owed_bytes_ >= kAckBytes;
  }
  if (acknowledge_now) acknowledge(false);
  if (delivered_) delivered_(block.delivered);
  changed_.notify_all();
}

PrimaryLink::Clock::time_point PrimaryLink::timer() {
  const auto now = Clock::now();
  bool hello = false, ready = false, beat = false, silent = false, hangs = false;
  {
    const std::lock_guard lock(mutex_);
    // This process was stopped, or starved: what the primary sent meanwhile has to be heard first.
    if (now - timer_at_ > options_.timeout / 2) heard_at_ = seen_at_ = now;
    timer_at_ = now;
    if (lost_ || goodbye_) return now + std::chrono::seconds(1);
    if (phase_ == Phase::hello) {
      hello = now - hello_at_ >= kHelloEvery && !refused_;
      if (hello) hello_at_ = now;
    } else {
      beat = now - beat_at_ >= beat_;
      ready = phase_ == Phase::transfer && parts_heard_ == 0 && now - ready_at_ >= kReadyEvery;
      if (ready) ready_at_ = now;
      const auto patience =
          phase_ == Phase::following ? Clock::duration(options_.timeout) : Clock::duration(kTransferSilence);
      silent = now - heard_at_ > patience;
      hangs = phase_ == Phase::following && options_.give_up.count() != 0 && now - seen_at_ > options_.give_up;
    }
  }
  if (hello) socket_.send({}, {0, ftlog::Hello{options_.build, options_.node}});
  if (silent) {
    break_off(fmt::format("the primary has been silent for {} ms",
                          std::chrono::duration_cast<std::chrono::milliseconds>(now - heard_at_).count()));
    return now + std::chrono::seconds(1);
  }
  if (hangs) {
    give_up(fmt::format("its machine has not moved for {} ms", options_.give_up.count()));
    return now + std::chrono::seconds(1);
  }
  if (ready) socket_.send({}, {epoch(), ready_});
  if (beat) acknowledge(false);
  const auto patience = phase_ == Phase::following ? options_.timeout : std::chrono::milliseconds(kTransferSilence);
  return phase_ == Phase::hello ? now + kHelloEvery
                                : std::min(now + beat_, heard_at_ + patience + std::chrono::milliseconds(1));
}

}  // namespace understudy::backup
