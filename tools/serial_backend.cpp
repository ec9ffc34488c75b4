#include "tools/serial_backend.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tools/serial_socket.h"
#include "tools/terminal.h"

namespace understudy::tools {

namespace {

class NoSerial : public SerialBackend {
 public:
  std::vector<uint8_t> take(size_t) override { return {}; }
  void write(std::span<const uint8_t>) override {}
};

class SerialFile : public SerialBackend {
 public:
  explicit SerialFile(const std::string& path) : path_(path) {
    fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd_ < 0) throw UsageError(fmt::format("serial file {}: {}", path, std::strerror(errno)));
  }
  ~SerialFile() override { ::close(fd_); }
  std::vector<uint8_t> take(size_t) override { return {}; }
  void write(std::span<const uint8_t> bytes) override {
    while (!bytes.empty()) {
      const ssize_t done = ::write(fd_, bytes.data(), bytes.size());
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) {
        if (!warned_)
          fmt::print(stderr, "understudy: serial file {}: {}; output is lost\n", path_, std::strerror(errno));
        warned_ = true;
        return;
      }
      bytes = bytes.subspan(static_cast<size_t>(done));
    }
  }

 private:
  std::string path_;
  int fd_ = -1;
  bool warned_ = false;
};

}  // namespace

std::unique_ptr<SerialBackend> open_serial(const std::string& spec, Wakeup& wakeup) {
  auto rest = [&spec](std::string_view prefix) { return spec.substr(prefix.size()); };
  if (spec == "stdio") return std::make_unique<Terminal>(wakeup);
  if (spec == "none") return std::make_unique<NoSerial>();
  if (spec.starts_with("file:") && spec.size() > 5) return std::make_unique<SerialFile>(rest("file:"));
  if (spec.starts_with("unix:") && spec.size() > 5) return listen_unix(rest("unix:"), wakeup);
  if (spec.starts_with("tcp:")) return listen_tcp(rest("tcp:"), wakeup);
  throw UsageError(fmt::format("serial line '{}' is not stdio, file:PATH, unix:PATH, tcp:HOST:PORT or none", spec));
}

}  // namespace understudy::tools
