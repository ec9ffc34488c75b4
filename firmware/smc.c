// Shows self-modifying code. Code that is changed must run changed: the next instruction, later in the same block, in
// the same and another page, by plain stores, pushes, REP STOS/MOVS, x87, SSE and locked instructions, by an interrupt
// handler, across two pages, through a second mapping of the page (after a serialising instruction; in long mode also
// through one that forbids execution), and when another page is mapped in its place. SDM vol. 3A, 8.1.3 and 11.6.
//
// Not tested: a REP that overwrites itself (how far it gets is not defined).
#include "runtime.h"

typedef uint32_t Code(void);
enum { kP = 1, kW = 2, kMovEax = 0xb8, kRet = 0xc3 };

#if defined(__x86_64__)
typedef uint64_t Entry;
extern Entry boot_pdpt[];
enum { kPerTable = 512 };
#else
typedef uint32_t Entry;
enum { kPerTable = 1024 };
#endif
static Entry directory[kPerTable] __attribute__((aligned(4096)));
static Entry leaf[kPerTable] __attribute__((aligned(4096)));
static uint8_t frames[4][4096] __attribute__((aligned(4096)));
static uint8_t* const window = (uint8_t*)0x40000000u;

static void turn_on_paging(void) {
#if defined(__x86_64__)
  boot_pdpt[1] = (word)directory | 3;
  directory[0] = (word)leaf | 3;
  write_cr0(read_cr0() | kCr0Wp);
  write_cr3(read_cr3());
#else
  for (uint32_t i = 0; i < kPerTable; ++i) directory[i] = i << 22 | 0x83;
  directory[0x40000000u >> 22] = (word)leaf | 3;
  write_cr4(kCr4Pse | kCr4Osfxsr);
  write_cr3((word)directory);
  write_cr0(read_cr0() | CR0_PG | kCr0Wp);
#endif
  write_cr4(read_cr4() | kCr4Osfxsr);
}

static void map(int page, const void* frame, Entry bits) {
  leaf[page] = (word)frame | bits;
  invlpg(window + 4096 * page);
}

static void serialise(void) {
  uint32_t out[4];
  cpuid(0, 0, out);
}

static uint32_t call(const void* code) { return ((Code*)code)(); }

// mov eax, value; ret
static void emit(void* at, uint32_t value) {
  volatile uint8_t* p = at;
  p[0] = kMovEax;
  for (int i = 0; i < 4; ++i) p[1 + i] = (uint8_t)(value >> (8 * i));
  p[5] = kRet;
}

// ---- code that changes itself; each restores what it changed and returns what it saw ----
#if defined(__x86_64__)
#define SLOT "8"  // bytes of a push
#else
#define SLOT "4"
#endif
#define SELF(name, text)   \
  ASM_FUNCTION(name, text) \
  static uint32_t run_##name(void) { return call((const void*)(word)name); }

SELF(next, "movb $0x22, 1f + 1; 1: mov $0x11, %eax; movb $0x11, 1b + 1; ret")
SELF(later, "xor %ecx, %ecx; movb $0x22, 1f + 1; inc %ecx; nop; inc %ecx; lea 1(%" R
            "cx), %ecx;"
            "1: mov $0x11, %eax; shl $8, %ecx; or %ecx, %eax; movb $0x11, 1b + 1; ret")
SELF(loop_body,
     "xor %edx, %edx; mov $100, %ecx; 1: mov $0, %eax; add %eax, %edx; addb $1, 1b + 1; dec %ecx; jnz 1b;"
     "movb $0, 1b + 1; mov %edx, %eax; ret")
SELF(jump_target, "mov $1, %eax; movb $2, 1f + 1; 1: jmp 2f; 2: nop; ret; add $4, %eax; movb $0, 1b + 1; ret")
SELF(same_value, "mov $3, %eax; 1: movb $0xc6, 1b; add $1, %eax; ret")
SELF(rep_stos, "push %" R
               "di; xor %eax, %eax; mov $0x90, %al; mov $1f, %edi; mov $32, %ecx; rep stosb;"
               "xor %eax, %eax; 1: .rept 16; .byte 0xff, 0xc0; .endr; .byte 0xff, 0xc0; push %" R
               "ax;"
               "mov $1b, %edi; mov $16, %ecx; mov $0xc0ff, %eax; rep stosw; pop %" R "ax; pop %" R "di; ret")
SELF(rep_movs, "push %" R "si; push %" R
               "di; mov $2f, %esi; mov $1f, %edi; mov $5, %ecx; rep movsb;"
               "1: mov $0x11, %eax; push %" R "ax; mov $3f, %esi; mov $1b, %edi; mov $5, %ecx; rep movsb; pop %" R
               "ax;"
               "pop %" R "di; pop %" R "si; ret; 2: mov $0x33, %eax; 3: mov $0x11, %eax")
#if defined(__x86_64__)
SELF(by_push,
     "mov %rsp, %rcx; mov $1f + 9, %esp; mov $0x9090909022222222, %rax; push %rax; mov %rcx, %rsp;"
     "1: mov $0x11111111, %eax; nop; nop; nop; nop; movl $0x11111111, 1b + 1; ret")
#else
SELF(by_push,
     "mov %esp, %ecx; mov $1f + 5, %esp; push $0x22222222; mov %ecx, %esp;"
     "1: mov $0x11111111, %eax; movl $0x11111111, 1b + 1; ret")
#endif
SELF(by_call,
     "push %" R "bp; mov %" R "sp, %" R "bp; mov $1f + 1 + " SLOT ", %esp; call 3f; 2: nop; 3: mov %" R "bp, %" R
     "sp;"
     "1: mov $0x11111111, %eax; nop; nop; nop; nop; sub $2b, %eax; movl $0x11111111, 1b + 1;"
     "movl $0x90909090, 1b + 5; pop %" R "bp; ret")
SELF(by_xadd, "mov $0x11, %ecx; lock xadd %ecx, 1f + 1; 1: mov $0x11, %eax; movb $0x11, 1b + 1; ret")
SELF(by_cmpxchg,
     "mov $0x11, %eax; mov $0x44, %ecx; lock cmpxchg %ecx, 1f + 1; 1: mov $0x11, %eax; movb $0x11, 1b + 1; ret")
SELF(by_x87, "push $0x55; fildl (%" R "sp); fistpl 1f + 1; pop %" R "ax; 1: mov $0x11, %eax; movb $0x11, 1b + 1; ret")
SELF(by_sse, "push $0x66; movss (%" R "sp), %xmm0; movss %xmm0, 1f + 1; pop %" R
             "ax; 1: mov $0x11, %eax; movb $0x11, 1b + 1; ret")
SELF(by_setcc, "cmp %eax, %eax; sete 1f + 1; 1: mov $0x11, %eax; movb $0x11, 1b + 1; ret")
SELF(by_interrupt, "int $0x81; .globl after_81; after_81: mov $0x11, %eax; movb $0x11, after_81 + 1; ret")
// A counter in the page of the loop that changes it.
SELF(shared_page,
     "movl $0, 2f; mov $20000, %ecx; 1: incl 2f; dec %ecx; jnz 1b; mov 2f, %eax; ret; .p2align 3; 2: .long 0")
extern uint8_t after_81[];

static void patch_in_handler(struct Frame* f) { ((volatile uint8_t*)f->ip)[1] = 0x77; }

static void own_page(void) {
  check_value(run_next(), 0x22, "next instruction");
  check_value(run_later(), 0x322, "later in the block");
  check_value(run_loop_body(), 4950, "an immediate that grows with every turn of the loop");
  check_value(run_jump_target(), 5, "target of a jump");
  check_value(run_same_value(), 4, "a store that changes nothing");
  check_value(run_rep_stos(), 1, "rep stosb over the code behind it");
  check_value(run_rep_movs(), 0x33, "rep movsb over the code behind it");
  check_value(run_by_push(), 0x22222222, "push into the code");
  check_value(run_by_call(), 0, "call whose return address lands in the code");
  check_value(run_by_xadd(), 0x22, "lock xadd");
  check_value(run_by_cmpxchg(), 0x44, "lock cmpxchg");
  check_value(run_by_x87(), 0x55, "fistp");
  check_value(run_by_sse(), 0x66, "movss");
  check_value(run_by_setcc(), 1, "sete");
  trap_handlers[0x81] = patch_in_handler;
  check_value(run_by_interrupt(), 0x77, "interrupt handler");
  check_value(run_shared_page(), 20000, "counter in the page of its loop");
  uint32_t sum = 0;
  for (int i = 0; i < 200; ++i) sum += run_next() + run_by_push() + run_rep_movs() + run_loop_body();
  check_value(sum, (uint32_t)(200 * (0x22u + 0x22222222u + 0x33 + 4950)), "all again, 200 times");
}

static void other_page(void) {
  uint32_t sum = 0;
  for (uint32_t i = 0; i < 1000; ++i) {
    emit(frames[0] + i % 7 * 16, i);
    sum += call(frames[0] + i % 7 * 16);
  }
  check_value(sum, 499500, "1000 generated functions");
  sum = 0;
  for (uint32_t i = 0; i < 1000; ++i) {
    emit(frames[i % 4] + i * 4, i);
    sum += call(frames[i % 4] + i * 4);
  }
  check_value(sum, 499500, "1000 generated functions in four pages");
  // A block that calls a function which patches the caller's rest.
  emit(frames[0], 1);
  check_value(call(frames[0]), 1, "before");
  frames[0][1] = 2;
  check_value(call(frames[0]), 2, "after");
}

static void across_pages(void) {
  for (int k = 1; k <= 5; ++k) {
    uint8_t* at = frames[1] - k;  // k bytes in the first page
    emit(at, 0x01020304);
    uint32_t a = call(at);
    at[4] = 0x55;  // the last byte, in the second page unless k = 5
    uint32_t b = call(at);
    at[1] = 0x66;
    uint32_t c = call(at);
    *(volatile uint32_t*)(at + 1) = 0xa1b2c3d4;  // one store over both
    uint32_t d = call(at);
    say("instruction with %u bytes in the first page: %08x %08x %08x %08x\n", k, a, b, c, d);
    check(a == 0x01020304 && b == 0x55020304 && c == 0x55020366 && d == 0xa1b2c3d4, "  as written");
  }
}

static void aliases(void) {
  map(0, frames[0], kP | kW);
  map(1, frames[0], kP | kW);
  map(2, frames[1], kP | kW);
  uint32_t sum = 0;
  for (uint32_t i = 0; i < 100; ++i) {
    emit(window, i);  // through one mapping, run through two others
    serialise();
    sum += call(window + 4096) + call(frames[0]);
  }
  check_value(sum, 9900, "changed through an alias");
  emit(frames[0], 0x1111);
  emit(frames[1], 0x2222);
  sum = 0;
  for (uint32_t i = 0; i < 100; ++i) {
    map(0, frames[i % 2], kP | kW);
    sum += call(window);
  }
  check_value(sum, 50 * 0x3333, "another page in the same place");
  // The page below is changed through an alias while the window's mapping moves.
  map(0, frames[0], kP | kW);
  check_value(call(window), 0x1111, "before");
  emit(frames[0], 0x3333);
  map(0, frames[1], kP | kW);
  uint32_t other = call(window);
  map(0, frames[0], kP | kW);
  check(other == 0x2222 && call(window) == 0x3333, "changed while mapped out");
#if defined(__x86_64__)
  const Entry nx = 1ull << 63;
  map(3, frames[0], kP | kW | nx);
  sum = 0;
  for (uint32_t i = 0; i < 100; ++i) {
    emit(window + 3 * 4096, i);
    serialise();
    sum += call(window) + call(frames[0]);
  }
  check_value(sum, 9900, "changed through an alias that forbids execution");
  traps((void (*)(void))(word)(window + 3 * 4096));
  check(trap.vector == 14 && trap.error == 0x11, "which really does");
#endif
}

static uint32_t faults;
static void make_writable(struct Frame* f) {
  faults++;
  uint32_t page = (uint32_t)(read_cr2() - (word)window) >> 12;
  map((int)page, frames[page], kP | kW);
}

// A guest with W^X of its own: read-only when it runs, writable after the fault of the store.
static void write_protected(void) {
  trap_handlers[14] = make_writable;
  map(0, frames[0], kP);
  faults = 0;
  uint32_t sum = 0;
  for (uint32_t i = 0; i < 50; ++i) {
    emit(window, i);
    map(0, frames[0], kP);
    sum += call(window);
  }
  trap_handlers[14] = 0;
  check_value(sum, 1225, "write-protected code");
  check_value(*(volatile uint32_t*)&faults, 50, "faults");
}

int main(void) {
  turn_on_paging();
  own_page();
  other_page();
  across_pages();
  aliases();
  write_protected();
  return 0;
}
