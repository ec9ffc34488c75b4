// For threads that need little of a processor, but at once: who hears a message that a machine's output waits for.
// Linux from 6.12 on lets a thread that wakes take the processor from one that computes if it asks for a shorter slice
// (sched_setattr(2), sched_runtime); before, or where slices are equal, it may wait for the other's slice to end, for
// milliseconds. Costs nobody his share, needs no right, and older kernels take no notice.
#pragma once

#include <cstdint>

namespace understudy::ftlog {

// For the calling thread while this lives, and for those that it starts meanwhile, for good.
class ShortSlice {
 public:
  ShortSlice();
  ~ShortSlice();
  ShortSlice(const ShortSlice&) = delete;
  ShortSlice& operator=(const ShortSlice&) = delete;

 private:
  uint64_t before_ns_ = 0;
  bool changed_ = false;
};

}  // namespace understudy::ftlog
