// An observer that writes down what it is told.
#pragma once

#include <algorithm>
#include <vector>

#include "emu/cpu_observer.h"
#include "emu/machine.h"
#include "emu/segment_load.h"

namespace understudy::tests {

class Watcher : public emu::CpuObserver {
 public:
  Watcher(emu::Machine& machine, const emu::CpuWatch& watch) : machine_(machine) {
    machine.cpu().observe(this, watch);
    machine.observe_idle([this](uint64_t from, uint64_t to) { idle_ns += to - from; });
  }
  ~Watcher() override {
    machine_.cpu().observe_nothing();
    machine_.observe_idle({});
  }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  struct Step {
    uint64_t icount, rip;
    bool operator==(const Step&) const = default;
  };
  struct Event {
    uint64_t icount;
    emu::EventKind kind;
    unsigned vector;
    uint64_t address;
    bool operator==(const Event&) const = default;
  };
  struct Level {
    uint64_t icount;
    unsigned level;
    bool operator==(const Level&) const = default;
  };
  std::vector<Step> steps;   // tries of the same instruction count once
  std::vector<Step> firsts;  // what is told first at each count, if that is in front of an instruction
  std::vector<Event> events;
  std::vector<Level> levels;
  uint64_t idle_ns = 0;
  uint64_t wrong_records = 0;  // whose address is not the CPU's

  void event(const emu::Event& event, uint64_t address) override {
    events.push_back({machine_.icount(), event.kind, event.vector, address});
    // The others are the end of an instruction.
    if (event.kind == emu::EventKind::hardware || event.kind == emu::EventKind::exception)
      note_first({machine_.icount(), event.instruction_eip});
  }
  void privilege(unsigned level) override { levels.push_back({machine_.icount(), level}); }
  void instruction(const emu::BlockRecord& block) override {
    const emu::EngineCpu& cpu = machine_.cpu().engine().cpu();
    const Step step{machine_.icount(), cpu.eip};
    if (steps.empty() || steps.back() != step) steps.push_back(step);
    note_first(step);
    wrong_records += block.pc != emu::wrap_linear(cpu, cpu.segs[emu::kCs].base + cpu.eip);
  }

 private:
  void note_first(const Step& step) {
    if (firsts.empty() || firsts.back().icount != step.icount) firsts.push_back(step);
  }
  emu::Machine& machine_;
};

}  // namespace understudy::tests
