#include "tools/live_node.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "tools/net_options.h"
#include "tools/record_session.h"
#include "tools/serial_backend.h"
#include "tools/thread_time.h"

namespace understudy::tools {

namespace {

using SteadyClock = std::chrono::steady_clock;
using nlohmann::ordered_json;

constexpr std::chrono::nanoseconds kLookAgain{5'000'000};
// A client notices it when an answer takes so much longer.
constexpr std::chrono::milliseconds kLongWait{100};
// A machine that ended waits so long for its backup to have all of it.
constexpr std::chrono::seconds kFarewell{5};

uint64_t host_ns() { return static_cast<uint64_t>(SteadyClock::now().time_since_epoch().count()); }

}  // namespace

void check_world(const PairOptions& options, const RunOptions& run) {
  if (!options.hub.empty() && run.net != "none")
    throw UsageError(fmt::format("--net {}: the machine's network is the hub's: give --hub or --net", run.net));
  try_net(run.net);
}

LiveNode::LiveNode(const PairOptions& options, PairIdentity& identity, NodeControl& control, const RunOptions& run,
                   MachineSetup& setup, primary::OutputCommit& outputs, const ftlog::Start& start)
    : options_(options),
      identity_(identity),
      control_(control),
      run_options_(run),
      setup_(setup),
      machine_(setup.pc->machine()),
      outputs_(outputs),
      start_(start) {}

LiveNode::~LiveNode() { control_.answer_with({}); }

void LiveNode::make_link(const ftlog::CodecState& log, uint64_t epoch) {
  primary::BackupLinkOptions o;
  o.socket = listening_socket(options_, identity_);
  o.build = build_name();
  o.node = identity_.node;
  o.description = setup_.description().to_text();
  o.start = start_;
  o.durable = options_.durable;
  o.timeout = std::chrono::milliseconds(options_.timeout_ms);
  o.give_up = std::chrono::milliseconds(options_.give_up_ms);
  o.stop_when_unreachable = options_.unreachable == "stop";
  o.lease = options_.hub.empty();
  try {
    link_ = std::make_unique<primary::BackupLink>(o, machine_, outputs_, *identity_.arbiter, log, epoch);
  } catch (const ftlog::ChannelError& error) {
    // Who has won an epoch serves, if without a backup.
    spdlog::error("no backup can join: {}", error.what());
    o.socket.address = "ipc://*";
    link_ = std::make_unique<primary::BackupLink>(o, machine_, outputs_, *identity_.arbiter, log, epoch);
  }
  log_ = std::make_unique<PairLog>(*link_, own_ ? &own_->writer() : nullptr);
  follow_the_disk();
}

void LiveNode::follow_the_disk() {
  if (!own_ || !options_.durable) return;
  // Every entry goes to both logs from here on; the own one counts from its stint's beginning.
  const uint64_t between = link_->last() - own_->writer().appended();
  outputs_.require_disk(link_->last());
  own_->writer().sync_behind(
      [&outputs = outputs_, between](uint64_t sequence) { outputs.on_disk(sequence + between); });
}

int LiveNode::run_from_power_on(uint64_t epoch) {
  if (!options_.log.empty()) own_ = std::make_unique<StintLog>(options_.log, setup_);
  make_link({}, epoch);
  recorder_ = std::make_unique<primary::Recorder>(machine_, *log_, start_, primary::RecorderOptions{});
  recorder_->new_epoch(epoch);
  if (own_) own_->writer().flush();
  return run({}, {});
}

int LiveNode::run_from_takeover(Takeover takeover) {
  own_ = std::move(takeover.own);
  make_link(takeover.log, takeover.epoch);
  recorder_ =
      std::make_unique<primary::Recorder>(machine_, *log_, std::move(takeover.sums), primary::RecorderOptions{});
  recorder_->new_epoch(takeover.epoch);
  if (own_) own_->writer().flush();
  recorder_->mark_outputs();
  outputs_.mark(link_->last());
  if (options_.hub.empty() && setup_.nic && run_options_.net.starts_with("tap:")) {
    announcer_.emplace(*setup_.nic);
    announcer_->begin(SteadyClock::now());
  }
  return run(takeover.stopped, [this, &takeover] {
    const auto ms = [](auto from, auto to) { return std::chrono::duration<double, std::milli>(to - from).count(); };
    const auto now = SteadyClock::now();
    takeover_ = {{"epoch", takeover.epoch},
                 {"icount", machine_.icount()},
                 {"detect_ms", ms(takeover.last_heard, takeover.given_up)},
                 {"replay_ms", ms(takeover.given_up, takeover.replayed)},
                 {"go_live_ms", ms(takeover.replayed, now)}};
    spdlog::warn(
        "epoch {}: live at icount {}: silence noticed after {:.1f} ms, replayed in {:.1f} ms, live in {:.1f} ms",
        takeover.epoch, machine_.icount(), takeover_["detect_ms"].get<double>(), takeover_["replay_ms"].get<double>(),
        takeover_["go_live_ms"].get<double>());
    announce();
    takeover.on_live();
  });
}

// The hub hears of the epoch before any output can reach it.
void LiveNode::connect_world(uint64_t epoch) {
  if (options_.hub.empty()) return;
  primary::HubLink::Options o;
  o.address = options_.hub;
  o.node = identity_.node;
  o.keys = identity_.hub_keys.get();
  o.durable = options_.durable;
  o.on_trouble = [](const std::string& line) { spdlog::warn("{}", line); };
  hub_ = std::make_unique<HubEnds>(std::move(o), setup_, outputs_, recorder_->sums(), wakeup_,
                                   [this](uint64_t reigns, const std::string& node) {
                                     link_->depose(fmt::format("{} reigns in epoch {}, says the hub", node, reigns));
                                   });
  hub_->announce(epoch);
  link_->on_epoch([this](uint64_t won) { hub_->announce(won); });
}

int LiveNode::run(std::optional<emu::MachineStop> stopped, const std::function<void()>& on_live) {
  install_signal_handlers();
  connect_world(link_->status().epoch);
  outputs_.be_prompt(true);
  next_snapshot_ = machine_.icount() + options_.snapshot_every_minstr * 1'000'000;
  RunParts parts;
  parts.recorder = recorder_.get();
  parts.outputs = &outputs_;
  parts.serial0 = hub_.get();
  parts.has_network = hub_ != nullptr;
  parts.disks = hub_.get();
  parts.wakeup = &wakeup_;
  session_ = std::make_unique<RunSession>(run_options_, setup_, start_.pacing == ftlog::Pacing::paced, parts);
  session_->every_slice([this] { between_slices(); });
  link_->on_attention([this] { wakeup_.notify(); });
  live_since_ = SteadyClock::now();
  control_.on_request([this] { wakeup_.notify(); });
  outputs_.open();
  if (on_live) on_live();
  link_->start();
  control_.answer_with([this] { return status(); });
  if (!options_.listen.empty()) spdlog::info("backups can join at {}", link_->endpoint());
  // Those before are not needed once this one's epoch is on the disk.
  if (own_ && options_.keep_logs != 0 && stints(options_.log).size() > options_.keep_logs) {
    own_->writer().sync();
    forget_stints(options_.log, options_.keep_logs);
  }
  const RunResult result = session_->run(stopped);
  superseded_ = handing_over_ || (result.exit == RunExit::error && result.code == exit_code::kLost);
  if (result.exit == RunExit::error) {
    if (result.code == exit_code::kLost)
      spdlog::error("this node was deposed at icount {}: {}", result.icount, link_->verdict());
    else if (result.code == exit_code::kUnreachable)
      spdlog::error("stopped at icount {}: the backup is lost and the arbiter out of reach: {}", result.icount,
                    link_->verdict());
  } else if (!handing_over_) {
    recorder_->finish(end_reason(result.exit), result.code);
    outputs_.mark(link_->last());
    link_->finish(kFarewell, to_string(result.exit));
    if (hub_) hub_->flush(kFarewell);
    if (own_) own_->finish();
  }
  control_.on_request({});
  control_.answer_with({});
  own_.reset();
  // Each of these calls the next: the channel the hub, the hub's link the channel's owner.
  link_->stop();
  hub_.reset();
  session_.reset();
  link_.reset();
  if (!options_.json.empty()) write_json(options_.json, result);
  if (result.exit != RunExit::error) explain(result);
  return result.code;
}

void LiveNode::between_slices() {
  if (const auto epoch = link_->take_new_epoch()) recorder_->new_epoch(*epoch);
  if (outputs_.has_unmarked()) {
    recorder_->mark_outputs();
    outputs_.mark(link_->last());
  }
  snapshot_sometimes();
  if (control_.stop_asked()) session_->end(RunExit::quit, 0);
  if (control_.take_switchover()) switch_over();
  if (handing_over_) return;
  if (link_->service(recorder_->sums())) wakeup_.notify();
  if (hub_) hub_->between_slices(recorder_->sums(), link_->last(), std::min(link_->committed(), outputs_.disk()));
  announce();
  hold_back();
  if (link_->state() == primary::PairState::deposed) {
    const bool unreachable = options_.unreachable == "stop" && link_->verdict().find("reigns") == std::string::npos;
    session_->end(RunExit::error, unreachable ? exit_code::kUnreachable : exit_code::kLost);
  }
}

// The machine waits while its backup is too far behind, or too much waits to leave.
void LiveNode::hold_back() {
  const auto begin = SteadyClock::now();
  while (!interrupted() && !control_.stop_asked()) {
    if (const auto epoch = link_->take_new_epoch()) recorder_->new_epoch(*epoch);
    const primary::PairStatus pair = link_->status();
    if (pair.state == primary::PairState::deposed) return;
    uint64_t wait_ns = 0;
    if (!link_->has_backup()) {
      lag_.reset();
      lag_ns_ = 0;
    } else {
      if (!lag_ || lag_of_ != pair.backups_joined) {
        lag_.emplace(uint64_t{options_.lag_ms} * 1'000'000, uint64_t{options_.give_up_ms} * 1'000'000);
        work_ = {};
      }
      lag_of_ = pair.backups_joined;
      wait_ns = look_at_lag(pair.replayed);
    }
    if (lag_ && options_.give_up_ms != 0 && lag_->stalled())
      link_->lose(fmt::format("it is behind, and has not moved for {} ms", options_.give_up_ms));
    const bool full = outputs_.full() || link_->full();
    if (wait_ns == 0 && !full) break;
    link_->service(recorder_->sums());
    link_->tell_where();
    link_->wait(full ? kLookAgain : std::chrono::nanoseconds(wait_ns));
  }
  const auto now = SteadyClock::now();
  if (const auto share = slowdown_.add(now, now - begin))
    spdlog::warn("epoch {}: icount {}: the machine stood still for {:.0f} % of the last {} s, to wait for its backup",
                 link_->status().epoch, machine_.icount(), *share * 100, Slowdown::kWindow.count());
  tell_of_waits(now);
}

void LiveNode::tell_of_waits(SteadyClock::time_point now) {
  if (now < next_word_of_waits_) return;
  next_word_of_waits_ = now + Slowdown::kWindow;
  const std::chrono::duration<double, std::milli> longest = outputs_.take_longest_wait();
  if (longest > kLongWait)
    spdlog::warn("epoch {}: icount {}: an output waited {:.0f} ms for the backup's acknowledgement",
                 link_->status().epoch, machine_.icount(), longest.count());
}

// How long the machine has to wait for a backup that has replayed so far.
uint64_t LiveNode::look_at_lag(const ftlog::Horizon& replayed) {
  const uint64_t work = thread_cpu_ns(), icount = machine_.icount(), now = machine_.now_ns();
  work_.note({icount, now}, work);
  const primary::LagControl::Position backup{replayed.icount, replayed.virtual_ns,
                                             work_.at({replayed.icount, replayed.virtual_ns})};
  const uint64_t wait = lag_->wait_ns({icount, now, work}, backup, host_ns());
  lag_ns_ = lag_->lag_ns();
  return wait;
}

void LiveNode::snapshot_sometimes() {
  if (!own_ || options_.snapshot_every_minstr == 0 || machine_.icount() < next_snapshot_) return;
  next_snapshot_ = machine_.icount() + options_.snapshot_every_minstr * 1'000'000;
  if (own_->bytes() >= options_.log_limit_mib << 20) return begin_stint();
  const ftlog::Snapshot snapshot = own_->take_snapshot();
  recorder_->took_snapshot(snapshot);
  outputs_.mark(link_->last());
}

void LiveNode::begin_stint() {
  auto next = std::make_unique<StintLog>(options_.log, setup_);
  next->begin(start_, recorder_->sums());
  next->writer().append(machine_.icount(), machine_.now_ns(), ftlog::Epoch{link_->status().epoch});
  next->writer().sync();
  log_->go_on_in(next->writer());
  own_ = std::move(next);
  follow_the_disk();
  spdlog::info("epoch {}: icount {}: the log goes on in {}", link_->status().epoch, machine_.icount(),
               own_->directory());
  forget_stints(options_.log, options_.keep_logs);
}

// Only while this node's own frames may leave: one that was stopped meanwhile is perhaps no longer where the guest is.
void LiveNode::announce() {
  if (!announcer_ || !outputs_.may_leave()) return;
  const auto send = [this](std::span<const uint8_t> frame) { session_->send_frame(frame); };
  if (!announcer_->poll(SteadyClock::now(), send)) announcer_.reset();
}

// The machine stands still until its backup reigns; if the backup is lost over it, it goes on.
void LiveNode::switch_over() {
  if (!link_->hand_over()) {
    spdlog::error("there is no backup in lock step that could take over");
    return;
  }
  spdlog::info("handing over at icount {}", machine_.icount());
  handing_over_ = true;
  while (true) {
    link_->wait(kLookAgain);
    switch (link_->state()) {
      case primary::PairState::handing_over:
      case primary::PairState::deciding:
        if (!interrupted()) continue;
        break;
      case primary::PairState::deposed:
        spdlog::info("handed over: {}", link_->verdict());
        return session_->end(RunExit::quit, 0);
      default:
        break;
    }
    handing_over_ = false;
    return;
  }
}

ordered_json LiveNode::status() const {
  const primary::PairStatus pair = link_->status();
  const primary::OutputCounts out = outputs_.counts();
  const double seconds = std::chrono::duration<double>(SteadyClock::now() - live_since_).count();
  ordered_json json = {
      {"role", "primary"},
      {"state", primary::to_string(pair.state)},
      {"epoch", pair.epoch},
      {"backup", pair.backup},
      {"icount", pair.horizon.icount},
      {"virtual_ns", pair.horizon.virtual_ns},
      {"live_s", seconds},
      {"appended", pair.appended},
      {"acknowledged", pair.acknowledged},
      {"on_disk", std::min(pair.appended, outputs_.disk())},
      {"lag_ms", static_cast<double>(lag_ns_) / 1e6},
      {"slowed",
       {{"share", slowdown_.share(SteadyClock::now())},
        {"ms", std::chrono::duration_cast<std::chrono::milliseconds>(slowdown_.total()).count()}}},
      {"backups_joined", pair.backups_joined},
      {"backups_lost", pair.backups_lost},
      {"listens_at", link_->endpoint()},
      {"outputs",
       {{"held", out.held},
        {"held_bytes", out.held_bytes},
        {"released", out.released},
        {"median_wait_us", out.median_wait_us},
        {"worst_wait_us", out.worst_wait_us}}},
      {"log",
       {{"bytes_out", pair.channel.bytes_out},
        {"bytes_in", pair.channel.bytes_in},
        {"messages_out", pair.channel.messages_out},
        {"messages_in", pair.channel.messages_in},
        {"kbit_s",
         seconds > 0 ? static_cast<double>(pair.channel.bytes_out - pair.transfer_bytes) * 8e-3 / seconds : 0},
        {"resent_blocks", pair.resent_blocks}}},
      {"rejected",
       {{"bad", pair.channel.bad_in},
        {"version", pair.channel.version_in},
        {"keys", pair.channel.refused_keys},
        {"stale", pair.stale_messages}}},
      {"transfer",
       {{"pages", pair.transfer_pages},
        {"bytes", pair.transfer_bytes},
        {"pause_ms", static_cast<double>(pair.transfer_pause_us) / 1e3}}}};
  if (!takeover_.is_null()) json["takeover"] = takeover_;
  if (hub_) {
    const primary::HubLink::Counts hub = hub_->link().counts();
    json["hub"] = {{"connected", hub_->link().connected()},
                   {"frames_out", hub.frames_out},
                   {"frames_in", hub.frames_in},
                   {"fenced", hub.fenced}};
  }
  return json;
}

}  // namespace understudy::tools
