// Shows the results and arithmetic flags of the integer instructions against a reference in C written from the manual
// (SDM vol. 2): every operation and operand size over a table of edge values, with carry clear and set, alone and
// behind another instruction whose flags it keeps in part; conditions; decimal adjustment. Flags which the manual
// leaves undefined are not looked at. Prints a checksum for each operation.
#include "runtime.h"

// clang-format never settles on one layout of the macro tables below.
// clang-format off

#if defined(__x86_64__)
typedef unsigned __int128 DoubleWord;
typedef __int128 SignedDoubleWord;
enum { kSizes = 4 };
#define Q(...) __VA_ARGS__
#else
typedef uint64_t DoubleWord;
typedef int64_t SignedDoubleWord;
enum { kSizes = 3 };
#define Q(...)
#endif

struct Case {
  word a, b, c, flags;  // AX, DX, CX
};

// What the manual says: `a`, `b`, `c` are the low `bits` of AX, DX, CX afterwards.
struct Result {
  struct Case out;
  word undefined;  // flags
  bool write_a, write_b, write_c;
  bool skip;  // nothing is defined
};

// ---- the machine's side ----
typedef void Run(struct Case*);
#define OP(name, text)                                                                      \
  static void name(struct Case* t) {                                                        \
    __asm__ volatile("push %3; popf; " text "; pushf; pop %3"                               \
                     : "+a"(t->a), "+d"(t->b), "+c"(t->c), "+D"(t->flags)::"memory", "cc"); \
  }
#define SIZES(op, b, w, l, q) OP(op##_b, b) OP(op##_w, w) OP(op##_l, l) Q(OP(op##_q, q))
#define WIDE_SIZES(op, w, l, q) OP(op##_w, w) OP(op##_l, l) Q(OP(op##_q, q))
#define BINARY(op) SIZES(op, #op " %%dl, %%al", #op " %%dx, %%ax", #op " %%edx, %%eax", #op " %%rdx, %%rax")
#define UNARY(op) SIZES(op, #op " %%al", #op " %%ax", #op " %%eax", #op " %%rax")
#define SHIFT(op)                                                                         \
  SIZES(op, #op " %%cl, %%al", #op " %%cl, %%ax", #op " %%cl, %%eax", #op " %%cl, %%rax") \
  SIZES(op##1, #op " $1, %%al", #op " $1, %%ax", #op " $1, %%eax", #op " $1, %%rax")      \
  SIZES(op##3, #op " $3, %%al", #op " $3, %%ax", #op " $3, %%eax", #op " $3, %%rax")
#define WIDE(op) WIDE_SIZES(op, #op " %%dx, %%ax", #op " %%edx, %%eax", #op " %%rdx, %%rax")
#define DOUBLE_SHIFT(op) WIDE_SIZES(op, #op " %%cl, %%dx, %%ax", #op " %%cl, %%edx, %%eax", #op " %%cl, %%rdx, %%rax")
#define BY_CX(op) SIZES(op, #op " %%cl", #op " %%cx", #op " %%ecx", #op " %%rcx")
BINARY(add)
BINARY(adc)
BINARY(sub)
BINARY(sbb)
BINARY(cmp)
BINARY(and)
BINARY(or)
BINARY(xor)
BINARY(test)
BINARY(xadd)
UNARY(inc)
UNARY(dec)
UNARY(neg)
UNARY(not )
SHIFT(shl)
SHIFT(shr)
SHIFT(sar)
SHIFT(rol)
SHIFT(ror)
SHIFT(rcl)
SHIFT(rcr)
DOUBLE_SHIFT(shld)
DOUBLE_SHIFT(shrd)
WIDE(imul)
WIDE(bt)
WIDE(bts)
WIDE(btr)
WIDE(btc)
WIDE(bsf)
WIDE(bsr)
WIDE(popcnt)
SIZES(cmpxchg, "cmpxchg %%dl, %%cl", "cmpxchg %%dx, %%cx", "cmpxchg %%edx, %%ecx", "cmpxchg %%rdx, %%rcx")
BY_CX(mul)
SIZES(imul1, "imulb %%cl", "imulw %%cx", "imull %%ecx", "imulq %%rcx")
BY_CX(div)
BY_CX(idiv)

// ---- the reference's side ----
static word mask_of(int bits) { return bits == 8 * (int)sizeof(word) ? ~(word)0 : ((word)1 << bits) - 1; }
static word top_of(int bits) { return (word)1 << (bits - 1); }
static intptr_t sign_extend(word v, int bits) { return (intptr_t)((v ^ top_of(bits)) - top_of(bits)); }

static bool even_parity(word v) {
  v ^= v >> 4;
  return !(0x6996 >> (v & 15) & 1);
}

// SF, ZF and PF of a result.
static word szp(word r, int bits) {
  r &= mask_of(bits);
  return (r & top_of(bits) ? kFlagSf : 0) | (r ? 0 : kFlagZf) | (even_parity(r & 0xff) ? kFlagPf : 0);
}

static struct Result start(const struct Case* in, int bits) {
  struct Result r = {.out = *in};
  r.out.a &= mask_of(bits);
  r.out.b &= mask_of(bits);
  r.out.c &= mask_of(bits);
  return r;
}

static void set_flags(struct Result* r, word which, word value) {
  r->out.flags = (r->out.flags & ~which) | (value & which);
}

static word add_flags(word a, word b, word carry, int bits, word* sum) {
  word m = mask_of(bits);
  *sum = (a + b + carry) & m;
  bool out = *sum < a || (carry && *sum == a);
  return szp(*sum, bits) | (out ? kFlagCf : 0) | ((a ^ b ^ *sum) & 0x10 ? kFlagAf : 0) |
         ((a ^ *sum) & (b ^ *sum) & top_of(bits) ? kFlagOf : 0);
}

static word sub_flags(word a, word b, word borrow, int bits, word* difference) {
  word m = mask_of(bits);
  *difference = (a - b - borrow) & m;
  return szp(*difference, bits) | (a < b || (borrow && a == b) ? kFlagCf : 0) |
         ((a ^ b ^ *difference) & 0x10 ? kFlagAf : 0) | ((a ^ b) & (a ^ *difference) & top_of(bits) ? kFlagOf : 0);
}

enum Kind {
  kAdd,
  kAdc,
  kSub,
  kSbb,
  kCmp,
  kAnd,
  kOr,
  kXor,
  kTest,
  kXadd,
  kInc,
  kDec,
  kNeg,
  kNot,
  kShl,
  kShr,
  kSar,
  kRol,
  kRor,
  kRcl,
  kRcr,
  kShld,
  kShrd,
  kImul,
  kBt,
  kBts,
  kBtr,
  kBtc,
  kBsf,
  kBsr,
  kPopcnt,
  kCmpxchg,
  kMul1,
  kImul1,
  kDiv,
  kIdiv
};

static void arithmetic(struct Result* r, enum Kind kind, int bits) {
  word a = r->out.a, b = r->out.b, carry = r->out.flags & 1, value, flags;
  switch (kind) {
    case kAdd:
    case kXadd:
      flags = add_flags(a, b, 0, bits, &value);
      break;
    case kAdc:
      flags = add_flags(a, b, carry, bits, &value);
      break;
    case kSbb:
      flags = sub_flags(a, b, carry, bits, &value);
      break;
    case kInc:
      flags = add_flags(a, 1, 0, bits, &value);
      break;
    case kDec:
      flags = sub_flags(a, 1, 0, bits, &value);
      break;
    case kNeg:
      flags = sub_flags(0, a, 0, bits, &value);
      break;
    default:
      flags = sub_flags(a, b, 0, bits, &value);
  }
  set_flags(r, kind == kInc || kind == kDec ? kArithmeticFlags & ~kFlagCf : kArithmeticFlags, flags);
  if (kind == kXadd) {
    r->out.b = a;
    r->write_b = true;
  }
  if (kind != kCmp) r->out.a = value;
  r->write_a = kind != kCmp;
}

static void logic(struct Result* r, enum Kind kind, int bits) {
  word a = r->out.a, b = r->out.b;
  word value = kind == kOr ? a | b : kind == kXor ? a ^ b : a & b;
  set_flags(r, kArithmeticFlags, szp(value, bits));
  r->undefined = kFlagAf;
  if (kind != kTest) r->out.a = value;
  r->write_a = kind != kTest;
}

static void shift(struct Result* r, enum Kind kind, int bits, word count) {
  word a = r->out.a, top = top_of(bits), value = a, carry = 0;
  count &= bits == 64 ? 63 : 31;
  r->write_a = true;
  if (!count) return;
  for (word i = 0; i < count; ++i) {
    bool out_left = value & top, out_right = value & 1;
    carry = kind == kShl ? out_left : out_right;
    value = kind == kShl ? value << 1 & mask_of(bits) : value >> 1 | (kind == kSar && out_left ? top : 0);
  }
  word overflow = kind == kShl ? !!(value & top) ^ carry : kind == kShr ? !!(a & top) : 0;
  set_flags(r, kArithmeticFlags, szp(value, bits) | carry | (overflow ? kFlagOf : 0));
  r->undefined = kFlagAf | (count != 1 ? kFlagOf : 0) | (kind != kSar && count >= (word)bits ? kFlagCf : 0);
  r->out.a = value;
}

static void rotate(struct Result* r, enum Kind kind, int bits, word count) {
  word top = top_of(bits), value = r->out.a, carry = r->out.flags & 1;
  const bool top_before = value & top, carry_before = carry;
  count &= bits == 64 ? 63 : 31;
  r->write_a = true;
  if (!count) return;
  for (word i = 0; i < count; ++i) {
    word in_left = kind == kRol ? !!(value & top) : carry, in_right = kind == kRor ? value & 1 : carry;
    if (kind == kRol || kind == kRcl) {
      carry = !!(value & top);
      value = (value << 1 | in_left) & mask_of(bits);
    } else {
      carry = value & 1;
      value = value >> 1 | (in_right ? top : 0);
    }
  }
  bool now = value & top;
  bool overflow = kind == kRol || kind == kRcl ? now ^ carry
                  : kind == kRor               ? now ^ !!(value & top >> 1)
                                               : top_before ^ carry_before;
  set_flags(r, kFlagCf | kFlagOf, carry | (overflow ? kFlagOf : 0));
  r->undefined = count != 1 ? kFlagOf : 0;
  r->out.a = value;
}

static void double_shift(struct Result* r, enum Kind kind, int bits, word count) {
  word value = r->out.a, fill = r->out.b, top = top_of(bits), carry = 0;
  const bool top_before = value & top;
  count &= bits == 64 ? 63 : 31;
  r->write_a = true;
  if (!count) return;
  if (count > (word)bits) {
    r->skip = true;
    return;
  }
  for (word i = 0; i < count; ++i) {
    if (kind == kShld) {
      carry = !!(value & top);
      value = (value << 1 | !!(fill & top)) & mask_of(bits);
      fill <<= 1;
    } else {
      carry = value & 1;
      value = value >> 1 | (fill & 1 ? top : 0);
      fill >>= 1;
    }
  }
  set_flags(r, kArithmeticFlags, szp(value, bits) | carry | (top_before != !!(value & top) ? kFlagOf : 0));
  r->undefined = kFlagAf | (count != 1 ? kFlagOf : 0);
  r->out.a = value;
}

static void bit_test(struct Result* r, enum Kind kind, int bits) {
  word bit = (word)1 << (r->out.b & (word)(bits - 1));
  set_flags(r, kFlagCf, r->out.a & bit ? 1 : 0);
  r->undefined = kFlagOf | kFlagSf | kFlagAf | kFlagPf;
  if (kind == kBts) r->out.a |= bit;
  if (kind == kBtr) r->out.a &= ~bit;
  if (kind == kBtc) r->out.a ^= bit;
  r->write_a = kind != kBt;
}

static void bit_scan(struct Result* r, enum Kind kind, int bits) {
  word source = r->out.b, value = 0;
  if (kind == kPopcnt) {
    for (int i = 0; i < bits; ++i) value += source >> i & 1;
    set_flags(r, kArithmeticFlags, source ? 0 : kFlagZf);
  } else {
    r->undefined = kArithmeticFlags & ~kFlagZf;
    set_flags(r, kFlagZf, source ? 0 : kFlagZf);
    if (!source) return;  // destination undefined: not compared
    for (int i = 0; i < bits; ++i) {
      if (!(source >> i & 1)) continue;
      value = (word)i;
      if (kind == kBsf) break;
    }
  }
  r->write_a = true;
  r->out.a = value;
}

static void compare_exchange(struct Result* r, int bits) {
  word difference, a = r->out.a, c = r->out.c;
  set_flags(r, kArithmeticFlags, sub_flags(a, c, 0, bits, &difference));
  if (a == c)
    r->out.c = r->out.b;
  else
    r->out.a = c;
}

// A byte product or dividend lives in AX, wider ones in DX:AX.
static void multiply(struct Result* r, enum Kind kind, int bits) {
  bool is_signed = kind != kMul1;
  word other = kind == kImul ? r->out.b : r->out.c;
  DoubleWord product = is_signed
                           ? (DoubleWord)((SignedDoubleWord)sign_extend(r->out.a, bits) * sign_extend(other, bits))
                           : (DoubleWord)r->out.a * other;
  word low = (word)product & mask_of(bits), high = (word)(product >> bits) & mask_of(bits);
  bool fits = is_signed ? high == (low & top_of(bits) ? mask_of(bits) : 0) : !high;
  set_flags(r, kFlagCf | kFlagOf, fits ? 0 : kFlagCf | kFlagOf);
  r->undefined = kFlagSf | kFlagZf | kFlagAf | kFlagPf;
  r->out.a = low;
  r->write_a = true;
  if (kind != kImul && bits > 8) {
    r->out.b = high;
    r->write_b = true;
  }
  if (kind != kImul && bits == 8) r->out.a |= high << 8;
}

// Schoolbook division; there is no library for the wide one.
static void divide(struct Result* r, enum Kind kind, int bits, word ax) {
  word low = bits == 8 ? ax & 0xff : r->out.a, high = bits == 8 ? ax >> 8 & 0xff : r->out.b, divisor = r->out.c;
  word m = mask_of(bits), top = top_of(bits);
  bool negate_quotient = false, negate_remainder = false;
  if (kind == kIdiv) {
    negate_remainder = high & top;
    negate_quotient = !(high & top) != !(divisor & top);
    if (negate_remainder) {
      low = -low & m;
      high = (~high + !low) & m;
    }
    if (divisor & top) divisor = -divisor & m;
  }
  if (!divisor || high >= divisor) {
    r->skip = true;
    return;
  }
  word quotient = 0, remainder = high;
  for (int i = bits - 1; i >= 0; --i) {
    bool carry = remainder & top;
    remainder = (remainder << 1 | (low >> i & 1)) & m;
    quotient <<= 1;
    if (carry || remainder >= divisor) {
      remainder = (remainder - divisor) & m;
      quotient |= 1;
    }
  }
  if (kind == kIdiv && (negate_quotient ? quotient > top : quotient >= top)) {
    r->skip = true;
    return;
  }
  if (negate_quotient) quotient = -quotient & m;
  if (negate_remainder) remainder = -remainder & m;
  r->undefined = kArithmeticFlags;
  r->write_a = true;
  r->out.a = quotient;
  if (bits == 8) {
    r->out.a |= remainder << 8;
  } else {
    r->out.b = remainder;
    r->write_b = true;
  }
}

// `fixed` is the count of the forms with an immediate count, -1 for CL.
static struct Result reference(enum Kind kind, int bits, int fixed, const struct Case* in) {
  struct Result r = start(in, bits);
  word count = fixed < 0 ? in->c & 0xff : (word)fixed;
  if (kind <= kSub || kind == kSbb || kind == kCmp || kind == kXadd || kind == kInc || kind == kDec || kind == kNeg) {
    arithmetic(&r, kind, bits);
  } else if (kind <= kTest) {
    logic(&r, kind, bits);
  } else if (kind == kNot) {
    r.out.a = ~r.out.a & mask_of(bits);
    r.write_a = true;
  } else if (kind <= kSar) {
    shift(&r, kind, bits, count);
  } else if (kind <= kRcr) {
    rotate(&r, kind, bits, count);
  } else if (kind <= kShrd) {
    double_shift(&r, kind, bits, count);
  } else if (kind == kImul || kind == kMul1 || kind == kImul1) {
    multiply(&r, kind, bits);
  } else if (kind <= kBtc) {
    bit_test(&r, kind, bits);
  } else if (kind <= kPopcnt) {
    bit_scan(&r, kind, bits);
  } else if (kind == kCmpxchg) {
    compare_exchange(&r, bits);
    r.write_a = r.write_c = true;
  } else {
    divide(&r, kind, bits, in->a);
  }
  return r;
}

// ---- comparison ----
static const uint64_t kValues[] = {0,
                                   1,
                                   2,
                                   3,
                                   0x0f,
                                   0x10,
                                   0x55,
                                   0x7f,
                                   0x80,
                                   0x81,
                                   0x99,
                                   0xfe,
                                   0xff,
                                   0x100,
                                   0x7fff,
                                   0x8000,
                                   0xaaaa,
                                   0xffff,
                                   0x10000,
                                   0x12345678,
                                   0x7fffffff,
                                   0x80000000,
                                   0xdeadbeef,
                                   0xffffffff,
                                   0x100000000,
                                   0x123456789abcdef0,
                                   0x7fffffffffffffff,
                                   0x8000000000000000,
                                   0xfedcba9876543210,
                                   0xffffffffffffffff};
enum { kValueCount = sizeof(word) == 8 ? 30 : 24 };
static const uint8_t kCounts[] = {0,  1,  2,  3,  4,  7,  8,  9,  10, 15, 16, 17, 18, 23,  24,
                                  25, 27, 30, 31, 32, 33, 34, 47, 48, 63, 64, 65, 96, 128, 255};
static const int kBits[] = {8, 16, 32, 64};

static uint32_t cases, wrong, sum;

// A result narrower than a register leaves the rest alone, except that 32 bits clear the upper half in long mode.
static word merged(word before, word after, int bits, bool written) {
  if (!written) return before;
  if (bits == 32) return after & mask_of(32);
  return (before & ~mask_of(bits)) | after;
}

static void one(const char* name, Run* run, enum Kind kind, int bits, int fixed, const struct Case* in) {
  struct Result want = reference(kind, bits, fixed, in);
  if (want.skip) return;
  struct Case got = *in;
  run(&got);
  ++cases;
  word defined = kArithmeticFlags & ~want.undefined;
  struct Case expect = {merged(in->a, want.out.a, bits, want.write_a), merged(in->b, want.out.b, bits, want.write_b),
                        merged(in->c, want.out.c, bits, want.write_c), want.out.flags & defined};
  if ((kind == kBsf || kind == kBsr) && !want.write_a) expect.a = got.a = 0;
  if (kind == kCmpxchg && bits == 32) {  // what happens to the upper halves depends on the model
    got.a &= mask_of(32);
    got.c &= mask_of(32);
    expect.a &= mask_of(32);
    expect.c &= mask_of(32);
  }
  if (bits == 8 && (kind == kMul1 || kind == kImul1 || kind == kDiv || kind == kIdiv))
    expect.a = (in->a & ~(word)0xffff) | want.out.a;
  got.flags &= defined;
  sum = crc32(sum, &got, sizeof got);
  if (got.a == expect.a && got.b == expect.b && got.c == expect.c && got.flags == expect.flags) return;
  if (wrong++ < 5) {
    say("%s %u a=%w b=%w c=%w flags=%w:\n", name, bits, in->a, in->b, in->c, in->flags & kArithmeticFlags);
    say("  a=%w b=%w c=%w flags=%w\n", got.a, got.b, got.c, got.flags);
    say("  should be a=%w b=%w c=%w flags=%w\n", expect.a, expect.b, expect.c, expect.flags);
  }
}

struct Operation {
  const char* name;
  enum Kind kind;
  int fixed;
  Run* run[4];
};

#if defined(__x86_64__)
#define ALL(op) \
  { op##_b, op##_w, op##_l, op##_q }
#define NO_BYTE(op) \
  { 0, op##_w, op##_l, op##_q }
#else
#define ALL(op) \
  { op##_b, op##_w, op##_l, 0 }
#define NO_BYTE(op) \
  { 0, op##_w, op##_l, 0 }
#endif
#define SHIFTS(op, kind) \
  {#op, kind, -1, ALL(op)}, {#op " 1", kind, 1, ALL(op##1)}, { #op " 3", kind, 3, ALL(op##3) }

static const struct Operation kOperations[] = {{"add", kAdd, 0, ALL(add)},
                                               {"adc", kAdc, 0, ALL(adc)},
                                               {"sub", kSub, 0, ALL(sub)},
                                               {"sbb", kSbb, 0, ALL(sbb)},
                                               {"cmp", kCmp, 0, ALL(cmp)},
                                               {"and", kAnd, 0, ALL(and)},
                                               {"or", kOr, 0, ALL(or)},
                                               {"xor", kXor, 0, ALL(xor)},
                                               {"test", kTest, 0, ALL(test)},
                                               {"xadd", kXadd, 0, ALL(xadd)},
                                               {"inc", kInc, 0, ALL(inc)},
                                               {"dec", kDec, 0, ALL(dec)},
                                               {"neg", kNeg, 0, ALL(neg)},
                                               {"not", kNot, 0, ALL(not )},
                                               SHIFTS(shl, kShl),
                                               SHIFTS(shr, kShr),
                                               SHIFTS(sar, kSar),
                                               SHIFTS(rol, kRol),
                                               SHIFTS(ror, kRor),
                                               SHIFTS(rcl, kRcl),
                                               SHIFTS(rcr, kRcr),
                                               {"shld", kShld, -1, NO_BYTE(shld)},
                                               {"shrd", kShrd, -1, NO_BYTE(shrd)},
                                               {"imul", kImul, 0, NO_BYTE(imul)},
                                               {"bt", kBt, 0, NO_BYTE(bt)},
                                               {"bts", kBts, 0, NO_BYTE(bts)},
                                               {"btr", kBtr, 0, NO_BYTE(btr)},
                                               {"btc", kBtc, 0, NO_BYTE(btc)},
                                               {"bsf", kBsf, 0, NO_BYTE(bsf)},
                                               {"bsr", kBsr, 0, NO_BYTE(bsr)},
                                               {"popcnt", kPopcnt, 0, NO_BYTE(popcnt)},
                                               {"cmpxchg", kCmpxchg, 0, ALL(cmpxchg)},
                                               {"mul", kMul1, 0, ALL(mul)},
                                               {"imul wide", kImul1, 0, ALL(imul1)},
                                               {"div", kDiv, 0, ALL(div)},
                                               {"idiv", kIdiv, 0, ALL(idiv)}};

static word xorshift(void) {
  static uint64_t state = 0x2545f4914f6cdd1d;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (word)(state >> (64 - 8 * sizeof(word)));
}

static void operation(const struct Operation* op) {
  cases = sum = 0;
  for (int size = 0; size < kSizes; ++size) {
    if (!op->run[size]) continue;
    const int bits = kBits[size];
    for (int i = 0; i < kValueCount; ++i) {
      for (int j = 0; j < kValueCount; ++j) {
        struct Case in = {(word)kValues[i], (word)kValues[j], kCounts[(i + j) % sizeof kCounts], 2 | ((i ^ j) & 1)};
        if (op->kind == kCmpxchg || op->kind >= kMul1) in.c = (word)kValues[(i * 7 + j * 3) % kValueCount];
        one(op->name, op->run[size], op->kind, bits, op->fixed, &in);
        in.flags ^= kArithmeticFlags;
        one(op->name, op->run[size], op->kind, bits, op->fixed, &in);
        in.a = xorshift();
        in.b = xorshift();
        if (op->kind == kDiv || op->kind == kIdiv) {  // keep quotients in range now and then
          in.c = xorshift() >> j;
          in.b = op->kind == kDiv ? (in.c & mask_of(bits)) >> 1
                                  : (word)((intptr_t)sign_extend(in.c & mask_of(bits), bits) / 4);
          if (bits == 8) in.a = (in.a & 0xff) | (in.b & 0xff) << 8;
        } else if (op->kind == kCmpxchg && (j & 1)) {
          in.c = in.a;
        }
        one(op->name, op->run[size], op->kind, bits, op->fixed, &in);
      }
    }
  }
  say("%s: %u cases, sum %08x\n", op->name, cases, sum);
}

// ---- pairs: the second keeps some or all flags of the first, both in one block ----
#define SECONDS(name, text)                                                                                 \
  OP(pair_##name##_inc, text "inc %%eax")                                                                   \
  OP(pair_##name##_dec, text "dec %%eax")                                                                   \
  OP(pair_##name##_rol, text "rol %%cl, %%eax") OP(pair_##name##_shl, text "shl %%cl, %%eax")               \
      OP(pair_##name##_sar, text "sar %%cl, %%eax") OP(pair_##name##_rcr, text "rcr %%cl, %%eax")           \
          OP(pair_##name##_bt, text "bt %%edx, %%eax") OP(pair_##name##_not, text "not %%eax")              \
              OP(pair_##name##_adc, text "adc %%edx, %%eax") OP(pair_##name##_sbb, text "sbb %%edx, %%eax") \
                  OP(pair_##name##_shrd, text "shrd %%cl, %%edx, %%eax")
SECONDS(add, "add %%edx, %%eax; ")
SECONDS(sub, "sub %%edx, %%eax; ")
SECONDS(and, "and %%edx, %%eax; ")
SECONDS(neg, "neg %%eax; ")
SECONDS(inc, "inc %%eax; ")
SECONDS(shl1, "shl $1, %%eax; ")
SECONDS(rcr1, "rcr $1, %%eax; ")
SECONDS(adc, "adc %%edx, %%eax; ")
SECONDS(sbb, "sbb %%edx, %%eax; ")
#define PAIRS(first, kind, fixed)                                                                            \
  {                                                                                                          \
#first, kind, fixed, {                                                                                   \
      pair_##first##_inc, pair_##first##_dec, pair_##first##_rol, pair_##first##_shl, pair_##first##_sar,    \
          pair_##first##_rcr, pair_##first##_bt, pair_##first##_not, pair_##first##_adc, pair_##first##_sbb, \
          pair_##first##_shrd                                                                                \
    }                                                                                                        \
  }
static const enum Kind kSeconds[] = {kInc, kDec, kRol, kShl, kSar, kRcr, kBt, kNot, kAdc, kSbb, kShrd};
enum { kSecondCount = sizeof kSeconds / sizeof *kSeconds };
static const struct {
  const char* name;
  enum Kind kind;
  int fixed;
  Run* run[kSecondCount];
} kPairs[] = {PAIRS(add, kAdd, 0),  PAIRS(sub, kSub, 0),  PAIRS(and, kAnd, 0), PAIRS(neg, kNeg, 0), PAIRS(inc, kInc, 0),
              PAIRS(shl1, kShl, 1), PAIRS(rcr1, kRcr, 1), PAIRS(adc, kAdc, 0), PAIRS(sbb, kSbb, 0)};

static void pairs(void) {
  for (unsigned p = 0; p < sizeof kPairs / sizeof *kPairs; ++p) {
    cases = sum = 0;
    for (int s = 0; s < kSecondCount; ++s) {
      for (int i = 0; i < 24; ++i) {
        for (int j = 0; j < 24; ++j) {
          struct Case in = {(word)kValues[i], (word)kValues[j], kCounts[(i * 5 + j) % sizeof kCounts],
                            2 | ((i ^ j) & 1)};
          if ((i + j) % 4 == 0) in.c = 0;  // a count of zero keeps every flag
          struct Result first = reference(kPairs[p].kind, 32, kPairs[p].fixed, &in);
          struct Result second = reference(kSeconds[s], 32, -1, &first.out);
          // A flag is known if the second defines it, or keeps one that the first defined.
          struct Case flipped = first.out;
          flipped.flags ^= first.undefined;
          struct Result other = reference(kSeconds[s], 32, -1, &flipped);
          word defined = kArithmeticFlags & ~second.undefined & ~(second.out.flags ^ other.out.flags);
          struct Case got = in;
          kPairs[p].run[s](&got);
          ++cases;
          got.flags &= defined;
          sum = crc32(sum, &got, sizeof got);
          if (got.a == second.out.a && got.flags == (second.out.flags & defined)) continue;
          if (wrong++ < 5)
            say("%s then %u: a=%w b=%w c=%w flags=%w: a=%w flags=%w, should be a=%w flags=%w\n", kPairs[p].name,
                kSeconds[s], in.a, in.b, in.c, in.flags, got.a, got.flags, second.out.a, second.out.flags & defined);
        }
      }
    }
    say("%s and another: %u cases, sum %08x\n", kPairs[p].name, cases, sum);
  }
}

// ---- conditions ----
#define CONDITION(cc)             \
  OP(set_##cc, "set" #cc " %%al") \
  OP(cmov_##cc, "cmov" #cc " %%edx, %%eax") OP(jump_##cc, "mov $1, %%eax; j" #cc " 1f; mov $0, %%eax; 1:")
CONDITION(o)
CONDITION(no)
CONDITION(b) CONDITION(ae) CONDITION(e) CONDITION(ne) CONDITION(be) CONDITION(a) CONDITION(s) CONDITION(ns) CONDITION(p)
    CONDITION(np) CONDITION(l) CONDITION(ge) CONDITION(le) CONDITION(g)
#define CONDITION_ROW(cc) \
  { #cc, set_##cc, cmov_##cc, jump_##cc }
        static const struct {
  const char* name;
  Run *set, *cmov, *jump;
} kConditions[] = {CONDITION_ROW(o), CONDITION_ROW(no), CONDITION_ROW(b),  CONDITION_ROW(ae),
                   CONDITION_ROW(e), CONDITION_ROW(ne), CONDITION_ROW(be), CONDITION_ROW(a),
                   CONDITION_ROW(s), CONDITION_ROW(ns), CONDITION_ROW(p),  CONDITION_ROW(np),
                   CONDITION_ROW(l), CONDITION_ROW(ge), CONDITION_ROW(le), CONDITION_ROW(g)};

static bool holds(int condition, word f) {
  bool cf = f & kFlagCf, zf = f & kFlagZf, sf = f & kFlagSf, of = f & kFlagOf, pf = f & kFlagPf;
  const bool even[] = {of, cf, zf, cf || zf, sf, pf, sf != of, zf || sf != of};
  return even[condition / 2] ^ (condition & 1);
}

static void conditions(void) {
  for (int c = 0; c < 16; ++c) {
    uint32_t bits = 0;
    for (word i = 0; i < 64; ++i) {
      word flags = 2 | (i & 1) | (i & 2 ? kFlagPf : 0) | (i & 4 ? kFlagAf : 0) | (i & 8 ? kFlagZf : 0) |
                   (i & 16 ? kFlagSf : 0) | (i & 32 ? kFlagOf : 0);
      struct Case set = {0x1200, 0, 0, flags}, cmov = {5, 6, 0, flags}, jump = {0, 0, 0, flags};
      kConditions[c].set(&set);
      kConditions[c].cmov(&cmov);
      kConditions[c].jump(&jump);
      bool want = holds(c, flags);
      if (set.a != (word)(0x1200 + want) || cmov.a != (word)(5 + want) || jump.a != want) ++wrong;
      if ((set.flags ^ flags) & kArithmeticFlags) ++wrong;
      bits = bits * 33 + (uint32_t)jump.a;
    }
    say("condition %s: %08x\n", kConditions[c].name, bits);
  }
}

// ---- the rest ----
OP(do_sahf, "sahf")
OP(do_lahf, "lahf")
OP(do_cmc, "cmc")
OP(do_clc, "clc")
OP(do_stc, "stc")
OP(do_cbw, "cbw")
OP(do_cwde, "cwde")
OP(do_cwd, "cwd")
OP(do_cdq, "cdq")
OP(do_bswap, "bswap %%eax")

static void odds(void) {
  uint32_t s = 0;
  for (word i = 0; i < 256; ++i) {
    struct Case t = {i << 8 | 0x80, 0, 0, 2 | kFlagOf};
    do_sahf(&t);
    if ((t.flags & kArithmeticFlags) != ((i & 0xd5) | kFlagOf)) ++wrong;
    s = crc32(s, &t.flags, 2);
    do_lahf(&t);
    if ((t.a >> 8 & 0xff) != ((i & 0xd5) | 2)) ++wrong;
    t.flags = i;
    do_cmc(&t);
    if ((t.flags & 0xd5) != ((i & 0xd5) ^ 1)) ++wrong;
    do_clc(&t);
    if (t.flags & 1) ++wrong;
    do_stc(&t);
    if (!(t.flags & 1)) ++wrong;
    t.a = i;
    do_cbw(&t);
    do_cwde(&t);
    if ((uint32_t)t.a != (uint32_t)(int8_t)i) ++wrong;
    t.b = 0;
    do_cwd(&t);
    do_cdq(&t);
    if ((uint32_t)t.b != (i & 0x80 ? 0xffffffffu : 0)) ++wrong;
    t.a = i * 0x01020304;
    uint32_t v = (uint32_t)t.a;
    do_bswap(&t);
    if (t.a != (v >> 24 | (v >> 8 & 0xff00) | (v << 8 & 0xff0000) | v << 24)) ++wrong;
    s = crc32(s, &t.a, 4);
  }
  say("sahf lahf cmc clc stc cbw cwde cwd cdq bswap: sum %08x\n", s);
}

#if !defined(__x86_64__)
OP(do_daa, "daa")
OP(do_das, "das")
OP(do_aaa, "aaa")
OP(do_aas, "aas")
OP(do_aam, "aam")
OP(do_aam7, "aam $7")
OP(do_aad, "aad")
OP(do_aad7, "aad $7")

// SDM vol. 2, the operation sections of the six instructions.
static struct Case decimal(int which, word ax, word flags, word* undefined) {
  word al = ax & 0xff, ah = ax >> 8 & 0xff;
  const bool cf = flags & 1;
  bool af = flags & kFlagAf, carry = false;
  *undefined = kFlagOf;
  if (which < 2) {
    const word old = al;
    if ((al & 15) > 9 || af) {
      carry = cf || (which == 0 ? al + 6 > 0xff : al < 6);
      al = which == 0 ? al + 6 : al - 6;
      af = true;
    } else {
      af = false;
    }
    if (old > 0x99 || cf) {
      al = which == 0 ? al + 0x60 : al - 0x60;
      carry = true;
    } else if (which == 0) {
      carry = false;
    }
    al &= 0xff;
    return (struct Case){ah << 8 | al, 0, 0, szp(al, 8) | carry | (af ? kFlagAf : 0)};
  }
  if (which < 4) {
    *undefined = kFlagOf | kFlagSf | kFlagZf | kFlagPf;
    word all = ah << 8 | al;
    if ((al & 15) > 9 || af) {
      all = which == 2 ? all + 0x106 : all - 0x106;
      af = carry = true;
    } else {
      af = false;
    }
    return (struct Case){all & 0xff0f, 0, 0, (word)carry | (af ? kFlagAf : 0)};
  }
  *undefined = kFlagOf | kFlagAf | kFlagCf;
  const word base = which & 1 ? 7 : 10;
  if (which < 6) {
    ah = al / base;
    al = al % base;
  } else {
    al = (al + ah * base) & 0xff;
    ah = 0;
  }
  return (struct Case){ah << 8 | al, 0, 0, szp(al, 8)};
}

static void decimals(void) {
  static const struct {
    const char* name;
    Run* run;
  } kOps[] = {{"daa", do_daa}, {"das", do_das},    {"aaa", do_aaa}, {"aas", do_aas},
              {"aam", do_aam}, {"aam 7", do_aam7}, {"aad", do_aad}, {"aad 7", do_aad7}};
  for (int o = 0; o < 8; ++o) {
    sum = 0;
    for (word ax = 0; ax < 0x10000; ax += ax < 0x300 ? 1 : 37) {
      for (int f = 0; f < 4; ++f) {
        word flags = 2 | (f & 1) | (f & 2 ? kFlagAf : 0), undefined;
        struct Case got = {ax, 0, 0, flags}, want = decimal(o, ax, flags, &undefined);
        kOps[o].run(&got);
        got.flags &= kArithmeticFlags & ~undefined;
        sum = crc32(sum, &got.a, 2);
        sum = crc32(sum, &got.flags, 2);
        if (got.a != want.a || got.flags != (want.flags & ~undefined)) {
          if (wrong++ < 5)
            say("%s ax=%w flags=%w: %w %w, should be %w %w\n", kOps[o].name, ax, flags, got.a, got.flags, want.a,
                want.flags & ~undefined);
        }
      }
    }
    say("%s: sum %08x\n", kOps[o].name, sum);
  }
}
#endif

int main(void) {
  for (unsigned i = 0; i < sizeof kOperations / sizeof *kOperations; ++i) operation(&kOperations[i]);
  pairs();
  conditions();
  odds();
#if !defined(__x86_64__)
  decimals();
#endif
  check_value(wrong, 0, "differences from the manual");
  return 0;
}
