#include "emu/fp_status.h"

namespace understudy::emu {

namespace {

// Of the engine's status records, in bytes. The flags have the bits of the status word and of MXCSR.
constexpr unsigned kFlags = 2, kFlushToZero = 4;

// Invalid, zero divide, overflow, underflow, precision: what the arithmetic reports. It never reports a denormal
// operand; a flag that the guest has loaded stays as it is.
constexpr uint8_t kReported = 0x3d;

// The engine's own flag for a result that FZ made zero.
constexpr uint8_t kFlushedResult = 1u << 7;
constexpr uint32_t kUnderflow = 1u << 4, kPrecision = 1u << 5;

constexpr uint16_t kAllExceptions = 0x3f, kErrorSummary = 1u << 7, kBusy = 1u << 15;
constexpr uint32_t kMxcsrFlushToZero = 1u << 15;

}  // namespace

void publish_fp_flags(EngineCpu& cpu) {
  // The engine sets ZE itself at every division by zero, also at 0 / 0, which is none.
  uint16_t status = static_cast<uint16_t>((cpu.fpus & ~kReported) | (cpu.fp_status[kFlags] & kReported));
  const bool unmasked = status & ~cpu.fpuc & kAllExceptions;
  status = static_cast<uint16_t>(status & ~(kErrorSummary | kBusy));
  cpu.fpus = unmasked ? static_cast<uint16_t>(status | kErrorSummary | kBusy) : status;
  const uint8_t sse = cpu.sse_status[kFlags];
  cpu.mxcsr |= sse & kReported;
  if (sse & kFlushedResult) cpu.mxcsr |= kUnderflow | kPrecision;  // SDM Vol. 1 10.2.3.3
}

void absorb_fp_flags(EngineCpu& cpu) {
  cpu.fp_status[kFlags] = cpu.fpus & kReported;
  cpu.sse_status[kFlags] = cpu.mxcsr & kReported;
  // The engine gives MXCSR's FZ to the wrong unit.
  cpu.fp_status[kFlushToZero] = 0;
  cpu.sse_status[kFlushToZero] = cpu.mxcsr & kMxcsrFlushToZero ? 1 : 0;
}

void raise_x87_flags(EngineCpu& cpu, uint8_t flags) { cpu.fp_status[kFlags] |= flags & kReported; }

}  // namespace understudy::emu
