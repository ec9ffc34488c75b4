#include "tools/cmd_trace.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>

#include "tools/instruction_trace.h"
#include "tools/replay_stretch.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

// How long a reader who goes away, or Ctrl-C, goes unnoticed.
constexpr uint64_t kLookEvery = 20'000;

struct TraceCommand {
  std::string directory;
  uint64_t from = 0;
  std::optional<uint64_t> to, count;
  TraceOptions options;
  std::vector<std::string> symbols;
};

int trace(const TraceCommand& command) {
  Symbols symbols;
  for (const std::string& file : command.symbols) symbols.load_spec(file);
  uint64_t to = command.to.value_or(~0ull);
  if (command.count) to = command.from + std::min<uint64_t>(*command.count, ~0ull - command.from);
  ReplayStretch stretch(command.directory, command.from, to);
  ReplaySession& session = stretch.session();
  OutputStream out(STDOUT_FILENO);
  if (stretch.begin(false)) {
    InstructionTrace trace(session.machine(), symbols, out, command.options);
    session.on_applied([&trace](const ftlog::LogEntry& entry) {
      if (const auto* input = std::get_if<ftlog::Input>(&entry.payload)) trace.input(input->channel, input->bytes);
      if (const auto* done = std::get_if<ftlog::BlockDone>(&entry.payload)) trace.input(done->channel, done->bytes);
      if (std::holds_alternative<ftlog::Reset>(entry.payload)) trace.reset();
    });
    while (!out.closed() && stretch.more(kLookEvery)) {
    }
    trace.finish();
    session.on_applied({});
  }
  return stretch.end();
}

}  // namespace

void add_trace_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto command = std::make_shared<TraceCommand>();
  CLI::App* sub = app.add_subcommand("trace", "Every instruction of a part of a recording");
  sub->footer(
      "One line an instruction: its count, CS:IP, bytes and text, and as asked for the symbol, the registers that it\n"
      "changed, and the memory that it read (r) and wrote (w), as SIZE[LINEAR ADDRESS]=VALUE. Interrupts, exceptions,\n"
      "inputs and halts have lines of their own, at the count where they come. The count is the number of "
      "instructions\n"
      "that ran before it; each iteration of a repeated string instruction counts.\n\n"
      "  understudy trace DIR --from 1000000 --count 50 --regs --mem\n"
      "  understudy trace DIR --from 0 --symbols vmlinux | grep ' -- '\n\n"
      "Exit codes\n"
      "  0  traced as far as asked, or to the recording's end\n"
      "  2  no recording, or not this machine's; or a bad file of symbols\n"
      "  4  an internal error\n"
      "  5  the log is damaged, or the replay diverged from the recording");
  sub->add_option("DIR", command->directory, "The recording")->required();
  sub->add_option("--from", command->from, "The first instruction")->type_name("ICOUNT")->capture_default_str();
  auto* to = sub->add_option("--to", command->to, "Where to stop, before this instruction [the end]");
  to->type_name("ICOUNT");
  sub->add_option("--count", command->count, "How many instructions, instead of --to")->type_name("N")->excludes(to);
  sub->add_flag("--regs", command->options.registers, "The registers that each instruction changed");
  sub->add_flag("--mem", command->options.memory, "The memory that each instruction touched, with the values");
  sub->add_flag("--json", command->options.json, "A JSON object a line");
  sub->add_option("--symbols", command->symbols,
                  "Names and source lines: an ELF file, or a list as /proc/kallsyms has; with the address that it was "
                  "moved by, if it was; may be repeated")
      ->type_name("FILE[@BIAS]")
      ->allow_extra_args(false);
  sub->callback([command, then] { then([command] { return trace(*command); }); });
}

}  // namespace understudy::tools
