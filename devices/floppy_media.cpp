#include "devices/floppy_media.h"

#include <algorithm>

namespace understudy::devices {

namespace {
constexpr FloppyGeometry kFormats[] = {
    {1474560, 80, 18, 0, 4},  // 1.44M, also the one for unknown sizes
    {368640, 40, 9, 2, 1},    // 360K
    {737280, 80, 9, 2, 4},    // 720K in a 1.44M drive
    {1228800, 80, 15, 0, 2},  // 1.2M
    {1720320, 80, 21, 0, 4},  // 1.68M
    {2949120, 80, 36, 3, 5},  // 2.88M
};

const FloppyGeometry* find_format(uint64_t size_bytes) {
  const auto* found = std::ranges::find(kFormats, size_bytes, &FloppyGeometry::size_bytes);
  return found != std::end(kFormats) ? found : nullptr;
}
}  // namespace

bool FloppyMedia::is_known_size(uint64_t size_bytes) { return find_format(size_bytes) != nullptr; }

FloppyMedia::FloppyMedia(BlockBackend* backend) : backend_(backend), geometry_(nullptr) {
  if (backend_ != nullptr) geometry_ = find_format(backend_->size_bytes());
  if (geometry_ == nullptr) geometry_ = &kFormats[0];
}

uint64_t FloppyMedia::offset(unsigned cylinder, unsigned head, unsigned sector) const {
  return ((uint64_t{cylinder} * kHeads + head) * geometry_->sectors + sector - 1) * kSectorSize;
}

bool FloppyMedia::has_sector(unsigned cylinder, unsigned head, unsigned sector) const {
  return backend_ != nullptr && cylinder < geometry_->cylinders && head < kHeads && sector >= 1 &&
         sector <= geometry_->sectors && offset(cylinder, head, sector) < backend_->size_bytes();
}

bool FloppyMedia::read(unsigned cylinder, unsigned head, unsigned sector, std::span<uint8_t> to) {
  const uint64_t at = offset(cylinder, head, sector);
  const auto length = static_cast<size_t>(std::min<uint64_t>(to.size(), backend_->size_bytes() - at));
  std::ranges::fill(to.subspan(length), uint8_t{0});
  return backend_->read(at, to.first(length));
}

bool FloppyMedia::write(unsigned cylinder, unsigned head, unsigned sector, std::span<const uint8_t> from) {
  const uint64_t at = offset(cylinder, head, sector);
  return backend_->write(at,
                         from.first(static_cast<size_t>(std::min<uint64_t>(from.size(), backend_->size_bytes() - at))));
}

}  // namespace understudy::devices
