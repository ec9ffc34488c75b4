// The engine's callbacks: thin C functions that turn into calls on the CPU. Exceptions must not cross the engine's
// frames, so they are kept and thrown again once the engine has returned.
#pragma once

#include "emu/cpu.h"

namespace understudy::emu {

struct CpuHooks {
  static void install(Cpu& cpu);
  static void block(uc_engine*, uint64_t pc, uint32_t size, void* record);
};

template <typename F>
void Cpu::guarded(F&& function) {
  try {
    function();
  } catch (...) {
    if (!error_) error_ = std::current_exception();
    pause(Pause::boundary);
  }
}

}  // namespace understudy::emu
