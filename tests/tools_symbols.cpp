// Symbols and source lines: of our own guests, of lists, and of files that are not what they claim.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstring>
#include <random>

#include "tests/built.h"
#include "tests/ftlog_rig.h"
#include "tools/symbols.h"

using namespace understudy;
using namespace understudy::test;
using tools::Symbols;

namespace {

std::string guest(const char* name) { return fmt::format("{}/{}.elf", built::kFirmware, name); }

// Asks everything that can be asked, wherever the answers lead.
void ask_everything(Symbols& symbols) {
  for (uint64_t address = 0x100000; address < 0x104000; address += 37) {
    symbols.at(address);
    symbols.at(address, Symbols::Kind::code);
    symbols.line_at(address);
  }
  for (const uint64_t address : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}, uint64_t{0xffffffff}}) {
    symbols.at(address);
    symbols.line_at(address);
  }
  symbols.address_of("main");
}

}  // namespace

TEST_CASE("Functions, labels and data of a guest have names, and its code has lines") {
  for (const char* const name : {"hello", "hello64"}) {
    CAPTURE(name);
    Symbols symbols;
    symbols.load(guest(name));
    const auto main = symbols.address_of("main");
    REQUIRE(main);
    CHECK(symbols.text_at(*main) == "main");
    CHECK(symbols.text_at(*main + 3) == "main+0x3");
    const auto line = symbols.line_at(*main);
    REQUIRE(line);
    CHECK(line->file.ends_with("firmware/hello.c"));
    CHECK(line->line > 1);
    // Assembly: labels without a size reach to the next label.
    const auto start = symbols.address_of("_start");
    REQUIRE(start);
    CHECK(symbols.text_at(*start + 1, Symbols::Kind::code) == "_start+0x1");
    CHECK(symbols.line_at(*start)->file.ends_with(std::string(name) == "hello" ? "runtime32.asm" : "runtime64.asm"));
    const auto stack = symbols.address_of("kernel_stack");
    REQUIRE(stack);
    CHECK(symbols.text_at(*stack + 16) == "kernel_stack+0x10");
    CHECK(symbols.text_at(*stack + 16, Symbols::Kind::code).empty());
    CHECK(symbols.text_at(0x50).empty());
    CHECK(symbols.text_at(0x80000000).empty());
    CHECK_FALSE(symbols.line_at(*stack));
    CHECK_FALSE(symbols.address_of("no_such_name"));
  }
}

TEST_CASE("A file that was loaded elsewhere has a bias; the first file goes first") {
  Symbols plain, moved;
  plain.load(guest("hello"));
  moved.load_spec(guest("hello") + "@0x20000000");
  CHECK(*moved.address_of("main") == *plain.address_of("main") + 0x20000000);
  CHECK(moved.text_at(*moved.address_of("main") + 1) == "main+0x1");
  CHECK(moved.line_at(*moved.address_of("main")) == plain.line_at(*plain.address_of("main")));
  const TempDir scratch;
  write_bytes(scratch.path() + "/map@home", {'0', ' ', 'T', ' ', 'x', '\n'});
  moved.load_spec(scratch.path() + "/map@home");
  CHECK(moved.text_at(*moved.address_of("main")) == "main");
  CHECK(moved.text_at(0) == "x");
}

TEST_CASE("Lists of symbols, as /proc/kallsyms has them") {
  const TempDir scratch;
  const std::string path = scratch.path() + "/kallsyms";
  const auto put = [&](const std::string& text) { write_bytes(path, {text.begin(), text.end()}); };
  put("0000000000000000 A fixed\n"
      "ffffffff81000000 T _stext\n"
      "ffffffff81000000 t startup_64\n"
      "ffffffff81000100 t helper\t[module]\n"
      "ffffffff81000180 d table\n"
      "ffffffff81000200 T end\n");
  Symbols symbols;
  symbols.load(path);
  CHECK(symbols.text_at(0xffffffff81000010) == "_stext+0x10");
  CHECK(symbols.text_at(0xffffffff81000100) == "helper");
  CHECK(symbols.text_at(0xffffffff81000190) == "table+0x10");
  CHECK(symbols.text_at(0xffffffff81000190, Symbols::Kind::code) == "helper+0x90");
  CHECK(symbols.text_at(0).empty());
  CHECK(symbols.address_of("helper") == 0xffffffff81000100);
  for (const char* const bad : {"", "hello\n", "12\n", "ffffffff81000000 T\n", "0 T a\nzz\n", "0 T \x1b[31mred\n"}) {
    CAPTURE(bad);
    put(bad);
    CHECK_THROWS_AS(Symbols().load(path), tools::SymbolError);
  }
}

TEST_CASE("Files that hold no symbols are refused in one line") {
  const TempDir scratch;
  CHECK_THROWS_WITH_AS(Symbols().load(scratch.path() + "/none"), doctest::Contains("No such file"), tools::SymbolError);
  CHECK_THROWS_WITH_AS(Symbols().load(scratch.path()), doctest::Contains("not a regular file"), tools::SymbolError);
  std::vector<uint8_t> header(64);
  std::memcpy(header.data(), ELFMAG, SELFMAG);
  write_bytes(scratch.path() + "/stub", header);
  CHECK_THROWS_AS(Symbols().load(scratch.path() + "/stub"), tools::SymbolError);
}

TEST_CASE("Damaged ELF files give an error or fewer answers") {
  const TempDir scratch;
  const std::string path = scratch.path() + "/damaged";
  std::minstd_rand chance(7);
  unsigned loaded = 0;
  for (const char* const name : {"hello", "hello64"}) {
    const std::vector<uint8_t> good = read_bytes(guest(name));
    // Headers, section headers and debug sections lie from the loaded bytes on; those are of no interest.
    for (unsigned round = 0; round < 150; ++round) {
      std::vector<uint8_t> bytes = good;
      if (round % 5 == 0) bytes.resize(chance() % bytes.size());
      const size_t changes = 1 + chance() % 40;
      for (size_t i = 0; i < changes && !bytes.empty(); ++i) {
        const bool in_header = i == 0 && round % 4 == 0;
        const size_t from = in_header ? 0 : bytes.size() * 2 / 5;
        const size_t room = in_header ? std::min<size_t>(bytes.size(), 64) : bytes.size() - from;
        static constexpr uint8_t kBytes[] = {0, 1, 0x7f, 0x80, 0xff};
        bytes[from + chance() % room] = chance() % 2 ? kBytes[chance() % 5] : static_cast<uint8_t>(chance());
      }
      write_bytes(path, bytes);
      Symbols symbols;
      try {
        symbols.load(path);
      } catch (const tools::SymbolError&) {
        continue;
      }
      ++loaded;
      ask_everything(symbols);
    }
  }
  CHECK(loaded > 100);
}
