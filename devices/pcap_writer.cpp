#include "devices/pcap_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstring>

#include "devices/host_net.h"

namespace understudy::devices {

namespace {

constexpr uint64_t kNsPerSecond = 1'000'000'000;

struct FileHeader {
  uint32_t magic = 0xa1b23c4d;
  uint16_t major = 2, minor = 4;
  uint32_t zone = 0, accuracy = 0;
  uint32_t snap_length = PcapWriter::kSnapLength;
  uint32_t link_type = 1;  // LINKTYPE_ETHERNET
};
static_assert(sizeof(FileHeader) == 24);

struct FrameHeader {
  uint32_t seconds, nanoseconds;
  uint32_t kept, length;
};
static_assert(sizeof(FrameHeader) == 16);

template <typename T>
std::span<const uint8_t> bytes_of(const T& value) {
  return {reinterpret_cast<const uint8_t*>(&value), sizeof value};
}

}  // namespace

PcapWriter::PcapWriter(const std::string& path)
    // O_NONBLOCK: opening a FIFO that nobody reads must not hang. A reader that is there may be slow.
    : path_(path), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0644)) {
  if (!fd_ || ::fcntl(fd_.get(), F_SETFL, 0) != 0)
    throw HostNetError(fmt::format("capture file {}: {}", path, std::strerror(errno)));
  if (!put(bytes_of(FileHeader{}), {}))
    throw HostNetError(fmt::format("capture file {}: {}", path, std::strerror(errno)));
}

void PcapWriter::write(uint64_t ns, std::span<const uint8_t> frame) {
  if (failed_) return;
  const std::span<const uint8_t> kept = frame.first(std::min<size_t>(frame.size(), kSnapLength));
  const FrameHeader header{static_cast<uint32_t>(ns / kNsPerSecond), static_cast<uint32_t>(ns % kNsPerSecond),
                           static_cast<uint32_t>(kept.size()), static_cast<uint32_t>(frame.size())};
  if (put(bytes_of(header), kept)) return;
  fmt::print(stderr, "understudy: capture file {}: {}; it ends here\n", path_, std::strerror(errno));
  failed_ = true;
  // Readers stumble over half a frame. What is no regular file cannot be cut, and need not be.
  [[maybe_unused]] const int cut = ::ftruncate(fd_.get(), static_cast<off_t>(whole_bytes_));
}

bool PcapWriter::put(std::span<const uint8_t> head, std::span<const uint8_t> body) {
  const size_t size = head.size() + body.size();
  size_t done = 0;
  while (done < size) {
    const auto first = head.subspan(std::min(done, head.size()));
    const auto second = body.subspan(done - (head.size() - first.size()));
    const iovec parts[2] = {{const_cast<uint8_t*>(first.data()), first.size()},
                            {const_cast<uint8_t*>(second.data()), second.size()}};
    const ssize_t n = ::writev(fd_.get(), parts, 2);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  whole_bytes_ += size;
  return true;
}

}  // namespace understudy::devices
