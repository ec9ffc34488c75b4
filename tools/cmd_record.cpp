#include "tools/cmd_record.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "tools/machine_setup.h"
#include "tools/record_session.h"
#include "tools/run_options.h"
#include "tools/serial_backend.h"
#include "tools/shared_disks.h"

namespace understudy::tools {

namespace {

struct RecordCommand {
  RecordOptions record;
  RunOptions run;
};

int record(const RecordCommand& command) {
  const RunOptions& options = command.run;
  if (options.disk_mode == DiskMode::write)
    throw UsageError(
        "--disk-mode write: a recording needs its images unchanged to be replayed; the guest's writes go to a copy "
        "that "
        "the recording makes again (use run for lasting changes)");
  if (!options.from_snapshot.empty())
    throw UsageError("--from-snapshot: a recording begins at power-on (use resume to go on from another recording)");
  const bool paced = is_paced(options);
  const int64_t start_s = rtc_start(options, paced);
  const RunOptions machine = with_disk_servers(options);
  MachineSetup setup = set_up_machine(machine, start_s);
  return record_run(setup, machine, paced, start_s, command.record);
}

}  // namespace

void add_record_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto command = std::make_shared<RecordCommand>();
  CLI::App* sub = app.add_subcommand("record", "Run, and write down every input, so that the run can be had again");
  sub->add_option("DIR", command->record.directory, "Where the recording goes: a new or empty folder")->required();
  add_run_options(*sub, command->run);
  add_record_options(*sub, command->record);
  sub->callback([command, then] { then([command] { return record(*command); }); });
}

}  // namespace understudy::tools
