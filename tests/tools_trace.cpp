// The lines of a trace: what instructions are told to have done, in text and JSON, and `understudy trace` as a command.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "tests/built.h"
#include "tests/code_rig.h"
#include "tests/ftlog_rig.h"
#include "tests/understudy_command.h"
#include "tools/instruction_trace.h"

using namespace understudy;
using namespace understudy::test;
using tests::CodeRig;
using Mode = CodeRig::Mode;
using Json = nlohmann::json;

namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// The trace of a rig's run.
std::vector<std::string> trace(CodeRig& rig, const tools::TraceOptions& options, uint64_t count) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  tools::Symbols symbols;
  tools::OutputStream out(ends[1]);
  {
    tools::InstructionTrace trace(rig.machine, symbols, out, options);
    rig.machine.run(rig.icount() + count);
    trace.finish();
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; (got = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(got));
  close(ends[0]);
  return lines_of(text);
}

// One instruction's memory, as `r4[00020000]=00000001 w4[...`.
std::string touched_by(Mode mode, std::initializer_list<uint8_t> code,
                       const std::function<void(CodeRig&)>& prepare = {}) {
  CodeRig rig(mode);
  rig.poke(CodeRig::kCode, code);
  for (uint32_t i = 0; i < 1024; ++i) rig.put<uint8_t>(CodeRig::kData + i, static_cast<uint8_t>(i));
  rig.start();
  if (prepare) prepare(rig);
  const auto lines = trace(rig, {.memory = true}, 1);
  REQUIRE(lines.size() == 1);
  std::smatch found;
  return std::regex_search(lines[0], found, std::regex("  ([rw][0-9]+\\[.*)")) ? found[1].str() : "";
}

void set(CodeRig& rig, emu::RegisterIndex reg, uint64_t value) { rig.machine.cpu().engine().cpu().regs[reg] = value; }

struct Recording {
  explicit Recording(const char* guest) {
    const Ran ran =
        understudy_command(fmt::format("record {} {}/{}.elf --memory 16 --serial none", path, built::kFirmware, guest));
    REQUIRE_MESSAGE(ran.code == 33, ran.said);
  }
  TempDir scratch;
  std::string path = scratch.path() + "/recorded";
};

}  // namespace

TEST_CASE("trace: memory operands are those that the CPU uses") {
  using emu::kRax;
  constexpr auto kFlat = Mode::flat32, kLong = Mode::long64;
  const auto with = [](emu::RegisterIndex reg, uint64_t value) {
    return [reg, value](CodeRig& rig) { set(rig, reg, value); };
  };
  // mov eax, [ebx + 4]; add [ebx], eax
  CHECK(touched_by(kFlat, {0x8b, 0x43, 0x04}, with(emu::kRbx, CodeRig::kData)) == "r4[00020004]=07060504");
  CHECK(touched_by(kFlat, {0x01, 0x03}, [](CodeRig& rig) {
          set(rig, emu::kRbx, CodeRig::kData);
          set(rig, kRax, 1);
        }) == "r4[00020000]=03020100  w4[00020000]=03020101");
  // lea, nop and prefetch touch nothing
  CHECK(touched_by(kFlat, {0x8d, 0x43, 0x04}).empty());
  CHECK(touched_by(kFlat, {0x0f, 0x1f, 0x40, 0x00}).empty());
  CHECK(touched_by(kFlat, {0x0f, 0x18, 0x03}).empty());
  // push 5; pop [esp + 4]; call; ret; pushad
  CHECK(touched_by(kFlat, {0x6a, 0x05}) == "w4[000307fc]=00000005");
  CHECK(touched_by(kFlat, {0x8f, 0x44, 0x24, 0x04}) == "r4[00030800]=00000000  w4[00030808]=00000000");
  CHECK(touched_by(kFlat, {0xe8, 0, 0, 0, 0}) == "w4[000307fc]=00010005");
  CHECK(touched_by(kFlat, {0xc2, 0x08, 0x00}) == "r4[00030800]=00000000");
  CHECK(touched_by(kFlat, {0x60}) == "w32[000307e0]");
  // leave, xlat, movsb, and a repetition that is over
  CHECK(touched_by(kFlat, {0xc9}, with(emu::kRbp, CodeRig::kData)) == "r4[00020000]=03020100");
  CHECK(touched_by(kFlat, {0xd7}, [](CodeRig& rig) {
          set(rig, emu::kRbx, CodeRig::kData);
          set(rig, kRax, 0x7710);
        }) == "r1[00020010]=10");
  const auto strings = [](uint64_t count) {
    return [count](CodeRig& rig) {
      set(rig, emu::kRsi, CodeRig::kData);
      set(rig, emu::kRdi, CodeRig::kData + 0x100);
      set(rig, emu::kRcx, count);
    };
  };
  CHECK(touched_by(kFlat, {0xa5}, strings(0)) == "r4[00020000]=03020100  w4[00020100]=03020100");
  CHECK(touched_by(kFlat, {0xf3, 0xa4}, strings(2)) == "r1[00020000]=00  w1[00020100]=00");
  CHECK(touched_by(kFlat, {0xf3, 0xa4}, strings(0)).empty());
  // bts [ebx], eax: 37 bits on, and 33 back
  const auto bits = [](uint32_t bit) {
    return [bit](CodeRig& rig) {
      set(rig, emu::kRbx, CodeRig::kData + 0x100);
      set(rig, kRax, bit);
    };
  };
  CHECK(touched_by(kFlat, {0x0f, 0xab, 0x03}, bits(37)) == "r4[00020104]=07060504  w4[00020104]=07060524");
  CHECK(touched_by(kFlat, {0x0f, 0xa3, 0x03}, bits(static_cast<uint32_t>(-33))) == "r4[000200f8]=fbfaf9f8");
  // 16-bit addresses: mov al, [bx + si]
  CHECK(touched_by(kFlat, {0x67, 0x8a, 0x00}, [](CodeRig& rig) {
          set(rig, emu::kRbx, 0x1ffff);
          set(rig, emu::kRsi, 2);
        }) == fmt::format("r1[00000001]={:02x}", 0));
  // 64 bits: mov rax, [rip + kData - ...]; push rax; movups [rbx], xmm0; fxsave [rbx]
  CHECK(touched_by(kLong, {0x48, 0x8b, 0x05, 0xf9, 0xff, 0x00, 0x00}) == "r8[0000000000020000]=0706050403020100");
  CHECK(touched_by(kLong, {0x50}, with(kRax, 0x1122334455667788)) == "w8[00000000000307f8]=1122334455667788");
  CHECK(touched_by(kLong, {0x0f, 0x11, 0x03}, [](CodeRig& rig) {
          set(rig, emu::kRbx, CodeRig::kData);
          rig.machine.cpu().engine().cpu().cr[4] |= emu::cr4::kOsfxsr;
          rig.machine.cpu().engine().cpu().hflags |= emu::hflags::kOsfxsr;
        }) == "w16[0000000000020000]=00000000000000000000000000000000");
  CHECK(touched_by(kLong, {0x0f, 0xae, 0x03}, with(emu::kRbx, CodeRig::kData)) == "w512[0000000000020000]");
  // A device has no value that could be looked at; what is not mapped has none either.
  CHECK(touched_by(kFlat, {0xa1, 0x00, 0x00, 0x80, 0x00}) == "r4[00800000]");
  CHECK(touched_by(kFlat, {0xa3, 0x00, 0x00, 0x80, 0x00}) == "w4[00800000]");
}

TEST_CASE("trace: a line an instruction, with what it changed; faults and interrupts between") {
  CodeRig rig(Mode::paged32);
  rig.map(CodeRig::kData, CodeRig::kData, 6);
  // mov ecx, 2; dec ecx; mov [kData], ecx: page fault, whose handler halts
  rig.poke(CodeRig::kCode, {0xb9, 2, 0, 0, 0, 0x49, 0x89, 0x0d, 0x00, 0x00, 0x02, 0x00});
  rig.start();
  const auto lines = trace(rig, {.registers = true, .memory = true}, 4);
  REQUIRE(lines.size() == 5);
  CHECK(lines[0] == fmt::format("{:>12}  0008:00010000  {:<22}  {:<44}  ecx=00000002", 0, "b902000000", "mov ecx, 2"));
  CHECK(lines[1] == fmt::format("{:>12}  0008:00010005  {:<22}  {:<44}  ecx=00000001", 1, "49", "dec ecx"));
  CHECK(lines[2] == fmt::format("{:>12}  0008:00010006  {:<22}  {:<44}  (faults)", 2, "890d00000200",
                                "mov dword ptr [0x20000], ecx"));
  CHECK(lines[3] == fmt::format("{:>12}  -- #PF, error code 0x0002, address 0x20000  esp=000307f0  cr2=00020000", 2));
  CHECK(lines[4].starts_with(fmt::format("{:>12}  0008:0000a0e0  f4", 2)));
}

TEST_CASE("trace --json: an object a line, with the same in it") {
  CodeRig rig(Mode::long64);
  // mov ecx, 2; push rcx; int 21h
  rig.poke(CodeRig::kCode, {0xb9, 2, 0, 0, 0, 0x51, 0xcd, 0x21});
  rig.start();
  const auto lines = trace(rig, {.registers = true, .memory = true, .json = true}, 4);
  REQUIRE(lines.size() == 5);
  CHECK(Json::parse(lines[0]) == Json{{"icount", 0},
                                      {"cs", "0008"},
                                      {"ip", "0000000000010000"},
                                      {"linear", "0000000000010000"},
                                      {"bytes", "b902000000"},
                                      {"text", "mov ecx, 2"},
                                      {"regs", {{"rcx", "0000000000000002"}}}});
  const Json push = Json::parse(lines[1]);
  CHECK(push["regs"] == Json{{"rsp", "00000000000307f8"}});
  CHECK(push["mem"] ==
        Json::array({{{"op", "w"}, {"address", "00000000000307f8"}, {"size", 8}, {"value", "0000000000000002"}}}));
  CHECK(Json::parse(lines[2])["text"] == "int 0x21");
  const Json event = Json::parse(lines[3]);
  CHECK(event["icount"] == 3);
  CHECK(event["event"] == "software_int");
  CHECK(event["vector"] == 0x21);
  CHECK(event["regs"]["rsp"] == "00000000000307c8");
  CHECK(Json::parse(lines[4])["icount"] == 3);
}

TEST_CASE("understudy trace: symbols, ranges and the recording's end") {
  const Recording recording("hello");
  const std::string symbols = fmt::format("--symbols {}/hello.elf", built::kFirmware);
  const Ran first = understudy_command(fmt::format("trace {} --count 20 {}", recording.path, symbols));
  CHECK(first.code == 0);
  const auto lines = lines_of(first.said);
  REQUIRE(lines.size() == 20);
  CHECK(lines[0].find("<_start runtime32.asm:") != std::string::npos);
  // The start-up code calls it, after some instructions.
  CHECK(std::any_of(lines.begin(), lines.end(), [](const std::string& line) {
    return line.find("<runtime_main runtime.c:") != std::string::npos;
  }));
  CHECK(lines_of(understudy_command(fmt::format("trace {} --from 5 --to 9", recording.path)).said).size() == 4);
  const Ran all = understudy_command(fmt::format("trace {} --json", recording.path));
  CHECK(all.code == 0);
  uint64_t next = 0;
  for (const std::string& line : lines_of(all.said)) {
    const Json json = Json::parse(line);
    if (json.contains("ip")) CHECK(json["icount"] == next++);
  }
  const Json end = Json::parse(understudy_command("replay " + recording.path + " --json -").said);
  CHECK(end["icount"] == next);
}

TEST_CASE("understudy trace: a reader who goes away ends it quietly; bad usage is said in a line") {
  const Recording recording("hello");
  const std::string code = recording.scratch.path() + "/code";
  const std::string command = fmt::format("({} trace {} --regs --mem; echo $? >{}) 2>&1 | head -1 | wc -l",
                                          built::kCommand, recording.path, code);
  std::FILE* const pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  int lines = 0;
  CHECK(std::fscanf(pipe, "%d", &lines) == 1);
  pclose(pipe);
  CHECK(lines == 1);
  CHECK(read_bytes(code) == std::vector<uint8_t>{'0', '\n'});
  const auto refused = [&](const std::string& arguments, const char* why) {
    const Ran ran = understudy_command("trace " + arguments);
    CAPTURE(ran.said);
    CHECK(ran.code == 2);
    CHECK(ran.said.find(why) != std::string::npos);
    CHECK(lines_of(ran.said).size() <= 2);
  };
  refused("/nonexistent", "/nonexistent");
  refused(recording.path + " --from 9 --to 5", "--to 5 is before --from 9");
  refused(recording.path + " --from 999999999", "it ends at instruction");
  refused(recording.path + " --symbols /nonexistent", "/nonexistent: No such file");
  refused(recording.path + " --symbols /dev/zero", "not a regular file");
  refused(recording.path + " --to 5 --count 5", "--count");
}
