#include "emu/engine_layout.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <malloc.h>
#include <xxhash.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace understudy::emu {

namespace {

constexpr char kAdvice[] =
    "; this build works with Unicorn 2.1.4 as tools/setup installs it: run tools/setup and build again";

[[noreturn]] void refuse(const std::string& what) { throw EngineError("Unicorn engine: " + what + kAdvice); }

// Offsets, from the places we look for to the places we can find (Unicorn 2.1.4, x86-64 host).
constexpr size_t kCpuPointerSearch = 2048;  // bytes of the engine handle searched for the CPU object
constexpr size_t kEnvPointer = 296;         // CPU object: pointer to the record
constexpr size_t kNextBlockLimit = 24;      // CPU object: limit of the next block
constexpr ptrdiff_t kTlbFast = -64;         // record: three (mask, table) pairs just before it
constexpr ptrdiff_t kTlbDesc = -2160;       // record: three slow-path descriptors before those
constexpr size_t kTlbDescSize = 696;
constexpr size_t kTlbDescVictims = 48;
constexpr size_t kHookWords = 12;

// The process's readable and writable ranges, so that a search never touches a wild pointer.
class WritableRanges {
 public:
  WritableRanges() {
    std::ifstream maps("/proc/self/maps");
    std::string line;
    while (std::getline(maps, line)) {
      unsigned long long first = 0, last = 0;
      char permissions[5] = {};
      if (std::sscanf(line.c_str(), "%llx-%llx %4s", &first, &last, permissions) == 3 && permissions[0] == 'r' &&
          permissions[1] == 'w')
        ranges_.push_back({first, last});
    }
  }
  bool contains(uint64_t address, uint64_t size) const {
    for (const auto& [first, last] : ranges_)
      if (address >= first && address < last && size <= last - address) return true;
    return false;
  }

 private:
  std::vector<std::pair<uint64_t, uint64_t>> ranges_;
};

uint64_t word_at(uint64_t address) {
  uint64_t value;
  std::memcpy(&value, reinterpret_cast<const void*>(address), sizeof value);
  return value;
}

// The CPU object is the one thing the handle points to that points to a record whose RAX is what we wrote.
uint64_t find_cpu_object(uc_engine* engine) {
  const uint64_t handle = reinterpret_cast<uint64_t>(engine);
  const size_t handle_size = std::min<size_t>(malloc_usable_size(engine), kCpuPointerSearch);
  constexpr uint64_t kMarker[2] = {0x756e646572737475, 0x64796c61796f7574};
  uc_reg_write(engine, UC_X86_REG_RAX, &kMarker[0]);
  uc_reg_write(engine, UC_X86_REG_R15, &kMarker[1]);
  // Only now: the engine makes its CPU at the first call that needs one.
  const WritableRanges ranges;
  std::optional<uint64_t> found;
  for (size_t offset = 0; offset + 8 <= handle_size; offset += 8) {
    const uint64_t candidate = word_at(handle + offset);
    if (candidate % 8 != 0 || !ranges.contains(candidate, kEnvPointer + 16)) continue;
    const uint64_t record = word_at(candidate + kEnvPointer);
    if (record % 8 != 0 || record <= candidate || record - candidate > 65536) continue;
    if (!ranges.contains(record, kEngineCpuMinimumBytes)) continue;
    if (word_at(record) != kMarker[0] || word_at(record + 15 * 8) != kMarker[1]) continue;
    if (found && *found != candidate) refuse("two objects look like its CPU");
    found = candidate;
  }
  if (!found) refuse("its CPU object was not found");
  const uint64_t zero = 0;
  uc_reg_write(engine, UC_X86_REG_RAX, &zero);
  uc_reg_write(engine, UC_X86_REG_R15, &zero);
  return *found;
}

EngineLayout layout_at(uint64_t cpu_object) {
  EngineLayout layout;
  const uint64_t record = word_at(cpu_object + kEnvPointer);
  layout.cpu = reinterpret_cast<EngineCpu*>(record);
  layout.next_block_limit = reinterpret_cast<uint32_t*>(cpu_object + kNextBlockLimit);
  for (unsigned mode = 0; mode < kTlbModes; ++mode) {
    const auto fast = static_cast<uint64_t>(static_cast<int64_t>(record) + kTlbFast) + mode * sizeof(TlbMode::Fast);
    const auto desc = static_cast<uint64_t>(static_cast<int64_t>(record) + kTlbDesc) + mode * kTlbDescSize;
    layout.tlb[mode].fast = reinterpret_cast<const TlbMode::Fast*>(fast);
    layout.tlb[mode].victims = reinterpret_cast<TlbEntry*>(desc + kTlbDescVictims);
  }
  return layout;
}

struct EngineDeleter {
  void operator()(uc_engine* engine) const { uc_close(engine); }
};
using EnginePtr = std::unique_ptr<uc_engine, EngineDeleter>;

// --- the throw-away engine's checks

void check(bool ok, const char* what) {
  if (!ok) refuse(std::string("the layout of its CPU record is not the known one (") + what + ")");
}

void check_registers(uc_engine* engine, const EngineCpu& cpu) {
  uint64_t marker = 0x0123456789abcdef;
  auto next = [&marker] { return marker = marker * 6364136223846793005u + 1442695040888963407u; };
  auto probe = [&](int id, const uint64_t& field, const char* what) {
    const uint64_t value = next();
    uc_reg_write(engine, id, &value);
    check(field == value, what);
  };
  probe(UC_X86_REG_RIP, cpu.eip, "RIP");
  probe(UC_X86_REG_CR2, cpu.cr[2], "CR2");
  probe(UC_X86_REG_DR0, cpu.dr[0], "DR0");
  probe(UC_X86_REG_DR3, cpu.dr[3], "DR3");
  probe(UC_X86_REG_FS_BASE, cpu.segs[kFs].base, "FS base");
  probe(UC_X86_REG_GS_BASE, cpu.segs[kGs].base, "GS base");
  auto table = [&](int id, const SegmentCache& field, const char* what) {
    uc_x86_mmr value{};
    value.base = next();
    value.limit = next() & 0xffff;
    uc_reg_write(engine, id, &value);
    check(field.base == value.base && field.limit == value.limit, what);
  };
  table(UC_X86_REG_GDTR, cpu.gdt, "GDTR");
  table(UC_X86_REG_IDTR, cpu.idt, "IDTR");
  table(UC_X86_REG_LDTR, cpu.ldt, "LDTR");
  table(UC_X86_REG_TR, cpu.tr, "TR");
  auto msr = [&](uint32_t id, const uint64_t& field, uint64_t value, const char* what) {
    uc_x86_msr request{id, value};
    uc_reg_write(engine, UC_X86_REG_MSR, &request);
    check(field == value, what);
  };
  msr(0xC0000081, cpu.star, next(), "STAR");
  msr(0xC0000082, cpu.lstar, next(), "LSTAR");
  msr(0xC0000084, cpu.fmask, next(), "FMASK");
  msr(0xC0000102, cpu.kernel_gs_base, next(), "KERNEL_GS_BASE");
  msr(0xC0000103, cpu.tsc_aux, 0x1234567, "TSC_AUX");
  msr(0x175, cpu.sysenter_esp, next(), "SYSENTER_ESP");
  msr(0x176, cpu.sysenter_eip, next(), "SYSENTER_EIP");
  msr(0x277, cpu.pat, 0x0001040506070104, "PAT");
  const uint64_t efer_before = cpu.efer;
  uc_x86_msr nxe{0xC0000080, efer_before ^ efer::kNxe};
  uc_reg_write(engine, UC_X86_REG_MSR, &nxe);
  check((cpu.efer ^ efer_before) == efer::kNxe, "EFER");
  const uint64_t xmm[2] = {next(), next()};
  uc_reg_write(engine, UC_X86_REG_XMM15, xmm);
  check(std::memcmp(cpu.xmm[15].q, xmm, sizeof xmm) == 0, "XMM15");
  const uint32_t mxcsr = 0x3f80;
  uc_reg_write(engine, UC_X86_REG_MXCSR, &mxcsr);
  check(cpu.mxcsr == mxcsr, "MXCSR");
  const uint16_t control = 0x0a7f;
  uc_reg_write(engine, UC_X86_REG_FPCW, &control);
  check(cpu.fpuc == control, "FPCW");
  const uint32_t hflags_before = cpu.hflags;
  uint64_t cr0_value = cpu.cr[0] ^ cr0::kTs;
  uc_reg_write(engine, UC_X86_REG_CR0, &cr0_value);
  check((cpu.hflags ^ hflags_before) == hflags::kTs, "hidden flags");
  check(cpu.old_exception == -1, "exception in flight");
  check(cpu.a20_mask == -1, "A20 mask");
}

constexpr uint64_t kRefusedProbe = 0x71234567;

// Counts the blocks of a run by their sizes.
void record_block(uc_engine*, uint64_t, uint32_t size, void* user_data) {
  static_cast<std::vector<uint32_t>*>(user_data)->push_back(size);
}

bool refuse_high_pages(uc_engine*, uint64_t address, uc_mem_type, uc_tlb_entry* result, void*) {
  if (address >= (kRefusedProbe & ~0xfffull)) return false;
  result->paddr = address & 0xffff;
  result->perms = UC_PROT_ALL;
  return true;
}

// Returns where in an engine's handle the address of a refused access stands.
size_t check_behaviour() {
  uc_engine* raw = nullptr;
  if (uc_open(UC_ARCH_X86, UC_MODE_64, &raw) != UC_ERR_OK) refuse("it cannot be opened");
  const EnginePtr engine(raw);
  uc_ctl_set_cpu_model(raw, UC_CPU_X86_NEHALEM);
  uc_ctl_exits_enable(raw);
  if (uc_mem_map(raw, 0, 0x10000, UC_PROT_ALL) != UC_ERR_OK) refuse("it cannot map memory");
  const EngineLayout layout = layout_at(find_cpu_object(raw));

  // inc eax, four times; hlt: one block of nine bytes, or two instructions at a time when limited once.
  const uint8_t count_up[] = {0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0, 0xf4};
  uc_mem_write(raw, 0x1000, count_up, sizeof count_up);
  // mov al,[0x71234567]: refused, at an address that must be reported exactly.
  const uint8_t far_load[] = {0x8a, 0x04, 0x25, 0x67, 0x45, 0x23, 0x71, 0xf4};
  uc_mem_write(raw, 0x2000, far_load, sizeof far_load);
  // mov al,[rbx]; hlt: touches the page that RBX names.
  const uint8_t touch[] = {0x8a, 0x03, 0xf4};
  uc_mem_write(raw, 0x3000, touch, sizeof touch);
  uc_ctl_tlb_mode(raw, UC_TLB_VIRTUAL);
  uc_hook block_hook = 0, fill_hook = 0;
  std::vector<uint32_t> sizes;
  uc_hook_add(raw, &fill_hook, UC_HOOK_TLB_FILL, reinterpret_cast<void*>(refuse_high_pages), nullptr, 1, 0);
  uc_hook_add(raw, &block_hook, UC_HOOK_BLOCK, reinterpret_cast<void*>(record_block), &sizes, 1, 0);
  void** const hook_data = hook_user_data(block_hook, &sizes);
  keep_one_note(hook_data);
  check(*layout.next_block_limit == ~0u, "block limit");
  *layout.next_block_limit = 2;
  uc_emu_start(raw, 0x1000, 0, 0, 0);
  check(sizes == std::vector<uint32_t>{4, 5}, "block limit's effect");
  check(*layout.next_block_limit == ~0u, "block limit's end");
  std::vector<uint32_t> other_sizes;
  *hook_data = &other_sizes;
  sizes.clear();
  uc_emu_start(raw, 0x2000, 0, 0, 0);
  check(sizes.empty() && other_sizes.size() == 1, "hook data");
  check(block_notes(hook_data) == 1, "notes of blocks");

  // The address of the refused access stands in the handle, exactly once.
  const auto handle = reinterpret_cast<uint64_t>(raw);
  size_t refused_offset = 0;
  for (size_t offset = 0; offset + 8 <= malloc_usable_size(raw); offset += 8) {
    if (word_at(handle + offset) != kRefusedProbe) continue;
    check(refused_offset == 0, "refused address, ambiguous");
    refused_offset = offset;
  }
  check(refused_offset != 0, "refused address");

  // The code page's entry is in one mode's table; a colliding page sends an entry to that mode's victims.
  const TlbMode* used = nullptr;
  for (const TlbMode& mode : layout.tlb) {
    const uint64_t index = 2 & (mode.fast->mask / sizeof(TlbEntry));
    if (mode.fast->table[index].addr_code == 0x2000) used = &mode;
  }
  check(used != nullptr, "TLB tables");
  const uint64_t span = (used->fast->mask / sizeof(TlbEntry) + 1) << 12;
  for (const uint64_t page : {uint64_t{0x9000}, 0x9000 + span}) {
    uc_reg_write(raw, UC_X86_REG_RBX, &page);
    uc_emu_start(raw, 0x3000, 0, 0, 0);
    check(used->fast->table[9].addr_read == page, "TLB entries");
    check(used->fast->table[9].paddr == (page & 0xffff), "TLB physical addresses");
  }
  bool evicted = false;
  for (unsigned i = 0; i < kTlbVictims; ++i) evicted |= used->victims[i].addr_read == 0x9000;
  check(evicted, "TLB victims");
  check_registers(raw, *layout.cpu);
  return refused_offset;
}

}  // namespace

void** hook_user_data(uc_hook hook, void* current_value) {
  void** words = reinterpret_cast<void**>(hook);
  void** found = nullptr;
  for (size_t i = 0; i < kHookWords && (i + 1) * sizeof(void*) <= malloc_usable_size(words); ++i) {
    if (words[i] != current_value) continue;
    if (found != nullptr) refuse("a hook's record holds its data twice");
    found = &words[i];
  }
  if (found == nullptr) refuse("a hook's record does not hold its data");
  return found;
}

namespace {

// The table of notes (2.1.4: glib_compat.c, struct _GHashTable), as far as it matters.
struct Notes {
  int32_t size, modulus;
  uint32_t mask;
  int32_t used, occupied;
  void* nodes;
  unsigned (*hash)(const void* key);
  int (*equal)(const void* one, const void* other);
};

Notes& notes_beside(void** hook_data) { return *static_cast<Notes*>(hook_data[1]); }

template <typename Function>
bool is_of_the_engine(Function* function) {
  Dl_info its{}, engine{};
  return ::dladdr(reinterpret_cast<void*>(function), &its) != 0 &&
         ::dladdr(reinterpret_cast<void*>(&uc_version), &engine) != 0 && its.dli_fbase == engine.dli_fbase;
}

}  // namespace

void keep_one_note(void** hook_data) {
  if (hook_data[1] == nullptr || malloc_usable_size(hook_data[1]) < sizeof(Notes))
    refuse("a hook's record does not hold notes of its blocks");
  Notes& notes = notes_beside(hook_data);
  if (notes.used != 0 || !is_of_the_engine(notes.hash) || !is_of_the_engine(notes.equal))
    refuse("a hook's notes of its blocks look otherwise");
  notes.hash = [](const void*) { return 2u; };
  notes.equal = [](const void*, const void*) { return 1; };
}

size_t block_notes(void** hook_data) { return static_cast<size_t>(notes_beside(hook_data).used); }

std::string engine_signature() {
  const unsigned version = uc_version(nullptr, nullptr);
  constexpr size_t kLayout[] = {kEnvPointer,
                                kNextBlockLimit,
                                static_cast<size_t>(-kTlbFast),
                                static_cast<size_t>(-kTlbDesc),
                                kTlbDescSize,
                                kTlbDescVictims,
                                sizeof(EngineCpu),
                                offsetof(EngineCpu, hflags),
                                offsetof(EngineCpu, segs),
                                offsetof(EngineCpu, cr),
                                offsetof(EngineCpu, fpregs),
                                offsetof(EngineCpu, xmm),
                                offsetof(EngineCpu, sysenter_cs),
                                offsetof(EngineCpu, pat),
                                offsetof(EngineCpu, old_exception)};
  return fmt::format("Unicorn {}.{}.{}, layout {:016x}", version >> 24, version >> 16 & 0xff, version >> 8 & 0xff,
                     XXH3_64bits(kLayout, sizeof kLayout));
}

EngineLayout locate_engine_layout(uc_engine* engine) {
  static const size_t refused_offset = [] {
    unsigned major = 0, minor = 0;
    uc_version(&major, &minor);
    if (major != 2 || minor != 1) refuse(fmt::format("version {}.{} found, 2.1 needed", major, minor));
    return check_behaviour();
  }();
  EngineLayout layout = layout_at(find_cpu_object(engine));
  layout.refused_address = reinterpret_cast<const uint64_t*>(reinterpret_cast<uint64_t>(engine) + refused_offset);
  return layout;
}

}  // namespace understudy::emu
