#include "tools/gdb_registers.h"

#include <algorithm>
#include <cstring>

#include "emu/segment_load.h"

namespace understudy::tools {

namespace {

using emu::EngineCpu;
using Feature = GdbRegister::Feature;

void put(uint64_t value, std::span<uint8_t> to) {
  for (uint8_t& byte : to) {
    byte = static_cast<uint8_t>(value);
    value >>= 8;
  }
}

uint64_t number(std::span<const uint8_t> from) {
  uint64_t value = 0;
  for (size_t i = std::min<size_t>(from.size(), 8); i-- > 0;) value = value << 8 | from[i];
  return value;
}

// What of a linear address, or of an offset in a segment, the mode has.
uint64_t address_mask(const EngineCpu& cpu) { return cpu.hflags & emu::hflags::kCs64 ? ~0ull : 0xffffffffull; }

void set_linear_pc(emu::Machine& machine, uint64_t linear) {
  EngineCpu& cpu = machine.cpu().engine().cpu();
  cpu.eip = (linear - cpu.segs[emu::kCs].base) & address_mask(cpu);
}

// Two bits a register by its place in the file, not in the stack (SDM Vol. 1 8.1.7).
uint32_t x87_tag_word(const EngineCpu& cpu) {
  constexpr uint32_t kValid = 0, kZero = 1, kSpecial = 2, kEmpty = 3;
  uint32_t word = 0;
  for (unsigned i = 0; i < 8; ++i) {
    const uint16_t exponent = cpu.fpregs[i].exponent & 0x7fff;
    const uint64_t mantissa = cpu.fpregs[i].mantissa;
    uint32_t tag = kValid;
    if (cpu.fptags[i] != 0)
      tag = kEmpty;
    else if (exponent == 0 && mantissa == 0)
      tag = kZero;
    else if (exponent == 0 || exponent == 0x7fff || mantissa >> 63 == 0)
      tag = kSpecial;
    word |= tag << 2 * i;
  }
  return word;
}

uint32_t x87_status(const EngineCpu& cpu) { return (cpu.fpus & ~0x3800u) | (cpu.fpstt & 7) << 11; }

class Table {
 public:
  explicit Table(GdbWidth width) : wide_(width == GdbWidth::bits64) {
    general();
    segments();
    x87();
    sse();
    if (wide_) segment_bases();
    system();
  }
  std::vector<GdbRegister> take() { return std::move(registers_); }

 private:
  using Get = std::function<uint64_t(const CpuView&)>;
  using Set = std::function<void(emu::Machine&, uint64_t)>;

  void add(std::string name, unsigned bits, const char* type, const char* group, Feature feature, Get get,
           Set set = {}) {
    GdbRegister made{std::move(name), bits, type, group, feature, {}, {}};
    made.read = [get = std::move(get)](const CpuView& view, std::span<uint8_t> to) { put(get(view), to); };
    if (set)
      made.write = [set = std::move(set)](emu::Machine& machine, std::span<const uint8_t> from) {
        set(machine, number(from));
      };
    registers_.push_back(std::move(made));
  }
  unsigned word() const { return wide_ ? 64 : 32; }
  const char* word_type() const { return wide_ ? "int64" : "int32"; }

  void add_general(const char* name, unsigned index, const char* type) {
    // Outside of 64-bit code the upper halves are not the program's, and stay.
    const bool wide = wide_;
    add(
        name, word(), type, nullptr, Feature::core, [index](const CpuView& view) { return view.cpu.regs[index]; },
        [index, wide](emu::Machine& machine, uint64_t value) {
          uint64_t& reg = machine.cpu().engine().cpu().regs[index];
          reg = wide ? value : (reg & ~0xffffffffull) | value;
        });
  }

  void general() {
    using namespace emu;
    if (wide_) {
      // Not in the order of the instruction set: so GDB's x86-64 has it.
      constexpr std::pair<const char*, unsigned> kNames[] = {{"rax", kRax}, {"rbx", kRbx}, {"rcx", kRcx}, {"rdx", kRdx},
                                                             {"rsi", kRsi}, {"rdi", kRdi}, {"rbp", kRbp}, {"rsp", kRsp},
                                                             {"r8", 8},     {"r9", 9},     {"r10", 10},   {"r11", 11},
                                                             {"r12", 12},   {"r13", 13},   {"r14", 14},   {"r15", 15}};
      for (const auto& [name, index] : kNames)
        add_general(name, index, index == kRsp || index == kRbp ? "data_ptr" : "int64");
    } else {
      constexpr const char* kNames[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
      for (unsigned i = 0; i < 8; ++i) add_general(kNames[i], i, i == kRsp || i == kRbp ? "data_ptr" : "int32");
    }
    add(
        wide_ ? "rip" : "eip", word(), "code_ptr", nullptr, Feature::core,
        [](const CpuView& view) { return linear_pc(view.cpu); }, set_linear_pc);
    add(
        "eflags", 32, "i386_eflags", nullptr, Feature::core, [](const CpuView& view) { return view.eflags; },
        [](emu::Machine& machine, uint64_t value) {
          emu::set_eflags(machine.cpu().engine().cpu(), static_cast<uint32_t>(value));
        });
  }

  void segments() {
    using namespace emu;
    constexpr std::pair<const char*, SegmentIndex> kNames[] = {{"cs", kCs}, {"ss", kSs}, {"ds", kDs},
                                                               {"es", kEs}, {"fs", kFs}, {"gs", kGs}};
    for (const auto& [name, index] : kNames)
      add(name, 32, "int32", nullptr, Feature::core,
          [index = index](const CpuView& view) { return view.cpu.segs[index].selector & 0xffff; });
  }

  void x87() {
    for (unsigned i = 0; i < 8; ++i) {
      GdbRegister made{"st" + std::to_string(i), 80, "i387_ext", nullptr, Feature::core, {}, {}};
      made.read = [i](const CpuView& view, std::span<uint8_t> to) {
        const EngineCpu::X87& reg = view.cpu.fpregs[(view.cpu.fpstt + i) & 7];
        put(reg.mantissa, to.first(8));
        put(reg.exponent, to.subspan(8));
      };
      made.write = [i](emu::Machine& machine, std::span<const uint8_t> from) {
        EngineCpu& cpu = machine.cpu().engine().cpu();
        EngineCpu::X87& reg = cpu.fpregs[(cpu.fpstt + i) & 7];
        reg.mantissa = number(from.first(8));
        reg.exponent = static_cast<uint16_t>(number(from.subspan(8)));
      };
      registers_.push_back(std::move(made));
    }
    const auto add_float = [this](const char* name, auto get, const Set& set = {}) {
      add(name, 32, "int", "float", Feature::core, get, set);
    };
    add_float(
        "fctrl", [](const CpuView& view) { return view.cpu.fpuc; },
        [](emu::Machine& machine, uint64_t value) {
          machine.cpu().engine().set_x87_control(static_cast<uint16_t>(value));
        });
    add_float("fstat", [](const CpuView& view) { return x87_status(view.cpu); });
    add_float("ftag", [](const CpuView& view) { return x87_tag_word(view.cpu); });
    add_float("fiseg", [](const CpuView& view) { return view.cpu.fpcs; });
    add_float("fioff", [](const CpuView& view) { return view.cpu.fpip; });
    add_float("foseg", [](const CpuView& view) { return view.cpu.fpds; });
    add_float("fooff", [](const CpuView& view) { return view.cpu.fpdp; });
    add_float("fop", [](const CpuView& view) { return view.cpu.fpop; });
  }

  void sse() {
    for (unsigned i = 0; i < (wide_ ? 16u : 8u); ++i) {
      GdbRegister made{"xmm" + std::to_string(i), 128, "vec128", nullptr, Feature::sse, {}, {}};
      made.read = [i](const CpuView& view, std::span<uint8_t> to) {
        put(view.cpu.xmm[i].q[0], to.first(8));
        put(view.cpu.xmm[i].q[1], to.subspan(8));
      };
      made.write = [i](emu::Machine& machine, std::span<const uint8_t> from) {
        EngineCpu::Vector& reg = machine.cpu().engine().cpu().xmm[i];
        reg.q[0] = number(from.first(8));
        reg.q[1] = number(from.subspan(8));
      };
      registers_.push_back(std::move(made));
    }
    add(
        "mxcsr", 32, "i386_mxcsr", "vector", Feature::sse, [](const CpuView& view) { return view.cpu.mxcsr; },
        [](emu::Machine& machine, uint64_t value) { machine.cpu().engine().set_mxcsr(static_cast<uint32_t>(value)); });
  }

  // GDB's own names for x86-64.
  void segment_bases() {
    add("fs_base", 64, "int64", nullptr, Feature::segments,
        [](const CpuView& view) { return view.cpu.segs[emu::kFs].base; });
    add("gs_base", 64, "int64", nullptr, Feature::segments,
        [](const CpuView& view) { return view.cpu.segs[emu::kGs].base; });
  }

  void add_system(const std::string& name, unsigned bits, const char* type, Get get) {
    add(name, bits, type, "system", Feature::system, std::move(get));
  }
  void add_word(const std::string& name, Get get) { add_system(name, word(), word_type(), std::move(get)); }
  void add_cache(const std::string& name, const emu::SegmentCache EngineCpu::*cache, bool with_selector) {
    if (with_selector)
      add_system(name, 32, "int32", [cache](const CpuView& view) { return (view.cpu.*cache).selector & 0xffff; });
    add_word(name + "_base", [cache](const CpuView& view) { return (view.cpu.*cache).base; });
    add_system(name + "_limit", 32, "int32", [cache](const CpuView& view) { return (view.cpu.*cache).limit; });
  }

  void system() {
    using namespace emu;
    add_word("ip", [](const CpuView& view) { return view.cpu.eip & address_mask(view.cpu); });
    constexpr std::pair<const char*, SegmentIndex> kNames[] = {{"cs", kCs}, {"ss", kSs}, {"ds", kDs},
                                                               {"es", kEs}, {"fs", kFs}, {"gs", kGs}};
    for (const auto& [name, index] : kNames) {
      const std::string prefix = name;
      const auto segment = [index = index](const CpuView& view) -> const SegmentCache& { return view.cpu.segs[index]; };
      if (!wide_ || (index != kFs && index != kGs))
        add_word(prefix + "_base", [segment](const CpuView& view) { return segment(view).base; });
      add_system(prefix + "_limit", 32, "int32", [segment](const CpuView& view) { return segment(view).limit; });
      // Type, S, DPL, P, AVL, L, D/B and G at their bits in a descriptor's upper half.
      add_system(prefix + "_access", 32, "int32", [segment](const CpuView& view) { return segment(view).flags; });
    }
    add_cache("tr", &EngineCpu::tr, true);
    add_cache("ldtr", &EngineCpu::ldt, true);
    add_cache("gdtr", &EngineCpu::gdt, false);
    add_cache("idtr", &EngineCpu::idt, false);
    add_system("cr0", word(), "cr0_flags", [](const CpuView& view) { return view.cpu.cr[0]; });
    add_word("cr2", [](const CpuView& view) { return view.cpu.cr[2]; });
    add_word("cr3", [](const CpuView& view) { return view.cpu.cr[3]; });
    add_system("cr4", word(), "cr4_flags", [](const CpuView& view) { return view.cpu.cr[4]; });
    add_system("efer", word(), "efer_flags", [](const CpuView& view) { return view.cpu.efer; });
    for (const unsigned i : {0u, 1u, 2u, 3u, 6u, 7u})
      add_word("dr" + std::to_string(i), [i](const CpuView& view) { return view.cpu.dr[i]; });
    add_system("sysenter_cs", 32, "int32", [](const CpuView& view) { return view.cpu.sysenter_cs; });
    add_word("sysenter_esp", [](const CpuView& view) { return view.cpu.sysenter_esp; });
    add_word("sysenter_eip", [](const CpuView& view) { return view.cpu.sysenter_eip; });
    add_system("pat", 64, "int64", [](const CpuView& view) { return view.cpu.pat; });
    if (wide_) {
      add_word("star", [](const CpuView& view) { return view.cpu.star; });
      add_word("lstar", [](const CpuView& view) { return view.cpu.lstar; });
      add_word("cstar", [](const CpuView& view) { return view.cpu.cstar; });
      add_word("fmask", [](const CpuView& view) { return view.cpu.fmask; });
      add_word("k_gs_base", [](const CpuView& view) { return view.cpu.kernel_gs_base; });
      add_word("tsc_aux", [](const CpuView& view) { return view.cpu.tsc_aux; });
    }
    add_system("icount", 64, "uint64", [](const CpuView& view) { return view.icount; });
    add_system("virtual_ns", 64, "uint64", [](const CpuView& view) { return view.virtual_ns; });
  }

  bool wide_;
  std::vector<GdbRegister> registers_;
};

}  // namespace

GdbWidth width_of(const EngineCpu& cpu) {
  if (emu::in_long_mode(cpu)) return GdbWidth::bits64;
  return emu::in_real_mode(cpu) || emu::in_v86(cpu) ? GdbWidth::bits16 : GdbWidth::bits32;
}

const char* architecture_name(GdbWidth width) {
  switch (width) {
    case GdbWidth::bits16:
      return "i8086";
    case GdbWidth::bits32:
      return "i386";
    case GdbWidth::bits64:
      break;
  }
  return "i386:x86-64";
}

uint64_t linear_pc(const EngineCpu& cpu) {
  // CS has a base in no 64-bit code (SDM Vol. 3A 3.4.4).
  if (cpu.hflags & emu::hflags::kCs64) return cpu.eip;
  return (cpu.segs[emu::kCs].base + cpu.eip) & 0xffffffff;
}

const std::vector<GdbRegister>& registers_of(GdbWidth width) {
  static const std::vector<GdbRegister> narrow = Table(GdbWidth::bits32).take(), wide = Table(GdbWidth::bits64).take();
  return width == GdbWidth::bits64 ? wide : narrow;
}

}  // namespace understudy::tools
