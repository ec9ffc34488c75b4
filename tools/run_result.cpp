#include "tools/run_result.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tools/serial_backend.h"

namespace understudy::tools {

const char* to_string(RunExit exit) {
  switch (exit) {
    case RunExit::shutdown:
      return "shutdown";
    case RunExit::reset:
      return "reset";
    case RunExit::debug_exit:
      return "debug-exit";
    case RunExit::stop_at:
      return "stop-at";
    case RunExit::until_serial:
      return "until-serial";
    case RunExit::halted:
      return "halted";
    case RunExit::quit:
      return "quit";
    case RunExit::error:
      break;
  }
  return "error";
}

nlohmann::ordered_json net_counts_json(const devices::HostNetCounts& n) {
  return {{"frames_out", n.frames_out},       {"bytes_out", n.bytes_out},       {"frames_in", n.frames_in},
          {"bytes_in", n.bytes_in},           {"out_bad_size", n.out_bad_size}, {"out_queue_full", n.out_queue_full},
          {"out_no_link", n.out_no_link},     {"out_refused", n.out_refused},   {"in_bad_size", n.in_bad_size},
          {"in_queue_full", n.in_queue_full}, {"links_cut", n.links_cut}};
}

void write_json(const std::string& path, const RunResult& result) {
  auto hex = [](uint64_t value) { return fmt::format("{:016x}", value); };
  const double mips = result.wall_s > 0 ? static_cast<double>(result.icount) / result.wall_s / 1e6 : 0;
  nlohmann::ordered_json json = {{"icount", result.icount},
                                 {"virtual_ns", result.virtual_ns},
                                 {"wall_s", result.wall_s},
                                 {"mips", mips},
                                 {"exit", to_string(result.exit)},
                                 {"exit_code", result.code},
                                 {"digest",
                                  {{"cpu", hex(result.digest.cpu)},
                                   {"ram", hex(result.digest.ram)},
                                   {"devices", hex(result.digest.devices)},
                                   {"all", hex(result.digest.all)}}}};
  if (result.net) json["net"] = net_counts_json(*result.net);
  if (result.pace) {
    const PaceCounts& p = *result.pace;
    json["pace"] = {{"behind_ns", p.behind_ns},
                    {"most_behind_ns", p.most_behind_ns},
                    {"most_ahead_ns", p.most_ahead_ns},
                    {"lost_ns", p.lost_ns},
                    {"rate_changes", p.rate_changes}};
  }
  const std::string text = json.dump(2) + "\n";
  std::FILE* file = path == "-" ? stdout : std::fopen(path.c_str(), "w");
  if (file == nullptr) throw UsageError(fmt::format("--json {}: {}", path, std::strerror(errno)));
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fflush(file) == 0;
  if (file != stdout) std::fclose(file);
  if (!written) throw UsageError(fmt::format("--json {}: cannot write", path));
}

void explain(const RunResult& result) {
  if (result.pace && result.pace->lost_ns != 0)
    fmt::print(stderr, "understudy: the host did not keep up: the guest's clock is {:.1f} s late\n",
               static_cast<double>(result.pace->lost_ns) / 1e9);
  switch (result.exit) {
    case RunExit::halted:
      fmt::print(stderr, "understudy: the guest halted for ever at instruction {}\n", result.icount);
      break;
    case RunExit::reset:
      fmt::print(stderr, "understudy: the guest asked for a reset at instruction {}\n", result.icount);
      break;
    default:
      break;
  }
}

}  // namespace understudy::tools
