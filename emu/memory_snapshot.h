// Snapshots of a machine in memory, for going back and forth in a run. A snapshot is a value that shares every page it
// has in common with the one it was taken after, so that one costs time and memory for what changed only; copies are
// cheap, and any of them may be dropped or restored in any order. Pages are kept compressed, and told apart by a
// 128-bit hash of their bytes.
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
  // Bytes of the host that something takes, as long as it lives.
  class Counted {
   public:
    Counted(std::shared_ptr<uint64_t> total, uint64_t bytes) : total_(std::move(total)), bytes_(bytes) {
      *total_ += bytes_;
    }
    ~Counted() { *total_ -= bytes_; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;

   private:
    std::shared_ptr<uint64_t> total_;
    uint64_t bytes_;
  };
  struct Page {
    std::array<uint64_t, 2> hash;
    std::vector<uint8_t> packed;  // zstd
    Counted counted;
  };
  static constexpr uint64_t kChunkPages = 256;
  struct Chunk {
    explicit Chunk(const std::shared_ptr<uint64_t>& total) : counted(total, sizeof(Chunk)) {}
    std::array<std::shared_ptr<const Page>, kChunkPages> pages;  // absent: the base's
    Counted counted;
  };
  using PageMap = std::map<uint64_t, std::shared_ptr<const Chunk>>;  // by page / kChunkPages
  uint64_t icount_ = 0;
  std::vector<uint8_t> archive_;
  std::shared_ptr<const Counted> counted_;  // the archive and the maps
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
  // What all snapshots that still exist take together, and what the keeper itself remembers.
  uint64_t bytes() const { return *bytes_; }
  // The machine is as it was. Only pages that differ are written. Throws std::runtime_error when the host's disk fails.
  void restore(const MemorySnapshot& snapshot);

 private:
  void remember(const MemorySnapshot& snapshot);
  Machine& machine_;
  std::shared_ptr<uint64_t> bytes_ = std::make_shared<uint64_t>(0);
  // What the machine was equal to at marks_.
  std::vector<MemorySnapshot::PageMap> last_;
  std::vector<ChangeMap::Mark> marks_;
  uint64_t bytes_added_ = 0;
  uint64_t pages_added_ = 0;
};

}  // namespace understudy::emu
