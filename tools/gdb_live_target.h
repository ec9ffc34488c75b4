// A running machine under a debugger: forward only, and it may be written to. The machine runs on a thread of its own,
// between whose slices the debugger's thread comes in by a RunGate; guest and host go on with each other as in any run,
// but while the machine stands still, the guest's clock does, too.
#pragma once

#include <optional>
#include <vector>

#include "tools/gdb_machine_target.h"
#include "tools/run_gate.h"

namespace understudy::tools {

class GdbLiveTarget : public GdbMachineTarget {
 public:
  // Machine and gate outlive the target.
  GdbLiveTarget(emu::Machine& machine, RunGate& gate);
  ~GdbLiveTarget() override;

  void attached() override;
  void detached() override;
  GdbStop resume(const GdbResume& how, GdbUser& user) override;

 private:
  void about_to_write() override;
  GdbStop run(uint64_t until_icount, GdbUser& user);
  void watch_for_breakpoints();

  RunGate& gate_;
  uint64_t begin_ = 0;  // of the present run
  bool stops_at_breakpoints_ = false;
  // On the machine's thread, read when it stands.
  std::optional<GdbBreakpoint> hit_;
  bool hit_by_device_ = false;
  std::vector<GdbBreakpoint> known_;  // to the CPU
};

}  // namespace understudy::tools
