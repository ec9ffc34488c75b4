#include <doctest/doctest.h>

#include <random>

#include "emu/block_message.h"

using namespace understudy::emu;
using Bytes = std::vector<uint8_t>;

namespace {

const BlockRequest kRequests[] = {{1, BlockOperation::read, 512, 4096, {}},
                                  {UINT64_MAX, BlockOperation::write, UINT64_MAX - 511, 3, {1, 2, 3}},
                                  {7, BlockOperation::flush, 0, 0, {}}};
const BlockAnswer kAnswers[] = {{1, true, {9, 8, 7}}, {UINT64_MAX, false, {}}};

}  // namespace

TEST_CASE("block messages: what is said is understood") {
  for (const BlockRequest& request : kRequests) CHECK(decode_block_request(encode(request)) == request);
  for (const BlockAnswer& answer : kAnswers) CHECK(decode_block_answer(encode(answer)) == answer);
}

TEST_CASE("block messages: nothing is understood that encode() would not have made") {
  std::minstd_rand random(3);
  unsigned accepted = 0, refused = 0;
  auto attempt = [&](const Bytes& bytes) {
    const auto request = decode_block_request(bytes);
    const auto answer = decode_block_answer(bytes);
    if (request) CHECK(encode(*request) == bytes);
    if (answer) CHECK(encode(*answer) == bytes);
    ++(request || answer ? accepted : refused);
  };
  for (const BlockRequest& request : kRequests) {
    const Bytes good = encode(request);
    for (size_t length = 0; length < good.size(); ++length)
      attempt({good.begin(), good.begin() + static_cast<long>(length)});
    for (int n = 0; n < 2000; ++n) {
      Bytes bad = good;
      for (unsigned flips = 1 + random() % 3; flips > 0; --flips)
        bad[random() % bad.size()] = static_cast<uint8_t>(random());
      attempt(bad);
    }
  }
  CHECK(accepted > 100);
  CHECK(refused > 100);
  Bytes flush_with_data = encode(kRequests[2]);
  flush_with_data.push_back(0);
  CHECK_FALSE(decode_block_request(flush_with_data));
  Bytes short_write = encode(kRequests[1]);
  short_write.pop_back();
  CHECK_FALSE(decode_block_request(short_write));
}
