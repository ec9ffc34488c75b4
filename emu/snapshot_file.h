// A whole machine in a file. Layout, little-endian:
//   magic "UNDSNAP\n", u32 version, u32 flags (0), u64 RAM bytes, u64 XXH3 of the machine description
//   then sections: u32 kind, u32 0, u64 stored bytes, u64 XXH3 of the stored bytes, the bytes
//     kind 1: the state archive (emu/state_archive) of time, events, CPU and devices, zstd
//     kind 2: 256 RAM pages: u64 first page, 32-byte map of the pages that follow (others are zero), zstd of the pages
//     kind 3: end; its 8 bytes are the XXH3 of all section checksums before it
// Written to a temporary file beside the target, synced, and renamed: a snapshot exists whole or not at all. The reader
// trusts no length, and a load that fails leaves the machine unusable but the process whole.
#pragma once

#include <stdexcept>
#include <string>

#include "emu/machine.h"

namespace understudy::emu {

// One line: which file, what is wrong, where.
class SnapshotError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

constexpr uint32_t kSnapshotVersion = 1;

// `description` names what the machine is made of (memory, drives, firmware): a snapshot loads only into its like.
void save_snapshot(Machine& machine, const std::string& description, const std::string& path);
void load_snapshot(Machine& machine, const std::string& description, const std::string& path);

}  // namespace understudy::emu
