// What differs between two machines, for people and for programs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "backup/narrowing.h"

namespace understudy::tools {

// Lines with two spaces before them: pages of RAM with the bytes that differ, pages of disks, then fields of CPU and
// devices; `left` and `right` name the machines. At most `most_fields` fields.
std::string difference_text(const backup::FirstDifference& difference, const std::string& left,
                            const std::string& right, size_t most_fields = 24);

// {"icount", "ram_pages", "ram": [{"page", "bytes", "ranges": [[first, last]...]}...], "disk_pages", "disks": [{"disk",
// "offset", "bytes"}...], "fields": [{"field", "left", "right"}...]}; addresses and values are hexadecimal strings.
nlohmann::ordered_json difference_json(const backup::FirstDifference& difference);

}  // namespace understudy::tools
