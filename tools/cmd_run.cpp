#include "tools/cmd_run.h"

#include <memory>

#include "emu/snapshot_file.h"
#include "tools/machine_setup.h"
#include "tools/run_options.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

int run(const RunOptions& options) {
  const bool paced = is_paced(options);
  MachineSetup setup = set_up_machine(options, rtc_start(options, paced));
  if (!options.from_snapshot.empty())
    emu::load_snapshot(setup.pc->machine(), setup.description(), options.from_snapshot);
  install_signal_handlers();
  RunResult result;
  {
    RunSession session(options, setup, paced);
    result = session.run();
  }
  if (!options.save.empty()) emu::save_snapshot(setup.pc->machine(), setup.description(), options.save);
  if (!options.json.empty()) write_json(options.json, result);
  explain(result);
  return result.code;
}

}  // namespace

void add_run_command(CLI::App& app, std::function<void(std::function<int()>)> then) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Boot an image and run it");
  add_run_options(*command, *options);
  command->callback([options, then] { then([options] { return run(*options); }); });
}

}  // namespace understudy::tools
