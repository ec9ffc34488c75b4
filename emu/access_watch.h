// Which accesses to RAM somebody wants to hear of. Ranges are physical (whoever touches those bytes, through whatever
// mapping) or linear (the CPU's accesses that name those addresses, in whatever address space). Told before the bytes
// change. Large and unaligned accesses come in pieces. The guest notices nothing, and pages without a watched byte cost
// nothing.
//
// Not heard of: the walker's reads of page tables, instruction fetches, and reads by the few instructions that the
// engine's own walker must run (task switches, segment loads at CPL 3); what those change is told afterwards.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string_view>
#include <vector>

namespace understudy::emu {

class AccessWatch {
 public:
  static constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();

  struct Range {
    uint64_t first = 0, last = 0;  // inclusive
    bool reads = false, writes = true;
    bool physical = true;
  };
  enum class Who : uint8_t {
    instruction,
    cpu,    // on an instruction's or an interrupt's behalf: frames, descriptors, accessed bits
    device  // DMA
  };
  struct Touch {
    size_t range = 0;  // index into what set() was given
    Who who = Who::instruction;
    bool write = false;
    uint64_t linear = 0, physical = 0;  // of the access; linear may be kUnknown
    uint64_t length = 0;
    bool done = false;        // the bytes have changed already
    std::string_view device;  // its name, of one that has told it
  };
  using Callback = std::function<void(const Touch&)>;

  // Through Cpu::watch_accesses(), which makes the engine ask again about pages that it knows.
  void set(std::vector<Range> ranges, Callback callback) {
    ranges_ = std::move(ranges);
    callback_ = std::move(callback);
  }
  bool on() const { return !ranges_.empty(); }
  const std::vector<Range>& ranges() const { return ranges_; }

  // Whether accesses of this kind to a page are to be looked at one by one.
  bool wants_page(uint64_t linear_page, uint64_t physical_page, bool write) const;
  // Tells of an access if it touches a range. `linear` is kUnknown where only the physical address counts.
  void touched(Who who, bool write, uint64_t linear, uint64_t physical, uint64_t length,
               std::string_view device = {}) const;
  void tell(const Touch& touch) const { callback_(touch); }

 private:
  std::vector<Range> ranges_;
  Callback callback_;
};

}  // namespace understudy::emu
