// libFuzzer's entry to GDB's protocol; tools/fuzz builds and runs it. The first byte says how the bytes are cut, and
// whether they are the connection's or lines that each become a well-formed frame: no fuzzer guesses checksums.
#include "tests/gdb_rig.h"

using namespace understudy::test;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  if (data[0] & 1) {
    std::string frames;
    for (size_t at = 0; at <= bytes.size();) {
      const size_t end = std::min(bytes.find('\n', at), bytes.size());
      frames += gdb_frame(bytes.substr(at, end - at));
      at = end + 1;
    }
    bytes = frames;
  }
  attempt_gdb_session(bytes, 1 + data[0]);
  return 0;
}
