// What a reader makes of logs that were cut, changed, mixed up or made by an enemy: nothing wrong is ever accepted,
// what is good is still read, and the place is named.
#include <doctest/doctest.h>

#include <algorithm>

#include "ftlog/segment_format.h"
#include "tests/ftlog_rig.h"

using namespace understudy::ftlog;
using namespace understudy::test;

namespace {

LogOptions tiny_options(uint64_t identity = 1) {
  LogOptions options;
  options.identity = identity;
  options.block_bytes = 60;
  options.segment_bytes = 400;
  options.sync = SyncPolicy::none;
  return options;
}

std::vector<std::string> segments_of(const std::string& directory) {
  std::vector<std::string> paths;
  for (uint32_t number = 1; std::filesystem::exists(segment_path(directory, number)); ++number)
    paths.push_back(segment_path(directory, number));
  return paths;
}

// Where the blocks of a good segment start, and where the last one ends.
std::vector<uint64_t> block_offsets(const std::string& directory, uint32_t number) {
  SegmentReader reader(directory, number);
  REQUIRE(reader.head() != nullptr);
  std::vector<uint64_t> offsets{reader.offset()};
  for (Block block; reader.next(block);) offsets.push_back(reader.offset());
  return offsets;
}

bool is_prefix(const std::vector<LogEntry>& part, const std::vector<LogEntry>& whole) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

// The log is not taken for complete, what was read is right, and the place is in the segment not after the damage.
void check_noticed(const Outcome& outcome, const std::vector<LogEntry>& entries, const std::string& segment,
                   uint64_t at) {
  REQUIRE(outcome.state != LogState::complete);
  REQUIRE(is_prefix(outcome.entries, entries));
  if (!outcome.error.empty()) {
    REQUIRE(outcome.error_segment == segment);
    REQUIRE(outcome.error_offset <= at);
    REQUIRE(outcome.error.find(segment) != std::string::npos);
    REQUIRE(outcome.error.find("offset " + std::to_string(outcome.error_offset)) != std::string::npos);
  } else {
    REQUIRE(outcome.state == LogState::torn);
    REQUIRE(outcome.tail.segment == segment);
    REQUIRE(outcome.tail.offset <= at);
    REQUIRE(outcome.tail.bytes_lost > 0);
  }
}

}  // namespace

TEST_CASE("every bit of a small log counts") {
  for (const bool ended : {true, false}) {
    CAPTURE(ended);
    const TempDir directory;
    const auto entries = make_entries(11, 24, ended, 20);
    write_log(directory.path(), entries, tiny_options());
    const auto segments = segments_of(directory.path());
    REQUIRE(segments.size() >= 2);
    REQUIRE(read_log(directory.path()).entries == entries);
    const uint64_t last_block = *(block_offsets(directory.path(), static_cast<uint32_t>(segments.size())).end() - 2);
    for (const auto& segment : segments) {
      const auto good = read_bytes(segment);
      for (size_t at = 0; at < good.size(); ++at)
        for (unsigned bit = 0; bit < 8; ++bit) {
          CAPTURE(segment);
          CAPTURE(at);
          write_byte(segment, at, static_cast<uint8_t>(good[at] ^ 1u << bit));
          const Outcome outcome = read_log(directory.path());
          check_noticed(outcome, entries, segment, at);
          // Only the last block can be what an interrupted writer left.
          const bool in_last_block = segment == segments.back() && at >= last_block;
          REQUIRE(outcome.error.empty() == in_last_block);
          if (in_last_block) REQUIRE(outcome.tail.reason.find("damaged") != std::string::npos);
          if (bit == 7) write_byte(segment, at, good[at]);
        }
    }
  }
}

TEST_CASE("a log cut off anywhere is noticed") {
  for (const bool ended : {true, false}) {
    CAPTURE(ended);
    const TempDir directory;
    const auto entries = make_entries(12, 24, ended, 20);
    write_log(directory.path(), entries, tiny_options());
    const auto segments = segments_of(directory.path());
    REQUIRE(segments.size() >= 2);
    for (const auto& segment : segments) {
      const bool last = segment == segments.back();
      const auto good = read_bytes(segment);
      const auto offsets = block_offsets(
          directory.path(),
          static_cast<uint32_t>(std::find(segments.begin(), segments.end(), segment) - segments.begin() + 1));
      for (size_t size = good.size(); size-- > 0;) {
        CAPTURE(segment);
        CAPTURE(size);
        std::filesystem::resize_file(segment, size);
        const Outcome outcome = read_log(directory.path());
        REQUIRE(outcome.state != LogState::complete);
        REQUIRE(is_prefix(outcome.entries, entries));
        // Only the newest segment can have been cut off by an interruption.
        const bool torn = last && size >= offsets.front();
        if (torn || (last && segments.size() > 1)) {
          REQUIRE(outcome.error == "");
          REQUIRE(outcome.state == LogState::torn);
          REQUIRE(outcome.tail.segment == segment);
          REQUIRE(outcome.tail.offset + outcome.tail.bytes_lost == size);
          if (torn) REQUIRE(std::count(offsets.begin(), offsets.end(), outcome.tail.offset) == 1);
        } else {
          REQUIRE(outcome.error_segment == segment);
          REQUIRE(outcome.error_offset <= size);
        }
      }
      write_bytes(segment, good);
    }
    CHECK(read_log(directory.path()).entries == entries);
  }
}

TEST_CASE("1,000 flipped bits and 100 truncations of a finished log are each named") {
  const TempDir directory;
  const auto entries = make_entries(13, 900, true);
  LogOptions options;
  options.segment_bytes = 100'000;
  options.sync = SyncPolicy::none;
  options.identity = 1;
  write_log(directory.path(), entries, options);
  const auto segments = segments_of(directory.path());
  REQUIRE(segments.size() >= 3);
  std::mt19937_64 random(99);
  for (int i = 0; i < 1100; ++i) {
    CAPTURE(i);
    const auto& segment = segments[random() % segments.size()];
    const auto good = read_bytes(segment);
    const size_t at = random() % good.size();
    if (i < 1000)
      write_byte(segment, at, static_cast<uint8_t>(good[at] ^ 1u << random() % 8));
    else
      std::filesystem::resize_file(segment, at);
    const Outcome outcome = read_log(directory.path());
    REQUIRE(outcome.state != LogState::complete);
    REQUIRE(is_prefix(outcome.entries, entries));
    REQUIRE((outcome.error.empty() ? outcome.tail.segment : outcome.error_segment) == segment);
    REQUIRE((outcome.error.empty() ? outcome.tail.offset : outcome.error_offset) <= at);
    if (i < 1000)
      write_byte(segment, at, good[at]);
    else
      write_bytes(segment, good);
  }
  CHECK(read_log(directory.path()).state == LogState::complete);
}

TEST_CASE("blocks that are dropped, doubled, swapped, or taken from another log are noticed") {
  const TempDir directory, other;
  const auto entries = make_entries(14, 60, true, 20);
  LogOptions options = tiny_options();
  options.segment_bytes = 1u << 20;
  write_log(directory.path(), entries, options);
  options.identity = 2;
  write_log(other.path(), make_entries(15, 60, true, 20), options);
  const std::string segment = segment_path(directory.path(), 1);
  const auto good = read_bytes(segment);
  const auto foreign = read_bytes(segment_path(other.path(), 1));
  const auto offsets = block_offsets(directory.path(), 1);
  const auto foreign_offsets = block_offsets(other.path(), 1);
  REQUIRE(offsets.size() > 6);
  const auto part = [](const std::vector<uint8_t>& bytes, uint64_t from, uint64_t to) {
    return std::vector<uint8_t>(bytes.begin() + static_cast<ptrdiff_t>(from),
                                bytes.begin() + static_cast<ptrdiff_t>(to));
  };
  const auto with = [&](std::initializer_list<std::vector<uint8_t>> parts) {
    std::vector<uint8_t> bytes;
    for (const auto& piece : parts) bytes.insert(bytes.end(), piece.begin(), piece.end());
    write_bytes(segment, bytes);
    Outcome outcome = read_log(directory.path());
    CHECK(is_prefix(outcome.entries, entries));
    CHECK(outcome.error_segment == segment);
    return outcome;
  };
  for (size_t i = 0; i + 3 < offsets.size(); ++i) {
    const uint64_t a = offsets[i], b = offsets[i + 1], c = offsets[i + 2];
    CHECK(with({part(good, 0, a), part(good, b, good.size())}).error_offset == a);
    CHECK(with({part(good, 0, b), part(good, a, good.size())}).error_offset == b);
    CHECK(with({part(good, 0, a), part(good, b, c), part(good, a, b), part(good, c, good.size())}).error_offset == a);
    CHECK(
        with({part(good, 0, a), part(foreign, foreign_offsets[i], foreign_offsets[i + 1]), part(good, b, good.size())})
            .error_offset == a);
  }
  CHECK(with({part(good, 0, good.size()), {0}}).error.find("something follows the end") != std::string::npos);
  CHECK(with({part(good, 0, good.size()), part(good, offsets[0], offsets[1])}).error_offset == good.size());
}

TEST_CASE("segments that are missing, renamed, or of another log are noticed") {
  const auto entries = make_entries(16, 60, true, 20);
  const auto damaged_by = [&](const auto& change) {
    const TempDir directory;
    write_log(directory.path(), entries, tiny_options());
    REQUIRE(segments_of(directory.path()).size() >= 4);
    change(directory.path());
    Outcome outcome = read_log(directory.path());
    CHECK(outcome.state != LogState::complete);
    CHECK(is_prefix(outcome.entries, entries));
    return outcome;
  };
  namespace fs = std::filesystem;
  CHECK(damaged_by([](const std::string& at) { fs::remove(segment_path(at, 1)); }).error.find("log-00000001.seg") !=
        std::string::npos);
  CHECK(damaged_by([](const std::string& at) { fs::remove(segment_path(at, 2)); }).error.find("log-00000002.seg") !=
        std::string::npos);
  CHECK(damaged_by([](const std::string& at) { fs::remove(segments_of(at).back()); }).state == LogState::torn);
  CHECK(damaged_by([](const std::string& at) {
          fs::rename(segment_path(at, 2), at + "/scratch");
          fs::rename(segment_path(at, 3), segment_path(at, 2));
          fs::rename(at + "/scratch", segment_path(at, 3));
        }).error.find("under another's name") != std::string::npos);
  const TempDir other;
  write_log(other.path(), make_entries(17, 60, true, 20), tiny_options(2));
  CHECK(damaged_by([&](const std::string& at) {
          fs::copy_file(segment_path(other.path(), 3), segment_path(at, 3), fs::copy_options::overwrite_existing);
        }).error.find("blocks are missing here") != std::string::npos);
  CHECK(damaged_by([](const std::string& at) {
          fs::copy_file(segment_path(at, 1), segment_path(at, static_cast<uint32_t>(segments_of(at).size() + 1)));
        }).error.find("this follows the end of the log") != std::string::npos);
}

namespace {

// A one-segment log of hand-made blocks with right checksums and links.
class Forgery {
 public:
  explicit Forgery(const SegmentHead& head = {}) { bytes_ = encode(head, link_); }
  void add(BlockHead head, const Bytes& body) {
    if (head.body_bytes == 0) head.body_bytes = static_cast<uint32_t>(body.size());
    head.previous_link = link_;
    head.body_checksum = checksum(body);
    encode(head, bytes_);
    link_ = head.link;
    bytes_.insert(bytes_.end(), body.begin(), body.end());
  }
  std::string error() const {
    const TempDir directory;
    write_bytes(segment_path(directory.path(), 1), bytes_);
    const Outcome outcome = read_log(directory.path());
    CHECK(outcome.state != LogState::complete);
    return outcome.error;
  }
  Bytes& bytes() { return bytes_; }
  uint64_t link() const { return link_; }

 private:
  Bytes bytes_;
  uint64_t link_ = 0;
};

BlockHead block_of(uint32_t entries, uint32_t flags = 0, CodecState start = {}) {
  BlockHead head;
  head.entries = entries;
  head.flags = flags;
  head.start = start;
  return head;
}

bool says(const Forgery& forgery, const char* what) {
  const std::string error = forgery.error();
  CAPTURE(error);
  return error.find(what) != std::string::npos;
}

}  // namespace

TEST_CASE("right checksums over wrong contents are refused") {
  const Bytes reset{0x84}, end{0x8a, 0x00, 0x00};
  Forgery ordinary;
  ordinary.add(block_of(1), reset);
  CHECK(ordinary.error() == "");
  const auto single = [](const BlockHead& head, const Bytes& body) {
    Forgery forgery;
    forgery.add(head, body);
    return forgery;
  };
  BlockHead huge = block_of(1);
  huge.body_bytes = UINT32_MAX;
  CHECK(says(single(huge, reset), "impossible lengths"));
  huge.body_bytes = kMaxBlockBody + 1;
  CHECK(says(single(huge, reset), "impossible lengths"));
  CHECK(says(single(block_of(0), reset), "impossible lengths"));
  CHECK(says(single(block_of(2), reset), "impossible lengths"));
  CHECK(says(single(block_of(1), {0x84, 0x84}), "bytes after the last entry"));
  CHECK(says(single(block_of(1, 2), reset), "unknown flags"));
  CHECK(says(single(block_of(1, 0, {2, 0, 0, 4000}), reset), "starts with entry 2 instead of 1"));
  CHECK(says(single(block_of(1, 0), end), "the end of the log is not where it should be"));
  CHECK(says(single(block_of(1, BlockHead::kLast), reset), "the end of the log is not where it should be"));
  CHECK(says(single(block_of(2, BlockHead::kLast), {0x8a, 0x00, 0x00, 0x84}), "not where it should be"));
  Forgery jump = ordinary;
  jump.add(block_of(1, 0, {2, 1, 0, 4000}), reset);
  CHECK(says(jump, "does not start where the one before ended"));
  CHECK(says(Forgery({2, 1, 0, 7, ""}), "under another's name"));
  CHECK(says(Forgery({1, 2, 0, 7, ""}), "not the beginning of a log"));
  CHECK(says(Forgery({1, 1, 9, 7, ""}), "not the beginning of a log"));
}

TEST_CASE("a segment that does not follow the one before is refused") {
  const auto problem = [](const SegmentHead& second_head, uint64_t wrong_link) {
    const TempDir directory;
    Forgery first({1, 1, 0, 7, "machine"});
    first.add(block_of(1), {0x84});
    SegmentHead head = second_head;
    head.previous_link = first.link() ^ wrong_link;
    Forgery second(head);
    second.add(block_of(1, 0, {2, 0, 0, 4000}), {0x84});
    write_bytes(segment_path(directory.path(), 1), first.bytes());
    write_bytes(segment_path(directory.path(), 2), second.bytes());
    const Outcome outcome = read_log(directory.path());
    CHECK(outcome.entries.size() == (outcome.error.empty() ? 2 : 1));
    return outcome.error;
  };
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(problem({2, 2, 0, 7, "machine"}, 0) == "");
  CHECK(has(problem({2, 2, 0, 7, "machine"}, 1), "log-00000001.seg: at offset 136: blocks are missing here"));
  CHECK(has(problem({2, 3, 0, 7, "machine"}, 0), "goes on with entry 3 instead of 2"));
  CHECK(
      has(problem({2, 2, 0, 8, "machine"}, 0), "log-00000002.seg: at offset 0: this segment is of another recording"));
  CHECK(has(problem({2, 2, 0, 7, "other"}, 0), "log-00000002.seg: at offset 0: this segment is of another recording"));
}

TEST_CASE("segment headers with hostile lengths and versions are refused") {
  for (const size_t field : {12, 20})
    for (const uint32_t value : {0u, 1u, 0x10039u, 0x7fffffffu, 0xffffffffu}) {
      Forgery forgery;
      for (unsigned i = 0; i < 4; ++i) forgery.bytes()[field + i] = static_cast<uint8_t>(value >> 8 * i);
      if (field == 20 && value == 0) continue;
      CHECK(says(forgery, "impossible length"));
    }
  Forgery newer;
  newer.bytes()[8] = 3;
  CHECK(says(newer, "has log format version 3, this program reads 2"));
  Forgery foreign;
  foreign.bytes()[0] = 'X';
  CHECK(says(foreign, "not a log segment"));
  CHECK(says(
      [] {
        Forgery empty;
        empty.bytes().clear();
        return empty;
      }(),
      "cut short"));
}

TEST_CASE("damage before a terabyte of nothing takes no time") {
  const TempDir directory;
  write_log(directory.path(), make_entries(18, 50, false, 20), tiny_options());
  const std::string segment = segments_of(directory.path()).back();
  const uint64_t size = std::filesystem::file_size(segment);
  std::filesystem::resize_file(segment, uint64_t{1} << 40);
  const Outcome outcome = read_log(directory.path());
  CHECK(outcome.state == LogState::torn);
  CHECK(outcome.tail.offset == size);
  CHECK(outcome.tail.bytes_lost == (uint64_t{1} << 40) - size);
}

TEST_CASE("a damaged last block that holds a copy of an earlier one is still a torn tail") {
  const TempDir directory;
  const auto entries = make_entries(19, 20, false, 20);
  LogOptions options = tiny_options();
  options.segment_bytes = 1u << 20;
  const std::string segment = segment_path(directory.path(), 1);
  {
    LogWriter writer(directory.path(), "", options);
    for (const auto& entry : entries) append(writer, entry);
    writer.flush();
    // What a guest may well be sent: the log so far. This short it is stored as it is.
    const auto log = read_bytes(segment);
    const auto offsets = block_offsets(directory.path(), 1);
    const Bytes block(log.begin() + static_cast<ptrdiff_t>(offsets[0]),
                      log.begin() + static_cast<ptrdiff_t>(offsets[1]));
    REQUIRE(block.size() < kCompressFrom);
    writer.append(entries.back().icount, entries.back().virtual_ns, Input{0, block});
    writer.flush();
    REQUIRE(block_offsets(directory.path(), 1).size() == offsets.size() + 1);
  }
  const auto good = read_bytes(segment);
  write_byte(segment, good.size() - 1, static_cast<uint8_t>(good.back() ^ 1));
  const Outcome outcome = read_log(directory.path());
  CHECK(outcome.error == "");
  CHECK(outcome.state == LogState::torn);
  CHECK(outcome.tail.reason == "a block's contents are damaged");
  CHECK(outcome.entries == entries);
}
