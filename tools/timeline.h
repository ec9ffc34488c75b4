// A recording as a line on which a machine can be put anywhere, forwards and backwards. A point on it is a Mark; going
// back means going to a snapshot before the point and replaying from there, so everything is written in terms of marks
// and of what the replay shows on the way. The guest notices nothing, and the same mark is always the same state.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/cmd_resume.h"
#include "tools/replay_session.h"

namespace understudy::tools {

// A point between two steps of the machine. At one instruction count there is first the point (icount, 0): the last
// instruction has retired, all that the log has for this count was applied, and no interrupt has been taken. If an
// interrupt is then taken, or the next instruction faults, the CPU enters a handler without retiring anything: that is
// the point (icount, 1), with RIP at the handler; if the handler's first instruction faults too, (icount, 2); and so
// on. INT and traps are the end of their instructions, each iteration of a REP is an instruction, a halted CPU waits at
// one point until the interrupt that wakes it, and a reset of the board belongs to the point at whose count it happens.
struct Mark {
  uint64_t icount = 0;
  uint64_t deliveries = 0;
  auto operator<=>(const Mark&) const = default;
};

// Hit at each point from which the CPU is about to execute the instruction at this linear address (of a REP: each
// iteration). A CPU that is halted or is about to take an interrupt is not.
struct Breakpoint {
  uint64_t address = 0;
  int id = 0;
};

// Hit by each step over which one of the bytes changes, whoever changed it. A linear address is looked up in the
// address space that is current before the step, and after it.
struct Watchpoint {
  uint64_t address = 0;
  uint64_t length = 1;
  bool physical = false;
  int id = 0;
};

struct Condition {
  std::vector<Breakpoint> breakpoints;
  std::vector<Watchpoint> watchpoints;
  // Forwards, stop there with `limit`; backwards, go no further back than (until_icount, 0).
  std::optional<uint64_t> until_icount;
};

enum class Direction : uint8_t { forward, backward };

// What a watchpoint saw of its bytes.
struct MemoryAccess {
  std::vector<uint8_t> before, after;
};

struct Stop {
  enum Why : uint8_t {
    limit,        // what was asked for: the number of steps, the count, until_icount
    breakpoint,   // `id`; the machine is in front of the instruction
    watchpoint,   // `id`, `access`; forwards the machine is behind the step, backwards in front of it
    begin,        // the first point of the recording
    end_of_log,   // the last one
    interrupted,  // on_progress() said so; a machine that was to go backwards is where it began
    diverged      // the replay does not do what the log says, see `message`
  };
  Why why = limit;
  int id = 0;
  Mark at;
  MemoryAccess access;
  std::string message;
};

// One write, as last_write() and next_write() find it: the step from `before` to `after` made it.
struct FoundWrite {
  Mark before, after;
  MemoryAccess access;
};

struct TimelineOptions {
  uint64_t snapshot_budget_bytes = 1ull << 30;  // the first snapshot and the last stay, whatever they take
};

struct SnapshotStatistics {
  std::vector<Mark> snapshots;     // in memory, ascending
  std::vector<uint64_t> recorded;  // icounts of those beside the log
  uint64_t bytes = 0, budget_bytes = 0;
  uint64_t restored = 0, taken = 0, dropped = 0;  // so far
};

class Timeline {
 public:
  // Opens the recording at its first point. Throws what ReplaySession does.
  explicit Timeline(const std::string& directory, const TimelineOptions& options = {});
  ~Timeline();
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  ReplaySession& session() { return session_; }
  emu::Machine& machine() { return session_.machine(); }
  MachineSetup& setup() { return session_.setup(); }

  Mark mark() const { return at_; }
  uint64_t position() const { return at_.icount; }
  // The counts between which a point can be.
  uint64_t first() const { return first_.icount; }
  uint64_t last() const { return session_.last_icount(); }

  // All of these leave the machine at a mark, whatever happens. A seek beyond either end goes to the end.
  Stop seek(uint64_t icount) { return seek(Mark{icount, 0}); }
  Stop seek(const Mark& to);
  // From mark to mark.
  Stop step(uint64_t n = 1);
  Stop reverse_step(uint64_t n = 1);
  // The next hit behind the present point, or the last one in front of it. What the present point itself hits does not
  // count; backwards, a step that ends at the present point does.
  Stop run_until(const Condition& condition, Direction direction);

  // The last step that wrote to one of the bytes and ended at or before `before`, or the first that began at or after
  // `after`; the machine stays where it is. Nothing: there is none, or the user interrupted (see interrupted()).
  std::optional<FoundWrite> last_write(uint64_t address, uint64_t length, bool physical, const Mark& before);
  std::optional<FoundWrite> next_write(uint64_t address, uint64_t length, bool physical, const Mark& after);
  bool interrupted() const { return interrupted_; }

  // Called some ten times a second while something takes long, with how much of it is done. False interrupts it.
  void on_progress(std::function<bool(double fraction)> callback) { progress_ = std::move(callback); }

  SnapshotStatistics snapshots() const;

  // Makes the machine live at the present point and runs it with a recording of its own until it ends: as `understudy
  // resume` does. The timeline is over then; only its destructor may be called. Returns the exit code.
  int branch_to(const RunOptions& live, const RecordOptions& record);

 private:
  Mark here();
  Stop stop(Stop::Why why) const;
  bool may_go_on(double fraction);
  void snapshot_here();
  void keep_budget();
  // These say what came in between.
  std::optional<Stop> replay(uint64_t icount);
  std::optional<Stop> run_to(const Mark& to);
  std::optional<Stop> go_to(const Mark& to);
  std::optional<Stop> step_once();
  std::optional<Stop> step_watched(const Condition& condition);
  std::optional<Stop> hit(const Condition& condition);
  std::vector<Mark> marks_between(const Mark& from, const Mark& to);
  Stop run_backward(const Condition& condition);
  std::optional<FoundWrite> find_write(uint64_t address, uint64_t length, bool physical, const Mark& from,
                                       Direction direction);

  ReplaySession session_;
  TimelineOptions options_;
  Mark first_, at_;
  Mark seen_;                   // the last delivery, or a point at which there was none yet
  std::optional<Mark> wanted_;  // stop at a delivery that brings us there
  std::map<Mark, ReplaySession::Mark> snapshots_;
  uint64_t restored_ = 0, taken_ = 0, dropped_ = 0;
  std::function<bool(double)> progress_;
  bool interrupted_ = false;
};

}  // namespace understudy::tools
