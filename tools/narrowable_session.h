// A recording's replay that can return to one point of its own, for backup::narrow().
#pragma once

#include <optional>
#include <string>

#include "backup/narrowing.h"
#include "tools/replay_session.h"

namespace understudy::tools {

class NarrowableSession : public backup::NarrowableReplay {
 public:
  // Begins at the newest snapshot at or before `near`.
  NarrowableSession(const std::string& directory, uint64_t near) : session_(directory) { session_.start_near(near); }
  ReplaySession& session() { return session_; }
  emu::Machine& machine() override { return session_.machine(); }
  void run_to(uint64_t icount) override { session_.run_to(icount); }
  void hold() override { held_ = session_.mark(); }
  void go_back() override { session_.go_back(*held_); }

 private:
  ReplaySession session_;
  std::optional<ReplaySession::Mark> held_;
};

}  // namespace understudy::tools
