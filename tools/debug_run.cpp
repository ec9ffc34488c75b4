#include "tools/debug_run.h"

#include <fmt/format.h>

#include <exception>
#include <thread>

#include "tools/gdb_live_target.h"
#include "tools/gdb_session.h"
#include "tools/run_session.h"

namespace understudy::tools {

RunResult run_debugged(const RunOptions& options, MachineSetup& setup, bool paced, const DebugRunOptions& debug) {
  DebugState state;
  state.machine = &setup.pc->machine();
  load_symbols(state.symbols, debug.symbols);
  GdbListener listener(debug.gdb);
  warn_if_public(listener);
  fmt::print(stderr, "understudy: the machine waits for {}\n", gdb_command(listener, debug.symbols));
  RunGate gate(*state.machine);
  GdbLiveTarget target(*state.machine, gate);
  RunSession session(options, setup, paced);
  session.control([&gate] { return gate.between_slices(); });
  std::exception_ptr failed;
  std::thread debugger([&] {
    try {
      if (serve_debugger(listener, target, state) == DebugEnd::killed) gate.end();
    } catch (...) {
      failed = std::current_exception();
      gate.end();
    }
  });
  RunResult result;
  std::exception_ptr run_failed;
  try {
    result = session.run();
  } catch (...) {
    run_failed = std::current_exception();
  }
  gate.over(result.code);
  // A client that hears of the machine's end has the time to say goodbye.
  listener.close();
  debugger.join();
  if (run_failed) std::rethrow_exception(run_failed);
  if (failed) std::rethrow_exception(failed);
  return result;
}

}  // namespace understudy::tools
