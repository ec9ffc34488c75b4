// The engine's own CPU record, live and in place, as Unicorn 2.1.4 lays it out. The public API shows only parts of it,
// and copies them at a price; segment caches, hidden flags and the exception registers are nowhere else. Offsets were
// measured by writing known values through the API; engine_layout checks them again at every start and refuses an
// engine that does not match. Between blocks and inside every hook the record is exact.
#pragma once

#include <cstddef>
#include <cstdint>

namespace understudy::emu {

enum SegmentIndex : unsigned { kEs, kCs, kSs, kDs, kFs, kGs, kSegmentCount };
enum RegisterIndex : unsigned { kRax, kRcx, kRdx, kRbx, kRsp, kRbp, kRsi, kRdi };

// A segment register with its descriptor cache. `flags` is the descriptor's second doubleword (type, S, DPL, P, AVL,
// L, D/B, G at their bits in a descriptor; SDM Vol. 3A 3.4.5); limit is in bytes, already scaled.
struct SegmentCache {
  uint32_t selector;
  uint32_t padding;
  uint64_t base;
  uint32_t limit;
  uint32_t flags;
};
static_assert(sizeof(SegmentCache) == 24);

// Bits of SegmentCache::flags.
namespace descriptor {
constexpr uint32_t kAccessed = 1u << 8;
constexpr uint32_t kWritable = 1u << 9;     // data
constexpr uint32_t kReadable = 1u << 9;     // code
constexpr uint32_t kConforming = 1u << 10;  // code
constexpr uint32_t kExpandDown = 1u << 10;  // data
constexpr uint32_t kCode = 1u << 11;
constexpr uint32_t kNotSystem = 1u << 12;
constexpr unsigned kDplShift = 13;
constexpr uint32_t kPresent = 1u << 15;
constexpr uint32_t kLong = 1u << 21;
constexpr uint32_t kBig = 1u << 22;
constexpr uint32_t kGranular = 1u << 23;
}  // namespace descriptor

namespace eflags {
constexpr uint32_t kCf = 1u << 0, kPf = 1u << 2, kAf = 1u << 4, kZf = 1u << 6, kSf = 1u << 7, kTf = 1u << 8,
                   kIf = 1u << 9, kDf = 1u << 10, kOf = 1u << 11, kIopl = 3u << 12, kNt = 1u << 14, kRf = 1u << 16,
                   kVm = 1u << 17, kAc = 1u << 18, kId = 1u << 21;
constexpr uint32_t kArithmetic = kCf | kPf | kAf | kZf | kSf | kOf;
constexpr uint32_t kReserved1 = 1u << 1;  // always one
}  // namespace eflags

// The engine's translation flags: facts about the CPU's mode that translated code depends on.
namespace hflags {
constexpr uint32_t kCpl = 3u << 0, kInhibitIrq = 1u << 3, kCs32 = 1u << 4, kSs32 = 1u << 5, kAddSeg = 1u << 6,
                   kPe = 1u << 7, kTf = 1u << 8, kMp = 1u << 9, kEm = 1u << 10, kTs = 1u << 11, kLma = 1u << 14,
                   kCs64 = 1u << 15, kRf = 1u << 16, kVm = 1u << 17, kAc = 1u << 18, kOsfxsr = 1u << 22,
                   kIoBreakpoint = 1u << 24;
}  // namespace hflags

namespace cr0 {
constexpr uint64_t kPe = 1u << 0, kMp = 1u << 1, kEm = 1u << 2, kTs = 1u << 3, kEt = 1u << 4, kNe = 1u << 5,
                   kWp = 1u << 16, kAm = 1u << 18, kNw = 1u << 29, kCd = 1u << 30, kPg = 1u << 31;
}
namespace cr4 {
constexpr uint64_t kVme = 1u << 0, kPvi = 1u << 1, kTsd = 1u << 2, kDe = 1u << 3, kPse = 1u << 4, kPae = 1u << 5,
                   kMce = 1u << 6, kPge = 1u << 7, kPce = 1u << 8, kOsfxsr = 1u << 9, kOsxmmexcpt = 1u << 10;
}
namespace efer {
constexpr uint64_t kSce = 1u << 0, kLme = 1u << 8, kLma = 1u << 10, kNxe = 1u << 11;
}

struct EngineCpu {
  uint64_t regs[16];
  uint64_t eip;     // an offset in CS
  uint64_t eflags;  // without the arithmetic flags and DF, which live below
  uint64_t cc_dst;
  uint64_t cc_src;
  uint64_t cc_src2;
  uint32_t cc_op;  // how the arithmetic flags follow from the three above; kCcOpEflags: they are cc_src
  int32_t df;      // 1 or -1
  uint32_t hflags;
  uint32_t hflags2;
  SegmentCache segs[6];
  SegmentCache ldt;
  SegmentCache tr;
  SegmentCache gdt;  // base and limit only
  SegmentCache idt;  // base and limit only
  uint64_t cr[9];
  int32_t a20_mask;
  uint32_t unused_a;
  uint64_t unused_b[11];
  uint64_t efer;
  uint32_t unused_c;
  uint32_t fpstt;
  uint16_t fpus;
  uint16_t fpuc;
  uint8_t fptags[8];  // 1 = empty
  uint32_t unused_d;
  struct alignas(16) X87 {
    uint64_t mantissa;
    uint16_t exponent;
    uint16_t padding[3];
  } fpregs[8];
  uint16_t fpop;
  uint16_t fpcs;
  uint16_t fpds;
  uint16_t unused_e;
  uint64_t fpip;
  uint64_t fpdp;
  uint8_t fp_status[8];
  uint8_t unused_f[24];
  uint8_t sse_status[8];
  uint32_t mxcsr;
  uint32_t unused_g;
  struct Vector {
    uint64_t q[8];
  } xmm[32];
  uint8_t unused_h[4800 - 824 - 32 * 64];
  uint32_t sysenter_cs;
  uint32_t unused_i;
  uint64_t sysenter_esp;
  uint64_t sysenter_eip;
  uint64_t star;
  uint64_t vm_hsave;
  uint64_t lstar;
  uint64_t cstar;
  uint64_t fmask;
  uint64_t kernel_gs_base;
  uint64_t tsc_words[3];
  uint64_t tsc_aux;
  uint64_t xcr0;
  uint64_t mcg_status;
  uint64_t misc_enable;
  uint8_t unused_j[5280 - 4928];
  uint64_t pat;
  uint8_t unused_k[5384 - 5288];
  int32_t error_code;
  int32_t exception_is_int;
  uint64_t exception_next_eip;
  uint64_t dr[8];
  void* breakpoints[4];
  int32_t old_exception;  // the vector being delivered, -1 for none
};

constexpr uint32_t kCcOpEflags = 1;
// How much of the record is ours to look at: what uc_context_save() copies.
constexpr size_t kEngineCpuMinimumBytes = sizeof(EngineCpu);

static_assert(offsetof(EngineCpu, eip) == 128 && offsetof(EngineCpu, hflags) == 176 &&
              offsetof(EngineCpu, segs) == 184);
static_assert(offsetof(EngineCpu, cr) == 424 && offsetof(EngineCpu, a20_mask) == 496 &&
              offsetof(EngineCpu, efer) == 592);
static_assert(offsetof(EngineCpu, fpstt) == 604 && offsetof(EngineCpu, fpregs) == 624);
static_assert(offsetof(EngineCpu, fp_status) == 776 && offsetof(EngineCpu, sse_status) == 808);
static_assert(offsetof(EngineCpu, mxcsr) == 816 && offsetof(EngineCpu, xmm) == 824);
static_assert(offsetof(EngineCpu, sysenter_cs) == 4800 && offsetof(EngineCpu, kernel_gs_base) == 4864);
static_assert(offsetof(EngineCpu, tsc_aux) == 4896 && offsetof(EngineCpu, misc_enable) == 4920);
static_assert(offsetof(EngineCpu, pat) == 5280 && offsetof(EngineCpu, error_code) == 5384);
static_assert(offsetof(EngineCpu, dr) == 5400 && offsetof(EngineCpu, old_exception) == 5496);

}  // namespace understudy::emu
