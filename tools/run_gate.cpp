#include "tools/run_gate.h"

#include "tools/run_session.h"

namespace understudy::tools {

namespace {

// A signal does not wake a wait.
constexpr std::chrono::milliseconds kLookEvery{200};

}  // namespace

std::optional<uint64_t> RunGate::between_slices() {
  std::unique_lock lock(mutex_);
  if (state_ == State::running && (stop_asked_ || machine_.icount() >= until_)) {
    state_ = State::standing;
    changed_.notify_all();
  }
  while (state_ == State::standing && !end_asked_ && !interrupted()) changed_.wait_for(lock, kLookEvery);
  if (end_asked_ || interrupted()) return std::nullopt;
  return until_;
}

void RunGate::over(int exit_code) {
  const std::lock_guard lock(mutex_);
  state_ = State::over;
  exit_code_ = exit_code;
  changed_.notify_all();
}

void RunGate::let_run(uint64_t until_icount) {
  const std::lock_guard lock(mutex_);
  if (state_ == State::over) return;
  stop_asked_ = false;
  until_ = until_icount;
  state_ = State::running;
  changed_.notify_all();
}

bool RunGate::wait(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [this] { return state_ != State::running; });
}

std::optional<int> RunGate::exit_code() const {
  const std::lock_guard lock(mutex_);
  return exit_code_;
}

void RunGate::end() {
  const std::lock_guard lock(mutex_);
  end_asked_ = true;
  changed_.notify_all();
}

}  // namespace understudy::tools
