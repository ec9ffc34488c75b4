// A recording under a debugger: run control on a timeline, in both directions. Nothing can be written, since what a
// recording holds has happened.
#pragma once

#include <string>
#include <vector>

#include "tools/gdb_machine_target.h"
#include "tools/timeline.h"

namespace understudy::tools {

// While it lives, the debugger's user sees how far a timeline's work is, once it takes long, and can end it.
class ShownProgress {
 public:
  ShownProgress(Timeline& timeline, GdbUser& user);
  ~ShownProgress();
  ShownProgress(const ShownProgress&) = delete;
  ShownProgress& operator=(const ShownProgress&) = delete;

 private:
  Timeline& timeline_;
};

// `1234`, or `1234.1` behind the first delivery there.
std::string mark_text(const Mark& mark);
// Who it was, in a few words.
std::string accessor_text(const MemoryAccess& access);

class GdbReplayTarget : public GdbMachineTarget {
 public:
  // `physical_watches` are watched beside what the debugger asks for.
  GdbReplayTarget(Timeline& timeline, const std::vector<Watchpoint>& physical_watches)
      : GdbMachineTarget(timeline.machine()), timeline_(timeline), physical_watches_(physical_watches) {}

  GdbStop resume(const GdbResume& how, GdbUser& user) override;

 private:
  void about_to_write() override;
  Condition condition() const;
  std::vector<Watchpoint> watchpoints() const;
  Stop step(bool backward);
  GdbStop step_through(const GdbResume& range, GdbUser& user);
  GdbStop report(const Stop& stop, GdbUser& user) const;

  Timeline& timeline_;
  const std::vector<Watchpoint>& physical_watches_;
};

}  // namespace understudy::tools
