#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "devices/host_disk_image.h"

using namespace understudy;
using devices::DiskImageError;
using devices::HostDiskImage;
using Mode = HostDiskImage::Mode;
namespace fs = std::filesystem;

namespace {

struct TempDir {
  fs::path path;
  TempDir() {
    std::string name = (fs::temp_directory_path() / "understudy-test-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~TempDir() { fs::remove_all(path); }
  std::string file(const std::string& name, const std::string& content) const {
    std::ofstream(path / name, std::ios::binary) << content;
    return (path / name).string();
  }
};

std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string error_of(const std::string& path, Mode mode) {
  try {
    HostDiskImage image(path, mode);
  } catch (const DiskImageError& error) {
    return error.what();
  }
  return "";
}

std::vector<uint8_t> read(HostDiskImage& image, uint64_t sector, size_t count) {
  std::vector<uint8_t> data(count * 512, 0xcc);
  CHECK(image.read(sector * 512, data));
  return data;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("disk image: write mode changes the file in place") {
  TempDir dir;
  const std::string path = dir.file("a.img", std::string(4 * 512, 'a'));
  HostDiskImage image(path, Mode::kWrite);
  CHECK(image.size_bytes() == 2048);
  CHECK_FALSE(image.read_only());
  CHECK(image.write(512, std::vector<uint8_t>(512, 'b')));
  CHECK(image.flush());
  CHECK(read(image, 1, 1) == std::vector<uint8_t>(512, 'b'));
  CHECK(content_of(path) == std::string(512, 'a') + std::string(512, 'b') + std::string(1024, 'a'));
}

TEST_CASE("disk image: an incomplete last sector is filled with zeros") {
  TempDir dir;
  const std::string path = dir.file("a.img", std::string(700, 'a'));
  HostDiskImage image(path, Mode::kWrite);
  CHECK(image.size_bytes() == 1024);
  auto data = read(image, 1, 1);
  CHECK(data[187] == 'a');
  CHECK(data[188] == 0);
  CHECK(data[511] == 0);
  CHECK(image.write(0, std::vector<uint8_t>(512, 'b')));
  CHECK(fs::file_size(path) == 700);
  CHECK(image.write(512, data));
  CHECK(fs::file_size(path) == 1024);
}

TEST_CASE("disk image: out of range and unaligned accesses fail") {
  TempDir dir;
  HostDiskImage image(dir.file("a.img", std::string(1024, 'a')), Mode::kWrite);
  std::vector<uint8_t> data(1024);
  CHECK_FALSE(image.read(512, data));
  CHECK_FALSE(image.read(~0ull - 511, data));
  CHECK_FALSE(image.read(1, std::span(data).first(512)));
  CHECK_FALSE(image.write(1024, std::span(data).first(512)));
  CHECK_FALSE(image.write(0, std::span(data).first(100)));
  CHECK(image.read(1024, std::span(data).first(0)));
}

TEST_CASE("disk image: snapshot mode keeps writes to itself") {
  TempDir dir;
  const std::string original(600 * 512 + 100, 'a');
  const std::string path = dir.file("a.img", original);
  HostDiskImage image(path, Mode::kSnapshot);
  std::vector<uint8_t> model(601 * 512);
  std::copy(original.begin(), original.end(), model.begin());
  std::mt19937 random(5);
  std::vector<bool> dirty(601);
  for (int i = 0; i < 300; ++i) {
    const size_t first = random() % 601;
    const size_t count = std::min<size_t>(1 + random() % 9, 601 - first);
    if (random() % 2 == 0) {
      std::vector<uint8_t> data(count * 512);
      for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
      REQUIRE(image.write(first * 512, data));
      std::copy(data.begin(), data.end(), model.begin() + static_cast<long>(first * 512));
      for (size_t n = first; n < first + count; ++n) dirty[n] = true;
    } else {
      const auto data = read(image, first, count);
      REQUIRE(std::equal(data.begin(), data.end(), model.begin() + static_cast<long>(first * 512)));
    }
  }
  CHECK(read(image, 0, 601) == model);
  CHECK(image.flush());
  CHECK(content_of(path) == original);
  std::vector<bool> reported(601);
  for (const auto& run : image.dirty_runs())
    for (uint64_t n = run.first; n < run.first + run.count; ++n) reported.at(n) = true;
  CHECK(reported == dirty);
}

TEST_CASE("disk image: the overlay leaves no file behind and lives in TMPDIR") {
  TempDir dir;
  const std::string path = dir.file("a.img", std::string(1024, 'a'));
  fs::create_directory(dir.path / "tmp");
  const char* before = std::getenv("TMPDIR");
  const std::string saved = before != nullptr ? before : "";
  setenv("TMPDIR", (dir.path / "tmp").c_str(), 1);
  {
    HostDiskImage image(path, Mode::kSnapshot);
    CHECK(image.write(0, std::vector<uint8_t>(512)));
    CHECK(fs::is_empty(dir.path / "tmp"));
  }
  setenv("TMPDIR", (dir.path / "missing").c_str(), 1);
  CHECK(contains(error_of(path, Mode::kSnapshot), "TMPDIR"));
  if (before != nullptr)
    setenv("TMPDIR", saved.c_str(), 1);
  else
    unsetenv("TMPDIR");
}

TEST_CASE("disk image: readonly mode refuses writes") {
  TempDir dir;
  const std::string path = dir.file("a.img", std::string(1024, 'a'));
  HostDiskImage image(path, Mode::kReadOnly);
  CHECK(image.read_only());
  CHECK_FALSE(image.write(0, std::vector<uint8_t>(512)));
  CHECK(read(image, 0, 2) == std::vector<uint8_t>(1024, 'a'));
}

TEST_CASE("disk image: errors name the path, the reason and a remedy") {
  TempDir dir;
  const std::string missing = (dir.path / "missing.img").string();
  CHECK(contains(error_of(missing, Mode::kReadOnly), missing));
  CHECK(contains(error_of(missing, Mode::kReadOnly), "no such file"));
  CHECK(contains(error_of(dir.path.string(), Mode::kReadOnly), "is a directory"));
  CHECK(contains(error_of(dir.path.string(), Mode::kWrite), "is a directory"));
  CHECK(contains(error_of(dir.file("empty.img", ""), Mode::kWrite), "is empty"));
  CHECK(contains(error_of("/dev/null", Mode::kReadOnly), "neither"));
  const std::string fifo = (dir.path / "fifo").string();
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(contains(error_of(fifo, Mode::kReadOnly), "neither"));
  const std::string locked = dir.file("locked.img", std::string(512, 'a'));
  chmod(locked.c_str(), 0400);
  if (geteuid() != 0) {
    CHECK(contains(error_of(locked, Mode::kWrite), "snapshot or readonly"));
    chmod(locked.c_str(), 0);
    CHECK(contains(error_of(locked, Mode::kReadOnly), "permissions"));
  }
  CHECK_FALSE(contains(error_of(missing, Mode::kWrite), "\n"));
}

TEST_CASE("disk image: other formats are recognised and refused") {
  TempDir dir;
  const auto refused = [&](std::string magic) {
    magic.resize(1024);
    return error_of(dir.file("x.img", magic), Mode::kSnapshot);
  };
  CHECK(contains(refused("QED"), "raw and qcow2"));
  CHECK(contains(refused("KDMV"), "VMDK"));
  CHECK(contains(refused("conectix"), "VHD"));
  CHECK(contains(refused("vhdxfile"), "VHDX"));
  CHECK(contains(refused("<<< Oracle VM VirtualBox Disk Image >>>"), "VDI"));
  CHECK(contains(refused("\x1f\x8b\x08"), "unpack"));
  CHECK(refused("\xeb\x63\x90").empty());
  CHECK(error_of(dir.file("short.img", "QF"), Mode::kReadOnly).empty());
}

TEST_CASE("disk image: one writer, or many readers") {
  TempDir dir;
  const std::string path = dir.file("a.img", std::string(1024, 'a'));
  {
    HostDiskImage writer(path, Mode::kWrite);
    CHECK(contains(error_of(path, Mode::kWrite), "in use"));
    CHECK(contains(error_of(path, Mode::kSnapshot), "being written"));
    CHECK(contains(error_of(path, Mode::kReadOnly), "being written"));
  }
  {
    HostDiskImage reader(path, Mode::kReadOnly);
    HostDiskImage other(path, Mode::kSnapshot);
    CHECK(contains(error_of(path, Mode::kWrite), "in use"));
  }
  CHECK(error_of(path, Mode::kWrite).empty());
}

TEST_CASE("disk image: a full host disk is no drive error, but ends the run, and keeps what was there") {
  TempDir dir;
  const std::string path = dir.file("a.img", std::string(64 * 512, 'a'));
  HostDiskImage image(path, Mode::kSnapshot);
  // The file size limit stands for a full disk: the host refuses to make the overlay any longer.
  rlimit saved{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &saved) == 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = saved;
  small.rlim_cur = 8 * 512;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const bool inside = image.write(0, std::vector<uint8_t>(512, 'b'));
  const auto refused = [&](uint64_t sector, size_t sectors) -> std::string {
    try {
      (void)image.write(sector * 512, std::vector<uint8_t>(sectors * 512, 'c'));
    } catch (const devices::DiskHostError& error) {
      return error.what();
    }
    return {};
  };
  const std::string across = refused(6, 4), outside = refused(20, 1);
  setrlimit(RLIMIT_FSIZE, &saved);
  std::signal(SIGXFSZ, old_handler);
  CHECK(inside);
  CHECK(contains(across, "its overlay cannot be written (File too large)"));
  CHECK(contains(outside, "TMPDIR"));
  CHECK(read(image, 0, 1) == std::vector<uint8_t>(512, 'b'));
  CHECK(read(image, 6, 58) == std::vector<uint8_t>(58 * 512, 'a'));
}
