// What a disk controller sees of a disk image: a fixed number of bytes that can be read and written. The host side
// (raw file, overlay, read-only CD) implements it.
#pragma once

#include <cstdint>
#include <span>

namespace understudy::devices {

class SharedDisk;

class BlockBackend {
 public:
  virtual ~BlockBackend() = default;
  // A disk outside of the machine completes its requests through the world; read(), write() and flush() are not for it.
  virtual SharedDisk* shared() { return nullptr; }
  virtual uint64_t size_bytes() const = 0;
  virtual bool read_only() const = 0;
  // False is a drive error for the guest: out of range, or a medium that it writes in place and the host refuses. A
  // host that fails where a replay would not throws instead (HostDiskImage).
  [[nodiscard]] virtual bool read(uint64_t offset, std::span<uint8_t> to) = 0;
  [[nodiscard]] virtual bool write(uint64_t offset, std::span<const uint8_t> from) = 0;
  [[nodiscard]] virtual bool flush() = 0;
};

}  // namespace understudy::devices
