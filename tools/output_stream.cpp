#include "tools/output_stream.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace understudy::tools {

void OutputStream::flush() {
  std::string_view left = buffer_;
  while (!left.empty() && !closed_) {
    const ssize_t wrote = write(fd_, left.data(), left.size());
    if (wrote >= 0) {
      bytes_ += static_cast<uint64_t>(wrote);
      left.remove_prefix(static_cast<size_t>(wrote));
    } else if (errno == EPIPE) {
      closed_ = true;
    } else if (errno == EAGAIN) {
      pollfd waiting{fd_, POLLOUT, 0};
      poll(&waiting, 1, -1);
    } else if (errno != EINTR) {
      throw std::runtime_error(fmt::format("cannot write to the output: {}", std::strerror(errno)));
    }
  }
  buffer_.clear();
}

}  // namespace understudy::tools
