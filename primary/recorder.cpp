#include "primary/recorder.h"

namespace understudy::primary {

Recorder::Recorder(emu::Machine& machine, ftlog::LogWriter& log, const ftlog::Start& start,
                   const RecorderOptions& options)
    : machine_(machine), log_(log), options_(options), sums_(machine.world().channel_count()) {
  append(start);
  append(ftlog::ClockChange{machine_.time().ps_per_instruction()});
  machine_.observe_inputs([this](const emu::Input& input) { append(ftlog::Input{input.channel, input.payload}); });
  machine_.world().observe_outputs(
      [this](emu::ChannelId channel, std::span<const uint8_t> payload) { sums_.add(channel, payload); });
  next_digest_ns_ = machine_.now_ns() + options_.digest_every_ns;
}

Recorder::~Recorder() {
  machine_.observe_inputs({});
  machine_.world().observe_outputs({});
}

void Recorder::append(const ftlog::Payload& payload) { log_.append(machine_.icount(), machine_.now_ns(), payload); }

void Recorder::append_proof() {
  for (const emu::ChannelId channel : sums_.take_changed())
    append(ftlog::OutputMark{channel, sums_[channel].bytes, sums_[channel].digest});
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
