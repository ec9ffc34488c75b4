// A target that a debugger's client can talk to without a machine, and a connection whose client is a script: what the
// tests of GDB's protocol, and its fuzzer, stand on.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tools/gdb_server.h"

namespace understudy::test {

// A packet as a client frames it; what has to be escaped is in the payload already.
inline std::string gdb_frame(std::string_view payload) {
  unsigned sum = 0;
  for (const char c : payload) sum += static_cast<uint8_t>(c);
  return fmt::format("${}#{:02x}", payload, sum & 0xff);
}

// A history of kCounts one-byte instructions from kCode on, of which the one at count n stores n to kData + n % 64.
// Memory is a page of code and a page of data.
class FakeGdbTarget : public tools::GdbTarget {
 public:
  static constexpr uint64_t kCode = 0x1000, kData = 0x2000, kCounts = 1000;

  FakeGdbTarget() : cpu_(std::make_unique<emu::EngineCpu>()) {
    cpu_->cr[0] = emu::cr0::kPe | emu::cr0::kPg;
    cpu_->efer = emu::efer::kLma | emu::efer::kLme;
    cpu_->segs[emu::kCs] = {0x10, 0, 0, 0xffffffff, 0x00209b00};
    cpu_->hflags = emu::hflags::kCs64 | emu::hflags::kLma | emu::hflags::kPe;
    memory_.fill(0x90);
  }
  emu::EngineCpu& record() { return *cpu_; }
  bool writable = false;
  bool reversible = true;
  uint64_t icount = 0;
  // How often the user is asked during a run that nothing else ends.
  unsigned patience = 100;
  std::vector<tools::GdbBreakpoint> inserted;

  tools::CpuView cpu() override {
    cpu_->eip = kCode + icount;
    return {*cpu_, 0x202, icount, icount * 4};
  }
  void write_register(const tools::GdbRegister& reg, std::span<const uint8_t>) override {
    if (!writable) throw tools::GdbRefusal("a replay's registers are what they were");
    written_registers.push_back(reg.name);
  }
  size_t read_memory(uint64_t linear, std::span<uint8_t> to) override {
    if (linear < kCode || linear >= kCode + memory_.size()) throw tools::GdbRefusal("no memory there");
    const size_t count = std::min<size_t>(to.size(), kCode + memory_.size() - linear);
    std::copy_n(memory_.begin() + static_cast<std::ptrdiff_t>(linear - kCode), count, to.begin());
    return count;
  }
  void write_memory(uint64_t linear, std::span<const uint8_t> from) override {
    if (!writable) throw tools::GdbRefusal("a replay's memory is what it was");
    if (linear < kCode || linear - kCode > memory_.size() || from.size() > memory_.size() - (linear - kCode))
      throw tools::GdbRefusal("no memory there");
    std::copy(from.begin(), from.end(), memory_.begin() + static_cast<std::ptrdiff_t>(linear - kCode));
  }
  void insert(const tools::GdbBreakpoint& breakpoint) override { inserted.push_back(breakpoint); }
  void remove(const tools::GdbBreakpoint& breakpoint) override { std::erase(inserted, breakpoint); }
  tools::GdbStop resume(const tools::GdbResume& how, tools::GdbUser& user) override {
    using Why = tools::GdbStop::Why;
    if (how.backward && !reversible) throw tools::GdbRefusal("a live machine has no past");
    while (true) {
      if (how.backward && icount == 0) return {Why::log_begin, {}, 0};
      if (!how.backward && icount == kCounts) {
        // A run without end, which only the user stops.
        for (unsigned i = 0; how.kind == tools::GdbResume::Kind::run && i < patience; ++i)
          if (user.wants_stop()) return {Why::interrupted, {}, 0};
        return {Why::log_end, {}, 0};
      }
      icount += how.backward ? ~0ull : 1;
      const uint64_t stored = kData + (how.backward ? icount : icount - 1) % 64;
      for (const tools::GdbBreakpoint& breakpoint : inserted) {
        if (breakpoint.is_watchpoint() && stored >= breakpoint.address &&
            stored - breakpoint.address < breakpoint.length)
          return {Why::watchpoint, breakpoint, 0};
        if (!breakpoint.is_watchpoint() && breakpoint.address == kCode + icount)
          return {Why::breakpoint, breakpoint, 0};
      }
      const uint64_t pc = kCode + icount;
      if (how.kind == tools::GdbResume::Kind::step) return {};
      if (how.kind == tools::GdbResume::Kind::range && (pc < how.first || pc >= how.last)) return {};
    }
  }

  std::vector<std::string> written_registers;

 private:
  std::unique_ptr<emu::EngineCpu> cpu_;
  std::array<uint8_t, 0x2000> memory_{};
};

// What the client sends comes in pieces of at most `piece` bytes; when it has its answers, it is gone.
class ScriptedLink : public tools::GdbLink {
 public:
  explicit ScriptedLink(std::string script, size_t piece = 1 << 20) : script_(std::move(script)), piece_(piece) {}
  bool receive(std::vector<uint8_t>& to, bool wait) override {
    if (script_.empty()) return !wait && !leaves_early;
    const std::string part = script_.substr(0, piece_);
    script_.erase(0, part.size());
    to.insert(to.end(), part.begin(), part.end());
    return true;
  }
  bool send(std::string_view bytes) override {
    sent += bytes;
    return true;
  }
  std::string sent;
  bool leaves_early = false;  // while something runs, too

 private:
  std::string script_;
  size_t piece_;
};

// Any bytes as a client's, in pieces: the server gets through them, whatever they are.
inline void attempt_gdb_session(std::string bytes, size_t piece) {
  class EchoMonitor : public tools::GdbMonitor {
   public:
    void run(std::string_view command, tools::GdbUser& user) override {
      if (command == "no") throw tools::GdbRefusal("no");
      user.say(command);
    }
  } monitor;
  FakeGdbTarget target;
  target.writable = true;
  const tools::GdbServer::Settings settings;
  ScriptedLink link(std::move(bytes), piece);
  tools::GdbServer server(target, &monitor, settings, link);
  server.serve();
}

}  // namespace understudy::test
