#include "tools/replay_stretch.h"

#include <fmt/format.h>

#include <algorithm>

#include "ftlog/log_error.h"
#include "ftlog/recording.h"
#include "tools/explain_divergence.h"
#include "tools/run_session.h"

namespace understudy::tools {

ReplayStretch::ReplayStretch(const std::string& directory, uint64_t from, uint64_t to)
    : was_finished_(ftlog::was_finished(directory)), session_(directory), from_(from), to_(to) {
  if (to < from) throw UsageError(fmt::format("--to {} is before --from {}", to, from));
  if (from > session_.last_icount())
    throw UsageError(
        fmt::format("{}: it ends at instruction {}, before --from {}", directory, session_.last_icount(), from));
  session_.start_near(from);
  const uint64_t first = session_.machine().icount();
  if (first > from && from != 0)
    throw UsageError(fmt::format("{}: it begins at instruction {}, after --from {}", directory, first, from));
}

bool ReplayStretch::begin(bool show_progress) {
  install_signal_handlers();
  session_.show_progress(show_progress);
  stop_ = session_.run_to(from_);
  session_.show_progress(false);
  return stop_ == backup::ReplayStop::limit && !interrupted();
}

bool ReplayStretch::more(uint64_t instructions) {
  emu::Machine& machine = session_.machine();
  if (stop_ != backup::ReplayStop::limit || machine.icount() >= to_ || interrupted()) return false;
  stop_ = session_.run_to(std::min(to_, machine.icount() + instructions));
  return true;
}

int ReplayStretch::end() const {
  if (stop_ == backup::ReplayStop::diverged) {
    print_divergence(*session_.replayer().divergence());
    return exit_code::kDiverged;
  }
  if (stop_ == backup::ReplayStop::starved && was_finished_) throw ftlog::cut_off(session_.log().tail());
  return interrupted() ? exit_code::kQuit : 0;
}

}  // namespace understudy::tools
