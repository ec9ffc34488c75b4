// A machine small enough to know by heart, for tests of recording and replay: a guest that sleeps (or counts, or works
// for a while and then sleeps) and whose
// interrupt handler echoes what the only device brings, once a millisecond of virtual time and whenever an input comes.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "backup/replayer.h"
#include "emu/machine.h"
#include "emu/memory_snapshot.h"
#include "primary/recorder.h"
#include "tests/ftlog_rig.h"

namespace understudy::test {

// Port 10h: what came in since the last read, summed up; written bytes go out. 11h: 'q' ends the run, 'r' asks for a
// reset, 's' switches off. 12h: the next timer interrupt a millisecond from now.
class ToyDevice : public emu::Device, public emu::PortDevice {
 public:
  explicit ToyDevice(emu::Machine& machine) : machine_(machine) {
    machine.ports().attach(0x10, 0x12, *this);
    timer_ = machine.events().add("toy.timer", [this](uint64_t) { machine_.cpu().set_interrupt(true); });
    channel_ = machine.world().add_channel("toy", [this](std::span<const uint8_t> bytes) {
      for (const uint8_t byte : bytes) latch_ = static_cast<uint8_t>(latch_ + byte);
      machine_.cpu().set_interrupt(true);
    });
    machine.add(*this);
  }
  emu::ChannelId channel() const { return channel_; }
  std::string_view name() const override { return "toy"; }
  void reset() override {
    latch_ = 0;
    machine_.events().schedule(timer_, machine_.now_ns() + 1'000'000);
  }
  void visit_state(emu::StateVisitor& visitor) override { visitor.value("latch", latch_); }
  uint32_t port_read(uint16_t, unsigned) override {
    machine_.cpu().set_interrupt(false);
    return std::exchange(latch_, uint8_t{0});
  }
  void port_write(uint16_t port, unsigned, uint32_t value) override {
    const auto byte = static_cast<uint8_t>(value);
    if (port == 0x10) machine_.world().emit(channel_, {&byte, 1});
    if (port == 0x12) machine_.events().schedule(timer_, machine_.time().now_ns() + 1'000'000);
    if (port != 0x11) return;
    if (byte == 'q') machine_.stop_with(emu::MachineStop::debug_exit);
    if (byte == 'r') machine_.stop_with(emu::MachineStop::reset);
    if (byte == 's') machine_.stop_with(emu::MachineStop::shutdown);
  }

 private:
  emu::Machine& machine_;
  emu::EventQueue::Id timer_ = 0;
  emu::ChannelId channel_ = 0;
  uint8_t latch_ = 0;
};

enum class Guest { sleeps, counts, works };

class ToyMachine {
 public:
  explicit ToyMachine(Guest guest) : machine_(1 << 20, {}), device_(machine_), guest_(guest) {
    emu::Cpu::Board board;
    board.acknowledge = [] { return uint8_t{0x20}; };
    board.read_tsc_clock = [this] { return machine_.time().now_ns(); };
    machine_.cpu().connect(std::move(board));
    reset();
  }
  emu::Machine& machine() { return machine_; }
  void type(const std::string& text) {
    machine_.world().post(device_.channel(), {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }
  void reset() {
    machine_.reset();
    emu::BootPlan plan;
    plan.bypasses_firmware = true;
    // 1000h: sti; hlt or inc ax; jmp back to it. Or: sti; mov cx,20000; loop $; hlt; jmp back to mov
    plan.chunks.push_back({0x1000, {0xfb, static_cast<uint8_t>(guest_ == Guest::sleeps ? 0xf4 : 0x40), 0xeb, 0xfd}});
    if (guest_ == Guest::works) plan.chunks.push_back({0x1000, {0xfb, 0xb9, 0x20, 0x4e, 0xe2, 0xfe, 0xf4, 0xeb, 0xf8}});
    // 1100h: push ax; in al,10h; add [2000h],al; out 10h,al; out 11h,al; out 12h,al; pop ax; iret
    plan.chunks.push_back(
        {0x1100, {0x50, 0xe4, 0x10, 0x00, 0x06, 0x00, 0x20, 0xe6, 0x10, 0xe6, 0x11, 0xe6, 0x12, 0x58, 0xcf}});
    plan.chunks.push_back({4 * 0x20, {0x00, 0x11, 0x00, 0x00}});
    plan.cpu.rip = 0x1000;
    plan.cpu.general[emu::InitialCpu::rsp] = 0x8000;
    plan.cpu.cs = {0, 0, 0xffff, 0x9b00};
    machine_.apply(plan);
  }

 private:
  emu::Machine machine_;
  ToyDevice device_;
  Guest guest_;
};

// A machine that is being recorded; the log is read back as entries.
class ToyRecording {
 public:
  explicit ToyRecording(Guest guest, uint64_t digest_every_ns = 5'000'000, const ftlog::LogOptions& log = {})
      : toy(guest), writer_(dir_.path(), "toy\n", log) {
    primary::RecorderOptions options;
    options.digest_every_ns = digest_every_ns;
    recorder.emplace(toy.machine(), writer_, ftlog::Start{}, options);
  }
  // Runs on for so many instructions, as a session does: in slices, with digests between.
  emu::MachineStop run(uint64_t instructions) {
    const uint64_t end = toy.machine().icount() + instructions;
    while (toy.machine().icount() < end) {
      const emu::MachineStop stop = toy.machine().run(std::min(end, toy.machine().icount() + 97));
      if (stop != emu::MachineStop::limit) return stop;
      recorder->poll(0);
    }
    return emu::MachineStop::limit;
  }
  // To the next halt, without letting time pass there.
  void run_to_idle() {
    while (toy.machine().run(toy.machine().icount() + 1000, emu::Machine::Idle::report) != emu::MachineStop::idle) {
    }
  }
  std::vector<ftlog::LogEntry> finish(ftlog::EndReason reason) {
    recorder->finish(reason, 0);
    digest = toy.machine().digest();
    icount = toy.machine().icount();
    return entries();
  }
  uint64_t log_bytes() const { return writer_.bytes_written(); }
  std::vector<ftlog::LogEntry> entries() {
    writer_.flush();
    std::vector<ftlog::LogEntry> all;
    ftlog::LogReader reader(dir_.path());
    for (ftlog::LogEntry entry; reader.next(entry);) all.push_back(entry);
    return all;
  }

 private:
  TempDir dir_;

 public:
  ToyMachine toy;
  std::optional<primary::Recorder> recorder;
  emu::Digest digest;
  uint64_t icount = 0;

 private:
  ftlog::LogWriter writer_;
};

struct ToyReplay {
  ToyReplay(Guest guest, const std::vector<ftlog::LogEntry>& entries)
      : toy(guest),
        left(entries.begin(), entries.end()),
        replayer(
            toy.machine(),
            [this](ftlog::LogEntry& entry) {
              if (left.empty()) return false;
              entry = left.front();
              left.pop_front();
              return true;
            },
            [this] { toy.reset(); }) {}
  // In slices of this many instructions.
  backup::ReplayStop run(uint64_t slice = ~0ull) {
    while (true) {
      const uint64_t at = toy.machine().icount();
      const backup::ReplayStop stop = replayer.run(slice > ~at ? ~0ull : at + slice);
      if (stop != backup::ReplayStop::limit) return stop;
    }
  }
  std::string what() const { return replayer.divergence() ? replayer.divergence()->what : ""; }

  ToyMachine toy;
  std::deque<ftlog::LogEntry> left;
  backup::Replayer replayer;
};

}  // namespace understudy::test
