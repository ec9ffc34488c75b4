// Turns a running machine into a recording: writes each input to the log at the point where the machine takes it, and
// from time to time what a replay must reproduce there (state digests, what has left on each channel). A point is an
// instruction count and the virtual nanosecond that goes with it. Everything here runs on the machine's thread.
#pragma once

#include <cstdint>

#include "emu/machine.h"
#include "ftlog/log_sink.h"
#include "primary/output_sums.h"

namespace understudy::primary {

struct RecorderOptions {
  uint64_t digest_every_ns = 1'000'000'000;  // virtual; 0: none but the last
};

class Recorder {
 public:
  // Machine and log outlive the recorder. The machine is at the recording's first point.
  Recorder(emu::Machine& machine, ftlog::LogSink& log, const ftlog::Start& start, const RecorderOptions& options);
  // Goes on with a log that the machine has been replayed from until now: `sums` is what has left until then.
  Recorder(emu::Machine& machine, ftlog::LogSink& log, OutputSums sums, const RecorderOptions& options);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // Between two runs of the machine: writes the digest when one is due, and what the log's own clock wants.
  void poll(uint64_t host_ns);
  // From now on, an instruction takes this long. Sets it, and logs it.
  void set_rate(uint64_t ps_per_instruction);
  // Marks what has left since the last mark. Returns the last mark's sequence; 0 if nothing has left.
  uint64_t mark_outputs();
  // From now on the machine runs under this epoch.
  void new_epoch(uint64_t epoch) { append(ftlog::Epoch{epoch}); }
  const OutputSums& sums() const { return sums_; }
  // The board is about to be reset, as the machine asked.
  void resetting();
  // A snapshot of this point has been written. The marks of every channel go before it, so that a replay which begins
  // there knows what has left until then.
  void took_snapshot(const ftlog::Snapshot& snapshot);
  // Writes the digest of the last point, and the end. Nothing may follow.
  void finish(ftlog::EndReason reason, int exit_code);

 private:
  void observe();
  ftlog::Payload as_entry(const emu::Input& input) const;
  uint64_t append(const ftlog::Payload& payload);
  void append_proof();

  emu::Machine& machine_;
  ftlog::LogSink& log_;
  RecorderOptions options_;
  OutputSums sums_;
  uint64_t next_digest_ns_ = 0;
};

}  // namespace understudy::primary
