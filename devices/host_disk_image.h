// A disk image in a raw file (or block device) on the host. The guest sees the file's size rounded up to whole
// 512-byte sectors; what lies past the file's end reads as zeros. In write mode a file whose last sector is incomplete
// grows only when the guest writes that sector.
// Modes: kWrite changes the file in place and holds an exclusive lock on it; kSnapshot sends the guest's writes to an
// unlinked sparse temporary file in $TMPDIR (/tmp when unset), never larger than the image, and never touches the base;
// kReadOnly refuses writes. The latter two hold a shared lock, so that no writer changes the image under them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "devices/block_backend.h"

namespace understudy::devices {

// Its message names the path, the reason and what to do about it, in one line.
class DiskImageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class HostDiskImage : public BlockBackend {
 public:
  enum class Mode { kWrite, kSnapshot, kReadOnly };
  static constexpr unsigned kSectorBytes = 512;

  // Throws DiskImageError.
  HostDiskImage(const std::string& path, Mode mode);
  ~HostDiskImage() override;
  HostDiskImage(const HostDiskImage&) = delete;
  HostDiskImage& operator=(const HostDiskImage&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size_bytes() const override { return size_; }
  bool read_only() const override { return mode_ == Mode::kReadOnly; }
  // Offsets and lengths are multiples of kSectorBytes; anything else, or out of range, fails.
  [[nodiscard]] bool read(uint64_t offset, std::span<uint8_t> to) override;
  [[nodiscard]] bool write(uint64_t offset, std::span<const uint8_t> from) override;
  [[nodiscard]] bool flush() override;

  // Snapshot mode: the sectors that the guest wrote, in ascending runs. Together with read() and write() they let the
  // overlay be carried to another process.
  struct Run {
    uint64_t first;
    uint64_t count;
  };
  std::vector<Run> dirty_runs() const;

 private:
  void open_base();
  void check_kind();
  void lock_base();
  void open_overlay();
  bool in_range(uint64_t offset, size_t length) const;
  bool read_base(uint64_t offset, std::span<uint8_t> to) const;
  bool is_dirty(uint64_t sector) const;
  void mark_dirty(uint64_t sector);

  // One node of the dirty map covers 4096 sectors (2 MiB).
  static constexpr unsigned kNodeWords = 64;
  static constexpr uint64_t kNodeSectors = kNodeWords * 64;

  std::string path_;
  Mode mode_;
  uint64_t file_size_ = 0;
  uint64_t size_ = 0;
  int base_ = -1;
  int overlay_ = -1;
  std::map<uint64_t, std::array<uint64_t, kNodeWords>> dirty_;
};

}  // namespace understudy::devices
