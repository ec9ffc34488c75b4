// What the engine gets wrong (emu/DEVIATIONS.md) and a guest has been seen to ask for: told once a kind, so that a user
// whose guest misbehaves knows where to look. Only what can be seen at no cost; nothing of it is part of the state.
#pragma once

#include <cstdint>
#include <functional>

#include "emu/engine_cpu.h"

namespace understudy::emu {

enum class Deviation : uint8_t {
  data_watchpoint,
  fp_error_line,
  sse_exception,
  segment_limit,
  read_only_segment,
  alignment_check,
  gate_286,
};
// What the guest did, and what does not happen.
const char* to_string(Deviation what);

struct DeviationSeen {
  Deviation what;
  uint16_t cs;
  uint64_t eip;     // of the instruction, or where the guest was found so
  uint64_t icount;  // before it
};

class DeviationWatch {
 public:
  explicit DeviationWatch(const EngineCpu& cpu) : cpu_(cpu) {}
  void listen(std::function<void(const DeviationSeen&)> listener) { listener_ = std::move(listener); }

  void saw(Deviation what, uint64_t icount);
  // Each looks for the deviations that can be found at its occasion.
  void debug_control_written(uint64_t dr7, uint64_t icount);
  void fp_flags_published(uint64_t icount);
  void interrupted(uint64_t icount);

 private:
  const EngineCpu& cpu_;
  std::function<void(const DeviationSeen&)> listener_;
  uint32_t told_ = 0;  // bits by kind
};

}  // namespace understudy::emu
