#include "tools/cmd_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "emu/snapshot_file.h"
#include "tools/machine_setup.h"
#include "tools/run_options.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

// The card that --net brings when --nic names none.
constexpr const char* kDefaultNic = "virtio";
constexpr int64_t kUnpacedRtcStart = 1767225600;  // 2026-01-01T00:00:00Z

int64_t rtc_start(const std::string& text, bool paced) {
  if (text.empty() && !paced) return kUnpacedRtcStart;
  if (text.empty() || text == "now")
    return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    throw UsageError(fmt::format("--rtc {}: want now, or seconds since 1970", text));
  return value;
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
  if (result.net) {
    const devices::HostNetCounts& n = *result.net;
    json["net"] = {
        {"frames_out", n.frames_out},       {"bytes_out", n.bytes_out},       {"frames_in", n.frames_in},
        {"bytes_in", n.bytes_in},           {"out_bad_size", n.out_bad_size}, {"out_queue_full", n.out_queue_full},
        {"out_no_link", n.out_no_link},     {"out_refused", n.out_refused},   {"in_bad_size", n.in_bad_size},
        {"in_queue_full", n.in_queue_full}, {"links_cut", n.links_cut}};
  }
  const std::string text = json.dump(2) + "\n";
  std::FILE* file = path == "-" ? stdout : std::fopen(path.c_str(), "w");
  if (file == nullptr) throw UsageError(fmt::format("--json {}: {}", path, std::strerror(errno)));
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fflush(file) == 0;
  if (file != stdout) std::fclose(file);
  if (!written) throw UsageError(fmt::format("--json {}: cannot write", path));
}

void explain(const RunResult& result) {
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

int run(const RunOptions& options) {
  const bool at_terminal = isatty(STDIN_FILENO) && (options.serial == "stdio" || options.screen == "text");
  const bool paced = options.paced.value_or(at_terminal || options.net != "none");
  MachineSetup setup = set_up_machine(options, rtc_start(options.rtc, paced));
  if (!options.from_snapshot.empty()) emu::load_snapshot(setup.pc->machine(), setup.description(), options.from_snapshot);
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
  command->callback([options, command, then] {
    if (options->net != "none" && command->get_option("--nic")->count() == 0) options->nic = kDefaultNic;
    then([options] { return run(*options); });
  });
}

}  // namespace understudy::tools
