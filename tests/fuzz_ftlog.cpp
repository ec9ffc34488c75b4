// libFuzzer's entry to the log's readers; tools/fuzz builds and runs it.
#include "tests/ftlog_hostile.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static understudy::test::HostileBytes hostile;
  hostile.attempt({data, size});
  return 0;
}
