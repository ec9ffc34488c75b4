// Snapshots of a machine in memory, for going back and forth in a run. A snapshot is a value that shares every page it
// has in common with the one it was taken after, so that one costs time and memory for what changed only; copies are
// cheap, and any of them may be dropped or restored in any order. Pages are kept compressed.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "emu/machine.h"

namespace understudy::emu {

class MemorySnapshot {
 public:
  uint64_t icount() const { return icount_; }

 private:
  friend class SnapshotKeeper;
  using Page = std::vector<uint8_t>;  // zstd; absent: the base's
  static constexpr uint64_t kChunkPages = 256;
  struct Chunk {
    std::array<std::shared_ptr<const Page>, kChunkPages> pages;
  };
  using PageMap = std::map<uint64_t, std::shared_ptr<const Chunk>>;  // by page / kChunkPages
  uint64_t icount_ = 0;
  std::vector<uint8_t> archive_;
  std::vector<PageMap> stores_;
};

// Takes and restores snapshots of one machine, between runs. Neither is seen by the guest.
class SnapshotKeeper {
 public:
  explicit SnapshotKeeper(Machine& machine) : machine_(machine) {}

  // The bytes of pages that this snapshot does not share with the one taken or restored before it are counted in
  // bytes_added(): a caller with a budget drops old snapshots by it.
  MemorySnapshot take();
  uint64_t bytes_added() const { return bytes_added_; }
  uint64_t pages_added() const { return pages_added_; }
  // The machine is as it was. Only pages that differ are written. Throws std::runtime_error when the host's disk fails.
  void restore(const MemorySnapshot& snapshot);

 private:
  void remember(const MemorySnapshot& snapshot);
  Machine& machine_;
  // What the machine was equal to at marks_.
  std::vector<MemorySnapshot::PageMap> last_;
  std::vector<ChangeMap::Mark> marks_;
  uint64_t bytes_added_ = 0;
  uint64_t pages_added_ = 0;
};

}  // namespace understudy::emu
