#include "emu/access_watch.h"

namespace understudy::emu {

namespace {

constexpr uint64_t kOffsetInPage = 4095;

bool overlaps(const AccessWatch::Range& range, uint64_t first, uint64_t last) {
  return first <= range.last && last >= range.first;
}

}  // namespace

bool AccessWatch::wants_page(uint64_t linear_page, uint64_t physical_page, bool write) const {
  for (const Range& range : ranges_) {
    const uint64_t page = range.physical ? physical_page : linear_page;
    if ((write ? range.writes : range.reads) && overlaps(range, page, page + kOffsetInPage)) return true;
  }
  return false;
}

void AccessWatch::touched(Who who, bool write, uint64_t linear, uint64_t physical, uint64_t length,
                          std::string_view device) const {
  for (size_t i = 0; i < ranges_.size(); ++i) {
    const Range& range = ranges_[i];
    const uint64_t at = range.physical ? physical : linear;
    if (!(write ? range.writes : range.reads) || (!range.physical && linear == kUnknown)) continue;
    if (overlaps(range, at, at + length - 1)) callback_({i, who, write, linear, physical, length, false, device});
  }
}

}  // namespace understudy::emu
