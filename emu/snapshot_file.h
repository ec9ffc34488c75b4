// A whole machine in a file, or what changed in it since an earlier file. Layout, little-endian:
//   magic "UNDSNAP\n", u32 version, u32 flags (0)
//   then sections: u32 kind, u32 0, u64 stored bytes, u64 XXH3 of the stored bytes, the bytes
//     kind 1: the machine description's text (emu/machine_description), first of all
//     kind 2: the parent, where there is one, second: u64 its identity, then its file name, in the same folder
//     kind 3: the state archive (emu/state_archive) of time, events, CPU and devices, zstd
//     kind 4: up to 256 pages of one store (emu/paged_store): u64 first page, 32-byte map of the pages that are meant,
//             32-byte map of those that have data (the others are their base's again), u64 length of the store's name,
//             the name, zstd of the data. Pages that no section means are the parent's, without parent the base's
//     kind 5: end; its 8 bytes, the XXH3 of the head and of all section heads before it, are the snapshot's identity
// Written to a temporary file beside the target, synced, and renamed: a snapshot exists whole or not at all. The reader
// trusts no length and checks a file and all its parents before it touches the machine.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "emu/machine.h"
#include "emu/machine_description.h"

namespace understudy::emu {

// One line: which file, what is wrong, where.
class SnapshotError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

constexpr uint32_t kSnapshotVersion = 2;
constexpr size_t kMaxSnapshotParents = 4096;

// A snapshot in a file as the present machine knows it: enough to save what changes after it.
struct SavedSnapshot {
  std::string path;
  uint64_t identity = 0;
  std::vector<ChangeMap::Mark> marks;  // one for each of the machine's stores
};

// Both between runs. With `parent`, which is of this machine and in the same folder, only what changed since goes into
// the file. A snapshot loads only into a machine of an equal description; a refusal names the keys that differ. When a
// load fails half-way, which takes a file with true checksums and a false state, the machine is left reset and empty.
SavedSnapshot save_snapshot(Machine& machine, const MachineDescription& description, const std::string& path,
                            const SavedSnapshot* parent = nullptr);
SavedSnapshot load_snapshot(Machine& machine, const MachineDescription& description, const std::string& path);

}  // namespace understudy::emu
