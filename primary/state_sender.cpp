#include "primary/state_sender.h"

#include <algorithm>
#include <cassert>
#include <random>

#include "emu/snapshot_sections.h"
#include "emu/state_archive.h"

namespace understudy::primary {

namespace {

// So that a chunk of pages which do not compress stays below its bound.
constexpr uint64_t kMostPagesOfChunk = 240;
constexpr size_t kArchivePiece = kMaxStateChunk - kStateChunkHead;

}  // namespace

StateSender::StateSender(emu::Machine& machine) : machine_(machine) {
  for (emu::PagedStore* store : machine.stores()) parts_.push_back({store, emu::ChangeMap::kBeginning, {}, 0});
}

void StateSender::send(StateChunkKind kind, std::span<const uint8_t> body, const Sink& sink) {
  std::vector<uint8_t> chunk = sequence_.seal(kind, body);
  ++counts_.chunks;
  counts_.bytes += chunk.size();
  sink(std::move(chunk));
}

void StateSender::begin(const Sink& sink) {
  if (counts_.chunks != 0) return;
  std::random_device random;
  const uint64_t transfer = uint64_t{random()} << 32 | random();
  send(StateChunkKind::begin, state_begin_body(machine_, transfer), sink);
}

void StateSender::begin_round() {
  ++counts_.rounds;
  for (Part& part : parts_) {
    // What is pending still, and what changed since the round began.
    std::vector<uint64_t> changed;
    part.store->for_each_changed(part.since, [&changed](uint64_t page) { changed.push_back(page); });
    std::vector<uint64_t> pending;
    pending.reserve(part.left() + changed.size());
    std::set_union(part.pending.begin() + static_cast<std::ptrdiff_t>(part.next), part.pending.end(), changed.begin(),
                   changed.end(), std::back_inserter(pending));
    part.pending = std::move(pending);
    part.next = 0;
    part.since = part.store->mark();
  }
}

void StateSender::send_pages(Part& part, uint64_t count, const Sink& sink) {
  // The receiver's pages are their base's until one is sent.
  const bool first_round = counts_.rounds == 1;
  emu::PageSectionWriter sections(
      *part.store, !first_round, [&](std::vector<uint8_t>&& body) { send(StateChunkKind::pages, body, sink); },
      kMostPagesOfChunk);
  for (uint64_t i = 0; i < count; ++i) {
    if (!sections.add(part.pending[part.next++])) continue;
    ++counts_.pages;
    if (!first_round) ++counts_.resent_pages;
  }
  sections.flush();
}

uint64_t StateSender::step(uint64_t max_pages, const Sink& sink) {
  begin(sink);
  if (std::ranges::all_of(parts_, [](const Part& part) { return part.left() == 0; })) begin_round();
  uint64_t left = 0;
  for (Part& part : parts_) {
    const uint64_t count = std::min(max_pages, part.left());
    send_pages(part, count, sink);
    max_pages -= count;
    left += part.left();
    part.store->for_each_changed(part.since, [&left](uint64_t) { ++left; });
  }
  return left;
}

void StateSender::finish(const Sink& sink) {
  begin(sink);
  begin_round();
  for (Part& part : parts_) send_pages(part, part.left(), sink);
  emu::StateWriter writer;
  machine_.visit_state(writer);
  const std::vector<uint8_t> state = writer.finish();
  assert(state.size() <= emu::snapshot::kMaxArchive);
  const std::vector<uint8_t> archive = emu::snapshot::compress(state);
  for (size_t at = 0; at < archive.size(); at += kArchivePiece)
    send(StateChunkKind::archive, std::span(archive).subspan(at, std::min(kArchivePiece, archive.size() - at)), sink);
  send(StateChunkKind::end, state_end_body(machine_), sink);
}

}  // namespace understudy::primary
