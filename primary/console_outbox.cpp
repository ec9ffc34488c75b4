#include "primary/console_outbox.h"

#include <algorithm>

namespace understudy::primary {

namespace {

// Output comes byte by byte: as long as a run is shorter than this, the next byte joins it.
constexpr size_t kRunBytes = 16u << 10;

}  // namespace

void ConsoleOutbox::begin(uint64_t offset) {
  if (kept_.empty()) end_ = send_ = offset;
}

bool ConsoleOutbox::put(uint64_t offset, std::span<const uint8_t> bytes) {
  uint64_t known = delivered_;
  if (!kept_.empty()) known = std::max(known, end_);
  if (offset < known) {
    const uint64_t skipped = std::min<uint64_t>(known - offset, bytes.size());
    bytes = bytes.subspan(skipped);
    offset += skipped;
  }
  if (bytes.empty()) return true;
  if (bytes.size() > kMaxBytes - bytes_) return false;
  if (!kept_.empty() && offset == end_ && kept_.back().bytes.size() + bytes.size() <= kRunBytes)
    kept_.back().bytes.insert(kept_.back().bytes.end(), bytes.begin(), bytes.end());
  else
    kept_.push_back({offset, {bytes.begin(), bytes.end()}});
  bytes_ += bytes.size();
  end_ = offset + bytes.size();
  return true;
}

void ConsoleOutbox::delivered(uint64_t offset) {
  delivered_ = std::max(delivered_, offset);
  while (!kept_.empty() && kept_.front().end() <= delivered_) {
    bytes_ -= kept_.front().bytes.size();
    kept_.pop_front();
  }
  if (kept_.empty()) return;
  Run& first = kept_.front();
  if (first.offset >= delivered_) return;
  const uint64_t gone = delivered_ - first.offset;
  first.bytes.erase(first.bytes.begin(), first.bytes.begin() + static_cast<std::ptrdiff_t>(gone));
  first.offset = delivered_;
  bytes_ -= gone;
}

void ConsoleOutbox::clear() {
  kept_.clear();
  bytes_ = 0;
}

ConsoleOutbox::Piece ConsoleOutbox::next(size_t most, uint64_t window) const {
  const auto run = std::find_if(kept_.begin(), kept_.end(), [this](const Run& r) { return r.end() > send_; });
  if (run == kept_.end()) return {};
  const uint64_t from = std::max(send_, run->offset);
  const uint64_t limit = front() + window;
  if (from >= limit) return {};
  const uint64_t count = std::min<uint64_t>({most, run->end() - from, limit - from});
  return {from, std::span(run->bytes).subspan(from - run->offset, count)};
}

uint64_t ConsoleOutbox::front() const { return kept_.empty() ? end_ : kept_.front().offset; }

}  // namespace understudy::primary
