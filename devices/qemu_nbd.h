// A qcow2 image through QEMU's own code: a `qemu-nbd` child per image, spoken to over a socket that no one else can
// reach. Before that, what would let an image surprise us is refused: other files that it names (a hostile image could
// name any of the host's), and damage that QEMU would read as zeros (`qemu-img check`). The child ends when the
// connection does, so it never outlives this process, however that ends; in write mode it completes its own writes
// then, which a kill would lose.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

#include "devices/host_program.h"

struct nbd_handle;

namespace understudy::devices {

// what() is the reason; both are halves of one line.
class QemuNbdError : public std::runtime_error {
 public:
  QemuNbdError(const std::string& reason, std::string advice)
      : std::runtime_error(reason), advice_(std::move(advice)) {}
  const std::string& advice() const { return advice_; }

 private:
  std::string advice_;
};

class QemuNbd {
 public:
  static bool is_qcow2(std::span<const uint8_t> head);

  // `image` is an open descriptor of the file; it stays the caller's. Throws QemuNbdError.
  QemuNbd(int image, bool writable);
  ~QemuNbd();
  QemuNbd(const QemuNbd&) = delete;
  QemuNbd& operator=(const QemuNbd&) = delete;

  uint64_t size_bytes() const { return size_; }
  // Within the image's size. False when the image refuses. Throws QemuNbdError when the child is gone: what it would
  // have answered is not for us to make up.
  [[nodiscard]] bool read(uint64_t offset, std::span<uint8_t> to);
  [[nodiscard]] bool write(uint64_t offset, std::span<const uint8_t> from);
  [[nodiscard]] bool flush();

 private:
  struct Close {
    void operator()(nbd_handle* handle) const;
  };
  void connect(HostFd socket);
  bool still_there(int result);

  std::unique_ptr<HostProgram> program_;
  std::unique_ptr<nbd_handle, Close> handle_;
  uint64_t size_ = 0;
};

}  // namespace understudy::devices
