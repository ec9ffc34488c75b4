// A hash of every RAM page, kept up to date by looking only at the pages that changed, so that a digest of all RAM
// costs little when little changed. The digest is the XXH3 of the array of page hashes: it depends on the bytes alone,
// not on when or how often it was taken.
#pragma once

#include <cstdint>
#include <vector>

#include "emu/physical_memory.h"

namespace understudy::emu {

class PageHashes {
 public:
  // `memory` is all zeros still.
  explicit PageHashes(PhysicalMemory& memory);
  uint64_t digest();
  // Brings the hashes up to date and shows them.
  const std::vector<uint64_t>& update();

 private:
  PhysicalMemory& memory_;
  std::vector<uint64_t> hashes_;
  ChangeMap::Mark as_of_ = ChangeMap::kBeginning;
};

}  // namespace understudy::emu
