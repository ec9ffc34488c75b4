// The lines of a trace, as text for people or as a JSON object each. What does not change from one time an instruction
// runs to the next is made once and appended whole: a trace may have hundreds of millions of lines.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "emu/interrupts.h"
#include "tools/decoded_instruction.h"
#include "tools/symbols.h"
#include "tools/touched_memory.h"

namespace understudy::tools {

class TraceFormat {
 public:
  virtual ~TraceFormat() = default;

  // The part of an instruction's line that is always the same. `symbols` may be empty.
  virtual std::string fixed_part(const DecodedInstruction& instruction, bool wide, uint64_t ip, uint64_t linear,
                                 Symbols& symbols) = 0;

  // A line is begun by one of these, goes on with changes and touches in this order, and is ended.
  virtual void begin_instruction(std::string& out, uint64_t icount, uint32_t cs, std::string_view fixed) = 0;
  virtual void begin_event(std::string& out, uint64_t icount, const emu::Event& event, uint64_t address) = 0;
  virtual void begin_input(std::string& out, uint64_t icount, std::string_view channel,
                           std::span<const uint8_t> bytes) = 0;
  virtual void begin_idle(std::string& out, uint64_t icount, uint64_t until_ns) = 0;
  virtual void begin_reset(std::string& out, uint64_t icount) = 0;
  // `name` nullptr: the low half of the value before.
  virtual void changed(std::string& out, const char* name, uint64_t value, unsigned digits) = 0;
  virtual void touched(std::string& out, const MemoryTouch& touch, bool wide) = 0;
  // `faulted`: the instruction did not retire; the exception is the next line.
  virtual void end(std::string& out, bool faulted) = 0;
};

class TextTraceFormat : public TraceFormat {
 public:
  // `aligned`: more columns follow the instruction's text.
  explicit TextTraceFormat(bool aligned) : aligned_(aligned) {}
  std::string fixed_part(const DecodedInstruction& instruction, bool wide, uint64_t ip, uint64_t linear,
                         Symbols& symbols) override;
  void begin_instruction(std::string& out, uint64_t icount, uint32_t cs, std::string_view fixed) override;
  void begin_event(std::string& out, uint64_t icount, const emu::Event& event, uint64_t address) override;
  void begin_input(std::string& out, uint64_t icount, std::string_view channel,
                   std::span<const uint8_t> bytes) override;
  void begin_idle(std::string& out, uint64_t icount, uint64_t until_ns) override;
  void begin_reset(std::string& out, uint64_t icount) override;
  void changed(std::string& out, const char* name, uint64_t value, unsigned digits) override;
  void touched(std::string& out, const MemoryTouch& touch, bool wide) override;
  void end(std::string& out, bool faulted) override;

 private:
  bool aligned_;
};

// Keys: icount; of instructions cs, ip, linear, bytes, text, symbol, file, line, regs, mem, and `faulted` if so; of
// all else event, and what belongs to it. Addresses, bytes and register values are hexadecimal strings.
class JsonTraceFormat : public TraceFormat {
 public:
  std::string fixed_part(const DecodedInstruction& instruction, bool wide, uint64_t ip, uint64_t linear,
                         Symbols& symbols) override;
  void begin_instruction(std::string& out, uint64_t icount, uint32_t cs, std::string_view fixed) override;
  void begin_event(std::string& out, uint64_t icount, const emu::Event& event, uint64_t address) override;
  void begin_input(std::string& out, uint64_t icount, std::string_view channel,
                   std::span<const uint8_t> bytes) override;
  void begin_idle(std::string& out, uint64_t icount, uint64_t until_ns) override;
  void begin_reset(std::string& out, uint64_t icount) override;
  void changed(std::string& out, const char* name, uint64_t value, unsigned digits) override;
  void touched(std::string& out, const MemoryTouch& touch, bool wide) override;
  void end(std::string& out, bool faulted) override;

 private:
  enum class In : uint8_t { object, registers, memory } in_ = In::object;
  void close_group(std::string& out);
};

// "interrupt 0x20", "INT 0x80", "#PF" and the like.
std::string event_name(const emu::Event& event);

}  // namespace understudy::tools
