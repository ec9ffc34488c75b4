#include "tools/follow_session.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "backup/state_receiver.h"
#include "primary/moment.h"
#include "tools/recipe.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

using Clock = std::chrono::steady_clock;

// Who does not answer within this is asked anew, over another connection.
constexpr std::chrono::milliseconds kAnswer{1500};
constexpr std::chrono::milliseconds kBusyPause{500};
constexpr std::chrono::milliseconds kLookAround{100};

// Waits, but not past a signal.
void pause(std::chrono::milliseconds most) {
  Wakeup nobody;
  nobody.wait_until(Clock::now() + most);
}

}  // namespace

FollowSession::FollowSession(const PairOptions& options, PairIdentity& identity, NodeControl& control,
                             const RunOptions& run, bool own_machine)
    : options_(options),
      identity_(identity),
      control_(control),
      run_options_(run),
      own_machine_(own_machine),
      flip_(parse_flip(options.inject_ram_flip)) {}

FollowSession::~FollowSession() {
  control_.answer_with({});
  link_.reset();
}

int FollowSession::run() {
  while (true)
    if (const auto code = attempt()) return *code;
}

std::optional<int> FollowSession::attempt() {
  const auto left = [this] {
    return interrupted() || control_.stop_asked() ? std::optional(exit_code::kQuit) : ended_;
  };
  if (!join() || !take_state()) return left();
  switch (follow()) {
    case Outcome::ended:
      return ended_;
    case Outcome::failed:
      return std::nullopt;
    case Outcome::interrupted:
      link_->leave("stopped by its user");
      return exit_code::kQuit;
    case Outcome::handover:
      return take_over(true);
    case Outcome::lost:
      return take_over(false);
  }
  return std::nullopt;
}

void FollowSession::drop_machine() {
  control_.answer_with([] { return nlohmann::ordered_json{{"role", "backup"}, {"state", "joining"}}; });
  link_.reset();
  replayer_.reset();
  // A log that no epoch ever reached is of no use to anybody.
  if (own_ && !own_counts_) {
    const std::string stint = own_->directory();
    own_.reset();
    remove_stint(stint);
  }
  own_.reset();
  own_counts_ = false;
  unapplied_.clear();
  outputs_.reset();
  setup_.pc.reset();
  setup_ = {};
}

// Everybody is asked at once. Who is live answers within moments; a host that is down never does.
bool FollowSession::join() {
  drop_machine();
  struct Way {
    std::string address;
    std::unique_ptr<backup::PrimaryLink> link;
  };
  std::vector<Way> ways;
  for (ftlog::ChannelSocket::Options& socket : joining_sockets(options_, identity_)) {
    backup::PrimaryLink::Options o;
    o.socket = std::move(socket);
    o.build = build_name();
    o.node = identity_.node;
    o.timeout = std::chrono::milliseconds(options_.timeout_ms);
    o.give_up = std::chrono::milliseconds(options_.give_up_ms);
    o.on_answer = [this] { answered_.notify(); };
    std::string address = o.socket.address;
    ways.push_back({std::move(address), std::make_unique<backup::PrimaryLink>(std::move(o))});
  }
  const auto deadline = Clock::now() + kAnswer;
  const auto welcomes = [](const Way& way) { return way.link->join(std::chrono::milliseconds(0)); };
  auto found = ways.end();
  while (true) {
    found = std::find_if(ways.begin(), ways.end(), welcomes);
    const bool all = std::all_of(ways.begin(), ways.end(), [](const Way& way) { return way.link->has_answered(); });
    if (found != ways.end() || all || Clock::now() >= deadline || interrupted() || control_.stop_asked()) break;
    answered_.wait_until(std::min(deadline, Clock::now() + kLookAround));
  }
  if (found != ways.end()) {
    std::swap(*found, ways.front());
    for (size_t i = 1; i < ways.size(); ++i)
      if (welcomes(ways[i])) ways[i].link->leave("this node joins another");
    link_ = std::move(ways.front().link);
    if (!options_.log.empty()) {
      link_->on_entries([this](const std::vector<ftlog::LogEntry>& entries) { keep(entries); });
      link_->on_engaged([this] { note_engaged(); });
    }
    spdlog::info("epoch {}: joining {} at {}", link_->epoch(), link_->welcome().node, ways.front().address);
    told_who_is_silent_ = false;
    return true;
  }
  bool busy = false;
  for (const Way& way : ways) {
    const auto refused = way.link->refused();
    if (!refused) {
      // Once; a standby may wait for long.
      if (!told_who_is_silent_) spdlog::info("{}: no live node answers; still trying", way.address);
    } else if (!refused->busy) {
      spdlog::error("{} refuses this node: {}", way.address, refused->reason);
      ended_ = exit_code::kRefused;
      return false;
    } else {
      spdlog::info("{} has no use for this node now: {}", way.address, refused->reason);
      busy = true;
    }
  }
  told_who_is_silent_ = true;
  if (busy) pause(kBusyPause);
  return false;
}

bool FollowSession::take_state() {
  const ftlog::Welcome& welcome = link_->welcome();
  start_ = welcome.start;
  if (options_.durable != welcome.durable)
    spdlog::warn("the primary runs {} --durable, this node {}", welcome.durable ? "with" : "without",
                 options_.durable ? "with" : "without");
  if (!own_machine_) {
    const RunOptions ends = run_options_;
    run_options_ = with_ends(options_of_recipe(start_.text, "the primary's recipe"), ends);
  }
  // How large the hub's disks are, the primary knows.
  if (own_machine_) run_options_.shared_disks = options_of_recipe(start_.text, "the primary's recipe").shared_disks;
  if (!run_options_.shared_disks.empty() && options_.hub.empty()) {
    link_->fail("the machine has a shared disk, and this node no hub");
    throw UsageError("the machine has a disk of the hub's: this node needs --hub too");
  }
  setup_ = set_up_machine(run_options_, start_.rtc_start_s);
  const std::string description = setup_.description().to_text();
  emu::Machine& machine = setup_.pc->machine();
  outputs_ = std::make_unique<primary::OutputCommit>(machine);
  link_->ready(description);
  bool complete = false;
  try {
    backup::StateReceiver receiver(machine);
    for (ftlog::Bytes chunk; link_->next_chunk(chunk);) {
      primary::moment(primary::Moment::transfer);
      complete = receiver.accept(chunk);
    }
  } catch (const backup::StateTransferError& error) {
    spdlog::error("the primary's state is damaged: {}", error.what());
    link_->fail(error.what());
    return false;
  }
  if (const auto refused = link_->refused()) {
    spdlog::error("the primary refuses this node: {}", refused->reason);
    ended_ = exit_code::kRefused;
    return false;
  }
  if (!complete || !link_->state_end()) {
    spdlog::warn("the primary was lost before its state was here: {}", link_->trouble());
    return false;
  }
  const ftlog::StateEnd& end = *link_->state_end();
  primary::OutputSums sums(machine.world().channel_count());
  for (const ftlog::Stream& stream : end.streams) {
    if (stream.channel >= sums.size()) {
      link_->fail("a stream of a channel that this machine does not have");
      return false;
    }
    sums.set(stream.channel, {stream.out_bytes, stream.out_digest});
    sums.set_input_bytes(stream.channel, stream.in_bytes);
  }
  for (size_t i = 0; i < sums.size(); ++i) outputs_->gate(static_cast<emu::ChannelId>(i), sums[i].bytes);
  sums.take_changed();
  replayer_ = std::make_unique<backup::Replayer>(
      machine, [this](ftlog::LogEntry& entry) { return link_->next(entry); },
      [this] {
        if (run_options_.reboot.value_or(true)) setup_.pc->reset();
      });
  replayer_->set_sums(std::move(sums));
  if (!options_.log.empty()) begin_own_log();
  replayer_->on_applied([this](const ftlog::LogEntry& entry) {
    if (std::holds_alternative<ftlog::OutputMark>(entry.payload)) outputs_->mark(entry.sequence);
    if (!options_.log.empty()) {
      const std::lock_guard lock(unapplied_mutex_);
      while (!unapplied_.empty() && unapplied_.front().sequence <= entry.sequence) unapplied_.pop_front();
    }
    const emu::Machine& here = setup_.pc->machine();
    link_->replayed({entry.sequence, here.icount(), here.now_ns()});
    primary::moment(primary::Moment::entry_applied);
  });
  // The primary paces itself by what it hears: between entries that lie far apart, too.
  replayer_->on_underway([this] { link_->replayed(here()); });
  spdlog::info("epoch {}: has the machine at icount {}", link_->epoch(), machine.icount());
  return true;
}

void FollowSession::begin_own_log() {
  auto log = std::make_unique<StintLog>(options_.log, setup_);
  log->begin(start_, replayer_->sums());
  const std::lock_guard lock(own_mutex_);
  own_icount_ = setup_.pc->machine().icount();
  own_virtual_ns_ = setup_.pc->machine().now_ns();
  write_unapplied(*log);
  own_ = std::move(log);
  next_snapshot_ = own_icount_ + options_.snapshot_every_minstr * 1'000'000;
}

// The primary's snapshots are on its disk, not here.
void FollowSession::write_unapplied(StintLog& log) {
  const std::lock_guard lock(unapplied_mutex_);
  for (const ftlog::LogEntry& entry : unapplied_)
    if (!std::holds_alternative<ftlog::Snapshot>(entry.payload))
      log.writer().append(entry.icount, entry.virtual_ns, entry.payload);
}

void FollowSession::renew_own_log() {
  emu::Machine& machine = setup_.pc->machine();
  // What stopped the machine is explained by an entry that has not come yet.
  if (options_.log.empty() || options_.snapshot_every_minstr == 0 || machine.icount() < next_snapshot_ ||
      replayer_->stopped() || !link_->engaged())
    return;
  next_snapshot_ = machine.icount() + options_.snapshot_every_minstr * 1'000'000;
  auto next = std::make_unique<StintLog>(options_.log, setup_);
  next->begin(start_, replayer_->sums());
  {
    const std::lock_guard lock(own_mutex_);
    next->writer().append(machine.icount(), machine.now_ns(), ftlog::Epoch{link_->epoch()});
    write_unapplied(*next);
    next->writer().sync();
    own_ = std::move(next);
  }
  spdlog::info("epoch {}: icount {}: the log goes on in {}", link_->epoch(), machine.icount(), own_->directory());
  forget_stints(options_.log, options_.keep_logs);
}

void FollowSession::keep(const std::vector<ftlog::LogEntry>& entries) {
  const std::lock_guard lock(own_mutex_);
  {
    const std::lock_guard also(unapplied_mutex_);
    unapplied_.insert(unapplied_.end(), entries.begin(), entries.end());
  }
  if (!own_) return;
  // The primary's snapshots are on its disk, not here.
  bool marks = false;
  for (const ftlog::LogEntry& entry : entries) {
    marks = marks || std::holds_alternative<ftlog::OutputMark>(entry.payload);
    if (!std::holds_alternative<ftlog::Snapshot>(entry.payload))
      own_->writer().append(entry.icount, entry.virtual_ns, entry.payload);
  }
  if (marks && options_.durable)
    own_->writer().sync();
  else
    own_->writer().flush();
}

// From here on this log holds everything that a client may have seen: recovery looks for the epoch.
void FollowSession::note_engaged() {
  const std::lock_guard lock(own_mutex_);
  if (!own_) return;
  const ftlog::CodecState log = link_->log_state();
  own_->writer().append(std::max(log.icount, own_icount_), std::max(log.virtual_ns, own_virtual_ns_),
                        ftlog::Epoch{link_->epoch()});
  own_->writer().sync();
  own_counts_ = true;
}

// What has been replayed; at first, what the state that was taken holds.
ftlog::Horizon FollowSession::here() const {
  const emu::Machine& machine = setup_.pc->machine();
  return {std::max(link_->state_end()->log.sequence - 1, replayer_->position()), machine.icount(), machine.now_ns()};
}

FollowSession::Outcome FollowSession::follow() {
  emu::Machine& machine = setup_.pc->machine();
  bool told = false;
  control_.answer_with([this] { return status(); });
  while (true) {
    if (interrupted() || control_.stop_asked()) return Outcome::interrupted;
    const backup::ReplayStop stop = replayer_->run(UINT64_MAX);
    if (stop == backup::ReplayStop::ended) {
      spdlog::info("the machine ended: {}", ftlog::to_string(replayer_->end().reason));
      ended_ = replayer_->end().exit_code;
      link_->replayed(here());
      link_->leave("the machine ended");
      return Outcome::ended;
    }
    if (stop == backup::ReplayStop::diverged) {
      const backup::Divergence& d = *replayer_->divergence();
      spdlog::error("epoch {}: diverged at icount {} (last proven {}): {}; this backup gives up and joins again",
                    link_->epoch(), d.icount, d.last_proven_icount, d.what);
      link_->fail(fmt::format("diverged at icount {}: {}", d.icount, d.what));
      return Outcome::failed;
    }
    if (const auto horizon = link_->horizon(); horizon && !replayer_->stopped()) {
      const bool behind = horizon->icount > machine.icount() || horizon->virtual_ns > machine.now_ns();
      if (behind && replayer_->run_to(horizon->icount, horizon->virtual_ns) == backup::ReplayStop::diverged) continue;
    }
    link_->replayed(here());
    outputs_->drop(link_->status().delivered);
    if (flip_ && told && machine.icount() >= flip_->icount) {
      check(*flip_, machine);
      turn_over(*flip_, machine);
      spdlog::warn("turned over bit {} at {:#x}, as a test wants it", flip_->bit, flip_->address);
      flip_.reset();
    }
    if (!told && link_->engaged()) {
      told = true;
      spdlog::info("epoch {}: in lock step at icount {}", link_->epoch(), machine.icount());
      if (!options_.log.empty()) forget_stints(options_.log, options_.keep_logs);
    }
    renew_own_log();
    switch (link_->wait(kLookAround)) {
      case backup::LinkEvent::none:
      case backup::LinkEvent::news:
        break;
      case backup::LinkEvent::lost:
        return Outcome::lost;
      case backup::LinkEvent::failed:
        spdlog::error("epoch {}: this backup gives up and joins again: {}", link_->epoch(), link_->trouble());
        return Outcome::failed;
      case backup::LinkEvent::handover:
        return Outcome::handover;
      case backup::LinkEvent::goodbye:
        spdlog::warn("the primary left: {}", link_->trouble());
        return Outcome::lost;
    }
  }
}

std::optional<int> FollowSession::take_over(bool graceful) {
  LiveNode::Takeover takeover;
  takeover.given_up = Clock::now();
  takeover.last_heard = link_->heard_at();
  const uint64_t epoch = link_->epoch() + 1;
  if (!graceful) spdlog::warn("epoch {}: the primary is lost: {}", link_->epoch(), link_->trouble());
  if (!link_->engaged()) {
    spdlog::error("this node was not in lock step yet and cannot take over");
    return std::nullopt;
  }
  ftlog::Claim claim;
  std::string reason;
  while (true) {
    claim = identity_.arbiter->try_acquire(epoch, identity_.node);
    if (claim.verdict != ftlog::Verdict::unreachable) break;
    if (claim.reason != reason)
      spdlog::error("the arbiter cannot be asked, this node stays silent: {}", reason = claim.reason);
    if (options_.unreachable == "stop") return exit_code::kUnreachable;
    if (interrupted()) return exit_code::kQuit;
    pause(kLookAround);
  }
  if (claim.verdict == ftlog::Verdict::lost) {
    spdlog::error("{} reigns in epoch {}: this node {}", claim.holder.node, claim.holder.epoch,
                  options_.rejoin ? "joins again" : "stops");
    return options_.rejoin ? std::nullopt : std::optional(exit_code::kLost);
  }
  primary::moment(primary::Moment::takeover_won);
  takeover.replayed = Clock::now();
  outputs_->drop(link_->status().delivered);
  takeover.epoch = epoch;
  takeover.log = link_->log_state();
  takeover.sums = replayer_->sums();
  takeover.stopped = replayer_->stopped();
  {
    const std::lock_guard lock(own_mutex_);
    takeover.own = std::move(own_);
  }
  takeover.on_live = [this, epoch] {
    primary::moment(primary::Moment::takeover_live);
    link_->leave(fmt::format("{} took over in epoch {}", identity_.node, epoch));
  };
  replayer_.reset();
  control_.answer_with({});
  LiveNode node(options_, identity_, control_, run_options_, setup_, *outputs_, start_);
  const int code = node.run_from_takeover(std::move(takeover));
  return options_.rejoin && node.superseded() ? std::nullopt : std::optional(code);
}

nlohmann::ordered_json FollowSession::status() const {
  const backup::LinkStatus link = link_->status();
  const primary::OutputCounts out = outputs_->counts();
  return {{"role", "backup"},
          {"state", link.engaged ? "lock-step" : "catching-up"},
          {"epoch", link.epoch},
          {"primary", link.primary},
          {"icount", link.replayed.icount},
          {"virtual_ns", link.replayed.virtual_ns},
          {"received", link.received},
          {"replayed", link.replayed.sequence},
          {"delivered", link.delivered},
          {"lag_ms",
           static_cast<double>(link.horizon.virtual_ns - std::min(link.horizon.virtual_ns, link.replayed.virtual_ns)) /
               1e6},
          {"waiting_bytes", link.waiting_bytes},
          {"gaps", link.gaps},
          {"outputs", {{"held", out.held}, {"held_bytes", out.held_bytes}, {"dropped", out.dropped}}},
          {"log", {{"bytes_in", link.channel.bytes_in}, {"bytes_out", link.channel.bytes_out}}},
          {"rejected",
           {{"bad", link.channel.bad_in}, {"version", link.channel.version_in}, {"stale", link.stale_messages}}}};
}

}  // namespace understudy::tools
