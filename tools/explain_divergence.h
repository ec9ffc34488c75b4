// After a divergence: replays the recording twice more from the last point that was proven, to tell whether the replay
// itself is not repeatable, and at which instruction, or whether the recording is what differs.
#pragma once

#include <optional>
#include <string>

#include "backup/replayer.h"
#include "tools/replay_session.h"

namespace understudy::tools {

// What diverged and where, in two lines on standard error.
void print_divergence(const backup::Divergence& divergence);

// Prints to standard error. With `flip`, one of the two has the flip, as the replay that diverged had.
void explain_divergence(const std::string& directory, const backup::Divergence& divergence,
                        const std::optional<RamFlip>& flip);

}  // namespace understudy::tools
