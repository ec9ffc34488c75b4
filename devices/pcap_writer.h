// Writes frames into a capture file that Wireshark and tcpdump read: the classic pcap format, version 2.4, with
// nanoseconds (magic a1b23c4d), link type Ethernet, in this host's byte order. Times are the caller's: virtual
// nanoseconds. A write that fails is reported once on standard error, the file ends at its last whole frame, and the
// run goes on without a capture.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "devices/host_fd.h"

namespace understudy::devices {

class PcapWriter {
 public:
  // Frames are cut here; no device sends longer ones.
  static constexpr uint32_t kSnapLength = 65536;

  // Throws HostNetError.
  explicit PcapWriter(const std::string& path);
  void write(uint64_t ns, std::span<const uint8_t> frame);
  bool failed() const { return failed_; }

 private:
  bool put(std::span<const uint8_t> head, std::span<const uint8_t> body);
  std::string path_;
  HostFd fd_;
  uint64_t whole_bytes_ = 0;  // up to the end of the last whole frame
  bool failed_ = false;
};

}  // namespace understudy::devices
