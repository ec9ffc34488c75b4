// A recording as a line on which a machine can be put anywhere, forwards and backwards. A point on it is a Mark; going
// back means going to a snapshot before the point and replaying from there, so everything is written in terms of marks
// and of what the replay shows on the way. The guest notices nothing, and the same mark is always the same state.
//
// Hits of breakpoints and watchpoints are looked for at the speed of a replay: the CPU tells of them while it runs, to
// within a block of instructions; that block is then run again step by step. Backwards, the stretch between two
// snapshots is run once, forwards, and the last hit in it counts.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/cmd_resume.h"
#include "tools/mark.h"
#include "tools/replay_session.h"
#include "tools/snapshot_line.h"

namespace understudy::tools {

// Hit at each point from which the CPU is about to execute the instruction at this linear address (of a REP: each
// iteration). A CPU that is halted or is about to take an interrupt is not.
struct Breakpoint {
  uint64_t address = 0;
  int id = 0;
};

// Hit by each step that accesses one of the bytes, be it with the value that is there already. A linear address is
// meant as the CPU's accesses name it, in whatever address space; a physical one whoever uses it: instructions through
// any mapping, the CPU itself (frames, accessed bits), devices. What emu::AccessWatch does not hear of is no hit.
struct Watchpoint {
  uint64_t address = 0;
  uint64_t length = 1;
  bool physical = false;
  int id = 0;
  bool reads = false, writes = true;
};

struct Condition {
  std::vector<Breakpoint> breakpoints;
  std::vector<Watchpoint> watchpoints;
  // Forwards, stop there with `limit`; backwards, go no further back than (until_icount, 0).
  std::optional<uint64_t> until_icount;
};

enum class Direction : uint8_t { forward, backward };

// How a watchpoint's bytes were accessed, and what they were around the step that did it.
struct MemoryAccess {
  std::vector<uint8_t> before, after;
  emu::AccessWatch::Who who = emu::AccessWatch::Who::instruction;
  std::string device;  // its name, if a device did it
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

using TimelineOptions = SnapshotLine::Options;

struct SnapshotStatistics {
  std::vector<Mark> snapshots;        // in memory, ascending
  std::vector<uint64_t> recorded;     // icounts of those beside the log
  std::vector<std::string> unusable;  // why some of those beside the log could not be used
  uint64_t bytes = 0, budget_bytes = 0;
  uint64_t restored = 0, taken = 0, dropped = 0;  // so far
  uint64_t widest_gap = 0, wanted_gap = 0;        // between two in memory, in instructions
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
  // From mark to mark. A step that hits one of the watchpoints is the last one, and says so.
  Stop step(uint64_t n = 1, const std::vector<Watchpoint>& watchpoints = {});
  // The watchpoints are those of the last step that is undone.
  Stop reverse_step(uint64_t n = 1, const std::vector<Watchpoint>& watchpoints = {});
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
  class Armed;
  // What a run was told of: the hit of a breakpoint at a point, or an access by one of the instructions first..last.
  struct Told {
    bool access = false;
    uint64_t first = 0, last = 0;
    Mark at;
  };
  // What a run is to look for. A hit at `begin` does not count where the run is to stop at the first.
  struct Search {
    bool stops_at_first = false;
    Mark begin;
    std::optional<Told> last;
  };
  // The first of the watchpoints that the present step has touched.
  struct Touched {
    size_t index;
    emu::AccessWatch::Who who;
    std::string device;
  };
  struct FoundStep {
    Mark before, after;
    Stop stop;
  };

  Mark here();
  Stop stop(Stop::Why why) const;
  bool may_go_on(double fraction);
  void told_of_delivery();
  void told_of_breakpoint();
  void told_of_access(const emu::AccessWatch::Touch& touch);
  // These say what came in between.
  std::optional<Stop> replay(uint64_t icount);
  std::optional<Stop> run_to(const Mark& to, bool dense);
  std::optional<Stop> go_to(const Mark& to, bool dense = true);
  std::optional<Stop> step_once();
  void go_back(const Mark& to, const ReplaySession::Mark& snapshot);
  bool enter_recorded(const Mark& nearest, const Mark& to);
  Stop go_back_steps(const Mark& present, uint64_t n);
  Stop back_to(const Mark& present, Stop stop);
  std::optional<Stop> hit(const Condition& condition);
  // One step, with watchpoints that are armed: what it hit, or what came in between.
  std::optional<FoundStep> step_armed(const std::vector<Watchpoint>& watchpoints);
  std::optional<FoundStep> step_watching(const std::vector<Watchpoint>& watchpoints);
  FoundStep found_here(Stop stop) const { return {at_, at_, std::move(stop)}; }
  FoundStep run_forward(const Condition& condition);
  FoundStep run_backward(const Condition& condition);
  std::optional<FoundStep> last_hit_in(const Condition& condition, const Mark& from, Mark& to);
  std::optional<FoundWrite> find_write(const Watchpoint& watchpoint, const Mark& from, Direction direction);

  ReplaySession session_;
  SnapshotLine line_;
  Mark first_, at_;
  Mark seen_;                                // the last delivery, or a point at which there was none yet
  std::optional<Mark> wanted_;               // stop at a delivery that brings us there
  std::vector<Mark>* deliveries_ = nullptr;  // where to note those to come
  std::optional<Search> search_;
  std::optional<Touched> touched_;
  std::vector<uint64_t> unusable_recorded_;
  std::vector<std::string> unusable_;
  uint64_t restored_ = 0;
  std::function<bool(double)> progress_;
  bool interrupted_ = false;
};

}  // namespace understudy::tools
