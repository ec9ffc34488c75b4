#include "emu/memory_snapshot.h"

#include <xxhash.h>

#include <array>
#include <stdexcept>

#include "emu/snapshot_sections.h"
#include "emu/state_archive.h"

namespace understudy::emu {

namespace {

std::array<uint64_t, 2> hash_of(std::span<const uint8_t> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.low64, hash.high64};
}

}  // namespace

MemorySnapshot SnapshotKeeper::take() {
  MemorySnapshot snapshot;
  snapshot.icount_ = machine_.icount();
  StateWriter writer;
  machine_.visit_state(writer);
  snapshot.archive_ = snapshot::compress(writer.finish());
  snapshot.archive_.shrink_to_fit();
  bytes_added_ = snapshot.archive_.size();
  pages_added_ = 0;
  const auto& stores = machine_.stores();
  snapshot.stores_ = last_;
  snapshot.stores_.resize(stores.size());
  marks_.resize(stores.size(), ChangeMap::kBeginning);
  std::vector<uint8_t> bytes(PagedStore::kPageBytes);
  for (size_t i = 0; i < stores.size(); ++i) {
    MemorySnapshot::PageMap& map = snapshot.stores_[i];
    // Chunks are shared with other snapshots: the first change in one makes a copy.
    std::shared_ptr<MemorySnapshot::Chunk> open;
    uint64_t open_index = ~0ull;
    stores[i]->for_each_changed(marks_[i], [&](uint64_t page) {
      const uint64_t index = page / MemorySnapshot::kChunkPages;
      const auto found = map.find(index);
      const bool base = stores[i]->is_base(page);
      if (base && found == map.end()) return;
      if (index != open_index) {
        open = std::make_shared<MemorySnapshot::Chunk>(bytes_);
        if (found != map.end()) open->pages = found->second->pages;
        map[index] = open;
        open_index = index;
      }
      std::shared_ptr<const MemorySnapshot::Page>& slot = open->pages[page % MemorySnapshot::kChunkPages];
      if (base) {
        slot = nullptr;
        return;
      }
      stores[i]->read_page(page, std::span<uint8_t, PagedStore::kPageBytes>(bytes));
      // Noted, but the same as it was.
      const std::array<uint64_t, 2> hash = hash_of(bytes);
      if (slot != nullptr && slot->hash == hash) return;
      auto packed = snapshot::compress(bytes);
      packed.shrink_to_fit();
      const uint64_t size = packed.size() + sizeof(MemorySnapshot::Page);
      bytes_added_ += size;
      ++pages_added_;
      slot.reset(new MemorySnapshot::Page{hash, std::move(packed), {bytes_, size}});
    });
  }
  uint64_t maps = 0;
  for (const MemorySnapshot::PageMap& map : snapshot.stores_) maps += map.size();
  constexpr uint64_t kMapNode = 64;
  snapshot.counted_ = std::make_shared<MemorySnapshot::Counted>(bytes_, snapshot.archive_.size() + maps * kMapNode);
  remember(snapshot);
  return snapshot;
}

void SnapshotKeeper::restore(const MemorySnapshot& snapshot) {
  const auto& stores = machine_.stores();
  if (snapshot.stores_.size() != stores.size()) throw std::logic_error("memory snapshot: of another machine");
  last_.resize(stores.size());
  marks_.resize(stores.size(), ChangeMap::kBeginning);
  std::vector<uint8_t> bytes(PagedStore::kPageBytes);
  static const MemorySnapshot::Chunk kBase(std::make_shared<uint64_t>(0));
  auto chunk_of = [](const MemorySnapshot::PageMap& map, uint64_t index) -> const MemorySnapshot::Chunk& {
    const auto found = map.find(index);
    return found == map.end() ? kBase : *found->second;
  };
  for (size_t i = 0; i < stores.size(); ++i) {
    const MemorySnapshot::PageMap& wanted = snapshot.stores_[i];
    auto put = [&](uint64_t page) {
      const auto& slot = chunk_of(wanted, page / MemorySnapshot::kChunkPages).pages[page % MemorySnapshot::kChunkPages];
      if (slot == nullptr) return stores[i]->make_base(page);
      if (!snapshot::decompress(slot->packed, bytes)) throw std::logic_error("memory snapshot: a page does not unpack");
      stores[i]->write_page(page, std::span<const uint8_t, PagedStore::kPageBytes>(bytes));
    };
    // What the machine did since, and what sets the two snapshots apart.
    stores[i]->for_each_changed(marks_[i], put);
    MemorySnapshot::PageMap chunks = wanted;
    chunks.insert(last_[i].begin(), last_[i].end());
    for (const auto& [index, unused] : chunks) {
      const MemorySnapshot::Chunk& to = chunk_of(wanted, index);
      const MemorySnapshot::Chunk& from = chunk_of(last_[i], index);
      if (&to == &from) continue;
      for (uint64_t k = 0; k < MemorySnapshot::kChunkPages; ++k)
        if (to.pages[k] != from.pages[k]) put(index * MemorySnapshot::kChunkPages + k);
    }
  }
  std::vector<uint8_t> archive;
  if (!snapshot::decompress_at_most(snapshot.archive_, snapshot::kMaxArchive, archive))
    throw std::logic_error("memory snapshot: the state does not unpack");
  StateReader reader(archive);
  machine_.load_state(reader);
  reader.finish();
  remember(snapshot);
}

void SnapshotKeeper::remember(const MemorySnapshot& snapshot) {
  last_ = snapshot.stores_;
  for (size_t i = 0; i < machine_.stores().size(); ++i) marks_[i] = machine_.stores()[i]->mark();
}

}  // namespace understudy::emu
