// Between a machine's thread and a debugger's: the machine runs while the debugger lets it, and stands still between
// two slices while the debugger looks at it. Exactly one of the two touches the machine at any time.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include "emu/machine.h"

namespace understudy::tools {

class RunGate {
 public:
  explicit RunGate(emu::Machine& machine) : machine_(machine) {}

  // --- the machine's thread
  // Between two slices (RunSession::control): comes back when the machine is to go on, with the count at which it is to
  // stop at the latest; nothing: the run is to end. It begins standing.
  std::optional<uint64_t> between_slices();
  // Also from the machine's hooks, while it runs, and from the other thread: it stands still after this slice.
  void ask_to_stop() { stop_asked_ = true; }
  // The run is over: nothing touches the machine any more.
  void over(int exit_code);

  // --- the debugger's
  void let_run(uint64_t until_icount = ~0ull);
  // Whether the machine stands still, or its run is over; waits so long for it.
  bool wait(std::chrono::milliseconds patience);
  std::optional<int> exit_code() const;
  void end();

 private:
  enum class State : uint8_t { standing, running, over };
  emu::Machine& machine_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::standing;
  uint64_t until_ = 0;
  bool end_asked_ = false;
  std::optional<int> exit_code_;
  std::atomic<bool> stop_asked_{false};
};

}  // namespace understudy::tools
