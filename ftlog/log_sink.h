// Where a recorder's entries go: a file, a backup, or both.
#pragma once

#include <cstdint>

#include "ftlog/entry.h"

namespace understudy::ftlog {

class LogSink {
 public:
  virtual ~LogSink() = default;
  // Returns the entry's sequence in this sink. Counts and times never decrease.
  virtual uint64_t append(uint64_t icount, uint64_t virtual_ns, const Payload& payload) = 0;
  // Now and then, between two runs of the machine, with a clock that never goes back: what is due by time.
  virtual void tick(uint64_t host_ns) = 0;
};

}  // namespace understudy::ftlog
