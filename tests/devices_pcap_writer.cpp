#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "devices/host_net.h"
#include "devices/pcap_writer.h"
#include "tests/net_frames.h"

using namespace understudy::devices;
using namespace understudy::net_test;

namespace {

struct Captured {
  uint64_t ns;
  uint32_t length;
  Bytes frame;
};

uint32_t le32(View from, size_t at) {
  uint32_t value;
  REQUIRE(at + 4 <= from.size());
  std::memcpy(&value, &from[at], 4);
  return value;
}

// Reads a capture as the format's description has it, and insists that it ends with a whole frame.
std::vector<Captured> read_pcap(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const Bytes all{std::istreambuf_iterator<char>(file), {}};
  CHECK(le32(all, 0) == 0xa1b23c4d);
  CHECK(le32(all, 4) == (4u << 16 | 2u));
  CHECK(le32(all, 8) == 0);
  CHECK(le32(all, 12) == 0);
  CHECK(le32(all, 16) >= kMaxFrame);
  CHECK(le32(all, 20) == 1);
  std::vector<Captured> frames;
  size_t at = 24;
  while (at < all.size()) {
    const uint32_t kept = le32(all, at + 8);
    CHECK(le32(all, at + 4) < 1'000'000'000);
    REQUIRE(at + 16 + kept <= all.size());
    const View frame = View(all).subspan(at + 16, kept);
    frames.push_back({le32(all, at) * uint64_t{1'000'000'000} + le32(all, at + 4),
                      le32(all, at + 12),
                      {frame.begin(), frame.end()}});
    at += 16 + kept;
  }
  return frames;
}

struct File {
  File() : path((std::filesystem::temp_directory_path() / "understudy-pcap-XXXXXX").string()) {
    ::close(::mkstemp(path.data()));
  }
  ~File() { std::filesystem::remove(path); }
  std::string path;
};

// Makes writes beyond `bytes` fail, as a full disk does.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

}  // namespace

TEST_SUITE("pcap") {
  TEST_CASE("pcap: frames with their times, readable at any moment") {
    File file;
    PcapWriter writer(file.path);
    CHECK(read_pcap(file.path).empty());
    const Bytes small(kMinFrame, 1), large(kMaxFrame, 2), huge(70000, 3);
    writer.write(0, small);
    writer.write(12'345'678'901'234, large);
    writer.write(12'345'999'999'999, huge);
    const auto frames = read_pcap(file.path);
    REQUIRE(frames.size() == 3);
    CHECK(frames[0].ns == 0);
    CHECK(frames[0].frame == small);
    CHECK(frames[1].ns == 12'345'678'901'234);
    CHECK(frames[1].length == kMaxFrame);
    CHECK(frames[1].frame == large);
    CHECK(frames[2].ns == 12'345'999'999'999);
    CHECK(frames[2].length == 70000);
    CHECK(frames[2].frame == Bytes(PcapWriter::kSnapLength, 3));
    CHECK(!writer.failed());
  }

  TEST_CASE("pcap: a full disk ends the capture at a whole frame, and not the run") {
    File file;
    PcapWriter writer(file.path);
    {
      const FileSizeLimit limit(24 + 3 * (16 + 100) + 50);
      for (int i = 0; i < 3; ++i) writer.write(static_cast<uint64_t>(i), Bytes(100, 9));
      CHECK(!writer.failed());
      writer.write(3, Bytes(100, 9));  // half of it fits
      CHECK(writer.failed());
    }
    writer.write(4, Bytes(100, 9));
    const auto frames = read_pcap(file.path);
    REQUIRE(frames.size() == 3);
    CHECK(frames[2].ns == 2);
  }

  TEST_CASE("pcap: a file that cannot be written is refused in one line") {
    auto refusal = [](const std::string& path) -> std::string {
      try {
        PcapWriter writer(path);
      } catch (const HostNetError& error) {
        return error.what();
      }
      return "";
    };
    CHECK(refusal("/nowhere/x.pcap") == "capture file /nowhere/x.pcap: No such file or directory");
    CHECK(refusal("/dev/full") == "capture file /dev/full: No space left on device");
    File file;
    std::filesystem::remove(file.path);
    REQUIRE(::mkfifo(file.path.c_str(), 0600) == 0);
    CHECK(refusal(file.path) == "capture file " + file.path + ": No such device or address");
  }
}
