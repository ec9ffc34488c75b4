// Shows string instructions over page borders: MOVS, STOS, LODS, CMPS, SCAS, INS and OUTS meet an absent or read-only
// page in the middle, the fault shows the registers of exactly the iterations that are done, the handler maps the page
// and the instruction resumes; both directions, all operand sizes, 16- and 32-bit counts, counts of zero, interrupts in
// the middle. Built for 32-bit paging and for long mode.
#include "runtime.h"

#if defined(__x86_64__)
typedef uint64_t Entry;
extern Entry boot_pdpt[];
static Entry directory[512] __attribute__((aligned(4096)));
static Entry leaf[512] __attribute__((aligned(4096)));
enum { kPages = 512 };
#else
typedef uint32_t Entry;
static Entry directory[1024] __attribute__((aligned(4096)));
static Entry leaf[1024] __attribute__((aligned(4096)));
enum { kPages = 1024 };
#endif
enum { kP = 1, kW = 2 };

#define SOURCE 0x40010000u
#define TARGET 0x40020000u
#define FRAMES 0x800000u  // physical memory behind the window at 0x40000000
static uint8_t* const source = (uint8_t*)SOURCE;
static uint8_t* const target = (uint8_t*)TARGET;

static void turn_on_paging(void) {
#if defined(__x86_64__)
  boot_pdpt[1] = (word)directory | 3;
  directory[0] = (word)leaf | 3;
  write_cr0(read_cr0() | kCr0Wp);
  write_cr3(read_cr3());
#else
  for (uint32_t i = 0; i < 1024; ++i) directory[i] = i << 22 | 0x83;
  directory[0x40000000u >> 22] = (word)leaf | 3;
  write_cr4(kCr4Pse);
  write_cr3((word)directory);
  write_cr0(read_cr0() | CR0_PG | kCr0Wp);
#endif
}

static void protect(uint32_t address, Entry bits) {
  uint32_t page = (address - 0x40000000u) >> 12;
  leaf[page] = bits ? (FRAMES + (page << 12)) | bits : 0;
  invlpg((void*)(word)address);
}

static void map_all(void) {
  for (uint32_t page = 0; page < kPages; ++page) leaf[page] = (FRAMES + (page << 12)) | kP | kW;
  write_cr3(read_cr3());
}

static void fill(void) {
  for (int i = 0; i < 0x4000; ++i) {
    source[i] = (uint8_t)(i * 7 + (i >> 8));
    target[i] = (uint8_t)0xee;
  }
}

static volatile uint32_t faults;

// Prints what the interrupted instruction has done so far, then lets it go on.
static void on_fault(struct Frame* f) {
  word at = read_cr2();
  ++faults;
  say("  #PF %w at %w: cx=%w si=%w di=%w\n", f->error, at, f->cx, f->si, f->di);
  if (at < SOURCE || at >= TARGET + 0x10000 || faults > 100) {
    say("stray fault\n");
    leave(0x13);
  }
  protect((uint32_t)at, kP | kW);
}

struct Registers {
  word ax, cx, si, di, flags;
};

// One function per instruction: loads the registers, runs it with the given direction, stores them.
#define STRING_OP(name, text)                                                              \
  static void name(struct Registers* r, bool down) {                                       \
    word flags = 2 | (down ? kFlagDf : 0);                                                 \
    __asm__ volatile("push %5\n popf\n" text "\n pushf\n pop %4\n cld"                     \
                     : "+a"(r->ax), "+c"(r->cx), "+S"(r->si), "+D"(r->di), "=&r"(r->flags) \
                     : "r"(flags)                                                          \
                     : "memory", "cc");                                                    \
  }
STRING_OP(movsb, "rep movsb")
STRING_OP(movsw, "rep movsw")
STRING_OP(movsl, "rep movsl")
STRING_OP(stosb, "rep stosb")
STRING_OP(stosw, "rep stosw")
STRING_OP(stosl, "rep stosl")
STRING_OP(lodsb, "rep lodsb")
STRING_OP(lodsl, "rep lodsl")
STRING_OP(repe_cmpsb, "repe cmpsb")
STRING_OP(repne_cmpsl, "repne cmpsl")
STRING_OP(repne_scasb, "repne scasb")
STRING_OP(repe_scasw, "repe scasw")
STRING_OP(single_movsb, "movsb")
STRING_OP(repne_movsb, ".byte 0xf2, 0xa4")
STRING_OP(outsb, "push %%" R "dx; mov $0x71, %%edx; rep outsb; pop %%" R "dx")
STRING_OP(insb, "push %%" R "dx; mov $0x71, %%edx; rep insb; pop %%" R "dx")
#if defined(__x86_64__)
STRING_OP(movsq, "rep movsq")
STRING_OP(stosq, "rep stosq")
#endif

typedef void Op(struct Registers*, bool down);

static struct Registers run(const char* name, Op* op, bool down, word ax, word cx, word si, word di) {
  struct Registers r = {ax, cx, si, di, 0};
  faults = 0;
  say("%s%s\n", name, down ? " down" : "");
  op(&r, down);
  say("  ax=%w cx=%w si=%w di=%w faults=%u zf=%u sum=%08x\n", r.ax, r.cx, r.si, r.di, faults,
      (uint32_t)(r.flags >> 6 & 1), crc32(0, target, 0x4000));
  return r;
}

static void moves(void) {
  static const struct {
    const char* name;
    Op* op;
    int size;
  } kMoves[] = {
    {"rep movsb", movsb, 1},
    {"rep movsw", movsw, 2},
    {"rep movsl", movsl, 4},
#if defined(__x86_64__)
    {"rep movsq", movsq, 8},
#endif
    {"repne movsb", repne_movsb, 1}
  };
  for (unsigned i = 0; i < sizeof kMoves / sizeof *kMoves; ++i) {
    const int size = kMoves[i].size;
    for (int down = 0; down < 2; ++down) {
      map_all();
      fill();
      // Source absent in its second page, target absent in its second and read-only in its third; misaligned to each
      // other, so that the borders are met at different counts, and elements straddle pages.
      protect(SOURCE + 0x1000, 0);
      protect(TARGET + 0x1000, 0);
      protect(TARGET + 0x2000, kP);
      const uint32_t from = 0xf01, to = 0xf80 + (uint32_t)size / 2, count = 0x1200 / (uint32_t)size;
      const uint32_t last = down ? (count - 1) * (uint32_t)size : 0;
      struct Registers r = run(kMoves[i].name, kMoves[i].op, down, 0, count, SOURCE + from + last, TARGET + to + last);
      bool right = r.cx == 0 && r.si == SOURCE + from + (down ? -(word)size : count * (uint32_t)size);
      right &= memcmp(source + from, target + to, count * (uint32_t)size) == 0;
      right &= target[to - 1] == 0xee && target[to + count * (uint32_t)size] == 0xee;
      check(right, "  moved");
    }
  }
  // Overlap: a forward byte move by one propagates the first byte, whatever the implementation copies at a time.
  map_all();
  fill();
  run("rep movsb, overlapping by 1", movsb, false, 0, 0x1fff, SOURCE, SOURCE + 1);
  bool same = true;
  for (int i = 0; i < 0x2000; ++i) same &= source[i] == source[0];
  check(same, "  first byte everywhere");
  fill();
  run("rep movsb, overlapping by 1", movsb, true, 0, 0x1fff, SOURCE + 0x1ffe, SOURCE + 0x1fff);
  same = source[0] == 0 && source[1] == 0;
  for (int i = 0; i < 0x1ffe; ++i) same &= source[i + 1] == (uint8_t)(i * 7 + (i >> 8));
  check(same, "  moved up by one");
}

static void stores(void) {
  for (int down = 0; down < 2; ++down) {
    map_all();
    fill();
    protect(TARGET + 0x1000, 0);
    run("rep stosb", stosb, down, 0x5a, 0x300, 0, down ? TARGET + 0x10ff : TARGET + 0xe00);
    fill();
    protect(TARGET + 0x1000, kP);
    run("rep stosw, odd", stosw, down, 0x1234, 0x300, 0, down ? TARGET + 0x11ff : TARGET + 0xdff);
    fill();
    protect(TARGET + 0x1000, 0);
    protect(TARGET + 0x2000, 0);
    run("rep stosl", stosl, down, 0x89abcdef, 0x500, 0, down ? TARGET + 0x2102 : TARGET + 0xf02);
#if defined(__x86_64__)
    fill();
    protect(TARGET + 0x1000, 0);
    run("rep stosq", stosq, down, 0x1122334489abcdef, 0x100, 0, down ? TARGET + 0x1203 : TARGET + 0xf03);
#endif
  }
  map_all();
  fill();
  protect(TARGET, 0);
  struct Registers nothing = {.di = TARGET};
  faults = 0;
  stosb(&nothing, false);
  movsb(&nothing, false);
  check(faults == 0, "a count of zero touches no memory");
  protect(TARGET, kP | kW);
  run("movsb alone", single_movsb, false, 0, 7, SOURCE, TARGET);
}

static void loads(void) {
  map_all();
  fill();
  protect(SOURCE + 0x1000, 0);
  run("rep lodsb", lodsb, false, 0, 0x123, SOURCE + 0xf80, 0);
  protect(SOURCE + 0x1000, 0);
  run("rep lodsl", lodsl, true, 0, 0x80, SOURCE + 0x10fe, 0);
}

static void compares(void) {
  map_all();
  fill();
  memcpy(target, source, 0x4000);
  target[0x1080] ^= 1;
  // Which operand CMPS reads first is not defined: only one of them is absent at a time.
  protect(SOURCE + 0x1000, 0);
  run("repe cmpsb, differs", repe_cmpsb, false, 0, 0x400, SOURCE + 0xe00, TARGET + 0xe00);
  run("repe cmpsb, equal", repe_cmpsb, false, 0, 0x80, SOURCE + 0x1100, TARGET + 0x1100);
  protect(TARGET + 0x1000, 0);
  run("repe cmpsb, differs", repe_cmpsb, true, 0, 0x1200, SOURCE + 0x2010, TARGET + 0x2010);
  fill();
  memcpy(target + 0x1104, source + 0x1104, 4);
  protect(TARGET + 0x1000, 0);
  run("repne cmpsl", repne_cmpsl, false, 0, 0x200, SOURCE + 0xf00, TARGET + 0xf00);
  fill();
  target[0x1234] = 0x77;
  protect(TARGET + 0x1000, 0);
  run("repne scasb", repne_scasb, false, 0x77, 0x1000, 0, TARGET + 0xf00);
  protect(TARGET + 0x1000, 0);
  run("repne scasb", repne_scasb, true, 0x77, 0x1000, 0, TARGET + 0x2003);
  protect(TARGET + 0x1000, 0);
  run("repe scasw", repe_scasw, false, 0xeeee, 0x1000, 0, TARGET + 0xe01);
  run("repne scasb of nothing keeps ZF clear", repne_scasb, false, 0xee, 0, 0, TARGET);
}

// INS and OUTS on a byte of the CMOS that no one uses.
static void ports(void) {
  map_all();
  fill();
  uint8_t old = cmos_read(0x5f);
  outb(0x70, 0x5f);
  protect(SOURCE + 0x1000, 0);
  run("rep outsb", outsb, false, 0, 0x20, SOURCE + 0xff0, 0);
  check(inb(0x71) == source[0x100f], "  the last byte arrived");
  outb(0x71, 0x6b);
  protect(TARGET + 0x1000, 0);
  run("rep insb", insb, false, 0, 0x20, 0, TARGET + 0xff0);
  protect(TARGET + 0x1000, kP);
  run("rep insb", insb, true, 0, 0x20, 0, TARGET + 0x1008);
  cmos_write(0x5f, old);
}

// Counts and addresses of a narrower address size wrap and leave the upper half alone.
static void narrow(void) {
#if defined(__x86_64__)
  map_all();
  fill();
  word cx = 0x5555555500000010, di = 0x6666666600000000 | (TARGET + 0x100);
  __asm__ volatile("addr32 rep stosb" : "+c"(cx), "+D"(di) : "a"(0x41) : "memory");
  check(cx == 0 && di == TARGET + 0x110 && target[0x10f] == 0x41 && target[0x110] == 0xee, "addr32 rep stosb");
  cx = 0x7700000000, di = TARGET;
  __asm__ volatile("addr32 rep stosb" : "+c"(cx), "+D"(di) : "a"(0x42) : "memory");
  check((uint32_t)cx == 0 && target[0] == 0xee, "addr32 with a count of zero");
#else
  uint8_t* low = (uint8_t*)0x7000;
  memset(low, 0xee, 64);
  word cx = 0x12340010, di = 0x56787000;
  __asm__ volatile("addr16 rep stosb" : "+c"(cx), "+D"(di) : "a"(0x41) : "memory");
  check(cx == 0x12340000 && di == 0x56787010 && low[15] == 0x41 && low[16] == 0xee, "addr16 rep stosb");
  cx = 0x99990000, di = 0x7000;
  __asm__ volatile("addr16 rep stosb" : "+c"(cx), "+D"(di) : "a"(0x42) : "memory");
  check(cx == 0x99990000 && low[0] == 0x41, "addr16 with a count of zero");
#endif
}

static volatile uint32_t ticks, inside;
extern uint8_t the_rep[];
static void on_tick(struct Frame* f) {
  ++ticks;
  inside += f->ip == (word)the_rep;
  pic_eoi(0);
}

// A long REP is interruptible: interrupts arrive at the instruction itself and it goes on with the rest.
static void interrupted(void) {
  trap_handlers[0x20] = on_tick;
  uint8_t* area = (uint8_t*)0x1000000;  // 16 MiB
  pit_set(0, 2, 1193);
  pic_unmask(0);
  bool right = true;
  for (uint32_t round = 1; inside < 3 && round < 2000; ++round) {
    word cx = 0x200000, di = (word)area;
    __asm__ volatile("sti\n nop\n .globl the_rep\n the_rep: rep stosb\n cli"
                     : "+c"(cx), "+D"(di)
                     : "a"(round)
                     : "memory");
    right &= cx == 0 && di == (word)area + 0x200000;
    right &= area[0] == (uint8_t)round && area[0x1fffff] == (uint8_t)round;
    for (uint32_t i = 0; i < 0x200000; i += 4093) right &= area[i] == (uint8_t)round;
  }
  pic_mask_all();
  check(right, "every byte is stored once");
  check(inside >= 3, "interrupts arrived inside rep stosb");
}

int main(void) {
  turn_on_paging();
  trap_handlers[14] = on_fault;
  moves();
  stores();
  loads();
  compares();
  ports();
  narrow();
  interrupted();
  return 0;
}
