// Logs for tests: a scratch directory, entries by seed, and what a reader makes of a log.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "ftlog/log_reader.h"
#include "ftlog/log_writer.h"

namespace understudy::test {

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "understudy-ftlog-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::vector<uint8_t> read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Changes one byte where it is: rewriting whole files makes some file systems wait for the disk.
inline void write_byte(const std::string& path, uint64_t at, uint8_t value) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(value));
  file.close();
  if (!file) throw std::runtime_error("cannot change " + path);
}

inline void write_bytes(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path);
}

// Entries of every kind but the end, with counts and times as a machine's are: mostly on the clock's line, sometimes
// with a jump, sometimes several at one count.
class EntrySource {
 public:
  explicit EntrySource(uint64_t seed, size_t largest = 2000) : random_(seed), largest_(largest) {}

  ftlog::LogEntry next() {
    using namespace ftlog;
    LogEntry entry;
    if (sequence_ == 1) {
      entry.payload = Start{static_cast<int64_t>(below(1u << 31)) - 1000, Pacing::paced, "seeded"};
    } else {
      const uint64_t step = below(4) == 0 ? 0 : below(4) == 0 ? random_() >> (20 + below(40)) : below(5000);
      icount_ += step;
      virtual_ns_ += step * rate_ / 1000;
      if (below(5) == 0) virtual_ns_ += below(10'000'000);
      entry.payload = payload();
    }
    entry.sequence = sequence_++;
    entry.icount = icount_;
    entry.virtual_ns = virtual_ns_;
    return entry;
  }

 private:
  uint64_t below(uint64_t limit) { return random_() % limit; }
  std::vector<uint8_t> bytes(size_t most) {
    std::vector<uint8_t> out(below(most + 1));
    const bool noise = below(2) == 0;
    for (auto& byte : out) byte = static_cast<uint8_t>(noise ? random_() : below(3));
    return out;
  }
  ftlog::Payload payload() {
    using namespace ftlog;
    switch (below(11)) {
      case 0:
        rate_ = 1 + below(10'000);
        return ClockChange{rate_};
      case 1:
        return Reset{};
      case 2:
        return OutputMark{static_cast<uint16_t>(random_()), random_() >> below(64), random_()};
      case 3:
        return StateDigest{random_(), random_(), random_()};
      case 4:
        return Snapshot{"snap-" + std::to_string(icount_) + ".snap", random_(), random_() >> below(64)};
      case 5:
        return Epoch{random_() >> below(64)};
      case 6:
        return BlockDone{static_cast<uint16_t>(random_()), random_() >> below(64), below(2) == 0, bytes(4 * largest_)};
      default:
        return Input{static_cast<uint16_t>(below(4)), bytes(below(3) == 0 ? largest_ : 40)};
    }
  }
  std::mt19937_64 random_;
  size_t largest_;
  uint64_t sequence_ = 1, icount_ = 0, virtual_ns_ = 0, rate_ = 4000;
};

inline void append(ftlog::LogWriter& writer, const ftlog::LogEntry& entry) {
  if (writer.append(entry.icount, entry.virtual_ns, entry.payload) != entry.sequence)
    throw std::logic_error("the writer counts differently");
}

inline ftlog::LogEntry end_after(const ftlog::LogEntry& last) {
  return {last.sequence + 1, last.icount + 7, last.virtual_ns + 28, ftlog::End{ftlog::EndReason::debug_exit, -33}};
}

// `count` seeded entries, and an end if asked.
inline std::vector<ftlog::LogEntry> make_entries(uint64_t seed, size_t count, bool ended, size_t largest = 2000) {
  EntrySource source(seed, largest);
  std::vector<ftlog::LogEntry> entries;
  for (size_t i = 0; i < count; ++i) entries.push_back(source.next());
  if (ended) entries.push_back(end_after(entries.back()));
  return entries;
}

inline void write_log(const std::string& directory, const std::vector<ftlog::LogEntry>& entries,
                      const ftlog::LogOptions& options) {
  ftlog::LogWriter writer(directory, "memory=64\nmachine=test\n", options);
  for (const auto& entry : entries) append(writer, entry);
  writer.flush();
}

// What a reader makes of a log.
struct Outcome {
  std::vector<ftlog::LogEntry> entries;
  ftlog::LogState state = ftlog::LogState::reading;
  ftlog::TornTail tail;
  std::string error;  // a LogError's text, and where
  std::string error_segment;
  uint64_t error_offset = 0;
};

inline Outcome read_log(const std::string& directory) {
  Outcome outcome;
  try {
    ftlog::LogReader reader(directory);
    ftlog::LogEntry entry;
    while (reader.next(entry)) outcome.entries.push_back(entry);
    outcome.state = reader.state();
    outcome.tail = reader.tail();
  } catch (const ftlog::LogError& error) {
    outcome.error = error.what();
    outcome.error_segment = error.segment();
    outcome.error_offset = error.offset();
  }
  return outcome;
}

}  // namespace understudy::test
