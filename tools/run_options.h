// What `understudy run` was asked to do, as plain data, and the command line that says so.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace understudy::tools {

enum class DiskMode { write, snapshot, readonly };

// What a machine must know of a disk that lies outside of it.
struct SharedShape {
  uint64_t bytes = 0;
  bool read_only = false;
  bool operator==(const SharedShape&) const = default;
};

struct RunOptions {
  std::vector<std::string> images;
  std::string kernel, initrd, append;
  std::vector<std::string> disks;
  std::string cdrom, floppy;
  std::vector<std::string> virtio_disks;
  std::string nic = "none";
  std::string mac;      // empty: the default
  std::string nic_rom;  // a file, none, or empty: the default
  std::string flat;     // IMAGE@ADDRESS
  std::string bios;
  bool linux_64bit_entry = false;
  unsigned memory_mib = 128;
  std::string serial = "stdio";
  std::string serial1 = "none";
  std::string debugcon = "none";
  std::string screen = "none";
  std::string net = "none";
  std::string pcap;
  DiskMode disk_mode = DiskMode::snapshot;
  std::optional<bool> paced;  // neither: paced when a user sits at a terminal
  std::string rtc;            // now, or seconds since 1970
  std::optional<bool> reboot;
  std::optional<uint64_t> stop_at;
  std::string until_serial;
  std::string save, from_snapshot;
  uint64_t digest_every = 0;
  std::string json;
  uint64_t slice = 0;  // for tests: chop the run into random slices of at most this many instructions
  uint64_t slice_seed = 1;
  std::string trace = "warning";
  std::map<std::string, SharedShape> shared_disks;  // those of the disks that are no files, see tools/shared_disks.h
  std::map<std::string, std::string> stand_ins;     // files to read in the place of others, by these others' paths
};

// All of them.
void add_run_options(CLI::App& command, RunOptions& options);
// Those that do not say what the machine is: its ends on this host, and how the run goes.
void add_live_options(CLI::App& command, RunOptions& options);

}  // namespace understudy::tools
