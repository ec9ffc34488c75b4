// The little that every guest shares: console on COM1, exit through isa-debug-exit at port 0xf4, descriptor tables,
// traps.
//
// A guest is a multiboot-1 ELF32 image. 32-bit guests run main() flat at ring 0 without paging; 64-bit guests run it in
// long mode with 4 GiB mapped one to one by user-accessible 2 MiB pages. Interrupts are off and both 8259s are masked
// (IRQ 0-15 sit at vectors 0x20-0x2f). What a guest prints must not depend on the host, the CPU's speed, or on where
// the compiler put things, because the tests compare it byte for byte.
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uintptr_t word;  // one general register

// ---- console and verdict ----
void put(char c);
void say(const char* format, ...);         // %s %c %u %d %x %w (word in hex) %q (uint64_t in hex); %08x pads with zeros
bool check(bool right, const char* name);  // prints "name: ok" or "name: WRONG" and remembers a failure
bool check_value(word got, word want, const char* name);
_Noreturn void finish(void);  // prints the verdict; exit value 0x10 (QEMU's exit code 33) for pass, 0x11 for fail
_Noreturn void leave(uint8_t value);

// ---- instructions ----
static inline void outb(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
static inline void outw(uint16_t port, uint16_t v) { __asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port)); }
static inline void outl(uint16_t port, uint32_t v) { __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port)); }
static inline uint8_t inb(uint16_t port) {
  uint8_t v;
  __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
  return v;
}
static inline uint16_t inw(uint16_t port) {
  uint16_t v;
  __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
  return v;
}
static inline uint32_t inl(uint16_t port) {
  uint32_t v;
  __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
  return v;
}
static inline void cli(void) { __asm__ volatile("cli" ::: "memory"); }
static inline void sti(void) { __asm__ volatile("sti" ::: "memory"); }
// Sleeps until the next interrupt was served; the shadow of STI leaves no gap between the two instructions.
static inline void sleep_for_interrupt(void) { __asm__ volatile("sti; hlt; cli" ::: "memory"); }
static inline uint64_t rdmsr(uint32_t index) {
  uint32_t lo, hi;
  __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(index));
  return lo | (uint64_t)hi << 32;
}
static inline void wrmsr(uint32_t index, uint64_t v) {
  __asm__ volatile("wrmsr" ::"c"(index), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}
static inline uint64_t rdtsc(void) {
  uint32_t lo, hi;
  __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
  return lo | (uint64_t)hi << 32;
}
#define DEFINE_CR(n)                                  \
  static inline word read_cr##n(void) {               \
    word v;                                           \
    __asm__ volatile("mov %%cr" #n ", %0" : "=r"(v)); \
    return v;                                         \
  }                                                   \
  static inline void write_cr##n(word v) { __asm__ volatile("mov %0, %%cr" #n ::"r"(v) : "memory"); }
DEFINE_CR(0)
DEFINE_CR(2)
DEFINE_CR(3)
DEFINE_CR(4)
#define DEFINE_DR(n)                                  \
  static inline word read_dr##n(void) {               \
    word v;                                           \
    __asm__ volatile("mov %%dr" #n ", %0" : "=r"(v)); \
    return v;                                         \
  }                                                   \
  static inline void write_dr##n(word v) { __asm__ volatile("mov %0, %%dr" #n ::"r"(v) : "memory"); }
DEFINE_DR(0)
DEFINE_DR(1)
DEFINE_DR(2)
DEFINE_DR(3)
DEFINE_DR(6)
DEFINE_DR(7)
static inline void invlpg(const void* at) { __asm__ volatile("invlpg (%0)" ::"r"(at) : "memory"); }
static inline void cpuid(uint32_t leaf, uint32_t sub, uint32_t out[4]) {
  __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(sub) : "memory");
}

enum {
  kCr0Pe = 1 << 0,
  kCr0Mp = 1 << 1,
  kCr0Em = 1 << 2,
  kCr0Ts = 1 << 3,
  kCr0Ne = 1 << 5,
  kCr0Wp = 1 << 16,
  kCr4Tsd = 1 << 2,
  kCr4De = 1 << 3,
  kCr4Pse = 1 << 4,
  kCr4Pae = 1 << 5,
  kCr4Pge = 1 << 7,
  kCr4Pce = 1 << 8,
  kCr4Osfxsr = 1 << 9,
  kCr4Osxmmexcpt = 1 << 10,
  kFlagCf = 1 << 0,
  kFlagPf = 1 << 2,
  kFlagAf = 1 << 4,
  kFlagZf = 1 << 6,
  kFlagSf = 1 << 7,
  kFlagTf = 1 << 8,
  kFlagIf = 1 << 9,
  kFlagDf = 1 << 10,
  kFlagOf = 1 << 11,
  kFlagIopl3 = 3 << 12,
  kFlagNt = 1 << 14,
  kFlagRf = 1 << 16,
  kFlagVm = 1 << 17,
  kArithmeticFlags = kFlagCf | kFlagPf | kFlagAf | kFlagZf | kFlagSf | kFlagOf,
};
#define CR0_PG 0x80000000u
#define MSR_EFER 0xc0000080u

// ---- segments ----
// 32 and 64 bit share the first entries; SYSENTER, SYSEXIT, SYSCALL and SYSRET find what they expect behind kCode0.
enum {
  kCode0 = 0x08,
  kData0 = 0x10,
  kCode3 = 0x18 | 3,  // 32-bit code in both flavours
  kData3 = 0x20 | 3,
  kCode3Long = 0x28 | 3,  // long mode only
  kData3Too = 0x30 | 3,   // where SYSEXIT to 64 bits expects SS
  kTssSelector = 0x48,    // two slots in long mode
  kFreeSelector = 0x58,   // first slot for the guest's own use
  kGdtEntries = 64,
};
extern uint64_t gdt[kGdtEntries];
uint64_t descriptor(uint32_t base, uint32_t limit,
                    uint32_t access_and_flags);  // access in bits 0-7, G/D/L/AVL in 12-15
void load_tables(void);                          // LGDT, LIDT, LTR, segment registers

#if defined(__x86_64__)
struct __attribute__((packed)) Tss {
  uint32_t reserved0;
  uint64_t rsp[3];
  uint64_t reserved1;
  uint64_t ist[7];
  uint64_t reserved2;
  uint16_t reserved3;
  uint16_t io_map_base;
  uint8_t io_map[8192 + 1];
};
struct Gate {
  uint64_t low, high;
};
#else
struct Tss {
  uint32_t back_link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
  uint32_t es, cs, ss, ds, fs, gs, ldt;
  uint16_t trap;
  uint16_t io_map_base;
  uint8_t io_map[8192 + 1];
};
struct Gate {
  uint64_t low;
};
#endif
extern struct Tss tss;  // the running task's; io_map_base points behind the limit until a guest changes it
extern struct Gate idt[256];
void set_gate(int vector, const void* target, uint16_t selector, uint8_t access);  // access: 0x8e interrupt, 0xee DPL 3
void set_gate_ist(int vector, int ist);                                            // long mode only

// ---- traps ----
// What is on the stack when trap_dispatch() runs. `sp` and `ss` exist only if the privilege level changed (always, in
// long mode).
struct Frame {
#if defined(__x86_64__)
  word r15, r14, r13, r12, r11, r10, r9, r8, bp, di, si, dx, cx, bx, ax;
#else
  word gs, fs, es, ds, di, si, bp, sp_at_pusha, bx, dx, cx, ax;
#endif
  word vector, error, ip, cs, flags, sp, ss;
#if !defined(__x86_64__)
  word v86_es, v86_ds, v86_fs, v86_gs;
#endif
};
typedef void (*TrapHandler)(struct Frame*);
extern TrapHandler trap_handlers[256];  // may change the frame; returning resumes the guest there

// Runs `code` and tells whether it trapped. Vectors without a handler of their own end the run and are kept in `trap`;
// such a run may end with any `int n`.
bool traps(void (*code)(void));
// The same at ring 3, on the user stack, with `user_flags`. `code` must end by a trap; INT 0x80 is meant for that.
void run_user(void (*code)(void));
void run_user_at(word ip, word sp, word cs, word ss);
extern word user_flags;
extern struct Frame trap;  // the frame of the trap which ended the run
extern word trap_cr2;      // CR2 as the handler found it
extern uint8_t user_stack[4096], kernel_stack[], trap_stack[8192];
const char* trap_name(word vector);
void say_trap(const char* what);                              // "what: #PF error 0x7" from `trap`
bool expect_trap(word vector, word error, const char* what);  // says and checks it

// ---- chips that many guests touch ----
void pic_init(void);  // vectors 0x20-0x2f, all masked; the runtime has done it
void pic_unmask(int irq);
void pic_mask_all(void);
void pic_eoi(int irq);
void pit_set(int channel, int mode, uint16_t divisor);  // access lobyte/hibyte, binary
uint8_t cmos_read(uint8_t index);
void cmos_write(uint8_t index, uint8_t value);

// ---- memory ----
void* memset(void* to, int value, size_t count);
void* memcpy(void* to, const void* from, size_t count);
int memcmp(const void* a, const void* b, size_t count);
uint32_t crc32(uint32_t crc, const void* data, size_t count);  // IEEE 802.3, start with 0

// ---- what the boot loader said ----
const char* boot_command_line(void);  // of multiboot; 32-bit guests only, otherwise empty

// Bodies of code under test: an address that C can call or patch.
#define ASM_FUNCTION(name, text) \
  void name(void);               \
  __asm__(".pushsection .text\n.globl " #name "\n" #name ":\n" text "\n.popsection\n");
#if defined(__x86_64__)
#define R "r"  // prefix of a full register's name: "%" R "ax"
#else
#define R "e"
#endif

int main(void);
