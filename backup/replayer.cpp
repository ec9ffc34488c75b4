#include "backup/replayer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "emu/block_message.h"

namespace understudy::backup {

namespace {

const char* to_string(emu::MachineStop stop) {
  switch (stop) {
    case emu::MachineStop::shutdown:
      return "switched itself off";
    case emu::MachineStop::reset:
      return "asked for a reset";
    case emu::MachineStop::debug_exit:
      return "wrote to the debug exit";
    case emu::MachineStop::halted:
      return "halted for ever";
    case emu::MachineStop::limit:
    case emu::MachineStop::idle:
    case emu::MachineStop::asked:
      break;
  }
  return "stopped";
}

// What the machine itself must have done for a log to end so; nothing when the outside ended it.
std::optional<emu::MachineStop> stop_behind(ftlog::EndReason reason) {
  switch (reason) {
    case ftlog::EndReason::shutdown:
      return emu::MachineStop::shutdown;
    case ftlog::EndReason::reset:
      return emu::MachineStop::reset;
    case ftlog::EndReason::debug_exit:
      return emu::MachineStop::debug_exit;
    default:
      return std::nullopt;
  }
}

}  // namespace

Replayer::Replayer(emu::Machine& machine, std::function<bool(ftlog::LogEntry&)> next, std::function<void()> reset_board)
    : machine_(machine),
      next_(std::move(next)),
      reset_board_(std::move(reset_board)),
      sums_(machine.world().channel_count()) {
  machine_.world().observe_outputs(
      [this](emu::ChannelId channel, std::span<const uint8_t> payload) { sums_.add(channel, payload); });
  last_proven_icount_ = machine_.icount();
}

Replayer::~Replayer() { machine_.world().observe_outputs({}); }

void Replayer::set_output(const ftlog::OutputMark& mark) {
  if (mark.channel < sums_.size()) sums_.set(mark.channel, {mark.total_bytes, mark.digest});
}

void Replayer::go_back(const Progress& progress) {
  sums_ = progress.sums;
  entry_ = progress.entry;
  stopped_ = progress.stopped;
  position_ = progress.position;
  proofs_ = progress.proofs;
  last_proven_icount_ = progress.last_proven_icount;
  divergence_.reset();
}

ReplayStop Replayer::diverge(std::string what) {
  Divergence divergence;
  divergence.sequence = entry_ ? entry_->sequence : position_;
  divergence.icount = machine_.icount();
  divergence.last_proven_icount = last_proven_icount_;
  divergence.what = std::move(what);
  divergence_ = std::move(divergence);
  return ReplayStop::diverged;
}

bool Replayer::at(const ftlog::LogEntry& entry) const {
  return machine_.icount() == entry.icount && machine_.now_ns() == entry.virtual_ns;
}

std::optional<ReplayStop> Replayer::go_to(uint64_t icount, uint64_t ns) {
  while (!stopped_ && (machine_.icount() < icount || (machine_.icount() == icount && machine_.now_ns() < ns))) {
    const uint64_t before = machine_.icount(), before_ns = machine_.now_ns();
    const uint64_t look_in = underway_ ? before + kUnderwayEvery : emu::Machine::kNoLimit;
    const emu::MachineStop stop = machine_.run(icount, emu::Machine::Idle::skip, ns, look_in);
    if (underway_) underway_();
    switch (stop) {
      case emu::MachineStop::limit:
        if (machine_.icount() == before && machine_.now_ns() == before_ns)
          return diverge(fmt::format("virtual time is {} ns where the log says {}", before_ns, ns));
        break;
      case emu::MachineStop::halted:
        return diverge(fmt::format("the machine halted for ever at instruction {}; the log goes on to {}",
                                   machine_.icount(), icount));
      case emu::MachineStop::idle:
        break;
      case emu::MachineStop::asked:
        return ReplayStop::asked;
      case emu::MachineStop::shutdown:
      case emu::MachineStop::reset:
      case emu::MachineStop::debug_exit:
        stopped_ = stop;
        break;
    }
  }
  return std::nullopt;
}

ReplayStop Replayer::run(uint64_t until_icount) {
  if (divergence_) return ReplayStop::diverged;
  while (true) {
    if (!entry_) {
      ftlog::LogEntry entry;
      if (!next_(entry)) return ReplayStop::starved;
      entry_ = std::move(entry);
    }
    if (entry_->icount > until_icount) {
      if (auto stop = go_to(until_icount, 0)) return *stop;
      if (stopped_)
        return diverge(fmt::format("the machine {} at instruction {}; the log goes on to {}", to_string(*stopped_),
                                   machine_.icount(), entry_->icount));
      return ReplayStop::limit;
    }
    if (!std::holds_alternative<ftlog::Reset>(entry_->payload)) {
      if (auto stop = go_to(entry_->icount, entry_->virtual_ns)) return *stop;
      if (stopped_ && !at(*entry_))
        return diverge(fmt::format("the machine {} at instruction {}; the log goes on to {}", to_string(*stopped_),
                                   machine_.icount(), entry_->icount));
      if (!at(*entry_))
        return diverge(fmt::format("virtual time is {} ns at instruction {} where the log says {} ns at {}",
                                   machine_.now_ns(), machine_.icount(), entry_->virtual_ns, entry_->icount));
    }
    if (auto stop = apply(*entry_)) return *stop;
    position_ = entry_->sequence;
    if (applied_) applied_(*entry_);
    entry_.reset();
  }
}

ReplayStop Replayer::run_to(uint64_t icount, uint64_t virtual_ns) {
  if (divergence_) return ReplayStop::diverged;
  return go_to(icount, virtual_ns).value_or(ReplayStop::limit);
}

std::optional<ReplayStop> Replayer::apply(const ftlog::LogEntry& entry) {
  if (const auto* input = std::get_if<ftlog::Input>(&entry.payload)) {
    if (input->channel >= sums_.size())
      return diverge(fmt::format("an input for channel {}, which this machine does not have", input->channel));
    machine_.deliver({input->channel, input->bytes});
    sums_.add_input(input->channel, input->bytes.size());
  } else if (const auto* done = std::get_if<ftlog::BlockDone>(&entry.payload)) {
    if (done->channel >= sums_.size() || machine_.world().kind(done->channel) != emu::ChannelKind::disk)
      return diverge(fmt::format("an answer of a disk on channel {}, where this machine has none", done->channel));
    const std::vector<uint8_t> answer = emu::encode(emu::BlockAnswer{done->request, done->ok, done->bytes});
    machine_.deliver({done->channel, answer});
    sums_.add_input(done->channel, answer.size());
  } else if (const auto* clock = std::get_if<ftlog::ClockChange>(&entry.payload)) {
    machine_.time().set_rate(machine_.icount(), clock->ps_per_instruction);
  } else if (std::holds_alternative<ftlog::Reset>(entry.payload)) {
    return apply_reset(entry);
  } else if (const auto* mark = std::get_if<ftlog::OutputMark>(&entry.payload)) {
    if (mark->channel >= sums_.size())
      return diverge(fmt::format("an output on channel {}, which this machine does not have", mark->channel));
    const primary::OutputSums::Sum& mine = sums_[mark->channel];
    if (mine.bytes != mark->total_bytes || mine.digest != mark->digest)
      return diverge(fmt::format("output on {} differs: {} bytes, digest {:016x}; the log says {} bytes, {:016x}",
                                 machine_.world().channel_name(mark->channel), mine.bytes, mine.digest,
                                 mark->total_bytes, mark->digest));
  } else if (const auto* digest = std::get_if<ftlog::StateDigest>(&entry.payload)) {
    const emu::Digest mine = machine_.digest();
    if (mine.cpu != digest->cpu || mine.ram != digest->ram || mine.devices != digest->devices) {
      const ReplayStop stop = diverge("");
      divergence_->cpu = mine.cpu != digest->cpu;
      divergence_->ram = mine.ram != digest->ram;
      divergence_->devices = mine.devices != digest->devices;
      divergence_->what = fmt::format("state digests differ in{}{}{}", divergence_->cpu ? " CPU" : "",
                                      divergence_->ram ? " RAM" : "", divergence_->devices ? " devices" : "");
      return stop;
    }
    ++proofs_;
    last_proven_icount_ = machine_.icount();
  } else if (const auto* end = std::get_if<ftlog::End>(&entry.payload)) {
    return apply_end(*end);
  }
  return std::nullopt;
}

std::optional<ReplayStop> Replayer::apply_reset(const ftlog::LogEntry& entry) {
  // The machine stops by itself where it asks for the reset, perhaps without another instruction.
  if (!stopped_) {
    emu::MachineStop stop = emu::MachineStop::limit;
    while (stop == emu::MachineStop::limit && machine_.icount() <= entry.icount &&
           machine_.now_ns() <= entry.virtual_ns)
      stop = machine_.run(entry.icount + 1, emu::Machine::Idle::skip);
    if (stop == emu::MachineStop::asked) return ReplayStop::asked;
    if (stop != emu::MachineStop::limit) stopped_ = stop;
  }
  if (stopped_ != emu::MachineStop::reset || !at(entry))
    return diverge(
        fmt::format("the machine does not ask for a reset at instruction {}, as the log says", entry.icount));
  stopped_.reset();
  reset_board_();
  return std::nullopt;
}

std::optional<ReplayStop> Replayer::apply_end(const ftlog::End& end) {
  if (const auto expected = stop_behind(end.reason); expected && stopped_ != expected)
    return diverge(fmt::format("the machine has not {} at instruction {}, as the log says",
                               ftlog::to_string(end.reason), machine_.icount()));
  end_ = end;
  return ReplayStop::ended;
}

}  // namespace understudy::backup
