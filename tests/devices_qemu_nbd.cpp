#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>

#include "devices/host_disk_image.h"
#include "devices/host_program.h"

using namespace understudy;
using devices::DiskImageError;
using devices::HostDiskImage;
using Mode = HostDiskImage::Mode;
namespace fs = std::filesystem;

namespace {

constexpr size_t kBytes = 4 << 20;

class Scratch {
 public:
  Scratch() {
    std::string name = (fs::temp_directory_path() / "understudy-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
    std::mt19937 random(3);
    // The middle is a hole.
    content_.resize(kBytes);
    for (size_t i = 0; i < kBytes; ++i)
      if (i < kBytes / 4 || i >= kBytes / 2) content_[i] = static_cast<char>(random());
    write("raw.img", content_);
  }
  ~Scratch() { fs::remove_all(path_); }
  const std::string& content() const { return content_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }
  std::string bytes_of(const std::string& name) const {
    std::ifstream in(path_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  // qemu-img in this folder.
  void qemu_img(const std::string& arguments) const {
    const std::string command = "cd " + path_.string() + " && qemu-img " + arguments + " >&2";
    REQUIRE(std::system(command.c_str()) == 0);
  }
  std::string qcow2(const std::string& options = "") const {
    qemu_img("convert " + options + " -O qcow2 raw.img disk.qcow2");
    return *this / "disk.qcow2";
  }

 private:
  fs::path path_;
  std::string content_;
};

class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value.c_str(), 1);
  }
  ~Variable() {
    if (before_)
      setenv(name_, before_->c_str(), 1);
    else
      unsetenv(name_);
  }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

std::string read(HostDiskImage& image, uint64_t offset, size_t size) {
  std::vector<uint8_t> data(size, 0xcc);
  CHECK(image.read(offset, data));
  return {data.begin(), data.end()};
}

void check_refused(const std::string& path, const std::string& reason, const std::string& advice,
                   Mode mode = Mode::kSnapshot) {
  CAPTURE(path);
  std::string said;
  try {
    HostDiskImage image(path, mode);
  } catch (const DiskImageError& error) {
    said = error.what();
  }
  CAPTURE(said);
  CHECK(said.find(path) != std::string::npos);
  CHECK(said.find(reason) != std::string::npos);
  CHECK(said.find(advice) != std::string::npos);
  CHECK(said.find('\n') == std::string::npos);
}

// The programs that a process has started.
std::vector<pid_t> children_of(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children");
  std::vector<pid_t> children;
  for (pid_t child = 0; in >> child;) children.push_back(child);
  return children;
}

int handle_of(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

// Whether it is gone within ten seconds.
bool ends(int process) {
  pollfd watched{process, POLLIN, 0};
  return poll(&watched, 1, 10'000) == 1;
}

}  // namespace

TEST_CASE("qcow2: the guest sees what is in the image, and the image's file stays as it is") {
  const Scratch scratch;
  for (const std::string options : {"", "-c", "-o compat=0.10", "-o cluster_size=512", "-o lazy_refcounts=on"}) {
    CAPTURE(options);
    const std::string path = scratch.qcow2(options);
    const std::string before = scratch.bytes_of("disk.qcow2");
    for (const Mode mode : {Mode::kReadOnly, Mode::kSnapshot}) {
      HostDiskImage image(path, mode);
      REQUIRE(image.size_bytes() == kBytes);
      CHECK(read(image, 0, kBytes) == scratch.content());
      CHECK(read(image, kBytes - 512, 512) == scratch.content().substr(kBytes - 512));
      const bool written = image.write(1024, std::vector<uint8_t>(512, 'b'));
      CHECK(written == (mode == Mode::kSnapshot));
      if (written) CHECK(read(image, 1024, 512) == std::string(512, 'b'));
    }
    CHECK(scratch.bytes_of("disk.qcow2") == before);
  }
}

TEST_CASE("qcow2: the digest is the file's, as a raw image's is") {
  const Scratch scratch;
  const std::string path = scratch.qcow2();
  fs::copy(path, scratch / "copy.qcow2");
  HostDiskImage image(path, Mode::kSnapshot);
  HostDiskImage copy(scratch / "copy.qcow2", Mode::kReadOnly);
  CHECK(image.digest() == copy.digest());
  HostDiskImage raw(scratch / "raw.img", Mode::kSnapshot);
  CHECK(image.digest() != raw.digest());
}

TEST_CASE("qcow2: write mode changes the image, and only one does") {
  const Scratch scratch;
  const std::string path = scratch.qcow2();
  std::string content = scratch.content();
  std::mt19937 random(7);
  uint64_t digest = 0;
  {
    HostDiskImage image(path, Mode::kWrite);
    check_refused(path, "in use", "snapshot", Mode::kWrite);
    check_refused(path, "being written", "copy");
    for (int i = 0; i < 50; ++i) {
      const size_t at = random() % (kBytes / 512 - 8) * 512;
      const std::string data((1 + random() % 8) * 512, static_cast<char>(random()));
      REQUIRE(image.write(at, {reinterpret_cast<const uint8_t*>(data.data()), data.size()}));
      content.replace(at, data.size(), data);
    }
    CHECK(read(image, 0, kBytes) == content);
    CHECK(image.flush());
    digest = image.digest();
  }
  scratch.write("raw.img", content);
  scratch.qemu_img("compare -q raw.img disk.qcow2");
  scratch.qemu_img("check -q disk.qcow2");
  HostDiskImage image(path, Mode::kReadOnly);
  CHECK(image.digest() == digest);
  HostDiskImage other(path, Mode::kSnapshot);
  CHECK(read(other, 0, kBytes) == content);
}

TEST_CASE("qcow2: another program's writer keeps us out, and we keep it out") {
  const Scratch scratch;
  const std::string path = scratch.qcow2();
  {
    HostDiskImage image(path, Mode::kSnapshot);
    const std::string command = "qemu-io -c 'write 0 512' " + path + " >/dev/null 2>&1";
    CHECK(std::system(command.c_str()) != 0);
  }
  const devices::HostProgram writer(
      {"qemu-nbd", "--format=qcow2", "--socket=" + (scratch / "nbd"), "--pid-file=" + (scratch / "listens"), path}, {},
      false);
  for (int i = 0; i < 1000 && !fs::exists(scratch / "listens"); ++i) usleep(10'000);
  check_refused(path, "Failed to get", "'qemu-img check -f qcow2'");
}

TEST_CASE("qcow2: what names other files, is damaged or is cut is refused in one line") {
  const Scratch scratch;
  const std::string good = (scratch.qcow2(), scratch.bytes_of("disk.qcow2"));
  const auto changed = [&](size_t at, const std::string& bytes) {
    std::string image = good;
    image.replace(at, bytes.size(), bytes);
    scratch.write("x.qcow2", image);
    return scratch / "x.qcow2";
  };
  const auto cut = [&](size_t size) {
    scratch.write("x.qcow2", good.substr(0, size));
    return scratch / "x.qcow2";
  };
  scratch.qemu_img("create -q -f qcow2 -b raw.img -F raw backed.qcow2");
  check_refused(scratch / "backed.qcow2", "backing file", "qemu-img convert");
  // One that would be a way to any file of the host's.
  fs::copy(scratch / "backed.qcow2", scratch / "escape.qcow2");
  scratch.qemu_img("rebase -q -u -b /etc/passwd -F raw escape.qcow2");
  check_refused(scratch / "escape.qcow2", "backing file", "qemu-img convert", Mode::kWrite);
  scratch.qemu_img("create -q -f qcow2 -o data_file=data.raw,data_file_raw=on elsewhere.qcow2 1M");
  check_refused(scratch / "elsewhere.qcow2", "its data in another file", "qemu-img convert");
  check_refused(cut(79), "ends in its header", "whole copy");
  // QEMU itself reads these two, with zeros for what is missing.
  check_refused(cut(300), "damaged", "qemu-img check");
  check_refused(cut(good.size() - (128 << 10)), "end of the file", "qemu-img check");
  check_refused(changed(79, "\x02"), "marked as corrupt", "qemu-img check");
  check_refused(changed(4, {"\0\0\0\x09", 4}), "Unsupported qcow2 version 9", "qemu-img check");
  check_refused(changed(35, "\x01"), "key", "qemu-img check");  // encrypted
  check_refused(changed(40, std::string(8, '\xff')), "L1 table offset", "qemu-img check");
  check_refused(changed(24, "\x7f\xff\xff"), "too big", "qemu-img check");
  scratch.qemu_img("create -q -f qcow2 empty.qcow2 0");
  check_refused(scratch / "empty.qcow2", "no size", "qemu-img resize");
  // Whatever stands in the tables is refused or read, and nothing worse.
  std::mt19937 random(11);
  for (int i = 0; i < 40; ++i) {
    const std::string path = changed(random() % (good.size() < 400'000 ? good.size() : 400'000),
                                     std::string(8, static_cast<char>(random())));
    try {
      HostDiskImage image(path, Mode::kSnapshot);
      std::vector<uint8_t> data(std::min<uint64_t>(image.size_bytes(), kBytes));
      [[maybe_unused]] const bool read = image.read(0, data);
    } catch (const DiskImageError&) {
    }
  }
}

TEST_CASE("qcow2: what is missing is named") {
  const Scratch scratch;
  const std::string path = scratch.qcow2();
  {
    const Variable none("PATH", scratch / "nothing");
    check_refused(path, "qemu-img", "install Debian's package qemu-utils");
  }
  {
    // Its other half alone.
    fs::create_symlink("/usr/bin/qemu-img", scratch / "qemu-img");
    const Variable half("PATH", scratch / "");
    check_refused(path, "qemu-nbd", "install Debian's package qemu-utils");
  }
  const Variable nowhere("TMPDIR", scratch / "missing");
  check_refused(path, "qemu-nbd cannot be started", "TMPDIR");
}

TEST_CASE("qcow2: no file is left where anyone could reach the disk, however long the folder's name") {
  const Scratch scratch;
  const std::string path = scratch.qcow2();
  const std::string tmp = scratch / std::string(150, 't');
  fs::create_directory(tmp);
  const Variable there("TMPDIR", tmp);
  HostDiskImage image(path, Mode::kSnapshot);
  CHECK(fs::is_empty(tmp));
}

TEST_CASE("qcow2: qemu-nbd ends with the image, and with a process that is killed") {
  const Scratch scratch;
  const std::string path = scratch.qcow2();
  int program = -1;
  {
    HostDiskImage image(path, Mode::kSnapshot);
    const auto children = children_of(getpid());
    REQUIRE(children.size() == 1);
    program = handle_of(children.front());
    REQUIRE(program >= 0);
  }
  CHECK(children_of(getpid()).empty());
  CHECK(ends(program));
  close(program);

  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t holder = fork();
  if (holder == 0) {
    HostDiskImage image(path, Mode::kSnapshot);
    if (::write(ready[1], "x", 1) == 1) pause();
    _exit(1);
  }
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  const auto children = children_of(holder);
  REQUIRE(children.size() == 1);
  program = handle_of(children.front());
  REQUIRE(program >= 0);
  kill(holder, SIGKILL);
  waitpid(holder, nullptr, 0);
  CHECK(ends(program));
  for (const int fd : {program, ready[0], ready[1]}) close(fd);
}

TEST_CASE(
    "qcow2: without its qemu-nbd the machine stops, and no guest sees a drive error that a replay would not have") {
  const Scratch scratch;
  const std::string path = scratch.qcow2();
  HostDiskImage image(path, Mode::kSnapshot);
  read(image, 0, 512);
  const auto children = children_of(getpid());
  REQUIRE(children.size() == 1);
  kill(children.front(), SIGKILL);
  std::vector<uint8_t> data(512);
  try {
    [[maybe_unused]] const bool read = image.read(0, data);
    FAIL("it was read");
  } catch (const DiskImageError& error) {
    const std::string said = error.what();
    CAPTURE(said);
    CHECK(said.find(path + ": qemu-nbd is gone") != std::string::npos);
    CHECK(said.find('\n') == std::string::npos);
  }
}
