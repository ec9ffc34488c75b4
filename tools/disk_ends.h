// Where the requests of a machine's shared disks go, as a run sees it.
#pragma once

#include <cstdint>

namespace understudy::tools {

class DiskEnds {
 public:
  virtual ~DiskEnds() = default;
  // The machine's thread, between two runs: gives the machine the answers that have come.
  virtual void feed() = 0;
  // Whether an answer is awaited, which a guest that runs unpaced must not be made to wait for in its own time.
  virtual bool busy() const = 0;
};

}  // namespace understudy::tools
