#include "ftlog/entry.h"

#include <algorithm>

namespace understudy::ftlog {

const char* to_string(EntryKind kind) {
  switch (kind) {
    case EntryKind::start:
      return "start";
    case EntryKind::input:
      return "input";
    case EntryKind::clock:
      return "clock";
    case EntryKind::reset:
      return "reset";
    case EntryKind::output_mark:
      return "output_mark";
    case EntryKind::state_digest:
      return "state_digest";
    case EntryKind::snapshot:
      return "snapshot";
    case EntryKind::epoch:
      return "epoch";
    case EntryKind::block_done:
      return "block_done";
    case EntryKind::end:
      return "end";
  }
  return "unknown";
}

const char* to_string(EndReason reason) {
  switch (reason) {
    case EndReason::shutdown:
      return "shutdown";
    case EndReason::reset:
      return "reset";
    case EndReason::debug_exit:
      return "debug_exit";
    case EndReason::stop_at:
      return "stop_at";
    case EndReason::until_serial:
      return "until_serial";
    case EndReason::halted:
      return "halted";
    case EndReason::quit:
      return "quit";
    case EndReason::error:
      return "error";
  }
  return "unknown";
}

std::optional<EntryKind> entry_kind_named(std::string_view name) {
  for (uint8_t i = 1; i <= kEntryKinds; ++i)
    if (name == to_string(static_cast<EntryKind>(i))) return static_cast<EntryKind>(i);
  return std::nullopt;
}

bool is_snapshot_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxSnapshotName || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
           c == '.';
  });
}

}  // namespace understudy::ftlog
