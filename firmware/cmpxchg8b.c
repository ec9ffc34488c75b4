// Shows CMPXCHG8B (and CMPXCHG16B in long mode): memory and register results, that it changes ZF alone while CF, PF,
// AF, SF and OF survive from whatever instruction came before it in the same block, that jumps behind it see that, that
// it writes even when the comparison fails (so a read-only page faults), and its faults. SDM vol. 2, CMPXCHG8B.
//
// QEMU 7.2 fails this guest unless it runs one instruction a block (-singlestep): it reads stale flags otherwise.
#include "runtime.h"

struct Case {
  word a, d, b, c, x, y, flags;  // x, y: operands of the instruction before
};
static uint64_t memory[4] __attribute__((aligned(16)));

typedef void Run(struct Case*);
// `before` computes flags from x in SI and y in BP.
#define OP(name, before, instruction)                                                                           \
  static void name(struct Case* t) {                                                                            \
    static struct Case s; /* not on the stack, which the code moves */                                          \
    s = *t;                                                                                                     \
    static word flags_out, a_out, d_out;                                                                        \
    __asm__ volatile("push %%" R "bx; push %%" R "bp; mov %[x], %%" R "si; mov %[y], %%" R "bp; mov %[b], %%" R \
                     "bx;"                                                                                      \
                     "push %[f]; popf;" before instruction "pushf; pop %[fo]; pop %%" R "bp; pop %%" R          \
                     "bx;"                                                                                      \
                     "mov %%" R "ax, %[ao]; mov %%" R "dx, %[dd]"                                               \
                     : [fo] "=m"(flags_out), [ao] "=m"(a_out), [dd] "=m"(d_out), "+a"(s.a), "+d"(s.d)           \
                     : [x] "m"(s.x), [y] "m"(s.y), [b] "m"(s.b), [f] "m"(s.flags), "c"(s.c)                     \
                     : "si", "memory", "cc");                                                                   \
    t->a = a_out;                                                                                               \
    t->d = d_out;                                                                                               \
    t->flags = flags_out;                                                                                       \
  }
#define BOTH(name, before)                           \
  OP(name##_alone, before, "")                       \
  OP(name##_8, before, "cmpxchg8b memory; ")         \
  OP(name##_lock, before, "lock cmpxchg8b memory; ") \
  WIDE(OP(name##_16, before, "lock cmpxchg16b memory; "))
#if defined(__x86_64__)
#define WIDE(x) x
#define ROW(name, text)                                      \
  {                                                          \
    text, name##_alone, { name##_8, name##_lock, name##_16 } \
  }
enum { kForms = 3 };
#else
#define WIDE(x)
#define ROW(name, text)                              \
  {                                                  \
    text, name##_alone, { name##_8, name##_lock, 0 } \
  }
enum { kForms = 2 };
#endif
BOTH(popf, "")
BOTH(add, "add %%ebp, %%esi; ")
BOTH(sub, "sub %%ebp, %%esi; ")
BOTH(cmp, "cmp %%ebp, %%esi; ")
BOTH(cmpb, "xchg %%ebx, %%esi; xchg %%ebp, %%ecx; cmp %%cl, %%bl; xchg %%ebp, %%ecx; xchg %%ebx, %%esi; ")
BOTH(adc, "adc %%ebp, %%esi; ")
BOTH(sbb, "sbb %%ebp, %%esi; ")
BOTH(inc, "inc %%esi; ")
BOTH(dec, "dec %%si; ")
BOTH(and, "and %%ebp, %%esi; stc; ")
BOTH(test, "test %%ebp, %%esi; ")
BOTH(shl, "shl $1, %%esi; ")
BOTH(sar, "sar $1, %%esi; ")
BOTH(rcr, "add %%ebp, %%esi; rcr $1, %%esi; ")
BOTH(neg, "neg %%esi; ")
BOTH(mul, "imul %%ebp, %%esi; ")
BOTH(bt, "cmp %%ebp, %%esi; bt %%ebp, %%esi; ")
BOTH(popcnt, "popcnt %%ebp, %%esi; ")
// The flags come from the block before, and this block has looked at nothing, or at some of them.
BOTH(moves, "add %%ebp, %%esi; jmp 1f; 1: mov %%ebp, %%esi; lea 1(%%esi), %%esi; xchg %%esi, %%ebp; ")
BOTH(stack, "sub %%ebp, %%esi; jmp 1f; 1: push %%" R "si; movzx %%bl, %%esi; pop %%" R "si; ")
BOTH(set, "cmp %%ebp, %%esi; jmp 1f; 1: mov %%esi, %%esi; seto set_byte; ")
BOTH(cmov, "inc %%esi; jmp 1f; 1: mov %%esi, %%esi; cmovbe %%ebp, %%esi; ")
static uint8_t set_byte __attribute__((used));

static const struct {
  const char* name;
  Run* alone;
  Run* run[kForms + 1];
} kRows[] = {ROW(popf, "popf"),
             ROW(add, "add"),
             ROW(sub, "sub"),
             ROW(cmp, "cmp"),
             ROW(cmpb, "cmp byte"),
             ROW(adc, "adc"),
             ROW(sbb, "sbb"),
             ROW(inc, "inc"),
             ROW(dec, "dec word"),
             ROW(and, "and, stc"),
             ROW(test, "test"),
             ROW(shl, "shl"),
             ROW(sar, "sar"),
             ROW(rcr, "add, rcr"),
             ROW(neg, "neg"),
             ROW(mul, "imul"),
             ROW(bt, "cmp, bt"),
             ROW(popcnt, "popcnt"),
             ROW(moves, "add, jmp, moves"),
             ROW(stack, "sub, jmp, push, pop"),
             ROW(set, "cmp, jmp, seto"),
             ROW(cmov, "inc, jmp, cmovbe")};
static const word kValues[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, 0x12345678};

static uint32_t wrong, sum;

// Flags of the instruction before alone, and with CMPXCHG8B behind it: they may differ in ZF only.
static void preserved(void) {
  for (unsigned row = 0; row < sizeof kRows / sizeof *kRows; ++row) {
    sum = 0;
    for (unsigned i = 0; i < 9; ++i) {
      for (unsigned j = 0; j < 9; ++j) {
        for (int equal = 0; equal < 2; ++equal) {
          for (int form = 0; form < kForms; ++form) {
            const bool wide = form == 2;
            struct Case in = {.a = 0x11112222, .d = 0x33334444, .b = 0x55556666, .c = 0x77778888};
            in.x = kValues[i];
            in.y = kValues[j];
            in.flags = 2 | ((i ^ j) & 1 ? kArithmeticFlags : 0);
            memory[0] = wide ? 0x11112222 : 0x3333444411112222;
            memory[1] = wide ? 0x33334444 : 0x1357;
            if (!equal) memory[0] ^= 0x100;
            const uint64_t before[2] = {memory[0], memory[1]};
            struct Case alone = in, t = in;
            kRows[row].alone(&alone);
            kRows[row].run[form](&t);
            // Undefined flags of the first instruction are the same both times on any one machine, but not elsewhere.
            word want = (alone.flags & kArithmeticFlags & ~kFlagZf) | (equal ? kFlagZf : 0);
            if ((t.flags & kArithmeticFlags) != want) ++wrong;
            uint64_t low = wide ? 0x55556666 : 0x7777888855556666, high = wide ? 0x77778888 : before[1];
            if (equal && (memory[0] != low || memory[1] != high)) ++wrong;
            if (!equal && (memory[0] != before[0] || memory[1] != before[1])) ++wrong;
            if (!equal &&
                (t.a != (wide ? before[0] : (uint32_t)before[0]) || t.d != (wide ? before[1] : before[0] >> 32)))
              ++wrong;
            if (equal && (t.a != in.a || t.d != in.d)) ++wrong;
            sum = crc32(sum, memory, 16);
            word zf = t.flags & kFlagZf;
            sum = crc32(sum, &zf, 2);
          }
        }
      }
    }
    say("behind %s: sum %08x\n", kRows[row].name, sum);
  }
  check_value(wrong, 0, "differences");
}

// Loops and jumps that depend on flags from before the instruction.
ASM_FUNCTION(carry_chain,
             "push %" R "bx; push %" R "si; push %" R
             "di; xor %esi, %esi; mov $1000, %edi; clc;"
             "1: mov $5, %eax; mov $0, %edx; mov $7, %ebx; mov $0, %ecx;"
             "rcl $1, %esi; cmpxchg8b memory; rcl $1, %esi; xor $0x80000001, %esi; cmpxchg8b memory;"
             "add %esi, %esi; cmpxchg8b memory; jc 2f; xor $0x1234567, %esi; 2: cmpxchg8b memory; adc $3, %esi;"
             "dec %edi; cmpxchg8b memory + 8; "
             "mov %edi, %edi; test %edi, %edi; jnz 1b;"
             "mov %esi, %eax; pop %" R "di; pop %" R "si; pop %" R "bx; ret")
ASM_FUNCTION(counter,
             "push %" R "bx; push %" R
             "si; mov $2000, %esi; 1: mov memory, %eax; mov memory + 4, %edx;"
             "2: mov %eax, %ebx; mov %edx, %ecx; add $0x40000001, %ebx; adc $0, %ecx; lock cmpxchg8b memory; jnz 2b;"
             "dec %esi; jnz 1b; pop %" R "si; pop %" R "bx; ret")

ASM_FUNCTION(on_read_only,
             "xor %eax, %eax; xor %edx, %edx; xor %ebx, %ebx; xor %ecx, %ecx; cmpxchg8b 0x40000ff8; int $0x80")
ASM_FUNCTION(on_absent, "mov $1, %eax; cmpxchg8b 0x40001000; int $0x80")
ASM_FUNCTION(straddling,
             "xor %eax, %eax; xor %edx, %edx; mov $-1, %ebx; mov $-1, %ecx; cmpxchg8b 0x40000ffc; int $0x80")
ASM_FUNCTION(of_register, ".byte 0x0f, 0xc7, 0xc8; int $0x80")
#if defined(__x86_64__)
ASM_FUNCTION(misaligned, "cmpxchg16b memory + 8; int $0x80")
typedef uint64_t Entry;
extern Entry boot_pdpt[];
enum { kPerTable = 512 };
#else
typedef uint32_t Entry;
enum { kPerTable = 1024 };
#endif
static Entry directory[kPerTable] __attribute__((aligned(4096)));
static Entry leaf[kPerTable] __attribute__((aligned(4096)));
static uint8_t frame[2][4096] __attribute__((aligned(4096)));

static void faults(void) {
#if defined(__x86_64__)
  boot_pdpt[1] = (word)directory | 3;
  directory[0] = (word)leaf | 3;
  write_cr3(read_cr3());
#else
  for (uint32_t i = 0; i < kPerTable; ++i) directory[i] = i << 22 | 0x83;
  directory[0x40000000u >> 22] = (word)leaf | 3;
  write_cr4(kCr4Pse);
  write_cr3((word)directory);
#endif
  write_cr0(read_cr0() | CR0_PG | kCr0Wp);
  leaf[0] = (word)frame[0] | 1;
  *(uint64_t*)(frame[0] + 4088) = 5;
  traps(on_read_only);
  expect_trap(14, 3, "unequal on a read-only page");
  check_value(trap_cr2, 0x40000ff8, "CR2");
  check(trap.ax == 0 && trap.dx == 0, "registers are as before");
  traps(on_absent);
  check(trap.vector == 14 && !(trap.error & 1) && trap_cr2 == 0x40001000, "absent page");
  leaf[0] = (word)frame[0] | 3;
  invlpg((void*)0x40000000);
  *(uint64_t*)(frame[0] + 4088) = 0;
  traps(straddling);
  check(trap.vector == 14 && !(trap.error & 1) && trap_cr2 == 0x40001000, "across two pages, second absent");
  check(*(uint64_t*)(frame[0] + 4088) == 0, "nothing was written");
  leaf[1] = (word)frame[1] | 3;
  traps(straddling);
  expect_trap(0x80, 0, "across two pages");
  check(*(uint32_t*)(frame[0] + 4092) == ~0u && *(uint32_t*)frame[1] == ~0u, "both halves were written");
  traps(of_register);
  expect_trap(6, 0, "register operand");
#if defined(__x86_64__)
  traps(misaligned);
  expect_trap(13, 0, "cmpxchg16b off 16 bytes");
#endif
}

static uint32_t call(const void* code) { return ((uint32_t(*)(void))code)(); }

static uint32_t carry_chain_in_c(void) {
  uint32_t v = 0;
  for (int i = 0; i < 1000; ++i) {
    uint32_t carry = v >> 31;
    v = v << 1;
    v = v << 1 | carry;
    v ^= 0x80000001;
    carry = v >> 31;
    v += v;
    if (!carry) v ^= 0x1234567;
    v += 3 + carry;
  }
  return v;
}

int main(void) {
  preserved();
  memory[0] = 5;
  memory[1] = 5;
  check_value(call((const void*)(word)carry_chain), carry_chain_in_c(), "carry chain");
  memory[0] = 0;
  counter();
  check(memory[0] == 2000ull * 0x40000001, "64-bit counter");
  faults();
  return 0;
}
