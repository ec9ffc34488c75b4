// A recording stepped through from its start, once: every point of its first part, and what each step between two of
// them touches. Slow and simple, for comparing a Timeline with.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/built.h"
#include "tests/ftlog_rig.h"
#include "tools/decoded_instruction.h"
#include "tools/timeline.h"
#include "tools/touched_memory.h"

namespace understudy::test {

// A recording of an image, up to a count or its end.
inline std::string record_image(const std::string& directory, const std::string& image, uint64_t stop_at,
                                const std::string& options = "") {
  const std::string command =
      fmt::format("{} record {} {} --memory 32 --serial none --unpaced --stop-at {} {} >/dev/null 2>&1 </dev/null",
                  built::kCommand, directory, image, stop_at, options);
  const int status = std::system(command.c_str());
  REQUIRE(std::filesystem::exists(directory));
  REQUIRE(status != -1);
  return directory;
}

// The same of a guest of firmware/.
inline std::string record_guest(const TempDir& scratch, const std::string& guest, uint64_t stop_at,
                                const std::string& options = "") {
  return record_image(scratch.path() + "/" + guest, fmt::format("{}/{}.elf", built::kFirmware, guest), stop_at,
                      options);
}

class TimelineReference {
 public:
  struct Point {
    tools::Mark mark;
    uint64_t pc = 0;
    bool executes = false;     // an instruction is next
    uint32_t touched = 0;      // by the step from here to the next point: a bit for each watchpoint
    uint32_t by_device = 0;    // of those
    uint32_t has_changed = 0;  // over it
  };

  // At most 32 watchpoints.
  TimelineReference(const std::string& directory, const std::vector<tools::Watchpoint>& watchpoints)
      : directory_(directory), watchpoints_(watchpoints) {
    tools::ReplaySession session(directory);
    emu::Machine& machine = session.machine();
    emu::Cpu& cpu = machine.cpu();
    const auto add_point = [&](const tools::Mark& mark) {
      points_.push_back({mark, cpu.linear_pc(), std::as_const(cpu).about_to_execute()});
    };
    uint64_t reset_at = ~0ull;
    session.on_applied([&](const ftlog::LogEntry& entry) {
      if (std::holds_alternative<ftlog::Reset>(entry.payload)) reset_at = entry.icount;
    });
    std::vector<Point> entered;  // at the present count, by deliveries
    uint32_t touched = 0, by_device = 0;
    cpu.on_delivery([&](const emu::Cpu::Delivered&) {
      if (points_.empty()) return;
      points_.back().touched |= std::exchange(touched, 0);
      points_.back().by_device |= std::exchange(by_device, 0);
      add_point(
          {machine.icount(), machine.icount() == points_.back().mark.icount ? points_.back().mark.deliveries + 1 : 1});
    });
    std::vector<emu::AccessWatch::Range> ranges;
    for (const tools::Watchpoint& w : watchpoints)
      ranges.push_back({w.address, w.address + w.length - 1, w.reads, w.writes, w.physical});
    if (!ranges.empty())
      cpu.watch_accesses(
          ranges,
          [&](const emu::AccessWatch::Touch& touch) {
            // What the engine's own walker did to an instruction that faulted is told behind the delivery.
            if (touch.done && points_.back().mark.deliveries > 0 && points_.back().mark.icount == machine.icount()) {
              points_[points_.size() - 2].touched |= 1u << touch.range;
              return;
            }
            touched |= 1u << touch.range;
            if (touch.who == emu::AccessWatch::Who::device) by_device |= 1u << touch.range;
          },
          true);
    session.run_to(machine.icount());
    add_point({machine.icount(), 0});
    tools::InstructionDecoder decoder;
    tools::TouchedMemory operands(machine);
    std::vector<std::vector<uint8_t>> bytes = watched_bytes(machine);
    while (machine.icount() < session.last_icount()) {
      const uint64_t count = machine.icount();
      const size_t from = points_.size() - 1;
      touched = by_device = 0;
      const uint32_t expected = expected_touches(machine, decoder, operands);
      session.run_to(count + 1);
      REQUIRE(machine.icount() == count + 1);
      if (reset_at == count + 1) {
        // All that came before the reset belongs to the step that led to it.
        while (points_.back().mark.icount == count + 1) {
          touched |= points_.back().touched;
          points_.pop_back();
        }
      }
      points_.back().touched |= touched;
      points_.back().by_device |= by_device;
      std::vector<std::vector<uint8_t>> after = watched_bytes(machine);
      for (size_t i = 0; i < after.size(); ++i)
        if (after[i] != bytes[i]) points_.back().has_changed |= 1u << i;
      bytes = std::move(after);
      // Where nothing came in between, the instruction has done what its operands say.
      if (points_.size() - 1 == from && points_[from].executes)
        CHECK_MESSAGE((points_[from].touched & expected) == expected, directory_, " at ", count, " expects ", expected);
      add_point({count + 1, 0});
    }
    cpu.on_delivery({});
    cpu.watch_accesses({}, {}, false);
  }

  const std::vector<Point>& points() const { return points_; }
  size_t index_of(const tools::Mark& mark) const {
    const auto at = std::lower_bound(points_.begin(), points_.end(), mark,
                                     [](const Point& point, const tools::Mark& m) { return point.mark < m; });
    return static_cast<size_t>(at - points_.begin());
  }

  // Of marks (icount, 0), by a replay from the start.
  std::map<uint64_t, emu::Digest> digests(const std::vector<uint64_t>& counts) const {
    std::map<uint64_t, emu::Digest> all;
    for (const uint64_t count : counts) all[count] = {};
    tools::ReplaySession session(directory_);
    for (auto& [count, digest] : all) {
      session.run_to(count);
      digest = session.machine().digest();
    }
    return all;
  }

 private:
  std::vector<std::vector<uint8_t>> watched_bytes(emu::Machine& machine) const {
    std::vector<std::vector<uint8_t>> all;
    for (const tools::Watchpoint& w : watchpoints_) {
      std::vector<uint8_t>& bytes = all.emplace_back(w.length);
      // A linear range in another address space is another.
      if (w.physical && w.writes) machine.memory().get(w.address, bytes);
    }
    return all;
  }

  // What the next instruction's operands name, of the linear watchpoints.
  uint32_t expected_touches(emu::Machine& machine, tools::InstructionDecoder& decoder,
                            tools::TouchedMemory& operands) const {
    const emu::EngineCpu& cpu = machine.cpu().engine().cpu();
    if (!points_.back().executes) return 0;
    std::array<uint8_t, 15> bytes{};
    const size_t readable = machine.cpu().mmu().peek(machine.cpu().linear_pc(), bytes);
    const tools::DecodedInstruction decoded = decoder.decode(cpu, cpu.eip, std::span(bytes).first(readable));
    // POPA leaves out the word for the stack pointer; IRET may be one that only the engine's own walker runs.
    if (decoded.is_iret || decoded.text.starts_with("popa")) return 0;
    operands.before(decoded);
    uint32_t expected = 0;
    for (const tools::MemoryTouch& touch : operands)
      for (size_t i = 0; i < watchpoints_.size(); ++i) {
        const tools::Watchpoint& w = watchpoints_[i];
        if (w.physical || !(touch.write ? w.writes : w.reads)) continue;
        if (touch.address < w.address + w.length && w.address < touch.address + touch.size) expected |= 1u << i;
      }
    return expected;
  }

  std::string directory_;
  std::vector<tools::Watchpoint> watchpoints_;
  std::vector<Point> points_;
};

}  // namespace understudy::test
