#include "backup/narrowing.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

namespace understudy::backup {

namespace {

bool equal(emu::Machine& left, emu::Machine& right) {
  return left.icount() == right.icount() && left.now_ns() == right.now_ns() && left.digest() == right.digest();
}

std::vector<uint8_t> archive(emu::Machine& machine) {
  emu::StateWriter writer;
  machine.visit_state(writer);
  return writer.finish();
}

void compare_ram(emu::PhysicalMemory& left, emu::PhysicalMemory& right, FirstDifference& difference) {
  const uint8_t* const a = left.ram();
  const uint8_t* const b = right.ram();
  for (uint64_t page = 0; page < std::min(left.ram_size(), right.ram_size()); page += emu::kPageSize) {
    if (std::memcmp(a + page, b + page, emu::kPageSize) == 0) continue;
    if (++difference.page_count > FirstDifference::kMaxPages) continue;
    RamPageDifference one;
    uint64_t last = 0;
    for (uint64_t at = page; at < page + emu::kPageSize; ++at) {
      if (a[at] == b[at]) continue;
      if (one.bytes++ == 0) one.address = at, one.left = a[at], one.right = b[at];
      if (one.range_count == 0 || at - last > RamPageDifference::kGap + 1) {
        if (one.range_count++ < RamPageDifference::kMaxRanges) one.ranges.push_back({at, at});
      }
      if (one.range_count == one.ranges.size()) one.ranges.back().last = at;
      last = at;
    }
    difference.pages.push_back(std::move(one));
  }
}

void compare_disks(emu::Machine& left, emu::Machine& right, FirstDifference& difference) {
  constexpr uint64_t kPageBytes = emu::PagedStore::kPageBytes;
  std::array<uint8_t, kPageBytes> a{}, b{};
  for (size_t i = 0; i < std::min(left.stores().size(), right.stores().size()); ++i) {
    emu::PagedStore &one = *left.stores()[i], &other = *right.stores()[i];
    if (&one == &left.memory() || one.store_name() != other.store_name()) continue;
    std::set<uint64_t> pages;
    for (emu::PagedStore* store : {&one, &other})
      store->for_each_changed(emu::ChangeMap::kBeginning, [&pages](uint64_t page) { pages.insert(page); });
    for (const uint64_t page : pages) {
      one.read_page(page, a);
      other.read_page(page, b);
      if (a == b || ++difference.disk_page_count > FirstDifference::kMaxPages) continue;
      DiskPageDifference found;
      found.store = one.store_name();
      for (uint64_t at = kPageBytes; at-- > 0;) {
        if (a[at] == b[at]) continue;
        ++found.bytes;
        found.offset = page * kPageBytes + at;
      }
      difference.disk_pages.push_back(std::move(found));
    }
  }
}

FirstDifference describe(emu::Machine& left, emu::Machine& right, uint64_t icount, bool equal_before) {
  FirstDifference difference;
  difference.icount = icount;
  difference.equal_before = equal_before;
  difference.fields = emu::state_diff(archive(left), archive(right));
  compare_ram(left.memory(), right.memory(), difference);
  compare_disks(left, right, difference);
  return difference;
}

}  // namespace

std::optional<FirstDifference> difference_between(emu::Machine& left, emu::Machine& right) {
  FirstDifference difference = describe(left, right, left.icount(), false);
  if (difference.fields.empty() && difference.page_count == 0 && difference.disk_page_count == 0 &&
      left.memory().ram_size() == right.memory().ram_size())
    return std::nullopt;
  return difference;
}

std::optional<FirstDifference> narrow(NarrowableReplay& left, NarrowableReplay& right, uint64_t low, uint64_t high) {
  const auto run_to = [&](uint64_t icount) {
    left.run_to(icount);
    right.run_to(icount);
    return equal(left.machine(), right.machine());
  };
  const auto hold = [&] {
    left.hold();
    right.hold();
  };
  if (!run_to(low)) return describe(left.machine(), right.machine(), low, false);
  hold();
  if (run_to(high)) return std::nullopt;
  while (high - low > 1) {
    left.go_back();
    right.go_back();
    const uint64_t middle = low + (high - low) / 2;
    if (run_to(middle)) {
      low = middle;
      hold();
    } else {
      high = middle;
    }
  }
  left.go_back();
  right.go_back();
  run_to(high);
  return describe(left.machine(), right.machine(), high, true);
}

}  // namespace understudy::backup
