// A disk image on the host: a raw file (or block device), or a qcow2 file, which devices/qemu_nbd.h reads. The guest
// sees the image's size rounded up to whole 512-byte sectors; what lies past the image's end reads as zeros. In write
// mode a raw file whose last sector is incomplete grows only when the guest writes that sector.
// Modes: kWrite changes the file in place and holds an exclusive lock on it; kSnapshot sends the guest's writes to an
// unlinked sparse temporary file in $TMPDIR (/tmp when unset), never larger than the image, and never touches the base;
// kReadOnly refuses writes. The latter two hold a shared lock, so that no writer changes the image under them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "devices/block_backend.h"
#include "devices/qemu_nbd.h"
#include "emu/paged_store.h"

namespace understudy::devices {

// Its message names the path, the reason and what to do about it, in one line.
class DiskImageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The host has failed an image that was good when it was opened: an I/O error, no room for the overlay, qemu-nbd gone.
class DiskHostError : public DiskImageError {
 public:
  using DiskImageError::DiskImageError;
};

class HostDiskImage : public BlockBackend, public emu::PagedStore {
 public:
  enum class Mode { kWrite, kSnapshot, kReadOnly };
  static constexpr unsigned kSectorBytes = 512;

  // Throws DiskImageError.
  HostDiskImage(const std::string& path, Mode mode);
  ~HostDiskImage() override;
  HostDiskImage(const HostDiskImage&) = delete;
  HostDiskImage& operator=(const HostDiskImage&) = delete;

  const std::string& path() const { return path_; }
  Mode mode() const { return mode_; }
  uint64_t size_bytes() const override { return size_; }
  bool read_only() const override { return mode_ == Mode::kReadOnly; }
  // Offsets and lengths are multiples of kSectorBytes; anything else, or out of range, fails. So does what the host
  // refuses in write mode. In the other modes a guest must see the same at each replay: there the host's refusal throws
  // DiskHostError and ends the run. With a qcow2 image all three throw it when its qemu-nbd is gone.
  [[nodiscard]] bool read(uint64_t offset, std::span<uint8_t> to) override;
  [[nodiscard]] bool write(uint64_t offset, std::span<const uint8_t> from) override;
  [[nodiscard]] bool flush() override;

  // XXH3 of the base's file as it is on the host, read afresh: of a qcow2 image's own bytes, and not of the larger disk
  // that they stand for, so that it costs what the file holds, and is the sum that a packed recording's copy has.
  // Throws DiskImageError.
  uint64_t digest();

  // Snapshot mode: what the guest wrote travels in the machine's snapshots, under this name.
  void name_store(std::string name) { store_name_ = std::move(name); }
  std::string_view store_name() const override { return store_name_; }
  uint64_t store_pages() const override { return (size_ + kPageBytes - 1) / kPageBytes; }
  void read_page(uint64_t page, std::span<uint8_t, kPageBytes> to) override;
  void write_page(uint64_t page, std::span<const uint8_t, kPageBytes> from) override;
  bool is_base(uint64_t page) override;
  void make_base(uint64_t page) override;
  void make_all_base() override;
  emu::ChangeMap::Mark mark() override { return now_++; }
  void for_each_changed(emu::ChangeMap::Mark since, const std::function<void(uint64_t page)>& call) override;

  // Snapshot mode: the sectors that the guest wrote, in ascending runs.
  struct Run {
    uint64_t first;
    uint64_t count;
  };
  std::vector<Run> dirty_runs() const;

 private:
  void open_base();
  bool check_kind();
  void lock_base(off_t bytes);
  void serve_base();
  void open_overlay();
  bool in_range(uint64_t offset, size_t length) const;
  bool read_base(uint64_t offset, std::span<uint8_t> to);
  template <typename Operation>
  bool through_qcow2(Operation&& operation);
  bool is_dirty(uint64_t sector) const;
  void mark_dirty(uint64_t sector);
  size_t page_bytes(uint64_t page) const;

  // One node of the dirty map covers 4096 sectors (2 MiB).
  static constexpr unsigned kNodeWords = 64;
  static constexpr uint64_t kNodeSectors = kNodeWords * 64;

  std::string path_;
  Mode mode_;
  uint64_t image_bytes_ = 0;
  uint64_t size_ = 0;
  int base_ = -1;
  std::unique_ptr<QemuNbd> qcow2_;
  int overlay_ = -1;
  std::map<uint64_t, std::array<uint64_t, kNodeWords>> dirty_;
  // As emu::ChangeMap, but sparse: an image may be large.
  std::string store_name_;
  std::map<uint64_t, emu::ChangeMap::Mark> changed_;
  emu::ChangeMap::Mark now_ = emu::ChangeMap::kBeginning + 1;
};

}  // namespace understudy::devices
