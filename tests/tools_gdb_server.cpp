// The command layer of GDB's protocol over a target that is known by heart.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <random>

#include "emu/segment_load.h"
#include "tests/gdb_rig.h"
#include "tools/gdb_target_xml.h"

using namespace understudy;
using namespace understudy::test;
using namespace understudy::tools;

namespace {

// The payloads of frames, run lengths undone.
std::vector<std::string> answers_in(const std::string& sent) {
  std::vector<std::string> answers;
  for (size_t at = 0; (at = sent.find('$', at)) != std::string::npos;) {
    const size_t end = sent.find('#', at);
    REQUIRE(end != std::string::npos);
    std::string payload;
    for (size_t i = at + 1; i < end; ++i) {
      if (sent[i] == '*')
        payload.append(static_cast<size_t>(sent[++i] - 29), payload.back());
      else if (sent[i] == '}')
        payload += static_cast<char>(sent[++i] ^ 0x20);
      else
        payload += sent[i];
    }
    answers.push_back(payload);
    at = end;
  }
  return answers;
}

class ListMonitor : public GdbMonitor {
 public:
  void run(std::string_view command, GdbUser& user) override {
    if (command == "bad") throw GdbRefusal("there is no `bad`");
    user.say(fmt::format("did {}\n", command));
  }
};

struct Session {
  FakeGdbTarget target;
  GdbServer::Settings settings;
  GdbServer::Parting parting = GdbServer::Parting::hung_up;

  // One client's packets, and all answers.
  std::vector<std::string> say(const std::vector<std::string>& packets, const std::string& behind = "") {
    std::string script;
    for (const std::string& body : packets) script += gdb_frame(body);
    ScriptedLink link(script + behind, 7);
    ListMonitor monitor;
    GdbServer server(target, &monitor, settings, link);
    parting = server.serve();
    return answers_in(link.sent);
  }
  std::string ask(const std::string& packet) {
    const std::vector<std::string> answers = say({packet});
    REQUIRE(answers.size() == 1);
    return answers[0];
  }
};

// The register of that name in a `g` answer.
std::string register_in(const std::string& hex, GdbWidth width, const std::string& name) {
  size_t at = 0;
  for (const GdbRegister& reg : registers_of(width)) {
    if (reg.name == name) return hex.substr(at, 2 * reg.bytes());
    at += 2 * reg.bytes();
  }
  FAIL("no register ", name);
  return {};
}

size_t number_of(GdbWidth width, const std::string& name) {
  const auto& registers = registers_of(width);
  for (size_t i = 0; i < registers.size(); ++i)
    if (registers[i].name == name) return i;
  FAIL("no register ", name);
  return 0;
}

}  // namespace

TEST_CASE("gdb server: what it can is said") {
  Session session;
  const std::string answer = session.ask("qSupported:multiprocess+;swbreak+;hwbreak+;xmlRegisters=i386");
  for (const char* feature : {"PacketSize=4000", "QStartNoAckMode+", "qXfer:features:read+", "ReverseStep+",
                              "ReverseContinue+", "swbreak+", "hwbreak+", "vContSupported+"})
    CHECK(answer.find(feature) != std::string::npos);
  CHECK(session.ask("vCont?") == "vCont;c;C;s;S;r");
  CHECK(session.ask("qAttached") == "1");
  CHECK(session.ask("qC") == "QC1");
  CHECK(session.say({"qfThreadInfo", "qsThreadInfo"}) == std::vector<std::string>{"m1", "l"});
  CHECK(session.ask("Hg0") == "OK");
  CHECK(session.ask("Hc-1") == "OK");
  CHECK(session.ask("T1") == "OK");
  CHECK(session.ask("T2") == "E.there is only thread 1, the CPU");
  for (const char* unknown :
       {"vMustReplyEmpty", "qTStatus", "qWhatever", "QNonStop:1", "~", "", "bx", "i", "vRun;", "Z9,0,1"})
    CHECK(session.ask(unknown).empty());
}

TEST_CASE("gdb server: acknowledgements end when they are told to") {
  Session session;
  ScriptedLink link(gdb_frame("QStartNoAckMode") + "+" + gdb_frame("qC") + "$qC#00", 1);
  GdbServer server(session.target, nullptr, session.settings, link);
  CHECK(server.serve() == GdbServer::Parting::hung_up);
  CHECK(link.sent == "+" + gdb_frame("OK") + gdb_frame("QC1") + gdb_frame("E.a packet has a wrong checksum"));
}

TEST_CASE("gdb server: registers, all and by number") {
  Session session;
  session.target.record().regs[emu::kRax] = 0x1122334455667788;
  session.target.record().regs[emu::kRbx] = 1;
  session.target.record().segs[emu::kGs].base = 0xffff888000000000;
  session.target.record().fptags[3] = 1;
  session.target.record().fpstt = 2;
  session.target.record().fpregs[2] = {0xc000000000000000, 0x3fff, {}};
  session.target.record().xmm[1].q[1] = 0xaa;
  session.target.icount = 5;
  const std::string all = session.ask("g");
  constexpr GdbWidth k64 = GdbWidth::bits64;
  CHECK(
      all.starts_with("8877665544332211"
                      "0100000000000000"));
  CHECK(register_in(all, k64, "rip") == "0510000000000000");
  CHECK(register_in(all, k64, "eflags") == "02020000");
  CHECK(register_in(all, k64, "cs") == "10000000");
  CHECK(register_in(all, k64, "st0") == "00000000000000c0ff3f");
  CHECK(register_in(all, k64, "fstat") == "00100000");
  CHECK(register_in(all, k64, "ftag") == "c5550000" + std::string());
  CHECK(register_in(all, k64, "gs_base") ==
        "0000000080"
        "88ffff");
  CHECK(register_in(all, k64, "icount") == "0500000000000000");
  CHECK(register_in(all, k64, "virtual_ns") == "1400000000000000");
  CHECK(session.ask(fmt::format("p{:x}", number_of(k64, "xmm1"))) == "0000000000000000aa00000000000000");
  CHECK(session.ask("pffff") == "E.there is no such register");
  CHECK(session.ask("p") == "E.malformed packet");
}

TEST_CASE("gdb server: registers are written where the target lets them") {
  Session session;
  const std::string refused = "E.a replay's registers are what they were";
  CHECK(session.ask("P0=0000000000000001") == refused);
  std::string all = session.ask("g");
  CHECK(session.ask("G" + all) == "OK");
  all[1] = '7';
  CHECK(session.ask("G" + all) == refused);
  CHECK(session.ask("G" + all.substr(2)) == refused);
  CHECK(session.ask("Gzz") == "E.malformed packet");
  session.target.writable = true;
  CHECK(session.ask("P0=01") == "E.malformed packet");
  CHECK(session.ask("P0=0000000000000001") == "OK");
  CHECK(session.ask("G" + all) == "OK");
  CHECK(session.ask("G") == "E.registers are missing");
  CHECK(session.target.written_registers == std::vector<std::string>{"rax", "rax"});
}

TEST_CASE("gdb server: where the CPU is, is linear") {
  Session session;
  emu::EngineCpu& cpu = session.target.record();
  cpu.cr[0] = cpu.efer = cpu.hflags = 0;
  cpu.segs[emu::kCs] = {0xf000, 0, 0xf0000, 0xffff, 0x9b00};
  const std::string all = session.ask("g");
  CHECK(all.size() == [] {
    size_t bytes = 0;
    for (const GdbRegister& reg : registers_of(GdbWidth::bits16)) bytes += reg.bytes();
    return 2 * bytes;
  }());
  CHECK(register_in(all, GdbWidth::bits16, "eip") == "00100f00");
  CHECK(register_in(all, GdbWidth::bits16, "ip") == "00100000");
  CHECK(register_in(all, GdbWidth::bits16, "cs_base") == "00000f00");
  CHECK(session.ask("?") == "T05thread:1;4:00000000;5:00000000;8:00100f00;");
}

TEST_CASE("gdb server: target descriptions, in pieces, by the mode") {
  Session session;
  const auto read_all = [&session] {
    std::string xml;
    while (true) {
      const std::string part = session.ask(fmt::format("qXfer:features:read:target.xml:{:x},100", xml.size()));
      REQUIRE(!part.empty());
      xml += part.substr(1);
      if (part[0] == 'l') return xml;
      REQUIRE(part[0] == 'm');
    }
  };
  CHECK(read_all() == target_xml(GdbWidth::bits64));
  session.target.record().efer = 0;
  session.target.record().hflags &= ~emu::hflags::kCs64;
  CHECK(read_all() == target_xml(GdbWidth::bits32));
  session.target.record().eflags = emu::eflags::kVm;
  CHECK(read_all() == target_xml(GdbWidth::bits16));
  session.settings.width = GdbWidth::bits64;
  CHECK(read_all() == target_xml(GdbWidth::bits64));
  CHECK(session.ask("qXfer:features:read:other.xml:0,100") == "E.there is no such annex");
  CHECK(session.ask("qXfer:features:read:target.xml:ffffffffffffffff,1") == "E.past the end");
  CHECK(session.ask("qXfer:features:read:target.xml:0") == "E.malformed packet");
  CHECK(session.ask("qXfer:features:read:target.xml") == "E.malformed packet");
  CHECK(session.ask("qXfer:auxv:read::0,100").empty());
}

TEST_CASE("gdb server: memory") {
  Session session;
  CHECK(session.ask("m1000,4") == "90909090");
  CHECK(session.ask("x1000,2") == "b\x90\x90");
  CHECK(session.ask("m1000,0").empty());
  CHECK(session.ask("m2ffe,ffffffff") == "9090");
  CHECK(session.ask("m3000,1") == "E0e");
  CHECK(session.ask("mffffffffffffffff,8") == "E0e");
  CHECK(session.ask("m1000") == "E.malformed packet");
  CHECK(session.ask("M1000,1:00") == "E.a replay's memory is what it was");
  session.target.writable = true;
  CHECK(session.ask("M1000,2:0102") == "OK");
  CHECK(session.ask("m1000,3") == "010290");
  CHECK(session.ask("X1001,2:}\x03\x7f") == "OK");
  CHECK(session.ask("m1000,3") == "01237f");
  CHECK(session.ask("X0,0:") == "OK");
  CHECK(session.ask("M1000,3:0102") == "E.malformed packet");
  CHECK(session.ask("M2fff,2:0102") == "E.no memory there");
}

TEST_CASE("gdb server: steps and runs in both directions, with breakpoints and watchpoints") {
  Session session;
  const std::string feature = "qSupported:swbreak+;hwbreak+";
  const auto stop_after = [&](std::vector<std::string> packets) {
    packets.insert(packets.begin(), feature);
    std::string answer = session.say(packets).back();
    return answer.substr(0, answer.find("thread:1;"));
  };
  CHECK(stop_after({"vCont;s:1;c"}) == "T05");
  CHECK(session.target.icount == 1);
  CHECK(stop_after({"s"}) == "T05");
  CHECK(stop_after({"S05"}) == "T05");
  CHECK(session.target.icount == 3);
  CHECK(stop_after({"bs"}) == "T05");
  CHECK(session.target.icount == 2);
  CHECK(stop_after({"Z0,1010,1", "vCont;c"}) == "T05swbreak:;");
  CHECK(session.target.icount == 16);
  CHECK(session.target.inserted.empty());  // that client is gone
  CHECK(stop_after({"Z1,1020,1", "c"}) == "T05hwbreak:;");
  CHECK(stop_after({"Z0,1020,1", "z0,1020,1", "Z1,1010,1", "bc"}) == "T05hwbreak:;");
  CHECK(session.target.icount == 16);
  CHECK(stop_after({"Z2,2003,2", "c"}) == "T05watch:2003;");
  CHECK(session.target.icount == 64 + 4);
  CHECK(stop_after({"Z4,2003,1", "bc"}) == "T05awatch:2003;");
  CHECK(session.target.icount == 64 + 3);
  CHECK(stop_after({"Z3,2002,1", "bc"}) == "T05rwatch:2002;");
  CHECK(stop_after({"bc"}) == "T05replaylog:begin;");
  CHECK(stop_after({"vCont;r1000,1005"}) == "T05");
  CHECK(session.target.icount == 5);
  CHECK(stop_after({"Z0,1008,1", "vCont;r1000,1050:1"}) == "T05swbreak:;");
  CHECK(stop_after({"vCont;C05:1"}) == "T05replaylog:end;");
  CHECK(session.ask("vCont;c:2") == "E.no action for thread 1");
  CHECK(session.ask("vCont;t") == "E.no such action");
  CHECK(session.ask("vCont;r1000") == "E.malformed packet");
  CHECK(session.ask("Z2,2000,0") == "E.what is watched is too long");
  CHECK(session.ask("Z2,2000,ffffffff") == "E.what is watched is too long");
  CHECK(session.ask("Z0,1000") == "E.malformed packet");
  CHECK(session.ask("c1000") == "E.a replay's registers are what they were");
  session.target.reversible = false;
  CHECK(session.ask("bc") == "E.a live machine has no past");
}

TEST_CASE("gdb server: a client that does not know swbreak is not told of it") {
  Session session;
  CHECK(session.say({"Z0,1010,1", "c"}).back().starts_with("T05thread:1;"));
}

TEST_CASE("gdb server: Ctrl-C stops what runs and nothing else") {
  Session session;
  session.target.icount = FakeGdbTarget::kCounts;
  CHECK(session.say({"c"}, "\x03" + gdb_frame("qC")).front().starts_with("T02thread:1;"));
  CHECK(session.say({"qC"}, "\x03" + gdb_frame("qC")) == std::vector<std::string>{"QC1", "QC1"});
  CHECK(session.parting == GdbServer::Parting::hung_up);
}

TEST_CASE("gdb server: a run ends when the client is gone") {
  Session session;
  session.target.icount = FakeGdbTarget::kCounts;
  session.target.patience = ~0u;
  ScriptedLink link(gdb_frame("c"));
  link.leaves_early = true;
  GdbServer server(session.target, nullptr, session.settings, link);
  CHECK(server.serve() == GdbServer::Parting::hung_up);
  CHECK(answers_in(link.sent).empty());
}

TEST_CASE("gdb server: ways to part") {
  Session session;
  CHECK(session.ask("D") == "OK");
  CHECK(session.parting == GdbServer::Parting::detached);
  CHECK(session.ask("D;1") == "OK");
  CHECK(session.parting == GdbServer::Parting::detached);
  CHECK(session.say({"k"}).empty());
  CHECK(session.parting == GdbServer::Parting::killed);
  CHECK(session.ask("vKill;1") == "OK");
  CHECK(session.parting == GdbServer::Parting::killed);
  CHECK(session.ask("vAttach;1").starts_with("T05"));
  CHECK(session.ask("!") == "OK");
}

TEST_CASE("gdb server: monitor") {
  Session session;
  CHECK(session.say({"qRcmd," + to_hex(std::string_view("when"))}) ==
        std::vector<std::string>{"O" + to_hex(std::string_view("did when\n")), "OK"});
  CHECK(session.say({"qRcmd," + to_hex(std::string_view("bad"))}) ==
        std::vector<std::string>{"O" + to_hex(std::string_view("there is no `bad`\n")), "OK"});
  CHECK(session.ask("qRcmd,1") == "E.malformed packet");
}

TEST_CASE("gdb server: another mode than the description's is mentioned, once") {
  Session session;
  session.target.record().efer = 0;
  ScriptedLink link(gdb_frame("s") + gdb_frame("s"));
  GdbServer server(session.target, nullptr, session.settings, link);
  session.target.record().efer = emu::efer::kLma;
  server.serve();
  const std::vector<std::string> answers = answers_in(link.sent);
  REQUIRE(answers.size() == 3);
  CHECK(from_hex(answers[0].substr(1))->starts_with("The CPU's mode is i386:x86-64 now, and gdb shows it as i386."));
  CHECK(answers[2].starts_with("T05"));
}

TEST_CASE("gdb server: bytes of any kind, and packets that are nearly right") {
  std::mt19937 chance(11);
  const std::vector<std::string> good = {"qSupported:swbreak+",
                                         "QStartNoAckMode",
                                         "g",
                                         "m1000,40",
                                         "x1000,40",
                                         "M1000,2:0102",
                                         "X1000,2:ab",
                                         "Z0,1010,1",
                                         "z0,1010,1",
                                         "Z2,2000,8",
                                         "vCont;c",
                                         "vCont;s:1;c:-1",
                                         "vCont;r1000,1010",
                                         "bs",
                                         "bc",
                                         "c1000",
                                         "?",
                                         "p10",
                                         "P0=0000000000000001",
                                         "qRcmd,6e6f",
                                         "qXfer:features:read:target.xml:0,fff",
                                         "Hg1",
                                         "qfThreadInfo"};
  for (int round = 0; round < 3000; ++round) {
    std::string script;
    while (script.size() < chance() % 600) {
      std::string body = good[chance() % good.size()];
      for (unsigned changes = chance() % 3; changes-- > 0 && !body.empty();) {
        const size_t at = chance() % body.size();
        if (chance() % 3 == 0)
          body.erase(at, 1 + chance() % 4);
        else
          body[at] = static_cast<char>(chance() % 2 == 0 ? chance() : ",;:=0f"[chance() % 6]);
      }
      if (chance() % 8 == 0)
        for (unsigned i = chance() % 40; i-- > 0;) script += static_cast<char>(chance());
      script += gdb_frame(body);
    }
    attempt_gdb_session(script, 1 + chance() % 100);
  }
}
