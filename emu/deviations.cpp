#include "emu/deviations.h"

#include "emu/segment_load.h"

namespace understudy::emu {

const char* to_string(Deviation what) {
  switch (what) {
    case Deviation::data_watchpoint:
      return "DR7 enables a breakpoint on data: it never hits";
    case Deviation::fp_error_line:
      return "an unmasked x87 exception with CR0.NE clear: FERR# and IRQ 13 are not asserted";
    case Deviation::sse_exception:
      return "an SSE exception is set and unmasked in MXCSR: #XM is not raised";
    case Deviation::segment_limit:
      return "a data or stack segment of less than 4 GiB: its limit is not checked";
    case Deviation::read_only_segment:
      return "a read-only data segment: stores to it do not fault";
    case Deviation::alignment_check:
      return "alignment checks are on (CR0.AM, EFLAGS.AC): #AC is not raised";
    case Deviation::gate_286:
      return "a 286 call gate with a reserved upper word: it is taken for the upper half of the offset";
  }
  return "";
}

void DeviationWatch::saw(Deviation what, uint64_t icount) {
  const uint32_t bit = 1u << static_cast<unsigned>(what);
  if (told_ & bit || !listener_) return;
  told_ |= bit;
  listener_({what, static_cast<uint16_t>(cpu_.segs[kCs].selector), cpu_.eip, icount});
}

// SDM Vol. 3B 17.2.4.
void DeviationWatch::debug_control_written(uint64_t dr7, uint64_t icount) {
  for (unsigned i = 0; i < 4; ++i) {
    const bool enabled = dr7 >> (2 * i) & 3, on_data = dr7 >> (16 + 4 * i) & 1;
    if (enabled && on_data) saw(Deviation::data_watchpoint, icount);
  }
}

void DeviationWatch::fp_flags_published(uint64_t icount) {
  constexpr uint16_t kErrorSummary = 1u << 7;
  constexpr uint32_t kExceptions = 0x3f;
  constexpr unsigned kMasks = 7;
  if (cpu_.fpus & kErrorSummary && !(cpu_.cr[0] & cr0::kNe)) saw(Deviation::fp_error_line, icount);
  if (cpu_.mxcsr & ~(cpu_.mxcsr >> kMasks) & kExceptions) saw(Deviation::sse_exception, icount);
}

// Segments are looked at when a program is interrupted, not when they are loaded: what is loaded on the way from one
// mode to another protects nothing. Nor do the 16-bit segments that firmware and boot loaders run in at privilege 0.
void DeviationWatch::interrupted(uint64_t icount) {
  if (in_real_mode(cpu_) || in_v86(cpu_) || in_64bit_code(cpu_)) return;
  const bool user = current_privilege(cpu_) == 3;
  if (user && cpu_.cr[0] & cr0::kAm && cpu_.eflags & eflags::kAc) saw(Deviation::alignment_check, icount);
  if (!user && !(cpu_.hflags & hflags::kCs32)) return;
  for (const SegmentIndex index : {kSs, kDs, kEs}) {
    const SegmentCache& segment = cpu_.segs[index];
    if (!(segment.flags & descriptor::kPresent) || !(segment.flags & descriptor::kNotSystem)) continue;
    const bool is_data = !(segment.flags & descriptor::kCode);
    if (segment.limit != 0xffffffff || (is_data && segment.flags & descriptor::kExpandDown))
      saw(Deviation::segment_limit, icount);
    if (is_data && !(segment.flags & descriptor::kWritable)) saw(Deviation::read_only_segment, icount);
  }
}

}  // namespace understudy::emu
