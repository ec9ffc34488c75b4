// What a floppy image is: the geometry that follows from its size, and sectors addressed as a controller finds them.
// All formats have 512-byte MFM sectors, two heads, one drive type in CMOS each, and one data rate.
#pragma once

#include <cstdint>
#include <span>

#include "devices/block_backend.h"

namespace understudy::devices {

struct FloppyGeometry {
  uint64_t size_bytes;
  uint8_t cylinders;
  uint8_t sectors;          // per track
  uint8_t data_rate;        // as in CCR: 0 = 500, 1 = 300, 2 = 250, 3 = 1000 kbit/s
  uint8_t cmos_drive_type;  // the drive that takes it: 1 = 360K, 2 = 1.2M, 4 = 1.44M, 5 = 2.88M
};

class FloppyMedia {
 public:
  static constexpr unsigned kHeads = 2;
  static constexpr unsigned kSectorSize = 512;
  static constexpr uint8_t kSizeCode = 2;  // N in an ID field

  // True for the sizes that are a format of their own.
  static bool is_known_size(uint64_t size_bytes);

  // Null means an empty 1.44 MB drive. An image of an unknown size is a 1.44 MB disk whose sectors end where the image
  // does; the last one is filled up with zeros.
  explicit FloppyMedia(BlockBackend* backend = nullptr);

  bool present() const { return backend_ != nullptr; }
  bool write_protected() const { return backend_ != nullptr && backend_->read_only(); }
  const FloppyGeometry& geometry() const { return *geometry_; }

  // Sectors count from 1. Is there such an ID on the disk?
  bool has_sector(unsigned cylinder, unsigned head, unsigned sector) const;
  // Precondition: has_sector() and a buffer of kSectorSize. False when the host cannot deliver.
  [[nodiscard]] bool read(unsigned cylinder, unsigned head, unsigned sector, std::span<uint8_t> to);
  [[nodiscard]] bool write(unsigned cylinder, unsigned head, unsigned sector, std::span<const uint8_t> from);

 private:
  uint64_t offset(unsigned cylinder, unsigned head, unsigned sector) const;
  BlockBackend* backend_;
  const FloppyGeometry* geometry_;
};

}  // namespace understudy::devices
