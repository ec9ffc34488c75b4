#include "tools/cmd_record.h"

#include <fmt/format.h>

#include <map>
#include <memory>

#include "emu/snapshot_file.h"
#include "ftlog/log_writer.h"
#include "ftlog/recording.h"
#include "primary/recorder.h"
#include "tools/machine_setup.h"
#include "tools/recipe.h"
#include "tools/run_options.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

struct RecordCommand {
  std::string directory;
  RunOptions run;
  ftlog::SyncPolicy sync = ftlog::SyncPolicy::interval;
  double digest_every_s = 1;
};

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

int record(const RecordCommand& command) {
  const RunOptions& options = command.run;
  if (options.disk_mode == DiskMode::write)
    throw UsageError(
        "--disk-mode write: a recording needs its images unchanged to be replayed; the guest's writes go to a copy "
        "that "
        "the recording makes again (use run for lasting changes)");
  if (!options.from_snapshot.empty()) throw UsageError("--from-snapshot: a recording begins at power-on");
  const bool paced = is_paced(options);
  const int64_t start_s = rtc_start(options, paced);
  MachineSetup setup = set_up_machine(options, start_s);
  const ftlog::Recording recording = ftlog::Recording::create(command.directory);
  ftlog::LogOptions log_options;
  log_options.sync = command.sync;
  ftlog::LogWriter log(recording.directory(), setup.description().to_text(), log_options);
  primary::RecorderOptions recorder_options;
  recorder_options.digest_every_ns = static_cast<uint64_t>(command.digest_every_s * 1e9);
  const ftlog::Start start{start_s, paced ? ftlog::Pacing::paced : ftlog::Pacing::unpaced,
                           recipe_of(options, options.reboot.value_or(setup.has_firmware))};
  primary::Recorder recorder(setup.pc->machine(), log, start, recorder_options);
  log.flush();
  install_signal_handlers();
  RunResult result;
  {
    RunSession session(options, setup, paced, &recorder);
    result = session.run();
  }
  recorder.finish(end_reason(result.exit), result.code);
  if (!options.save.empty()) emu::save_snapshot(setup.pc->machine(), setup.description(), options.save);
  if (!options.json.empty()) write_json(options.json, result);
  explain(result);
  return result.code;
}

}  // namespace

void add_record_command(CLI::App& app, std::function<void(std::function<int()>)> then) {
  auto command = std::make_shared<RecordCommand>();
  CLI::App* sub = app.add_subcommand("record", "Run, and write down every input, so that the run can be had again");
  sub->add_option("DIR", command->directory, "Where the recording goes: a new or empty folder")->required();
  add_run_options(*sub, command->run);
  const std::map<std::string, ftlog::SyncPolicy> policies{{"none", ftlog::SyncPolicy::none},
                                                          {"interval", ftlog::SyncPolicy::interval},
                                                          {"output", ftlog::SyncPolicy::output}};
  sub->add_option("--sync", command->sync,
                  "When the log is forced to the disk: none (the system decides), interval (each second), or output "
                  "(also before anything that left the machine is marked)")
      ->transform(CLI::CheckedTransformer(policies, CLI::ignore_case))
      ->type_name("POLICY")
      ->default_str("interval");
  sub->add_option("--state-digest", command->digest_every_s,
                  "Seconds of the guest's time between digests of the whole state, by which a replay proves itself; 0: "
                  "only at the end")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  sub->callback([command, then] { then([command] { return record(*command); }); });
}

}  // namespace understudy::tools
