// Gives arbitrary bytes to the log's decoder and reader, as a block's body, as segment files, or as blocks with right
// checksums over wrong contents, and stops the process (assert) if a promise is broken. Both the fuzzer and the seeded
// mutations of the default tests run through here.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <span>

#include "ftlog/codec.h"
#include "ftlog/segment_format.h"
#include "tests/ftlog_rig.h"

namespace understudy::test {

class HostileBytes {
 public:
  // What became of the attempts: that they reach everything is for the caller to see.
  struct Tally {
    uint64_t entries = 0, complete = 0, torn = 0, refused = 0;
  };
  const Tally& tally() const { return tally_; }

  // The first byte says what the others are.
  enum Mode : uint8_t { kBody, kSegments, kForgery, kModes };

  void attempt(std::span<const uint8_t> data) {
    if (data.empty()) return;
    const auto rest = data.subspan(1);
    switch (data[0] % kModes) {
      case kBody:
        return decode(rest);
      case kSegments:
        return read_segments(rest);
      default:
        return read_forgery(rest);
    }
  }

 private:
  // What comes out is what an encoder takes, and survives it.
  class Checker {
   public:
    explicit Checker(const ftlog::CodecState& start) : encoder_(start) {}
    void entry(const ftlog::LogEntry& entry) {
      [[maybe_unused]] const uint64_t sequence = encoder_.append(entry.icount, entry.virtual_ns, entry.payload);
      assert(sequence == entry.sequence);
      ftlog::Decoder decoder(encoder_.block_start(), encoder_.body(), 1);
      ftlog::LogEntry back;
      [[maybe_unused]] const bool there = decoder.next(back);
      assert(there && back == entry);
      encoder_.begin_block();
    }

   private:
    ftlog::Encoder encoder_;
  };

  void decode(std::span<const uint8_t> data) {
    if (data.size() < 2) return;
    const ftlog::CodecState start{data[0] < 128 ? 1u : UINT64_MAX - data[0], data[1], uint64_t{data[1]} * 1000, 4000};
    ftlog::Decoder decoder(start, data.subspan(2), data[0]);
    Checker checker(start);
    try {
      for (ftlog::LogEntry entry; decoder.next(entry); ++tally_.entries) checker.entry(entry);
    } catch (const ftlog::DecodeError& error) {
      ++tally_.refused;
      assert(error.position() <= data.size() - 2);
    }
  }

  // Two bytes: the length of the first segment; the rest is the second, if there is any.
  void read_segments(std::span<const uint8_t> data) {
    if (data.size() < 2) return;
    const size_t first = std::min<size_t>(data[0] | data[1] << 8, data.size() - 2);
    put(1, data.subspan(2, first));
    put(2, data.subspan(2 + first));
    read();
  }

  // Blocks of a head (two bytes of length, entries, flags, what is made wrong) and a body.
  void read_forgery(std::span<const uint8_t> data) {
    uint64_t link = 0;
    ftlog::Bytes bytes = encode(ftlog::SegmentHead{1, 1, 0, 1, "forged"}, link);
    ftlog::CodecState state;
    while (data.size() >= 5) {
      const size_t size = std::min<size_t>(data[0] | (data[1] & 15) << 8, data.size() - 5);
      const uint8_t wrong = data[4];
      ftlog::BlockHead head;
      head.entries = data[2];
      head.flags = data[3];
      head.start = state;
      if (wrong & 1) ++head.start.sequence;
      if (wrong & 2) ++head.start.icount;
      if (wrong & 4) ++head.start.virtual_ns;
      if (wrong & 8) head.start.ps_per_instruction ^= 1;
      head.previous_link = wrong & 16 ? link ^ 1 : link;
      const auto body = data.subspan(5, size);
      head.body_bytes = static_cast<uint32_t>(size) + (wrong & 32 ? 0x10000u << (wrong >> 6) : 0);
      head.body_checksum = ftlog::checksum(body);
      encode(head, bytes);
      link = head.link;
      bytes.insert(bytes.end(), body.begin(), body.end());
      ftlog::Decoder decoder(head.start, body, head.entries);
      try {
        for (ftlog::LogEntry entry; decoder.next(entry);) {
        }
      } catch (const ftlog::DecodeError&) {  // the reader will say so
      }
      state = decoder.state();
      data = data.subspan(5 + size);
    }
    put(1, bytes);
    put(2, {});
    read();
  }

  void put(uint32_t number, std::span<const uint8_t> bytes) {
    const std::string path = ftlog::segment_path(directory_.path(), number);
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    if (number == 1 || !bytes.empty()) write_bytes(path, {bytes.begin(), bytes.end()});
  }

  void read() {
    std::vector<uint64_t> counts;
    try {
      ftlog::LogReader reader(directory_.path());
      Checker checker({});
      for (ftlog::LogEntry entry; reader.next(entry);) {
        checker.entry(entry);
        counts.push_back(entry.icount);
        ++tally_.entries;
      }
      assert(reader.state() != ftlog::LogState::reading);
      ++(reader.state() == ftlog::LogState::torn ? tally_.torn : tally_.complete);
      if (reader.state() == ftlog::LogState::torn)
        assert(reader.tail().offset + reader.tail().bytes_lost == std::filesystem::file_size(reader.tail().segment));
    } catch (const ftlog::LogError& error) {
      ++tally_.refused;
      assert(error.segment().find("log-0000000") != std::string::npos);
    }
    if (counts.empty()) return;
    const uint64_t wanted = counts[counts.size() / 2];
    const auto first = std::find(counts.begin(), counts.end(), wanted) - counts.begin();
    try {
      ftlog::LogReader reader(directory_.path());
      reader.seek_icount(wanted);
      ftlog::LogEntry entry;
      if (reader.next(entry)) assert(entry.sequence == static_cast<uint64_t>(first) + 1);
    } catch (const ftlog::LogError&) {  // seeking looks at all headers: it may see what comes later
    }
  }

  TempDir directory_;
  Tally tally_;
};

}  // namespace understudy::test
