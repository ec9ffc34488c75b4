// The fuzzer's checks over seeded mutations of good logs. A broken promise stops the process.
#include "tests/ftlog_hostile.h"

#include <doctest/doctest.h>

using namespace understudy::ftlog;
using namespace understudy::test;

namespace {

Bytes encoded(uint64_t seed, Encoder& encoder) {
  EntrySource source(seed, 200);
  for (int i = 0; i < 10; ++i) {
    const LogEntry entry = source.next();
    encoder.append(entry.icount, entry.virtual_ns, entry.payload);
  }
  return {encoder.body().begin(), encoder.body().end()};
}

// Good inputs of each mode.
Bytes seed_input(uint64_t seed) {
  const auto mode = static_cast<uint8_t>(seed % HostileBytes::kModes);
  Bytes input{mode};
  if (mode == HostileBytes::kBody) {
    Encoder encoder;
    const Bytes body = encoded(seed, encoder);
    input.insert(input.end(), {10, 0});
    input.insert(input.end(), body.begin(), body.end());
  } else if (mode == HostileBytes::kSegments) {
    const TempDir directory;
    LogOptions options;
    options.block_bytes = 100;
    options.segment_bytes = 1500;
    options.sync = SyncPolicy::none;
    options.identity = seed;
    write_log(directory.path(), make_entries(seed, 12, true, 100), options);
    const auto first = read_bytes(segment_path(directory.path(), 1));
    put_le(input, first.size(), 2);
    input.insert(input.end(), first.begin(), first.end());
    const std::string second = segment_path(directory.path(), 2);
    if (std::filesystem::exists(second)) {
      const auto bytes = read_bytes(second);
      input.insert(input.end(), bytes.begin(), bytes.end());
    }
  } else {
    Encoder encoder;
    for (int block = 0; block < 3; ++block) {
      encoder.begin_block();
      const CodecState before = encoder.state();
      if (block == 2) encoder.append(before.icount, before.virtual_ns, End{});
      for (uint64_t i = 0; block < 2 && i < 4; ++i)
        encoder.append(before.icount + 10 * i, before.virtual_ns + 40 * i, Epoch{before.sequence + i});
      put_le(input, encoder.body().size(), 2);
      input.push_back(static_cast<uint8_t>(encoder.entries()));
      input.push_back(block == 2 ? BlockHead::kLast : 0);
      input.push_back(0);
      input.insert(input.end(), encoder.body().begin(), encoder.body().end());
    }
  }
  return input;
}

void mutate(Bytes& bytes, std::mt19937_64& random) {
  const auto at = [&] { return static_cast<ptrdiff_t>(1 + random() % (bytes.size() - 1)); };
  if (bytes.size() < 8) return;
  switch (random() % 5) {
    case 0:
      bytes[static_cast<size_t>(at())] ^= static_cast<uint8_t>(1u << random() % 8);
      break;
    case 1:
      bytes[static_cast<size_t>(at())] = static_cast<uint8_t>(random());
      break;
    case 2:
      bytes.insert(bytes.begin() + at(), static_cast<uint8_t>(random()));
      break;
    case 3:
      bytes.erase(bytes.begin() + at());
      break;
    default: {
      const Bytes copy(bytes.begin() + at(), bytes.end());
      bytes.insert(bytes.begin() + at(), copy.begin(),
                   copy.begin() + static_cast<ptrdiff_t>(random() % (copy.size() + 1)));
    }
  }
}

}  // namespace

TEST_CASE("seeded mutations of logs break no promise") {
  HostileBytes hostile;
  for (uint64_t seed = 0; seed < 300; ++seed) hostile.attempt(seed_input(seed));
  CHECK(hostile.tally().complete == 200);  // two of three modes are logs
  CHECK(hostile.tally().entries == 100 * 10 + 100 * 13 + 100 * 9);
  CHECK(hostile.tally().torn + hostile.tally().refused == 0);
  std::mt19937_64 random(2024);
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const Bytes good = seed_input(seed);
    for (int round = 0; round < 10; ++round) {
      Bytes bad = good;
      for (uint64_t change = 1 + random() % 3; change > 0; --change) mutate(bad, random);
      hostile.attempt(bad);
    }
  }
  CHECK(hostile.tally().torn > 20);
  CHECK(hostile.tally().refused > 1000);
}
