// Segment registers, descriptors and EFLAGS of the engine's CPU record, for code that changes them outside of running
// blocks. The engine's hidden flags (hflags) repeat facts of CS, SS and the data segments: whoever writes a segment
// goes through load_segment(), which keeps them true. TF, IOPL, RF, VM and AC are not repeated there: the engine takes
// them from EFLAGS whenever it looks for a block. Descriptors: SDM Vol. 3A 3.4.5, selectors and faults: 6.13.
#pragma once

#include <cstdint>
#include <optional>

#include "emu/engine_cpu.h"
#include "emu/linear_memory.h"

namespace understudy::emu {

// Bits of an error code that names a descriptor (SDM Vol. 3A 6.13, figure 6-7).
constexpr uint32_t kErrorExternal = 1u << 0;  // EXT: while delivering something the program did not ask for
constexpr uint32_t kErrorIdt = 1u << 1;       // the index names a gate of the IDT

// The exceptions that our own code raises (SDM Vol. 3A table 6-1).
constexpr uint8_t kVectorDb = 1, kVectorUd = 6, kVectorDf = 8, kVectorTs = 10, kVectorNp = 11, kVectorSs = 12,
                  kVectorGp = 13, kVectorPf = 14;

inline GuestFault fault_with_code(uint8_t vector, uint32_t error_code) { return {vector, true, error_code, 0}; }
inline GuestFault invalid_opcode() { return {kVectorUd, false, 0, 0}; }

// Modes (SDM Vol. 3A 2.2). Exactly one of real, V86, long, and plain protected mode holds; long mode includes its
// compatibility submode.
inline bool in_real_mode(const EngineCpu& cpu) { return !(cpu.cr[0] & cr0::kPe); }
inline bool in_long_mode(const EngineCpu& cpu) { return cpu.efer & efer::kLma; }
inline bool in_v86(const EngineCpu& cpu) {
  return !in_real_mode(cpu) && !in_long_mode(cpu) && (cpu.eflags & eflags::kVm);
}
inline bool in_64bit_code(const EngineCpu& cpu) {
  return in_long_mode(cpu) && (cpu.segs[kCs].flags & descriptor::kLong);
}
unsigned current_privilege(const EngineCpu& cpu);  // CPL: 0 in real mode, 3 in V86

// Whether the low 48 bits, sign-extended, give the address back (SDM Vol. 1 3.3.7.1).
inline bool is_canonical(uint64_t address) {
  const auto top = static_cast<int64_t>(address) >> 47;
  return top == 0 || top == -1;
}
// Linear addresses wrap at 4 GiB outside long mode.
inline uint64_t wrap_linear(const EngineCpu& cpu, uint64_t address) {
  return in_long_mode(cpu) ? address : static_cast<uint32_t>(address);
}

// An 8-byte entry of a descriptor table, as read.
struct Descriptor {
  uint32_t low;
  uint32_t high;

  uint32_t base() const { return low >> 16 | (high & 0xff) << 16 | (high & 0xff000000); }
  uint32_t limit() const {
    const uint32_t raw = (low & 0xffff) | (high & 0xf0000);
    return high & descriptor::kGranular ? raw << 12 | 0xfff : raw;
  }
  unsigned dpl() const { return high >> descriptor::kDplShift & 3; }
  unsigned type() const { return high >> 8 & 0xf; }
  bool present() const { return high & descriptor::kPresent; }
  bool is_system() const { return !(high & descriptor::kNotSystem); }
  bool is_code() const { return !is_system() && (high & descriptor::kCode); }
  bool is_conforming_code() const { return is_code() && (high & descriptor::kConforming); }
  bool is_writable_data() const {
    return !is_system() && !(high & descriptor::kCode) && (high & descriptor::kWritable);
  }
  // A code or data descriptor as a segment register holds it.
  SegmentCache as_segment(uint16_t selector) const { return {selector, 0, base(), limit(), high}; }
};

// The descriptor that a selector names in the GDT or LDT; nothing when it is outside of the table's limit. The null
// selector is the caller's to refuse. Throws #PF.
std::optional<Descriptor> fetch_descriptor(const EngineCpu& cpu, LinearMemory& memory, uint16_t selector);
// Where that descriptor is, whether or not inside the limit.
uint64_t descriptor_address(const EngineCpu& cpu, uint16_t selector);
// Sets the accessed bit of a code or data descriptor in its table, if it is clear, and in `in_hand`.
void mark_accessed(const EngineCpu& cpu, LinearMemory& memory, uint16_t selector, Descriptor& in_hand);

// Writes a segment register and brings CPL (from SS's DPL), CS32, CS64, SS32 and ADDSEG in hflags up to date. CR0, EFER
// and EFLAGS.VM must be the new ones already.
void load_segment(EngineCpu& cpu, SegmentIndex index, const SegmentCache& cache);
// A null data segment, or a stack segment of long mode: SS with CPL `privilege`.
void load_null_segment(EngineCpu& cpu, SegmentIndex index, uint16_t selector, unsigned privilege = 0);
// A segment of V86: base = selector * 16, 64 KiB, DPL 3.
void load_v86_segment(EngineCpu& cpu, SegmentIndex index, uint16_t selector);

// EFLAGS as a whole. The engine computes the arithmetic flags lazily and only its API can finish that.
class FlagsSource {
 public:
  virtual ~FlagsSource() = default;
  virtual uint32_t arithmetic_flags() = 0;  // only the bits of eflags::kArithmetic count
};
uint32_t get_eflags(const EngineCpu& cpu, FlagsSource& source);
// All of EFLAGS. Bits that the machine does not have (VIF, VIP, reserved ones) stay clear.
void set_eflags(EngineCpu& cpu, uint32_t flags);

}  // namespace understudy::emu
