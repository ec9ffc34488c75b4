// A part of a recording, replayed for whoever watches the machine meanwhile: what the commands that tell of a stretch
// of it have in common.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tools/replay_session.h"

namespace understudy::tools {

class ReplayStretch {
 public:
  // Opens the recording and goes to the snapshot nearest to `from`; 0 is its beginning, wherever that is. Throws what
  // ReplaySession does, and UsageError for a stretch that the recording does not have.
  ReplayStretch(const std::string& directory, uint64_t from, uint64_t to);

  ReplaySession& session() { return session_; }
  uint64_t from() const { return from_; }
  uint64_t to() const { return to_; }

  // Replays up to the stretch's beginning; true if it can go on from there.
  bool begin(bool show_progress);
  // Replays some of it; true as long as there is more and the user has not had enough.
  bool more(uint64_t instructions);
  // The command's exit code; tells of a divergence. Throws LogError for a log that ends before it should.
  int end() const;

 private:
  bool was_finished_;
  ReplaySession session_;
  uint64_t from_, to_;
  backup::ReplayStop stop_ = backup::ReplayStop::limit;
};

}  // namespace understudy::tools
