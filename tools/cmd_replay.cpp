#include "tools/cmd_replay.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>

#include "emu/snapshot_file.h"
#include "ftlog/log_error.h"
#include "ftlog/recording.h"
#include "tools/explain_divergence.h"
#include "tools/ram_flip.h"
#include "tools/replay_session.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

struct ReplayCommand {
  std::string directory;
  std::string to = "end";
  std::string from = "start";
  std::string serial = "none";
  std::string save, json;
  bool verify = false;
  bool progress = isatty(STDERR_FILENO);
  uint64_t slice = 0, slice_seed = 1;
  std::string flip;
};

// An instruction count, or `word`, which stands for `meaning`.
uint64_t parse_count(const char* option, const std::string& text, const char* word, uint64_t meaning) {
  if (text == word) return meaning;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    throw UsageError(fmt::format("{} {}: want an instruction count, or {}", option, text, word));
  return value;
}

RunExit run_exit(ftlog::EndReason reason) {
  switch (reason) {
    case ftlog::EndReason::shutdown:
      return RunExit::shutdown;
    case ftlog::EndReason::reset:
      return RunExit::reset;
    case ftlog::EndReason::debug_exit:
      return RunExit::debug_exit;
    case ftlog::EndReason::stop_at:
      return RunExit::stop_at;
    case ftlog::EndReason::until_serial:
      return RunExit::until_serial;
    case ftlog::EndReason::halted:
      return RunExit::halted;
    case ftlog::EndReason::quit:
      return RunExit::quit;
    case ftlog::EndReason::error:
      break;
  }
  return RunExit::error;
}

int replay(const ReplayCommand& command) {
  const uint64_t to = parse_count("--to", command.to, "end", ~0ull);
  const bool was_finished = ftlog::was_finished(command.directory);
  ReplaySession session(command.directory);
  if (command.from != "start") session.start_near(std::min(to, parse_count("--from", command.from, "nearest", to)));
  if (session.machine().icount() > to)
    throw UsageError(
        fmt::format("{}: begins at instruction {}, after --to {}", command.directory, session.machine().icount(), to));
  const std::optional<RamFlip> flip = parse_flip(command.flip);
  if (flip) session.inject(*flip);
  session.connect_serial(command.serial);
  session.slice(command.slice, command.slice_seed);
  session.show_progress(command.progress);
  install_signal_handlers();
  const auto begin = std::chrono::steady_clock::now();
  const backup::ReplayStop stop = session.run_to(to);
  RunResult result;
  emu::Machine& machine = session.machine();
  result.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  result.icount = machine.icount();
  result.virtual_ns = machine.now_ns();
  result.digest = machine.digest();
  const backup::Replayer& replayer = session.replayer();
  switch (stop) {
    case backup::ReplayStop::limit:
    case backup::ReplayStop::asked:
      result.exit = interrupted() ? RunExit::quit : RunExit::stop_at;
      result.code = interrupted() ? exit_code::kQuit : 0;
      break;
    case backup::ReplayStop::ended:
      result.exit = run_exit(replayer.end().reason);
      result.code = 0;
      break;
    case backup::ReplayStop::starved:
      // The end of what an interrupted recording left, unless it has been finished: perhaps since we read it.
      if (was_finished) throw ftlog::cut_off(session.log().tail());
      result.exit = RunExit::stop_at;
      result.code = 0;
      fmt::print(stderr,
                 "understudy: {}: the recording was not finished; replayed to instruction {}, its last entry ({} at "
                 "offset {}: {})\n",
                 command.directory, result.icount, session.log().tail().segment, session.log().tail().offset,
                 session.log().tail().reason);
      break;
    case backup::ReplayStop::diverged:
      print_divergence(*replayer.divergence());
      explain_divergence(command.directory, *replayer.divergence(), flip);
      result.exit = RunExit::error;
      result.code = exit_code::kDiverged;
      break;
  }
  if (flip && stop != backup::ReplayStop::diverged)
    fmt::print(stderr, "understudy: {}: {}\n", command.directory,
               session.injected() ? "the flipped bit made no difference to any digest: it was overwritten"
                                  : "the replay did not pass the count of --inject-ram-flip");
  if (command.verify && result.code == 0)
    fmt::print("{}: {} instructions replayed, {} state digests equal{}\n", command.directory, result.icount,
               replayer.proofs(), stop == backup::ReplayStop::ended ? ", to the recording's end" : "");
  if (!command.save.empty() && result.code != exit_code::kDiverged)
    emu::save_snapshot(machine, session.setup().description(), command.save);
  if (!command.json.empty()) write_json(command.json, result);
  return result.code;
}

}  // namespace

void add_replay_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto command = std::make_shared<ReplayCommand>();
  CLI::App* sub = app.add_subcommand("replay", "Have a recording again, proven against its digests");
  sub->footer(
      "Every state digest and output mark on the way is compared; nothing is taken on trust.\n\n"
      "Exit codes\n"
      "  0  replayed as far as asked, and equal\n"
      "  2  no recording, or not this machine's\n"
      "  4  an internal error\n"
      "  5  the log is damaged, or the replay diverged from the recording");
  sub->add_option("DIR", command->directory, "The recording")->required();
  sub->add_option("--to", command->to, "Where to stop")->type_name("ICOUNT|end")->capture_default_str();
  sub->add_option("--from", command->from,
                  "Where to begin: start, or the newest snapshot at or before ICOUNT (nearest: before --to)")
      ->type_name("start|nearest|ICOUNT")
      ->capture_default_str();
  sub->add_option("--serial", command->serial, "Where COM1's output goes: stdio, file:PATH or none")
      ->capture_default_str();
  sub->add_flag("--verify", command->verify, "Say what was proven");
  sub->add_flag("--progress,!--no-progress", command->progress,
                "A line about how far it is [when standard error is a terminal]");
  sub->add_option("--save", command->save, "Write a snapshot of where it stopped")->type_name("FILE");
  sub->add_option("--json", command->json, "Write how it ended and its digests ('-': standard output)")
      ->type_name("FILE");
  sub->add_option("--slice", command->slice,
                  "Stop and go on at random counts at most N apart: changes nothing, for tests")
      ->type_name("N");
  sub->add_option("--inject-ram-flip", command->flip,
                  "Turn one bit of the guest's RAM over at this count: a test of what finds divergences")
      ->type_name("ICOUNT:ADDRESS:BIT");
  sub->add_option("--slice-seed", command->slice_seed, "Seed of those counts")->type_name("N");
  sub->callback([command, then] { then([command] { return replay(*command); }); });
}

}  // namespace understudy::tools
