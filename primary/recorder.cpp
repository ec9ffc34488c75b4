#include "primary/recorder.h"

#include <utility>

#include "emu/block_message.h"
#include "primary/moment.h"

namespace understudy::primary {

Recorder::Recorder(emu::Machine& machine, ftlog::LogSink& log, const ftlog::Start& start,
                   const RecorderOptions& options)
    : machine_(machine), log_(log), options_(options), sums_(machine.world().channel_count()) {
  append(start);
  append(ftlog::ClockChange{machine_.time().ps_per_instruction()});
  observe();
}

Recorder::Recorder(emu::Machine& machine, ftlog::LogSink& log, OutputSums sums, const RecorderOptions& options)
    : machine_(machine), log_(log), options_(options), sums_(std::move(sums)) {
  observe();
}

void Recorder::observe() {
  machine_.observe_inputs([this](const emu::Input& input) {
    moment(Moment::input_not_logged);
    append(as_entry(input));
    sums_.add_input(input.channel, input.payload.size());
  });
  machine_.world().observe_outputs(
      [this](emu::ChannelId channel, std::span<const uint8_t> payload) { sums_.add(channel, payload); });
  next_digest_ns_ = machine_.now_ns() + options_.digest_every_ns;
}

// What a disk brings has a kind of its own.
ftlog::Payload Recorder::as_entry(const emu::Input& input) const {
  if (machine_.world().kind(input.channel) == emu::ChannelKind::disk)
    if (auto answer = emu::decode_block_answer(input.payload))
      return ftlog::BlockDone{input.channel, answer->number, answer->ok, std::move(answer->data)};
  return ftlog::Input{input.channel, input.payload};
}

Recorder::~Recorder() {
  machine_.observe_inputs({});
  machine_.world().observe_outputs({});
}

uint64_t Recorder::append(const ftlog::Payload& payload) {
  return log_.append(machine_.icount(), machine_.now_ns(), payload);
}

uint64_t Recorder::mark_outputs() {
  uint64_t sequence = 0;
  for (const emu::ChannelId channel : sums_.take_changed())
    sequence = append(ftlog::OutputMark{channel, sums_[channel].bytes, sums_[channel].digest});
  return sequence;
}

void Recorder::append_proof() {
  mark_outputs();
  const emu::Digest digest = machine_.digest();
  append(ftlog::StateDigest{digest.cpu, digest.ram, digest.devices});
}

void Recorder::poll(uint64_t host_ns) {
  if (options_.digest_every_ns != 0 && machine_.now_ns() >= next_digest_ns_) {
    append_proof();
    next_digest_ns_ = machine_.now_ns() + options_.digest_every_ns;
  }
  log_.tick(host_ns);
}

void Recorder::set_rate(uint64_t ps_per_instruction) {
  machine_.time().set_rate(machine_.icount(), ps_per_instruction);
  append(ftlog::ClockChange{ps_per_instruction});
}

void Recorder::resetting() { append(ftlog::Reset{}); }

void Recorder::took_snapshot(const ftlog::Snapshot& snapshot) {
  sums_.take_changed();
  for (size_t i = 0; i < sums_.size(); ++i)
    if (sums_[i].bytes != 0) append(ftlog::OutputMark{static_cast<emu::ChannelId>(i), sums_[i].bytes, sums_[i].digest});
  append(snapshot);
}

void Recorder::finish(ftlog::EndReason reason, int exit_code) {
  append_proof();
  append(ftlog::End{reason, exit_code});
}

}  // namespace understudy::primary
