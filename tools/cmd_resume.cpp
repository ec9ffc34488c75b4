#include "tools/cmd_resume.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "tools/recipe.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

struct ResumeCommand {
  std::string directory;
  uint64_t at = 0;
  RecordOptions record;
  RunOptions live;
};

int resume(const ResumeCommand& command) {
  ReplaySession session(command.directory);
  if (!session.setup().shared.empty())
    throw UsageError(
        fmt::format("{}: its disk {} lies outside of the machine and has gone on since: only a replay is possible",
                    command.directory, session.setup().shared.front().where));
  session.start_near(command.at);
  install_signal_handlers();
  const backup::ReplayStop stop = session.run_to(command.at);
  if (stop == backup::ReplayStop::diverged) {
    fmt::print(stderr, "understudy: the replay diverges before instruction {}: {}\n", command.at,
               session.replayer().divergence()->what);
    return exit_code::kDiverged;
  }
  if (interrupted()) return exit_code::kQuit;
  if (session.machine().icount() != command.at)
    throw UsageError(
        fmt::format("--at {}: {} ends at instruction {}", command.at, command.directory, session.machine().icount()));
  return resume_live(session, command.live, command.record);
}

}  // namespace

int resume_live(ReplaySession& session, const RunOptions& live, RecordOptions record) {
  const uint64_t at = session.machine().icount();
  session.end_replay();
  const RunOptions options = with_ends(session.options(), live);
  if (record.directory.empty()) record.directory = fmt::format("{}.at-{}", session.directory(), at);
  fmt::print(stderr, "understudy: live at instruction {}; recording into {}\n", at, record.directory);
  return record_run(session.setup(), options, is_paced(options), session.start().rtc_start_s, record);
}

void add_resume_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto command = std::make_shared<ResumeCommand>();
  CLI::App* sub = app.add_subcommand("resume", "Go on live from any point of a recording, with a recording of its own");
  sub->add_option("DIR", command->directory, "The recording to start from; it stays as it is")->required();
  sub->add_option("--at", command->at, "The point")->type_name("ICOUNT")->required();
  sub->add_option("--into", command->record.directory, "Where the new recording goes [DIR.at-ICOUNT]")
      ->type_name("DIR");
  add_live_options(*sub, command->live);
  add_record_options(*sub, command->record);
  sub->callback([command, then] { then([command] { return resume(*command); }); });
}

}  // namespace understudy::tools
