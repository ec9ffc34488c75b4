// One log entry for people, as a line of a table, and for programs, as a JSON object. A log may hold anything: what is
// printed is one line of plain text whatever it holds.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "ftlog/entry.h"

namespace understudy::tools {

// The table's heading, and an entry as a line of it.
std::string log_table_head();
std::string log_table_line(const ftlog::LogEntry& entry);

// Numbers as numbers, digests and bytes as hexadecimal strings.
nlohmann::ordered_json log_entry_json(const ftlog::LogEntry& entry);

// What does not print on one line, or is not ASCII, as \x escapes.
std::string one_line(std::string_view text);

}  // namespace understudy::tools
