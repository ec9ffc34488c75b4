#include "backup/state_receiver.h"

#include <fmt/format.h>

#include <algorithm>

#include "emu/page_section.h"
#include "emu/snapshot_sections.h"
#include "emu/state_archive.h"

namespace understudy::backup {

using primary::StateChunkKind;

bool StateReceiver::accept(std::span<const uint8_t> chunk) {
  if (stage_ == Stage::complete || stage_ == Stage::failed)
    throw StateTransferError("state transfer: it has ended, and a chunk follows");
  try {
    take(sequence_.open(chunk));
  } catch (const StateTransferError&) {
    stage_ = Stage::failed;
    throw;
  } catch (const std::exception& error) {
    stage_ = Stage::failed;
    throw StateTransferError(fmt::format("state transfer: {}", error.what()));
  }
  ++progress_.chunks;
  progress_.bytes += chunk.size();
  return stage_ == Stage::complete;
}

void StateReceiver::take(const primary::StateChunk& chunk) {
  const auto expect = [this](bool in_order) {
    if (!in_order) throw StateTransferError(fmt::format("state transfer: chunk {} is out of place", progress_.chunks));
  };
  switch (chunk.kind) {
    case StateChunkKind::begin:
      expect(stage_ == Stage::nothing);
      primary::check_state_begin(machine_, chunk.body);
      for (emu::PagedStore* store : machine_.stores()) store->make_all_base();
      stage_ = Stage::pages;
      break;
    case StateChunkKind::pages:
      expect(stage_ == Stage::pages);
      take_pages(chunk.body);
      break;
    case StateChunkKind::archive:
      expect(stage_ == Stage::pages || stage_ == Stage::archive);
      stage_ = Stage::archive;
      take_archive(chunk.body);
      break;
    case StateChunkKind::end:
      expect(stage_ == Stage::archive);
      take_end(chunk.body);
      stage_ = Stage::complete;
      break;
  }
}

void StateReceiver::take_pages(std::span<const uint8_t> body) {
  try {
    const emu::PageSection section(machine_, body);
    section.apply();
    progress_.pages += section.pages();
  } catch (const emu::PageSectionError& error) {
    throw StateTransferError(fmt::format("state transfer: the pages of chunk {} {}", progress_.chunks, error.what()));
  }
}

void StateReceiver::take_archive(std::span<const uint8_t> body) {
  if (body.size() > emu::snapshot::kMaxArchive - archive_.size())
    throw StateTransferError("state transfer: the state archive is too long");
  archive_.insert(archive_.end(), body.begin(), body.end());
}

void StateReceiver::take_end(std::span<const uint8_t> body) {
  std::vector<uint8_t> state;
  if (!emu::snapshot::decompress_at_most(archive_, emu::snapshot::kMaxArchive, state))
    throw StateTransferError("state transfer: the state archive does not unpack");
  archive_ = {};
  emu::StateReader reader(state);
  machine_.visit_state(reader);
  reader.finish();
  if (!std::ranges::equal(body, primary::state_end_body(machine_)))
    throw StateTransferError("state transfer: the machine has become another than the sender's");
}

}  // namespace understudy::backup
