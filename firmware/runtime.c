// Shared runtime of the guests; see runtime.h.
#include "runtime.h"

enum { kCom1 = 0x3f8, kPic1 = 0x20, kPic2 = 0xa0, kDebugExit = 0xf4 };

static bool failed;

// ---- console and verdict ----
static void serial_init(void) {
  outb(kCom1 + 1, 0);  // no interrupts
  outb(kCom1 + 3, 0x80);
  outb(kCom1 + 0, 1);  // 115200 baud
  outb(kCom1 + 1, 0);
  outb(kCom1 + 3, 3);  // 8n1
  outb(kCom1 + 2, 7);  // FIFOs on and empty
  outb(kCom1 + 4, 3);
}

void put(char c) {
  while (!(inb(kCom1 + 5) & 0x20)) {
  }
  outb(kCom1, (uint8_t)c);
}

static void put_number(uint64_t value, unsigned base, int width) {
  char digits[24];
  int n = 0;
  if (base == 16) {
    do digits[n++] = "0123456789abcdef"[value & 15];
    while (value >>= 4);
  } else {
    uint32_t v = (uint32_t)value;
    do digits[n++] = (char)('0' + v % 10);
    while (v /= 10);
  }
  for (; width > n; --width) put('0');
  while (n) put(digits[--n]);
}

void say(const char* format, ...) {
  va_list args;
  va_start(args, format);
  for (; *format; ++format) {
    if (*format != '%') {
      put(*format);
      continue;
    }
    int width = 0;
    while (*++format >= '0' && *format <= '9') width = width * 10 + (*format - '0');
    switch (*format) {
      case 's':
        for (const char* s = va_arg(args, const char*); *s; ++s) put(*s);
        break;
      case 'c':
        put((char)va_arg(args, int));
        break;
      case 'u':
        put_number(va_arg(args, uint32_t), 10, width);
        break;
      case 'd': {
        int v = va_arg(args, int);
        if (v < 0) put('-');
        put_number(v < 0 ? 0u - (uint32_t)v : (uint32_t)v, 10, width);
        break;
      }
      case 'x':
        put_number(va_arg(args, uint32_t), 16, width);
        break;
      case 'w':
        put_number(va_arg(args, word), 16, width);
        break;
      case 'q':
        put_number(va_arg(args, uint64_t), 16, width);
        break;
      default:
        put(*format);
    }
  }
  va_end(args);
}

bool check(bool right, const char* name) {
  say("%s: %s\n", name, right ? "ok" : "WRONG");
  failed |= !right;
  return right;
}

bool check_value(word got, word want, const char* name) {
  if (got == want) {
    say("%s: 0x%w ok\n", name, got);
    return true;
  }
  say("%s: 0x%w WRONG, should be 0x%w\n", name, got, want);
  failed = true;
  return false;
}

_Noreturn void leave(uint8_t value) {
  while (!(inb(kCom1 + 5) & 0x40)) {  // let the transmitter run empty
  }
  outb(kDebugExit, value);
  for (;;) __asm__ volatile("cli; hlt");
}

_Noreturn void finish(void) {
  say(failed ? "FAIL\n" : "PASS\n");
  leave(failed ? 0x11 : 0x10);
}

// ---- segments and gates ----
uint64_t gdt[kGdtEntries];
struct Tss tss;
struct Gate idt[256];

extern const uint8_t trap_stubs[];  // 256 of 16 bytes

uint64_t descriptor(uint32_t base, uint32_t limit, uint32_t access_and_flags) {
  return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(access_and_flags & 0xf0ff) << 40 |
         (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)(base >> 24) << 56;
}

void set_gate(int vector, const void* target, uint16_t selector, uint8_t access) {
  word at = (word)target;
  idt[vector].low =
      (at & 0xffff) | (uint64_t)selector << 16 | (uint64_t)access << 40 | (uint64_t)(at >> 16 & 0xffff) << 48;
#if defined(__x86_64__)
  idt[vector].high = at >> 32;
#endif
}

void set_gate_ist(int vector, int ist) { idt[vector].low = (idt[vector].low & ~(7ull << 32)) | (uint64_t)ist << 32; }

void load_segments(void);  // asm: CS, DS, ES, SS from the new GDT, null FS and GS

void load_tables(void) {
  struct __attribute__((packed)) {
    uint16_t limit;
    word base;
  } pointer = {sizeof gdt - 1, (word)gdt};
  __asm__ volatile("lgdt %0" ::"m"(pointer));
  load_segments();
  pointer.limit = sizeof idt - 1;
  pointer.base = (word)idt;
  __asm__ volatile("lidt %0" ::"m"(pointer));
  gdt[kTssSelector / 8] &= ~(2ull << 40);  // available again
  __asm__ volatile("ltr %w0" ::"r"(kTssSelector));
}

static void set_up_tables(void) {
#if defined(__x86_64__)
  gdt[1] = descriptor(0, 0xfffff, 0xa09b);
  gdt[5] = descriptor(0, 0xfffff, 0xa0fb);
  gdt[6] = descriptor(0, 0xfffff, 0xc0f3);
  gdt[7] = descriptor(0, 0xfffff, 0xc09b);
  gdt[kTssSelector / 8 + 1] = (word)&tss >> 32;
  tss.rsp[0] = (word)trap_stack + sizeof trap_stack;
#else
  gdt[1] = descriptor(0, 0xfffff, 0xc09b);
  tss.esp0 = (word)trap_stack + sizeof trap_stack;
  tss.ss0 = kData0;
#endif
  gdt[2] = descriptor(0, 0xfffff, 0xc093);
  gdt[3] = descriptor(0, 0xfffff, 0xc0fb);
  gdt[4] = descriptor(0, 0xfffff, 0xc0f3);
  gdt[kTssSelector / 8] = descriptor((uint32_t)(word)&tss, sizeof tss - 1, 0x89);
  tss.io_map_base = sizeof tss;
  for (int i = 0; i < 256; ++i) {
    bool for_user = i == 3 || i == 4 || i == 0x80;
    set_gate(i, trap_stubs + 16 * i, kCode0, for_user ? 0xee : 0x8e);
  }
  load_tables();
}

// ---- traps ----
TrapHandler trap_handlers[256];
struct Frame trap;
word trap_cr2;
word user_flags = 2;
uint8_t user_stack[4096] __attribute__((aligned(4096)));
uint8_t trap_stack[8192] __attribute__((aligned(4096)));

struct Jump {
  word sp;
};
static struct Jump jump;
static bool armed;
int save_point(struct Jump*,
               void (*code)(void));  // asm: keeps the stack, calls code; 0 if it returned, 1 after jump_back
_Noreturn void jump_back(struct Jump*);
_Noreturn void enter_user(word ip, word sp, word cs, word ss, word flags);

const char* trap_name(word vector) {
  static const char* const kNames[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "#9",
                                       "#TS", "#NP", "#SS", "#GP", "#PF", "#15", "#MF", "#AC", "#MC", "#XM"};
  return vector < sizeof kNames / sizeof *kNames ? kNames[vector] : "INT";
}

void say_trap(const char* what) {
  say("%s: %s", what, trap_name(trap.vector));
  if (trap.vector >= 32) say(" 0x%w", trap.vector);
  if (trap.vector == 8 || (trap.vector >= 10 && trap.vector <= 14) || trap.vector == 17) say(" error 0x%w", trap.error);
}

bool expect_trap(word vector, word error, const char* what) {
  say_trap(what);
  bool right = trap.vector == vector && trap.error == error;
  if (!right) {
    say(" WRONG, should be vector %w error 0x%w", vector, error);
    failed = true;
  }
  say("\n");
  return right;
}

// Called by every stub.
void trap_dispatch(struct Frame* frame) {
  if (frame->vector < 256 && trap_handlers[frame->vector]) {
    trap_handlers[frame->vector](frame);
    return;
  }
  trap_cr2 = read_cr2();
  bool with_stack = sizeof(word) == 8 || (frame->cs & 3) || (frame->flags & kFlagVm);
  memset(&trap, 0, sizeof trap);
  memcpy(&trap, frame, with_stack ? sizeof trap : offsetof(struct Frame, sp));
  if (!armed) {
    say_trap("\nunexpected trap");
    say(" at 0x%w:0x%w, CR2 0x%w\n", frame->cs, frame->ip, trap_cr2);
    leave(0x12);
  }
  armed = false;
  jump_back(&jump);
}

bool traps(void (*code)(void)) {
  armed = true;
  bool trapped = save_point(&jump, code);
  armed = false;
  return trapped;
}

static word user_ip, user_sp, user_cs, user_ss;
static void go_user(void) { enter_user(user_ip, user_sp, user_cs, user_ss, user_flags); }

void run_user_at(word ip, word sp, word cs, word ss) {
  user_ip = ip;
  user_sp = sp;
  user_cs = cs;
  user_ss = ss;
  traps(go_user);
}

void run_user(void (*code)(void)) {
  run_user_at((word)code, (word)user_stack + sizeof user_stack, sizeof(word) == 8 ? kCode3Long : kCode3, kData3);
}

// ---- chips ----
void pic_init(void) {
  outb(kPic1, 0x11);
  outb(kPic2, 0x11);
  outb(kPic1 + 1, 0x20);
  outb(kPic2 + 1, 0x28);
  outb(kPic1 + 1, 4);
  outb(kPic2 + 1, 2);
  outb(kPic1 + 1, 1);
  outb(kPic2 + 1, 1);
  pic_mask_all();
}

void pic_mask_all(void) {
  outb(kPic1 + 1, 0xff);
  outb(kPic2 + 1, 0xff);
}

void pic_unmask(int irq) {
  if (irq >= 8) {
    outb(kPic2 + 1, (uint8_t)(inb(kPic2 + 1) & ~(1 << (irq - 8))));
    irq = 2;
  }
  outb(kPic1 + 1, (uint8_t)(inb(kPic1 + 1) & ~(1 << irq)));
}

void pic_eoi(int irq) {
  if (irq >= 8) outb(kPic2, 0x20);
  outb(kPic1, 0x20);
}

void pit_set(int channel, int mode, uint16_t divisor) {
  outb(0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1));
  outb((uint16_t)(0x40 + channel), (uint8_t)divisor);
  outb((uint16_t)(0x40 + channel), (uint8_t)(divisor >> 8));
}

uint8_t cmos_read(uint8_t index) {
  outb(0x70, index);
  return inb(0x71);
}

void cmos_write(uint8_t index, uint8_t value) {
  outb(0x70, index);
  outb(0x71, value);
}

// ---- memory ----
void* memset(void* to, int value, size_t count) {
  uint8_t* p = to;
  while (count--) *p++ = (uint8_t)value;
  return to;
}

void* memcpy(void* to, const void* from, size_t count) {
  uint8_t* p = to;
  const uint8_t* q = from;
  while (count--) *p++ = *q++;
  return to;
}

int memcmp(const void* a, const void* b, size_t count) {
  const uint8_t *p = a, *q = b;
  for (; count; --count, ++p, ++q)
    if (*p != *q) return *p < *q ? -1 : 1;
  return 0;
}

uint32_t crc32(uint32_t crc, const void* data, size_t count) {
  crc = ~crc;
  for (const uint8_t* p = data; count; --count) {
    crc ^= *p++;
    for (int k = 0; k < 8; ++k) crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1)));
  }
  return ~crc;
}

// ---- what the boot loader said ----
word boot_information;

const char* boot_command_line(void) {
  enum { kHasCommandLine = 1 << 2 };
  const uint32_t* information = (const uint32_t*)boot_information;
  return information && (*information & kHasCommandLine) ? (const char*)(word)information[4] : "";
}

_Noreturn void runtime_main(void) {
  set_up_tables();
  pic_init();
  serial_init();
  main();
  finish();
}
