#include "devices/qemu_nbd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <libnbd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <vector>

namespace understudy::devices {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPatience{30'000};    // until the child has opened the image
constexpr milliseconds kLastWrites{60'000};  // until it has ended by itself
constexpr size_t kMaxRequest = 1u << 20;     // any server takes 32 MiB
constexpr const char* kImage = "/dev/fd/4";  // the image, as its programs know it: no name that QEMU could interpret
constexpr const char* kInstall = "install Debian's package qemu-utils";
constexpr const char* kRepair = "'qemu-img check -r all' may repair it";
constexpr const char* kFlatten = "make one that stands alone with 'qemu-img convert -O qcow2'";

// QEMU's docs/interop/qcow2.txt, "Header".
constexpr std::array<uint8_t, 4> kMagic = {'Q', 'F', 'I', 0xfb};
constexpr size_t kVersion = 4, kBackingFileOffset = 8, kIncompatibleFeatures = 72, kHeaderBytes = 80;
constexpr uint64_t kCorrupt = 1u << 1, kExternalData = 1u << 2;

uint64_t big_endian(std::span<const uint8_t> bytes, size_t offset, size_t size) {
  uint64_t value = 0;
  for (const uint8_t byte : bytes.subspan(offset, size)) value = value << 8 | byte;
  return value;
}

void check_header(int image) {
  std::array<uint8_t, kHeaderBytes> head{};
  if (pread(image, head.data(), head.size(), 0) != static_cast<ssize_t>(head.size()))
    throw QemuNbdError("is a qcow2 image that ends in its header", "get a whole copy of it");
  if (big_endian(head, kBackingFileOffset, 8) != 0)
    throw QemuNbdError("is a qcow2 image that needs another one, its backing file", kFlatten);
  const uint64_t features = big_endian(head, kVersion, 4) < 3 ? 0 : big_endian(head, kIncompatibleFeatures, 8);
  if ((features & kExternalData) != 0) throw QemuNbdError("is a qcow2 image with its data in another file", kFlatten);
  if ((features & kCorrupt) != 0) throw QemuNbdError("is a qcow2 image that is marked as corrupt", kRepair);
}

void require_installed(int exit_code, const char* program) {
  if (exit_code == HostProgram::kNotFound)
    throw QemuNbdError(fmt::format("is a qcow2 image, which takes {} to read", program), kInstall);
  if (exit_code == HostProgram::kNotRun)
    throw QemuNbdError(fmt::format("is a qcow2 image, and {} cannot be run", program), kInstall);
}

// What a program said, without what is about our descriptor.
std::string reason_of(HostProgram& program, const std::string& name) {
  std::string line = program.first_line(name + ": ");
  const std::string mentioned = fmt::format("'{}': ", kImage);
  if (const size_t at = line.find(mentioned); at != std::string::npos) line.erase(0, at + mentioned.size());
  return line.empty() ? name + " gave up without a word" : line;
}

// QEMU reads what lies past a file's end as zeros, tables too: only its check finds an image that was cut.
void check_metadata(int image) {
  constexpr int kCorruptions = 2, kLeaks = 3;
  const int descriptors[] = {image, image};
  HostProgram check({"qemu-img", "check", "-q", "-f", "qcow2", kImage}, descriptors, false);
  const int result = check.wait();
  if (result == 0 || result == kLeaks) return;
  require_installed(result, "qemu-img");
  const std::string reason = reason_of(check, "qemu-img");
  if (result == kCorruptions) throw QemuNbdError(fmt::format("is a damaged qcow2 image ({})", reason), kRepair);
  throw QemuNbdError(fmt::format("is a qcow2 image that cannot be used ({})", reason),
                     "'qemu-img check -f qcow2' says more");
}

struct Connection {
  HostFd listener, ours;
};

// A socket that is connected before anyone else can find it, and has no name afterwards.
Connection connect_privately() {
  auto require = [](bool good) {
    if (!good) throw std::system_error(errno, std::generic_category());
  };
  const char* tmp = std::getenv("TMPDIR");
  std::string folder = std::string(tmp != nullptr && *tmp != '\0' ? tmp : "/tmp") + "/understudy-nbd-XXXXXX";
  require(mkdtemp(folder.data()) != nullptr);
  const std::string file = folder + "/socket";
  struct Removal {
    const std::string &folder, &file;
    ~Removal() {
      unlink(file.c_str());
      rmdir(folder.c_str());
    }
  } const removal{folder, file};
  const HostFd place(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  require(bool(place));
  // A socket's address has room for 107 bytes, a folder's name may be longer.
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "/proc/self/fd/{}/socket", place.get());
  const auto* const name = reinterpret_cast<const sockaddr*>(&address);
  Connection connection{HostFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
                        HostFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))};
  require(connection.listener && connection.ours);
  require(bind(connection.listener.get(), name, sizeof address) == 0 && listen(connection.listener.get(), 1) == 0);
  require(::connect(connection.ours.get(), name, sizeof address) == 0);
  return connection;
}

}  // namespace

bool QemuNbd::is_qcow2(std::span<const uint8_t> head) {
  return head.size() >= kMagic.size() && std::equal(kMagic.begin(), kMagic.end(), head.begin());
}

QemuNbd::QemuNbd(int image, bool writable) {
  check_header(image);
  try {
    check_metadata(image);
    Connection connection = connect_privately();
    std::vector<std::string> arguments = {"qemu-nbd", "--format=qcow2", kImage};
    if (!writable) arguments.insert(arguments.begin() + 1, "--read-only");
    const int descriptors[] = {connection.listener.get(), image};
    program_ = std::make_unique<HostProgram>(arguments, descriptors, true);
    connection.listener.reset();
    connect(std::move(connection.ours));
  } catch (const std::system_error& error) {
    throw QemuNbdError(fmt::format("is a qcow2 image, and qemu-nbd cannot be started for it ({})", error.what()),
                       "check TMPDIR and the limits on processes and open files");
  }
}

void QemuNbd::connect(HostFd socket) {
  handle_.reset(nbd_create());
  if (!handle_) throw QemuNbdError(fmt::format("libnbd failed ({})", nbd_get_error()), "free some memory");
  bool good = nbd_aio_connect_socket(handle_.get(), socket.release()) == 0;
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (good && nbd_aio_is_connecting(handle_.get()) > 0) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now()).count();
    if (left <= 0) throw QemuNbdError("is a qcow2 image, and qemu-nbd does not answer", "check the host's disk");
    good = nbd_poll(handle_.get(), static_cast<int>(left)) >= 0;
  }
  const int64_t size = good && nbd_aio_is_ready(handle_.get()) > 0 ? nbd_get_size(handle_.get()) : -1;
  if (size < 0) {
    const std::string problem = nbd_get_error() != nullptr ? nbd_get_error() : "no connection";
    handle_.reset();
    const std::optional<int> exit_code = program_->wait(kPatience);
    require_installed(exit_code.value_or(0), "qemu-nbd");
    const std::string said = program_->first_line("");
    throw QemuNbdError(fmt::format("is a qcow2 image that cannot be used ({})",
                                   said.empty() ? problem : reason_of(*program_, "qemu-nbd")),
                       "'qemu-img check -f qcow2' says more");
  }
  if (size == 0) throw QemuNbdError("is a qcow2 image of no size", "give it one with 'qemu-img resize'");
  size_ = static_cast<uint64_t>(size);
}

QemuNbd::~QemuNbd() {
  if (!handle_) return;
  nbd_shutdown(handle_.get(), 0);
  handle_.reset();
  // Whoever opens the image next finds it complete and unlocked.
  program_->wait(kLastWrites);
}

void QemuNbd::Close::operator()(nbd_handle* handle) const { nbd_close(handle); }

// A refusal leaves the connection as it is.
bool QemuNbd::still_there(int result) {
  if (result == 0) return true;
  if (nbd_aio_is_ready(handle_.get()) > 0) return false;
  throw QemuNbdError(fmt::format("qemu-nbd is gone ({})", nbd_get_error()), "it reads the image: leave it running");
}

bool QemuNbd::read(uint64_t offset, std::span<uint8_t> to) {
  while (!to.empty()) {
    const auto part = to.first(std::min(to.size(), kMaxRequest));
    if (!still_there(nbd_pread(handle_.get(), part.data(), part.size(), offset, 0))) return false;
    offset += part.size();
    to = to.subspan(part.size());
  }
  return true;
}

bool QemuNbd::write(uint64_t offset, std::span<const uint8_t> from) {
  while (!from.empty()) {
    const auto part = from.first(std::min(from.size(), kMaxRequest));
    if (!still_there(nbd_pwrite(handle_.get(), part.data(), part.size(), offset, 0))) return false;
    offset += part.size();
    from = from.subspan(part.size());
  }
  return true;
}

bool QemuNbd::flush() { return still_there(nbd_flush(handle_.get(), 0)); }

}  // namespace understudy::devices
