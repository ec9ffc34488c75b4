#include "emu/page_hashes.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>

namespace understudy::emu {

PageHashes::PageHashes(PhysicalMemory& memory) : memory_(memory) {
  static const std::array<uint8_t, kPageSize> zeros{};
  hashes_.assign(memory.store_pages(), XXH3_64bits(zeros.data(), zeros.size()));
}

const std::vector<uint64_t>& PageHashes::update() {
  const ChangeMap& changes = memory_.changes();
  for (uint64_t page = 0; page < hashes_.size(); ++page)
    if (changes.changed_since(page, as_of_)) hashes_[page] = XXH3_64bits(memory_.ram() + page * kPageSize, kPageSize);
  as_of_ = memory_.mark();
  return hashes_;
}

uint64_t PageHashes::digest() {
  update();
  return XXH3_64bits(hashes_.data(), hashes_.size() * sizeof hashes_[0]);
}

}  // namespace understudy::emu
