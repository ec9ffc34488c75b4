// Shows virtual-8086 mode: entry by IRET, which instructions trap at IOPL 0 and run at IOPL 3, IN and OUT through the
// bitmap of the TSS whatever IOPL is, INT n through the IDT with its checks, exceptions and hardware interrupts out of
// the task, a monitor that emulates CLI, STI, PUSHF, POPF, INT and IRET for a small DOS-like program, and paging under
// the task. SDM vol. 3B, chapter 20. CR4.VME stays clear.
#include "runtime.h"

extern const uint8_t v86_code[], v86_code_end[];  // v86_code.asm, runs at segment 0x1000
enum { kSegment = 0x1000, kStackSegment = 0x2000, kStackTop = 0x1000 };
// Entry points: offsets of the table at the start of v86_code.
enum Entry {
  kCli,
  kSti,
  kPushf,
  kPopf,
  kIret,
  kInt21,
  kInt3,
  kInto,
  kIn,
  kOut,
  kInWord,
  kUd,
  kDivide,
  kHlt,
  kLgdt,
  kMovCr0,
  kSegments,
  kProgram,
  kSpin,
  kPageFault,
  kInt13,
  kLmsw
};

static word offset_of(enum Entry e) { return ((const uint16_t*)v86_code)[e]; }

word v86_frame[9];
ASM_FUNCTION(enter_v86,
             "mov $v86_frame, %esi; mov $8, %ecx; 1: push (%esi, %ecx, 4); dec %ecx; jns 1b; mov $0x1234abcd, %eax;"
             "xor %ebx, %ebx; xor %ecx, %ecx; xor %edx, %edx; iret")

static void run(enum Entry e, word flags) {
  const word frame[9] = {offset_of(e), kSegment, 2 | kFlagVm | flags, kStackTop, kStackSegment, 0x3000, 0x4000,
                         0x5000,       0x6000};
  memcpy(v86_frame, frame, sizeof frame);
  traps(enter_v86);
}

static void on_stack(word a, word b, word c) {
  volatile uint16_t* stack = (volatile uint16_t*)((kStackSegment << 4) + kStackTop);
  stack[0] = (uint16_t)a;
  stack[1] = (uint16_t)b;
  stack[2] = (uint16_t)c;
}

// The trap must come from the task, at the start of the instruction (the tests put it first).
static void expect(enum Entry e, word flags, word vector, word error, const char* what) {
  run(e, flags);
  expect_trap(vector, error, what);
  if (!(trap.flags & kFlagVm)) check(false, "VM is set in the pushed flags");
}

static void at_iopl(bool three) {
  const word flags = three ? kFlagIopl3 : 0;
  say("IOPL %u:\n", three ? 3u : 0u);
  const word gp = 13, done = 0x80;  // every snippet ends with INT 0x80, which is #GP itself at IOPL 0
  static const struct {
    enum Entry entry;
    const char* name;
  } kSensitive[] = {{kCli, "cli"}, {kSti, "sti"}, {kPushf, "pushf"}, {kPopf, "popf"}, {kIret, "iret"}};
  for (int i = 0; i < 5; ++i) {
    on_stack(kSensitive[i].entry == kIret ? offset_of(kSti) : 2, kSegment, 2);
    run(kSensitive[i].entry, flags);
    expect_trap(three ? done : gp, 0, kSensitive[i].name);
    if (!three) check(trap.ip == offset_of(kSensitive[i].entry), "  at the instruction itself");
  }
  if (three) {
    run(kCli, flags | kFlagIf);
    check(!(trap.flags & kFlagIf), "cli clears IF");
    run(kSti, flags);
    check(trap.flags & kFlagIf, "sti sets IF");
    on_stack(kFlagIf, 0, 0);
    run(kPopf, flags);
    check((trap.flags & (kFlagIf | kFlagIopl3 | kFlagVm)) == (kFlagIf | kFlagIopl3 | kFlagVm),
          "popf changes IF, not IOPL or VM");
    expect(kInt21, flags, 13, 0x21 * 8 + 2, "int 0x21 through a DPL 0 gate");
    expect(kInt13, flags, 13, 0x13 * 8 + 2, "int 0x13 through a DPL 0 gate");
    expect(kInt3, flags, 3, 0, "int3");
    expect(kInto, flags, 4, 0, "into");
  } else {
    expect(kInt21, flags, 13, 0, "int 0x21");
    check(trap.ip == offset_of(kInt21), "  at the instruction itself");
    expect(kInt3, flags, 3, 0, "int3");
    expect(kInto, flags, 4, 0, "into");
  }
  expect(kUd, flags, 6, 0, "ud2");
  expect(kDivide, flags, 0, 0, "div by 0");
  expect(kHlt, flags, 13, 0, "hlt");
  expect(kLgdt, flags, 13, 0, "lgdt");
  expect(kMovCr0, flags, 13, 0, "mov cr0");
  expect(kLmsw, flags, 13, 0, "lmsw");

  tss.io_map_base = sizeof tss;
  expect(kIn, flags, 13, 0, "in without a bitmap");
  expect(kOut, flags, 13, 0, "out without a bitmap");
  tss.io_map_base = offsetof(struct Tss, io_map);
  memset(tss.io_map, 0xff, sizeof tss.io_map);
  tss.io_map[0x70 / 8] &= (uint8_t)~1;
  expect(kOut, flags, three ? done : gp, 0, "out to an allowed port");
  check(trap.ip > offset_of(kOut), "  which passes");
  expect(kIn, flags, 13, 0, "in from a forbidden port");
  check(trap.ip == offset_of(kIn), "  at the instruction itself");
  expect(kInWord, flags, 13, 0, "word of which one port is forbidden");
  check(trap.ip == offset_of(kInWord) + 3, "  at the instruction itself");
  tss.io_map[0x71 / 8] &= (uint8_t)~2;
  run(kInWord, flags);
  check(trap.ip > offset_of(kInWord) + 4, "word of allowed ports");
  tss.io_map_base = sizeof tss;
}

static void registers(void) {
  run(kSegments, kFlagIopl3);
  expect_trap(0x80, 0, "the task sees its segments");
  check(trap.v86_es == 0x3000 && trap.v86_ds == 0x4000 && trap.v86_fs == 0x5000 && trap.v86_gs == 0x6000,
        "segments are on the ring 0 stack");
  check((trap.es & 0xffff) == 0 && (trap.ds & 0xffff) == 0 && (trap.fs & 0xffff) == 0 && (trap.gs & 0xffff) == 0,
        "the handler starts with null segments");
  check(trap.cs == kSegment && trap.ss == kStackSegment && trap.sp == kStackTop, "CS, SS and SP");
  check_value(trap.ax, 0x1234abcd, "EAX keeps its upper half");
  check_value(trap.bx & 0xffff, 0x3000, "mov bx, es");
  check_value(trap.cx & 0xffff, 0x4000, "mov cx, ds");
  check_value(trap.dx & 0xffff, 0xbeef, "word at ds:0x10");
  check(*(volatile uint16_t*)0x3fff0 == 0xcafe || *(volatile uint16_t*)0x40020 == 0xcafe, "store through ds");
}

// A gate that a V86 task may use must lead to ring 0 (SDM vol. 3B, 20.3).
static void gates(void) {
  struct Gate saved = idt[0x80];
  gdt[kFreeSelector / 8] = descriptor(0, 0xfffff, 0xc09f);  // conforming, DPL 0
  gdt[kFreeSelector / 8 + 1] = descriptor(0, 0xfffff, 0xc0fb);
  idt[0x80].low = (saved.low & ~0xffff0000ull) | (uint64_t)kFreeSelector << 16;
  run(kCli, kFlagIopl3);
  expect_trap(13, kFreeSelector, "int 0x80 to conforming code");
  idt[0x80].low = (saved.low & ~0xffff0000ull) | (uint64_t)(kFreeSelector + 8) << 16;
  run(kCli, kFlagIopl3);
  expect_trap(13, kFreeSelector + 8, "int 0x80 to ring 3 code");
  idt[0x80] = saved;
}

// ---- the monitor ----
static bool virtual_if;
static uint32_t emulated[8];
static char printed[64];
static uint32_t length;

static uint8_t* linear(word segment, word at) { return (uint8_t*)((segment << 4) + (at & 0xffff)); }

static void push(struct Frame* f, word value) {
  f->sp = (f->sp & ~0xffffu) | ((f->sp - 2) & 0xffff);
  *(volatile uint16_t*)linear(f->ss, f->sp) = (uint16_t)value;
}

static word pop(struct Frame* f) {
  word v = *(volatile uint16_t*)linear(f->ss, f->sp);
  f->sp = (f->sp & ~0xffffu) | ((f->sp + 2) & 0xffff);
  return v;
}

static void reflect(struct Frame* f, int vector) {
  const volatile uint16_t* ivt = (const volatile uint16_t*)(vector * 4);
  push(f, (f->flags & 0xfdff & ~kFlagIopl3) | (virtual_if ? kFlagIf : 0));
  push(f, f->cs);
  push(f, f->ip);
  f->ip = ivt[0];
  f->cs = ivt[1];
  virtual_if = false;
}

static void monitor(struct Frame* f) {
  if (!(f->flags & kFlagVm)) {
    say("stray #GP at %w\n", f->ip);
    leave(0x13);
  }
  const uint8_t* code = linear(f->cs, f->ip);
  switch (code[0]) {
    case 0xfa:
      virtual_if = false;
      f->ip += 1;
      ++emulated[0];
      return;
    case 0xfb:
      virtual_if = true;
      f->ip += 1;
      ++emulated[1];
      return;
    case 0x9c:
      push(f, (f->flags & 0xfdff & ~kFlagIopl3) | (virtual_if ? kFlagIf : 0));
      f->ip += 1;
      ++emulated[2];
      return;
    case 0x9d:
    case 0xcf: {
      if (code[0] == 0xcf) {
        f->ip = pop(f);
        f->cs = pop(f);
        ++emulated[4];
      } else {
        f->ip += 1;
        ++emulated[3];
      }
      word flags = pop(f);
      virtual_if = flags & kFlagIf;
      f->flags = (f->flags & ~0xdd5u) | (flags & 0xdd5);
      return;
    }
    case 0xcd:
      if (code[1] == 0x80) break;
      f->ip += 2;
      ++emulated[5];
      if (code[1] == 0x20)  // a service of the monitor itself: print AL
        printed[length++ % sizeof printed] = (char)f->ax;
      else
        reflect(f, code[1]);
      return;
  }
  trap_handlers[13] = 0;  // the end of the program: report it
}

static void dos_like_program(void) {
  memset(emulated, 0, sizeof emulated);
  trap_handlers[13] = monitor;
  run(kProgram, 0);
  trap_handlers[13] = 0;
  say("printed: %s\n", printed);
  say("emulated: cli %u sti %u pushf %u popf %u iret %u int %u\n", emulated[0], emulated[1], emulated[2], emulated[3],
      emulated[4], emulated[5]);
  check_value(trap.ax & 0xffff, 0x600d, "the program's own verdict");
  check(virtual_if, "virtual IF is set at the end");
}

static volatile uint32_t ticks, ticks_in_task;
static void on_tick(struct Frame* f) {
  ++ticks;
  if (f->flags & kFlagVm) ++ticks_in_task;
  pic_eoi(0);
  if (ticks_in_task == 5) *(volatile uint8_t*)linear(kSegment, 0xff00) = 1;  // lets the loop end
}

static void hardware_interrupts(void) {
  *(volatile uint8_t*)linear(kSegment, 0xff00) = 0;
  trap_handlers[0x20] = on_tick;
  pit_set(0, 2, 1193);
  pic_unmask(0);
  run(kSpin, kFlagIopl3 | kFlagIf);
  pic_mask_all();
  check(trap.vector == 0x80 && ticks_in_task == 5, "five timer interrupts out of the task");
}

static uint32_t directory[1024] __attribute__((aligned(4096))), leaf[1024] __attribute__((aligned(4096)));
static void paging(void) {
  for (uint32_t i = 0; i < 1024; ++i) {
    directory[i] = i << 22 | 0x87;
    leaf[i] = i << 12 | 7;
  }
  directory[0] = (word)leaf | 7;
  leaf[0x48000 >> 12] = 0;
  write_cr4(kCr4Pse);
  write_cr3((word)directory);
  write_cr0(read_cr0() | CR0_PG);
  expect(kPageFault, kFlagIopl3, 14, 6, "store to an absent page");
  check_value(trap_cr2, 0x48000, "CR2");
  leaf[0x48000 >> 12] = 0x48000 | 3;
  invlpg((void*)0x48000);
  expect(kPageFault, kFlagIopl3, 14, 7, "store to a supervisor page");
  leaf[0x48000 >> 12] = 0x9000 | 7;
  *(volatile uint16_t*)0x9000 = 0;
  invlpg((void*)0x48000);
  run(kPageFault, kFlagIopl3);
  check(trap.vector == 0x80 && *(volatile uint16_t*)0x9000 == 0x5678, "store through a mapping");
}

int main(void) {
  memcpy((void*)(kSegment << 4), v86_code, (size_t)(v86_code_end - v86_code));
  *(volatile uint16_t*)(0x40000 + 0x10) = 0xbeef;
  at_iopl(false);
  at_iopl(true);
  registers();
  gates();
  dos_like_program();
  hardware_interrupts();
  paging();
  return 0;
}
