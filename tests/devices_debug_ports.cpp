#include <doctest/doctest.h>

#include "devices/debugcon.h"
#include "devices/isa_debug_exit.h"
#include "devices/post_port.h"
#include "tests/fake_board.h"

using namespace understudy;

TEST_CASE("debug exit: any width of write ends the run with its value") {
  tests::FakeBoard board;
  std::vector<uint32_t> codes;
  devices::IsaDebugExit device([&](uint32_t code) { codes.push_back(code); });
  device.attach(board.ports);
  device.reset();
  CHECK(board.ports.read(0xf4, 1) == 0);
  CHECK_FALSE(device.requested());
  board.ports.write(0xf4, 1, 0x10);
  board.ports.write(0xf4, 2, 0x1234);
  board.ports.write(0xf4, 4, 0x89abcdef);
  CHECK(codes == std::vector<uint32_t>{0x10, 0x1234, 0x89abcdef});
  CHECK(device.requested());
  CHECK(device.code() == 0x89abcdef);
  CHECK(devices::IsaDebugExit::process_exit_code(0) == 1);
  CHECK(devices::IsaDebugExit::process_exit_code(0x10) == 33);
  CHECK(devices::IsaDebugExit::process_exit_code(0xff) == 255);

  tests::StateDump dump;
  device.visit_state(dump);
  devices::IsaDebugExit other({});
  tests::StateLoad load(dump.fields);
  other.visit_state(load);
  CHECK(other.requested());
  CHECK(other.code() == 0x89abcdef);
  board.ports.detach(0xf4, 0xf7, device);
  other.attach(board.ports);
  board.ports.write(0xf4, 1, 3);  // no callback, no harm
  CHECK(other.code() == 3);
  device.reset();
  CHECK_FALSE(device.requested());
}

TEST_CASE("POST port: keeps the code, reports changes only") {
  tests::FakeBoard board;
  std::vector<uint8_t> codes;
  devices::PostPort post([&](uint8_t code) { codes.push_back(code); });
  post.attach(board.ports);
  post.reset();
  board.ports.write(0x80, 1, 0x11);
  board.ports.write(0x80, 1, 0x11);
  board.ports.write(0x80, 1, 0x22);
  CHECK(codes == std::vector<uint8_t>{0x11, 0x22});
  CHECK(post.code() == 0x22);
  CHECK(board.ports.read(0x80, 1) == 0x22);
  tests::StateDump dump;
  post.visit_state(dump);
  devices::PostPort other;
  tests::StateLoad load(dump.fields);
  other.visit_state(load);
  CHECK(other.code() == 0x22);
  other.port_write(0x80, 1, 0x33);
  CHECK(other.code() == 0x33);
}

TEST_CASE("debug consoles: bytes go to their channels, reads say that somebody listens") {
  tests::FakeBoard board;
  devices::Debugcon bios(board.world, "debugcon", devices::Debugcon::kSeabiosPort);
  devices::Debugcon e9(board.world, "debugcon_e9", devices::Debugcon::kBochsPort);
  bios.attach(board.ports);
  e9.attach(board.ports);
  std::string text;
  std::string text_e9;
  board.world.connect(board.world.channel("debugcon"), [&](auto bytes) { text.append(bytes.begin(), bytes.end()); });
  board.world.connect(board.world.channel("debugcon_e9"),
                      [&](auto bytes) { text_e9.append(bytes.begin(), bytes.end()); });
  CHECK(board.ports.read(0x402, 1) == 0xe9);
  CHECK(board.ports.read(0xe9, 1) == 0xe9);
  for (char c : std::string("SeaBIOS\n")) board.ports.write(0x402, 1, static_cast<uint8_t>(c));
  board.ports.write(0xe9, 1, 'x');
  CHECK(text == "SeaBIOS\n");
  CHECK(text_e9 == "x");
  CHECK(bios.name() == "debugcon");
  CHECK(e9.name() == "debugcon_e9");
}
