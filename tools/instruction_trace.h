// Turns what an observer of the CPU hears into the lines of a trace. An instruction's line is written when it has
// retired, with what it changed; one that has to be tried again is written once, one that faulted says so.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "emu/cpu_observer.h"
#include "emu/machine.h"
#include "tools/output_stream.h"
#include "tools/register_changes.h"
#include "tools/symbols.h"
#include "tools/touched_memory.h"
#include "tools/trace_format.h"

namespace understudy::tools {

struct TraceOptions {
  bool registers = false, memory = false, json = false;
};

class InstructionTrace : public emu::CpuObserver {
 public:
  // Watches the machine from now on, until it is destroyed. All must outlive it.
  InstructionTrace(emu::Machine& machine, Symbols& symbols, OutputStream& out, const TraceOptions& options);
  ~InstructionTrace() override;
  InstructionTrace(const InstructionTrace&) = delete;
  InstructionTrace& operator=(const InstructionTrace&) = delete;

  void event(const emu::Event& event, uint64_t address) override;
  void privilege(unsigned) override {}
  void instruction(const emu::BlockRecord& block) override;

  // An input has been handed to a channel; the board has been reset.
  void input(emu::ChannelId channel, std::span<const uint8_t> bytes);
  void reset();
  // Between two runs: writes what is still to be written.
  void finish();
  uint64_t instructions() const { return instructions_; }

 private:
  struct Line {
    DecodedInstruction decoded;
    std::string fixed;
  };
  const Line& line_of(const emu::BlockRecord& block);
  // Writes the line that waits, now that it is known what came of it.
  void settle(bool faulted);
  void write_changes(bool with_flags, bool with_fpu);
  bool is_wide() const { return (cpu_.hflags & emu::hflags::kCs64) != 0; }

  emu::Machine& machine_;
  const emu::EngineCpu& cpu_;
  Symbols& symbols_;
  OutputStream& out_;
  TraceOptions options_;
  std::unique_ptr<TraceFormat> format_;
  InstructionDecoder decoder_;
  RegisterChanges changes_;
  TouchedMemory touched_;

  std::vector<uint32_t> line_numbers_;  // by number of the block's record; 0: none yet
  std::deque<Line> lines_;
  uint64_t generation_ = 0;

  enum class Waiting : uint8_t { nothing, instruction, event } waiting_ = Waiting::nothing;
  const Line* line_ = nullptr;
  uint64_t icount_ = 0;
  uint32_t cs_ = 0;
  bool wide_ = false;
  emu::Event event_{};
  uint64_t address_ = 0;
  uint64_t instructions_ = 0;
};

}  // namespace understudy::tools
