#include "tools/difference_text.h"

#include <fmt/format.h>

#include <algorithm>

namespace understudy::tools {

std::string difference_text(const backup::FirstDifference& difference, const std::string& left,
                            const std::string& right, size_t most_fields) {
  std::string text;
  for (const backup::RamPageDifference& page : difference.pages) {
    text += fmt::format("  RAM page {:#x}: {} bytes differ, the first at {:#x}: {:02x} in {}, {:02x} in {}\n",
                        page.address & emu::kPageMask, page.bytes, page.address, page.left, left, page.right, right);
    if (page.bytes == 1) continue;
    text += "    at";
    for (const auto& range : page.ranges)
      text += range.first == range.last ? fmt::format(" {:#x}", range.first)
                                        : fmt::format(" {:#x}-{:#x}", range.first, range.last);
    text += page.range_count > page.ranges.size() ? " ...\n" : "\n";
  }
  if (difference.page_count > difference.pages.size())
    text += fmt::format("  and {} more RAM pages\n", difference.page_count - difference.pages.size());
  for (const backup::DiskPageDifference& page : difference.disk_pages)
    text += fmt::format("  {} at byte {}: {} bytes of the page differ\n", page.store, page.offset, page.bytes);
  if (difference.disk_page_count > difference.disk_pages.size())
    text += fmt::format("  and {} more disk pages\n", difference.disk_page_count - difference.disk_pages.size());
  const size_t shown = std::min(difference.fields.size(), most_fields);
  for (size_t i = 0; i < shown; ++i)
    text += fmt::format("  {}: {} in {}, {} in {}\n", difference.fields[i].field, difference.fields[i].left, left,
                        difference.fields[i].right, right);
  if (shown < difference.fields.size()) text += fmt::format("  and {} more fields\n", difference.fields.size() - shown);
  return text;
}

nlohmann::ordered_json difference_json(const backup::FirstDifference& difference) {
  using Json = nlohmann::ordered_json;
  Json ram = Json::array(), disks = Json::array(), fields = Json::array();
  for (const backup::DiskPageDifference& page : difference.disk_pages)
    disks.push_back({{"disk", page.store}, {"offset", page.offset}, {"bytes", page.bytes}});
  for (const backup::RamPageDifference& page : difference.pages) {
    Json ranges = Json::array();
    for (const auto& range : page.ranges)
      ranges.push_back({fmt::format("{:#x}", range.first), fmt::format("{:#x}", range.last)});
    ram.push_back({{"page", fmt::format("{:#x}", page.address & emu::kPageMask)},
                   {"bytes", page.bytes},
                   {"ranges", std::move(ranges)}});
  }
  for (const emu::StateDifference& field : difference.fields)
    fields.push_back({{"field", field.field}, {"left", field.left}, {"right", field.right}});
  return {{"icount", difference.icount}, {"ram_pages", difference.page_count},
          {"ram", std::move(ram)},       {"disk_pages", difference.disk_page_count},
          {"disks", std::move(disks)},   {"fields", std::move(fields)}};
}

}  // namespace understudy::tools
