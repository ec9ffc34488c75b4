#include "tools/record_session.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <optional>

#include "emu/snapshot_file.h"
#include "ftlog/recording.h"
#include "primary/recorder.h"
#include "tools/recipe.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

// A snapshot that stands on more parents than this would be slow to load: the next one is whole.
constexpr unsigned kMaxChain = 32;

// Writes a snapshot into the recording now and then.
class Snapshots {
 public:
  Snapshots(MachineSetup& setup, primary::Recorder& recorder, std::string directory, uint64_t every)
      : setup_(setup), recorder_(recorder), directory_(std::move(directory)), every_(every) {
    next_ = setup_.pc->machine().icount() + every_;
  }
  void poll() {
    if (every_ != 0 && setup_.pc->machine().icount() >= next_) take();
  }
  void take() {
    emu::Machine& machine = setup_.pc->machine();
    const std::string path = ftlog::snapshot_path(directory_, machine.icount());
    last_ = emu::save_snapshot(machine, setup_.description(), path, chain_ < kMaxChain && last_ ? &*last_ : nullptr);
    chain_ = chain_ < kMaxChain ? chain_ + 1 : 0;
    const ftlog::FileSum sum = ftlog::sum_file(path);
    recorder_.took_snapshot({ftlog::snapshot_name(machine.icount()), sum.checksum, sum.bytes});
    next_ = machine.icount() + every_;
  }

 private:
  MachineSetup& setup_;
  primary::Recorder& recorder_;
  std::string directory_;
  uint64_t every_, next_;
  std::optional<emu::SavedSnapshot> last_;
  unsigned chain_ = 0;
};

}  // namespace

ftlog::EndReason end_reason(RunExit exit) {
  switch (exit) {
    case RunExit::shutdown:
      return ftlog::EndReason::shutdown;
    case RunExit::reset:
      return ftlog::EndReason::reset;
    case RunExit::debug_exit:
      return ftlog::EndReason::debug_exit;
    case RunExit::stop_at:
      return ftlog::EndReason::stop_at;
    case RunExit::until_serial:
      return ftlog::EndReason::until_serial;
    case RunExit::halted:
      return ftlog::EndReason::halted;
    case RunExit::quit:
      return ftlog::EndReason::quit;
    case RunExit::error:
      break;
  }
  return ftlog::EndReason::error;
}

void add_record_options(CLI::App& command, RecordOptions& o) {
  const std::map<std::string, ftlog::SyncPolicy> policies{{"none", ftlog::SyncPolicy::none},
                                                          {"interval", ftlog::SyncPolicy::interval},
                                                          {"output", ftlog::SyncPolicy::output}};
  auto* group = command.add_option_group("The recording");
  group
      ->add_option("--sync", o.sync,
                   "When the log is forced to the disk: none (the system decides), interval (each second), or output "
                   "(also before anything that left the machine is marked)")
      ->transform(CLI::CheckedTransformer(policies, CLI::ignore_case))
      ->type_name("POLICY")
      ->default_str("interval");
  group
      ->add_option("--state-digest", o.digest_every_s,
                   "Seconds of the guest's time between digests of the whole state, by which a replay proves itself; "
                   "0: only at the end")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  group
      ->add_option("--snapshot-every", o.snapshot_every_minstr,
                   "Million instructions between snapshots, from which a replay can start; 0: none")
      ->type_name("MINSTR")
      ->capture_default_str();
}

ftlog::LogOptions log_options(const RecordOptions& options, bool paced) {
  ftlog::LogOptions log;
  log.sync = options.sync;
  // A block costs its header: an idle guest is to leave few of them.
  if (paced) log.flush_interval_ns = 1'000'000'000;
  return log;
}

int record_run(MachineSetup& setup, const RunOptions& run, bool paced, int64_t rtc_start_s,
               const RecordOptions& options) {
  ftlog::Recording recording = ftlog::Recording::create(options.directory);
  ftlog::LogWriter log(recording.directory(), setup.description().to_text(), log_options(options, paced));
  primary::RecorderOptions recorder_options;
  recorder_options.digest_every_ns = static_cast<uint64_t>(options.digest_every_s * 1e9);
  const ftlog::Start start{rtc_start_s, paced ? ftlog::Pacing::paced : ftlog::Pacing::unpaced,
                           recipe_of(run, run.reboot.value_or(setup.has_firmware))};
  primary::Recorder recorder(setup.pc->machine(), log, start, recorder_options);
  Snapshots snapshots(setup, recorder, recording.directory(), options.snapshot_every_minstr * 1'000'000);
  if (setup.pc->machine().icount() != 0) snapshots.take();
  log.flush();
  install_signal_handlers();
  RunResult result;
  {
    RunSession session(run, setup, paced, {.recorder = &recorder});
    session.every_slice([&snapshots] { snapshots.poll(); });
    result = session.run();
  }
  recorder.finish(end_reason(result.exit), result.code);
  recording.finish();
  if (!run.save.empty()) emu::save_snapshot(setup.pc->machine(), setup.description(), run.save);
  if (!run.json.empty()) write_json(run.json, result);
  explain(result);
  return result.code;
}

}  // namespace understudy::tools
