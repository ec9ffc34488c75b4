// Shows address translation in one of three formats (32-bit, PAE, long mode; chosen by LEVELS): what every combination
// of P, R/W, U/S, NX and reserved bits at leaf and directory does to reads, writes and fetches at ring 0 (CR0.WP clear
// and set) and ring 3, with #PF error codes and CR2 (SDM vol. 3A, 4.6 and 4.7); accessed and dirty bits, large pages,
// INVLPG and global pages, accesses and instructions that straddle two pages, aliases, and demand paging.
//
// Not tested because it may legally differ: stale TLB entries, and accessed bits after a failed access.
// Not tested because QEMU 7.2 differs from the manual: P in the error code of a reserved-bit fault (should be 1, QEMU
// says 0), W/R in the error code of a read-modify-write to an absent page (should be 1), and #SS for stack accesses to
// non-canonical addresses (QEMU raises #GP).
#include "runtime.h"

#if LEVELS == 2
typedef uint32_t Entry;
enum { kPerTable = 1024, kLargeShift = 22 };
#else
typedef uint64_t Entry;
enum { kPerTable = 512, kLargeShift = 21 };
#endif
enum {
  kP = 1,
  kW = 2,
  kU = 4,
  kA = 0x20,
  kD = 0x40,
  kLarge = 0x80,
  kGlobal = 0x100,
};
#define NX (LEVELS == 2 ? 0 : (Entry)(1ull << 63))
#define HAS_NX (LEVELS != 2)

#define TEST_AT 0x40000000u  // everything below and above is mapped one to one, user-accessible and writable
#if LEVELS == 4
extern Entry boot_pml4[], boot_pdpt[];
#else
static Entry top[kPerTable] __attribute__((aligned(4096)));
#if LEVELS == 3
static Entry identity[4][kPerTable] __attribute__((aligned(4096)));
#endif
#endif
#if LEVELS != 2
static Entry directory[kPerTable] __attribute__((aligned(4096)));  // the one of TEST_AT
#endif
static Entry leaf[kPerTable] __attribute__((aligned(4096)));
static Entry* pde;  // the entry which points to `leaf`
static uint8_t frames[4][4096] __attribute__((aligned(4096)));
static uint8_t* const window = (uint8_t*)TEST_AT;

static Entry at(const void* p) { return (Entry)(word)p; }
static void flush(void) { write_cr3(read_cr3()); }

static void turn_on_paging(void) {
#if LEVELS == 2
  for (uint32_t i = 0; i < kPerTable; ++i) top[i] = i << kLargeShift | kLarge | kP | kW | kU;
  pde = &top[TEST_AT >> 22];
  write_cr4(kCr4Pse | kCr4Pge);
#elif LEVELS == 3
  for (uint32_t i = 0; i < 4 * kPerTable; ++i)
    identity[i / kPerTable][i % kPerTable] = (Entry)i << kLargeShift | kLarge | kP | kW | kU;
  for (uint32_t i = 0; i < 4; ++i) top[i] = at(identity[i]) | kP;
  top[1] = at(directory) | kP;
  pde = directory;
  write_cr4(kCr4Pae | kCr4Pge);
  wrmsr(MSR_EFER, 0x800);
#else
  boot_pdpt[1] = at(directory) | kP | kW | kU;
  pde = directory;
  write_cr4(kCr4Pae | kCr4Pge);
#endif
  *pde = at(leaf) | kP | kW | kU;
#if LEVELS != 4
  write_cr3((word)top);
  write_cr0(read_cr0() | CR0_PG);
#else
  flush();
#endif
}

// ---- the matrix ----
// One access each, at the start of the window, then INT 0x80. Fetching runs the INT 0x80 that lies there.
ASM_FUNCTION(do_read, "mov 0x40000000, %eax; int $0x80")
ASM_FUNCTION(do_write, "mov %eax, 0x40000040; int $0x80")
ASM_FUNCTION(do_fetch, "mov $0x40000000, %eax; jmp *%" R "ax")
ASM_FUNCTION(do_add, "addl $1, 0x40000040; int $0x80")

static const struct {
  const char* name;
  void (*code)(void);
  uint32_t offset;
} kAccesses[] = {{"read", do_read, 0}, {"write", do_write, 0x40}, {"fetch", do_fetch, 0}};

static uint32_t error_code(void) { return (uint32_t)trap.error & (trap.error & 8 ? ~1u : ~0u); }

static void one_row(const char* what, Entry directory_bits, Entry leaf_bits) {
  say("%s:", what);
  for (int ring = 0; ring < 3; ++ring) {  // ring 0, ring 0 with WP, ring 3
    write_cr0(ring == 1 ? read_cr0() | kCr0Wp : read_cr0() & ~(word)kCr0Wp);
    say(" %s", ring == 0 ? "r0" : ring == 1 ? "r0wp" : "r3");
    for (int i = 0; i < 3; ++i) {
      *pde = at(leaf) | directory_bits;
      leaf[0] = at(frames[0]) | leaf_bits;
      flush();
      if (ring == 2)
        run_user(kAccesses[i].code);
      else
        traps(kAccesses[i].code);
      if (trap.vector == 0x80) {
        say(" -%s%s", leaf[0] & kA ? "a" : "", leaf[0] & kD ? "d" : "");
      } else if (trap.vector == 14) {
        say(" %x%s", error_code(), leaf[0] & kD ? "!" : "");
        if (trap_cr2 != TEST_AT + kAccesses[i].offset) say("(CR2 0x%w)", trap_cr2);
      } else {
        say_trap(" strange");
      }
    }
  }
  say("\n");
}

static void matrix(void) {
  say("error code, or accessed and dirty bits, of read write fetch:\n");
  static const struct {
    const char* name;
    Entry bits;
  } kRights[] = {{"----", 0},
                 {"p---", kP},
                 {"pw--", kP | kW},
                 {"p-u-", kP | kU},
                 {"pwu-", kP | kW | kU},
                 {"p--x", kP | NX},
                 {"pw-x", kP | kW | NX},
                 {"p-ux", kP | kU | NX},
                 {"pwux", kP | kW | kU | NX}};
  int count = HAS_NX ? 9 : 5;
  memset(frames, 0, sizeof frames);
  frames[0][0] = 0xcd;
  frames[0][1] = 0x80;
  for (int d = 0; d < count; ++d) {
    for (int l = 0; l < count; ++l) {
      char name[] = "dir ---- leaf ----";
      memcpy(name + 4, kRights[d].name, 4);
      memcpy(name + 14, kRights[l].name, 4);
      one_row(name, kRights[d].bits, kRights[l].bits);
    }
  }
#if LEVELS != 2
  one_row("leaf with bit 51", kP | kW | kU, kP | kW | kU | 1ull << 51);
  one_row("directory with bit 51", kP | kW | kU | 1ull << 51, kP | kW | kU);
  one_row("read-only leaf with bit 51", kP | kW | kU, kP | kU | 1ull << 51);
  one_row("absent leaf with bit 51", kP | kW | kU, 1ull << 51);
#endif
#if LEVELS == 3
  one_row("leaf with bit 62", kP | kW | kU, kP | kW | kU | 1ull << 62);
#endif
#if LEVELS == 4
  one_row("leaf with bit 62", kP | kW | kU, kP | kW | kU | 1ull << 62);  // ignored
  // Rights of the two upper levels take part too.
  const Entry full = at(directory) | kP | kW | kU;
  boot_pdpt[1] = full & ~(Entry)kW;
  one_row("pdpte read-only", kP | kW | kU, kP | kW | kU);
  boot_pdpt[1] = full & ~(Entry)kU;
  one_row("pdpte supervisor", kP | kW | kU, kP | kW | kU);
  boot_pdpt[1] = full | NX;
  one_row("pdpte nx", kP | kW | kU, kP | kW | kU);
  boot_pdpt[1] = full & ~(Entry)kP;
  one_row("pdpte absent", kP | kW | kU, kP | kW | kU);
  boot_pdpt[1] = full | 1ull << 51;
  one_row("pdpte with bit 51", kP | kW | kU, kP | kW | kU);
  boot_pdpt[1] = full;
  flush();
#endif
#if LEVELS != 2
  // With EFER.NXE clear, bit 63 is reserved and a fetch no longer sets the I/D flag of the error code.
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~0x800ull);
  one_row("nxe off: pwux", kP | kW | kU, kP | kW | kU | NX);
  one_row("nxe off: p---", kP | kW | kU, kP);
  one_row("nxe off: ----", kP | kW | kU, 0);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 0x800);
#endif
  write_cr0(read_cr0() | kCr0Wp);
}

static void map(int page, const void* frame, Entry bits) {
  leaf[page] = frame ? at(frame) | bits : 0;
  invlpg(window + 4096 * page);
}

static void use_leaf(void) {
  *pde = at(leaf) | kP | kW | kU;
  memset(leaf, 0, sizeof leaf);
  flush();
}

// ---- the rest ----
ASM_FUNCTION(read_large, "mov 0x40123000, %eax; int $0x80")
ASM_FUNCTION(write_large, "mov %eax, 0x40123000; int $0x80")

static void large_pages(void) {
  // The window as one large page over physical 0x800000 (8 MiB, unused RAM).
  volatile uint32_t* physical = (uint32_t*)(0x800000 + 0x123000);
  volatile uint32_t* through = (uint32_t*)(window + 0x123000);
  *physical = 0x1234;
  *pde = 0x800000 | kLarge | kP | kW | kU;
  flush();
  check(*through == 0x1234, "large page reads");
  check((*pde & (kA | kD)) == kA, "large page accessed, not dirty");
  *through = 0x5678;
  check(*physical == 0x5678 && (*pde & (kA | kD)) == (kA | kD), "large page dirty");
  *pde = 0x800000 | kLarge | kP;
  flush();
  run_user(read_large);
  expect_trap(14, 5, "user read of a supervisor large page");
  *pde = 0x800000 | kLarge | kP | kU;
  flush();
  run_user(write_large);
  expect_trap(14, 7, "user write of a read-only large page");
  check_value(trap_cr2, TEST_AT + 0x123000, "CR2");
  *pde = 0x800000 | kLarge | kP | kW | kU | (LEVELS == 2 ? 1u << 21 : 1u << 13);
  flush();
  run_user(read_large);
  check(trap.vector == 14 && error_code() == 12, "reserved bit in a large page");
  use_leaf();
}

static void remapping(void) {
  use_leaf();
  memset(frames[0], 0x11, 4096);
  memset(frames[1], 0x22, 4096);
  map(0, frames[0], kP | kW | kU);
  map(1, frames[0], kP | kW | kU);
  volatile uint8_t* w = window;
  w[0] = 0x99;
  check(w[4096] == 0x99 && frames[0][0] == 0x99, "two windows on one frame");
  map(0, frames[1], kP | kW | kU);
  check(w[0] == 0x22 && w[4096] == 0x99, "INVLPG makes a new mapping visible");

  // Global entries may survive a load of CR3, never INVLPG or a change of CR4.PGE.
  map(0, frames[0], kP | kW | kU | kGlobal);
  check(w[0] == 0x99, "global page");
  map(0, frames[1], kP | kW | kU | kGlobal);
  check(w[0] == 0x22, "INVLPG drops a global page");
  leaf[0] = at(frames[0]) | kP | kW | kU | kGlobal;
  write_cr4(read_cr4() & ~(word)kCr4Pge);
  write_cr4(read_cr4() | kCr4Pge);
  check(w[0] == 0x99, "CR4.PGE drops global pages");
  leaf[0] = at(frames[1]) | kP | kW | kU;
  flush();
  leaf[0] = at(frames[0]) | kP | kW | kU;
  flush();
  check(w[0] == 0x99, "CR3 drops ordinary pages");

  // Rights that become narrower take effect after INVLPG, though the old entry was used for writing.
  w[1] = 1;
  map(0, frames[0], kP | kU);
  run_user(do_write);
  expect_trap(14, 7, "write after the page became read-only");
  uint32_t before = *(volatile uint32_t*)(window + 0x40);
  run_user(do_add);
  expect_trap(14, 7, "read-modify-write of the read-only page");
  check(*(volatile uint32_t*)(window + 0x40) == before, "nothing was added");
  map(0, frames[0], kP | kW | kU);
  leaf[0] &= ~(Entry)(kA | kD);
  invlpg(window);
  run_user(do_read);
  check((leaf[0] & (kA | kD)) == kA, "read sets accessed alone");
  run_user(do_write);
  check((leaf[0] & (kA | kD)) == (kA | kD), "later write sets dirty");
}

ASM_FUNCTION(straddling_write, "mov $-1, %eax; mov %eax, 0x40000ffe; int $0x80")
ASM_FUNCTION(straddling_read, "mov 0x40000ffe, %eax; int $0x80")
ASM_FUNCTION(jump_to_straddler, "mov $0x40000ffb, %eax; jmp *%" R "ax")

static void straddling(void) {
  use_leaf();
  memset(frames, 0, sizeof frames);
  map(0, frames[0], kP | kW | kU);
  run_user(straddling_write);
  expect_trap(14, 6, "write across two pages, second absent");
  check_value(trap_cr2, TEST_AT + 0x1000, "CR2");
  check(frames[0][4094] == 0 && frames[0][4095] == 0, "nothing was written");
  run_user(straddling_read);
  expect_trap(14, 4, "read across two pages, second absent");
  check_value(trap_cr2, TEST_AT + 0x1000, "CR2");
  map(1, frames[2], kP | kU);
  run_user(straddling_write);
  expect_trap(14, 7, "write across two pages, second read-only");
  check(frames[0][4094] == 0 && frames[0][4095] == 0, "nothing was written");
  map(0, 0, 0);
  run_user(straddling_read);
  expect_trap(14, 4, "read across two pages, first absent");
  check_value(trap_cr2, TEST_AT + 0xffe, "CR2");
  map(0, frames[0], kP | kW | kU);
  map(1, frames[2], kP | kW | kU);
  run_user(straddling_write);
  expect_trap(0x80, 0, "write across two pages, both present");
  check(frames[0][4095] == 0xff && frames[2][0] == 0xff && frames[2][1] == 0xff && frames[2][2] == 0, "bytes land");

  // A five-byte instruction of which two bytes lie in the first page; one instruction before it in the same block.
  static const uint8_t kCode[] = {0x31, 0xdb, 0x43, 0xb8, 0x78, 0x56, 0x34, 0x12, 0xcd, 0x80};  // xor ebx; inc; mov eax
  memset(frames, 0, sizeof frames);
#if LEVELS == 4
  static const uint8_t kCode64[] = {0x31, 0xdb, 0x90, 0xb8, 0x78, 0x56, 0x34, 0x12, 0xcd, 0x80};
  memcpy(frames[0] + 0xffb, kCode64, 5);
  memcpy(frames[2], kCode64 + 5, 5);
#else
  memcpy(frames[0] + 0xffb, kCode, 5);
  memcpy(frames[2], kCode + 5, 5);
#endif
  (void)kCode;
  map(1, 0, 0);
  run_user(jump_to_straddler);
  expect_trap(14, HAS_NX ? 0x14 : 4, "instruction across two pages, second absent");
  check_value(trap_cr2, TEST_AT + 0x1000, "CR2");
  check_value(trap.ip, TEST_AT + 0xffe, "IP is the start of the instruction");
  check(trap.bx == (LEVELS == 4 ? 0 : 1), "the instructions before it ran once");
  map(1, frames[2], kP | kW | kU);
  run_user(jump_to_straddler);
  check(trap.vector == 0x80 && trap.ax == 0x12345678 && trap.ip == TEST_AT + 0x1005, "it runs when both are present");
#if HAS_NX
  map(1, frames[2], kP | kW | kU | NX);
  run_user(jump_to_straddler);
  expect_trap(14, 0x15, "instruction across two pages, second NX");
  check_value(trap_cr2, TEST_AT + 0x1000, "CR2");
#endif
}

static volatile uint32_t faults;

static void map_on_demand(struct Frame* f) {
  word page = (read_cr2() - TEST_AT) >> 12;
  ++faults;
  if (page >= 64) {
    say("stray fault at 0x%w\n", read_cr2());
    leave(0x13);
  }
  if (!leaf[page])
    leaf[page] = (0x900000 + page * 4096) | kP | kU;  // read-only first
  else
    leaf[page] |= kW;
  invlpg((void*)(read_cr2() & ~(word)4095));
}

static void demand_paging(void) {
  use_leaf();
  memset((void*)0x900000, 0, 64 * 4096);
  trap_handlers[14] = map_on_demand;
  volatile uint32_t* w = (volatile uint32_t*)window;
  uint32_t sum = 0;
  for (uint32_t i = 0; i < 64 * 1024; i += 257) sum += w[i];
  say("demand faults while reading: %u\n", faults);
  faults = 0;
  for (uint32_t i = 0; i < 64 * 1024; i += 101) w[i] += i;
  say("faults while writing: %u\n", faults);
  for (uint32_t i = 0; i < 64 * 1024; ++i) sum = sum * 31 + w[i];
  say("sum: %08x\n", sum);
  check(crc32(0, window, 64 * 4096) == crc32(0, (void*)0x900000, 64 * 4096), "window and frames agree");
  trap_handlers[14] = 0;
}

#if LEVELS == 4
ASM_FUNCTION(read_noncanonical, "movabs $0x0000800000000000, %rax; mov (%rax), %eax; int $0x80")
ASM_FUNCTION(jump_noncanonical, "movabs $0x0000800000000000, %rax; jmp *%rax")

static void long_mode_only(void) {
  run_user(read_noncanonical);
  expect_trap(13, 0, "read of a non-canonical address");
  run_user(jump_noncanonical);
  expect_trap(13, 0, "jump to a non-canonical address");
  // The same frames at the top of the address space, through PML4 entry 511.
  boot_pml4[511] = boot_pml4[0];
  use_leaf();
  map(5, frames[3], kP | kW | kU);
  flush();
  volatile uint32_t* high = (volatile uint32_t*)(0xffffff8000000000 + TEST_AT + 5 * 4096);
  *high = 0xabcdef01;
  check(*(uint32_t*)frames[3] == 0xabcdef01, "upper half of the address space");
  boot_pml4[511] = 0;
  flush();
}
#endif

int main(void) {
  turn_on_paging();
  matrix();
  large_pages();
  remapping();
  straddling();
  demand_paging();
#if LEVELS == 4
  long_mode_only();
#endif
  return 0;
}
