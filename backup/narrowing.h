// Finds where two replays of one log part: the first instruction count at which their machines' states differ, and in
// what. It goes back and forth by halves between a count where they are equal and one where they are not; a difference
// that comes and goes is found at one of its beginnings.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "emu/machine.h"
#include "emu/state_archive.h"

namespace understudy::backup {

// A replay that can return to one point of its own.
class NarrowableReplay {
 public:
  virtual ~NarrowableReplay() = default;
  virtual emu::Machine& machine() = 0;
  // Runs to this count, or to where the replay cannot go on.
  virtual void run_to(uint64_t icount) = 0;
  // Remembers the point where it is, instead of the one before; goes back to it.
  virtual void hold() = 0;
  virtual void go_back() = 0;
};

struct RamPageDifference {
  uint64_t address = 0;  // of the first byte that differs in the page
  uint8_t left = 0, right = 0;
  unsigned bytes = 0;  // that differ in the page
  // Bytes that differ, and up to kGap equal ones between them; at most kMaxRanges of these.
  struct Range {
    uint64_t first = 0, last = 0;
  };
  std::vector<Range> ranges;
  unsigned range_count = 0;

  static constexpr uint64_t kGap = 3;
  static constexpr size_t kMaxRanges = 8;
};

// A page of what a guest wrote over a drive's image.
struct DiskPageDifference {
  std::string store;    // as PagedStore names it
  uint64_t offset = 0;  // of the first byte that differs, from the image's beginning
  unsigned bytes = 0;   // that differ in the page
};

struct FirstDifference {
  uint64_t icount = 0;
  bool equal_before = false;  // the count before was looked at, and the states were equal there
  // CPU, clock, events and devices by field; the left replay's side first.
  std::vector<emu::StateDifference> fields;
  std::vector<RamPageDifference> pages;
  uint64_t page_count = 0;  // `pages` holds at most kMaxPages of them
  // These are in no digest: narrow() does not look for them.
  std::vector<DiskPageDifference> disk_pages;
  uint64_t disk_page_count = 0;  // as page_count

  static constexpr size_t kMaxPages = 16;
};

// What differs between two machines of one kind, here and now; nothing if they are equal. `icount` is the left one's.
std::optional<FirstDifference> difference_between(emu::Machine& left, emu::Machine& right);

// Both replays are at or before `low`. Nothing when they are equal at `high`. With `equal_before`, both hold the point
// one count before the difference, and are at the difference.
std::optional<FirstDifference> narrow(NarrowableReplay& left, NarrowableReplay& right, uint64_t low, uint64_t high);

}  // namespace understudy::backup
