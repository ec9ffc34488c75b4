#include "tools/cmd_run.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "emu/snapshot_file.h"
#include "tools/debug_run.h"
#include "tools/machine_setup.h"
#include "tools/run_options.h"
#include "tools/run_session.h"
#include "tools/shared_disks.h"

namespace understudy::tools {

namespace {

// What --trace shows of the machine itself: from info on what it is made of, at debug also what running it took.
void trace_machine(const MachineSetup& setup) { fmt::print(stderr, "{}", setup.description().to_text()); }

void trace_work(emu::Machine& machine) {
  const emu::Cpu::Statistics& cpu = machine.cpu().statistics();
  const emu::Mmu::Statistics& mmu = machine.cpu().mmu().statistics();
  fmt::print(stderr,
             "engine runs: {}\nblocks translated: {}\nblocks looked up again: {}\nexceptions: {}, of them page faults: "
             "{}\ninterrupts: {}\nmemory-mapped accesses: {}\nsteps by the engine's own walker: {}\nTLB fills: "
             "{}\npages turned to code: {}, to data: {}, to both: {}\n",
             cpu.runs, machine.cpu().blocks().blocks_translated(), cpu.look_ups_again, cpu.exceptions + cpu.page_faults,
             cpu.page_faults, cpu.interrupts, cpu.io_steps, cpu.engine_steps, mmu.fills, mmu.to_code, mmu.to_writable,
             mmu.to_mixed);
}

int run(const RunOptions& asked, const DebugRunOptions& debug) {
  const RunOptions options = with_disk_servers(asked);
  const bool paced = is_paced(options);
  MachineSetup setup = set_up_machine(options, rtc_start(options, paced));
  if (!options.from_snapshot.empty())
    emu::load_snapshot(setup.pc->machine(), setup.description(), options.from_snapshot);
  if (options.trace == "info" || options.trace == "debug") trace_machine(setup);
  install_signal_handlers();
  RunResult result;
  if (debug.gdb.empty()) {
    RunSession session(options, setup, paced);
    result = session.run();
  } else {
    result = run_debugged(options, setup, paced, debug);
  }
  if (options.trace == "debug") trace_work(setup.pc->machine());
  if (!options.save.empty()) emu::save_snapshot(setup.pc->machine(), setup.description(), options.save);
  if (!options.json.empty()) write_json(options.json, result);
  explain(result);
  return result.code;
}

}  // namespace

void add_run_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Boot an image and run it");
  add_run_options(*command, *options);
  auto debug = std::make_shared<DebugRunOptions>();
  auto* group = command->add_option_group("Under gdb");
  CLI::Option* gdb =
      group
          ->add_option(
              "--gdb", debug->gdb,
              "Wait for gdb before the first instruction at [ADDRESS]:PORT, on loopback without an address, or "
              "unix:PATH. Only forward: record a run and `understudy debug` it to go back")
          ->type_name("WHERE");
  group->add_option("--symbols", debug->symbols, "An ELF file or a list as nm gives it, for gdb's monitor commands")
      ->type_name("FILE")
      ->allow_extra_args(false)
      ->needs(gdb);
  command->callback([options, debug, then] { then([options, debug] { return run(*options, *debug); }); });
}

}  // namespace understudy::tools
