#include "tools/cmd_timeline.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "ftlog/log_error.h"
#include "tools/machine_activity.h"
#include "tools/replay_stretch.h"
#include "tools/run_session.h"

namespace understudy::tools {

namespace {

constexpr uint64_t kLookEvery = 1'000'000;
// Without --resolution: spans a track at most, and points a graph.
constexpr uint64_t kMostSpans = 20'000, kGraphPoints = 2'000;

struct TimelineCommand {
  std::string directory, output;
  uint64_t from = 0;
  std::optional<uint64_t> to;
  std::optional<double> resolution_us;
  bool progress = isatty(STDERR_FILENO);
};

// Virtual time from `from` to `to`, or to the log's end, as far as the log's entries tell.
uint64_t length_ns(const TimelineCommand& command, uint64_t to) {
  ftlog::LogReader reader(command.directory);
  uint64_t begin = 0, end = 0;
  for (ftlog::LogEntry entry; reader.next(entry);) {
    if (entry.icount <= command.from) begin = entry.virtual_ns;
    end = entry.virtual_ns;
    if (entry.icount >= to) break;
  }
  return end - begin;
}

class OutputFile {
 public:
  explicit OutputFile(const std::string& path) {
    if (path == "-") return;
    fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd_ < 0) throw UsageError(fmt::format("{}: {}", path, std::strerror(errno)));
  }
  ~OutputFile() {
    if (fd_ != STDOUT_FILENO) close(fd_);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_ = STDOUT_FILENO;
};

int timeline(const TimelineCommand& command) {
  const uint64_t to = command.to.value_or(~0ull);
  if (command.resolution_us && !(*command.resolution_us >= 0 && *command.resolution_us <= 1e12))
    throw UsageError("--resolution: want microseconds, 0 or more");
  ReplayStretch stretch(command.directory, command.from, to);
  ReplaySession& session = stretch.session();
  const uint64_t length = length_ns(command, to);
  ActivityOptions options;
  options.resolution_ns = command.resolution_us ? static_cast<uint64_t>(*command.resolution_us * 1000)
                                                : std::max<uint64_t>(length / kMostSpans, 1000);
  options.graph_ns = std::max<uint64_t>({options.resolution_ns, length / kGraphPoints, 1000});
  const OutputFile file(command.output);
  OutputStream out(file.fd());

  if (stretch.begin(command.progress)) {
    TraceEventWriter writer(out);
    MachineActivity activity(session.machine(), writer, options);
    session.on_applied([&activity](const ftlog::LogEntry& entry) {
      if (const auto* input = std::get_if<ftlog::Input>(&entry.payload))
        activity.input(input->channel, input->bytes.size());
      if (const auto* done = std::get_if<ftlog::BlockDone>(&entry.payload))
        activity.input(done->channel, done->bytes.size());
      if (std::holds_alternative<ftlog::Reset>(entry.payload)) activity.reset();
    });
    while (!out.closed() && stretch.more(kLookEvery)) activity.look();
    activity.finish();
    writer.end();
    session.on_applied({});
  }
  return stretch.end();
}

}  // namespace

void add_timeline_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto command = std::make_shared<TimelineCommand>();
  CLI::App* sub = app.add_subcommand("timeline", "A recording as a picture: JSON for Perfetto or chrome://tracing");
  sub->footer(
      "Over virtual time: when the CPU ran user code, ran the kernel or was idle; interrupts and exceptions, a row "
      "for\n"
      "each vector; system calls; inputs, outputs and the console's lines; and graphs of the shares of time and of "
      "the\n"
      "speed in million instructions a (virtual) second. What is closer together than the resolution is merged into\n"
      "one span, whose arguments say how many they were and how long they took: the file's size depends on the\n"
      "resolution, not on how much happened.\n\n"
      "  understudy timeline DIR -o timeline.json\n"
      "  understudy timeline DIR -o detail.json --from 1000000000 --to 1010000000 --resolution 1\n\n"
      "Exit codes\n"
      "  0  written\n"
      "  2  no recording, or not this machine's\n"
      "  4  an internal error\n"
      "  5  the log is damaged, or the replay diverged from the recording");
  sub->add_option("DIR", command->directory, "The recording")->required();
  sub->add_option("-o,--output", command->output, "The JSON file ('-': standard output)")
      ->type_name("FILE")
      ->required();
  sub->add_option("--from", command->from, "Where to begin")->type_name("ICOUNT")->capture_default_str();
  sub->add_option("--to", command->to, "Where to stop [the end]")->type_name("ICOUNT");
  sub->add_option("--resolution", command->resolution_us,
                  "What is less than so many microseconds apart is merged [a 20,000th of the whole]")
      ->type_name("US");
  sub->callback([command, then] { then([command] { return timeline(*command); }); });
}

}  // namespace understudy::tools
