#include "emu/msr.h"

#include <optional>

#include "emu/cpuid.h"
#include "emu/segment_load.h"

namespace understudy::emu {

namespace {

enum Msr : uint32_t {
  kTsc = 0x10,
  kApicBase = 0x1b,
  kBiosSignature = 0x8b,
  kMtrrCapabilities = 0xfe,
  kSysenterCs = 0x174,
  kSysenterEsp = 0x175,
  kSysenterEip = 0x176,
  kMiscEnable = 0x1a0,
  kMtrrVariableFirst = 0x200,
  kMtrrVariableLast = 0x20f,
  kPat = 0x277,
  kMtrrDefault = 0x2ff,
  kEfer = 0xc0000080,
  kStar = 0xc0000081,
  kLstar = 0xc0000082,
  kCstar = 0xc0000083,
  kFmask = 0xc0000084,
  kFsBase = 0xc0000100,
  kGsBase = 0xc0000101,
  kKernelGsBase = 0xc0000102,
  kTscAux = 0xc0000103
};

// The fixed-range MTRRs, in the order of the addresses they cover (SDM Vol. 3A 11.11.2.2).
constexpr uint32_t kMtrrFixed[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

std::optional<unsigned> fixed_range(uint32_t index) {
  for (unsigned i = 0; i < std::size(kMtrrFixed); ++i)
    if (kMtrrFixed[i] == index) return i;
  return std::nullopt;
}

constexpr uint64_t kMtrrCount8FixedWc = 0x508;
constexpr uint64_t kEferWritable = efer::kSce | efer::kLme | efer::kNxe;

[[noreturn]] void refuse() { throw fault_with_code(kVectorGp, 0); }

uint64_t canonical(uint64_t value) {
  if (!is_canonical(value)) refuse();
  return value;
}

}  // namespace

uint64_t MsrFile::read(Engine& engine, const MsrBoard& board, uint32_t index, uint64_t tsc_clock) const {
  const EngineCpu& cpu = engine.cpu();
  switch (index) {
    case kTsc:
      return tsc(tsc_clock);
    case kApicBase:
      return board.read_apic_base ? board.read_apic_base() : 0;
    case kBiosSignature:
      return bios_signature_;
    case kMtrrCapabilities:
      return kMtrrCount8FixedWc;
    case kSysenterCs:
      return cpu.sysenter_cs;
    case kSysenterEsp:
      return cpu.sysenter_esp;
    case kSysenterEip:
      return cpu.sysenter_eip;
    case kMiscEnable:
      return cpu.misc_enable;
    case kPat:
      return cpu.pat;
    case kMtrrDefault:
      return mtrr_default_;
    case kEfer:
      return cpu.efer;
    case kStar:
      return cpu.star;
    case kLstar:
      return cpu.lstar;
    case kCstar:
      return cpu.cstar;
    case kFmask:
      return cpu.fmask;
    case kFsBase:
      return cpu.segs[kFs].base;
    case kGsBase:
      return cpu.segs[kGs].base;
    case kKernelGsBase:
      return cpu.kernel_gs_base;
    case kTscAux:
      return cpu.tsc_aux;
    default:
      if (index >= kMtrrVariableFirst && index <= kMtrrVariableLast) return mtrr_variable_[index - kMtrrVariableFirst];
      if (const auto range = fixed_range(index)) return mtrr_fixed_[*range];
      // Registers that are not here read zero and drop writes, as systems that probe them expect of a PC emulator.
      return 0;
  }
}

void MsrFile::write(Engine& engine, const MsrBoard& board, uint32_t index, uint64_t value, uint64_t tsc_clock) {
  EngineCpu& cpu = engine.cpu();
  switch (index) {
    case kTsc:
      tsc_offset_ = value - tsc_clock;
      return;
    case kApicBase:
      if (board.write_apic_base) board.write_apic_base(value);
      return;
    case kBiosSignature:
      bios_signature_ = value;
      return;
    case kSysenterCs:
      cpu.sysenter_cs = static_cast<uint32_t>(value) & 0xffff;
      return;
    case kSysenterEsp:
      cpu.sysenter_esp = canonical(value);
      return;
    case kSysenterEip:
      cpu.sysenter_eip = canonical(value);
      return;
    case kMiscEnable:
      cpu.misc_enable = value;
      return;
    case kPat:
      for (unsigned i = 0; i < 8; ++i) {
        const uint64_t type = value >> (8 * i) & 0xff;
        if (type == 2 || type == 3 || type > 7) refuse();
      }
      cpu.pat = value;
      return;
    case kMtrrDefault:
      mtrr_default_ = value;
      return;
    case kEfer: {
      if (value & ~(kEferWritable | efer::kLma)) refuse();
      const uint64_t next = (value & kEferWritable) | (cpu.efer & efer::kLma);
      // LME may not change while paging is on (SDM Vol. 3A 9.8.5).
      if (((next ^ cpu.efer) & efer::kLme) && (cpu.cr[0] & cr0::kPg)) refuse();
      cpu.efer = next;
      engine.flush_tlb();
      return;
    }
    case kStar:
      cpu.star = value;
      return;
    case kLstar:
      cpu.lstar = canonical(value);
      return;
    case kCstar:
      cpu.cstar = canonical(value);
      return;
    case kFmask:
      cpu.fmask = static_cast<uint32_t>(value);
      return;
    case kFsBase:
      cpu.segs[kFs].base = canonical(value);
      return;
    case kGsBase:
      cpu.segs[kGs].base = canonical(value);
      return;
    case kKernelGsBase:
      cpu.kernel_gs_base = canonical(value);
      return;
    case kTscAux:
      cpu.tsc_aux = static_cast<uint32_t>(value);
      return;
    default:
      if (index >= kMtrrVariableFirst && index <= kMtrrVariableLast)
        mtrr_variable_[index - kMtrrVariableFirst] = value;
      else if (const auto range = fixed_range(index))
        mtrr_fixed_[*range] = value;
      return;
  }
}

void MsrFile::reset() { *this = {}; }

void MsrFile::visit_state(StateVisitor& visitor) {
  visitor.value("tsc_offset", tsc_offset_);
  visitor.value("mtrr_variable", mtrr_variable_);
  visitor.value("mtrr_fixed", mtrr_fixed_);
  visitor.value("mtrr_default", mtrr_default_);
  visitor.value("bios_signature", bios_signature_);
}

}  // namespace understudy::emu
