#include "tools/instruction_trace.h"

#include <algorithm>
#include <array>
#include <utility>

namespace understudy::tools {

namespace {

// Some 60 MB.
constexpr size_t kMostLines = 200'000;

}  // namespace

InstructionTrace::InstructionTrace(emu::Machine& machine, Symbols& symbols, OutputStream& out,
                                   const TraceOptions& options)
    : machine_(machine),
      cpu_(machine.cpu().engine().cpu()),
      symbols_(symbols),
      out_(out),
      options_(options),
      changes_(machine),
      touched_(machine),
      line_numbers_(emu::CodeBlocks::kRecords) {
  if (options.json)
    format_ = std::make_unique<JsonTraceFormat>();
  else
    format_ = std::make_unique<TextTraceFormat>(options.registers || options.memory);
  changes_.remember();
  machine.cpu().observe(this, {.events = true, .privilege = false, .instructions = true});
  machine.observe_idle([this](uint64_t, uint64_t to_ns) {
    settle(false);
    format_->begin_idle(out_.text(), machine_.icount(), to_ns);
    format_->end(out_.text(), false);
    out_.settle();
  });
}

InstructionTrace::~InstructionTrace() {
  machine_.cpu().observe_nothing();
  machine_.observe_idle({});
}

const InstructionTrace::Line& InstructionTrace::line_of(const emu::BlockRecord& block) {
  const emu::CodeBlocks& blocks = machine_.cpu().blocks();
  if (generation_ != blocks.generation() || lines_.size() >= kMostLines) {
    generation_ = blocks.generation();
    std::fill(line_numbers_.begin(), line_numbers_.end(), 0u);
    lines_.clear();
  }
  uint32_t& number = line_numbers_[blocks.number_of(block)];
  if (number == 0) {
    std::array<uint8_t, 15> bytes{};
    const size_t readable = machine_.cpu().mmu().peek(block.pc, bytes);
    Line line;
    line.decoded = decoder_.decode(cpu_, cpu_.eip, std::span(bytes).first(readable));
    line.fixed = format_->fixed_part(line.decoded, is_wide(), cpu_.eip, block.pc, symbols_);
    lines_.push_back(std::move(line));
    number = static_cast<uint32_t>(lines_.size());
  }
  return lines_[number - 1];
}

void InstructionTrace::instruction(const emu::BlockRecord& block) {
  settle(false);
  line_ = &line_of(block);
  waiting_ = Waiting::instruction;
  icount_ = machine_.icount();
  cs_ = cpu_.segs[emu::kCs].selector & 0xffff;
  wide_ = is_wide();
  if (options_.memory) touched_.before(line_->decoded);
}

void InstructionTrace::event(const emu::Event& event, uint64_t address) {
  settle(event.kind == emu::EventKind::exception);
  waiting_ = Waiting::event;
  icount_ = machine_.icount();
  event_ = event;
  address_ = address;
}

void InstructionTrace::settle(bool faulted) {
  const Waiting what = std::exchange(waiting_, Waiting::nothing);
  if (what == Waiting::nothing) return;
  std::string& out = out_.text();
  if (what == Waiting::event) {
    format_->begin_event(out, icount_, event_, address_);
    write_changes(true, false);
    format_->end(out, false);
    return out_.settle();
  }
  const bool retired = machine_.icount() > icount_;
  if (!retired && !faulted) return;  // it comes again
  format_->begin_instruction(out, icount_, cs_, line_->fixed);
  if (retired) {
    ++instructions_;
    write_changes(line_->decoded.changes_flags, line_->decoded.uses_fpu);
    if (options_.memory) {
      touched_.after(line_->decoded);
      for (const MemoryTouch& touch : touched_) format_->touched(out, touch, wide_);
    }
  }
  format_->end(out, !retired);
  out_.settle();
}

void InstructionTrace::write_changes(bool with_flags, bool with_fpu) {
  if (!options_.registers) return;
  changes_.compare(with_flags, with_fpu, [this](const char* name, uint64_t value, unsigned digits) {
    format_->changed(out_.text(), name, value, digits);
  });
}

void InstructionTrace::input(emu::ChannelId channel, std::span<const uint8_t> bytes) {
  settle(false);
  format_->begin_input(out_.text(), machine_.icount(), machine_.world().channel_name(channel), bytes);
  format_->end(out_.text(), false);
  out_.settle();
}

void InstructionTrace::reset() {
  settle(false);
  format_->begin_reset(out_.text(), machine_.icount());
  format_->end(out_.text(), false);
  out_.settle();
  changes_.remember();
}

void InstructionTrace::finish() {
  settle(false);
  out_.flush();
}

}  // namespace understudy::tools
