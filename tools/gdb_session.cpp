#include "tools/gdb_session.h"

#include <fmt/format.h>

#include "tools/gdb_monitor.h"
#include "tools/run_session.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

DebugEnd serve_debugger(GdbListener& listener, GdbTarget& target, DebugState& state) {
  DebugMonitor monitor(state);
  while (const std::unique_ptr<GdbLink> link = listener.accept()) {
    target.attached();
    GdbServer server(target, &monitor, state.settings, *link);
    const GdbServer::Parting parting = server.serve();
    if (parting == GdbServer::Parting::killed) return DebugEnd::killed;
    if (parting == GdbServer::Parting::ended) return DebugEnd::over;
    if (parting == GdbServer::Parting::detached) target.detached();
    if (!server.complaint().empty()) fmt::print(stderr, "understudy: gdb was cut off: {}\n", server.complaint());
    if (!interrupted()) fmt::print(stderr, "understudy: gdb has left; waiting for it to come back\n");
  }
  return DebugEnd::closed;
}

std::string gdb_command(const GdbListener& listener, const std::vector<std::string>& symbols) {
  std::string text = "gdb";
  for (const std::string& spec : symbols) {
    if (spec.find('@') != std::string::npos || !ElfFile::is_elf(spec)) continue;
    text += " " + spec;
    break;
  }
  return text + fmt::format(" -ex 'target remote {}'", listener.target());
}

void load_symbols(Symbols& symbols, const std::vector<std::string>& specs) {
  try {
    for (const std::string& spec : specs) symbols.load_spec(spec);
  } catch (const SymbolError& error) {
    throw UsageError(error.what());
  }
}

void warn_if_public(const GdbListener& listener) {
  if (listener.is_public())
    fmt::print(stderr, "understudy: whoever reaches {} can look at all of the guest, and steer it\n",
               listener.target());
}

}  // namespace understudy::tools
