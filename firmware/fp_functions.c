// Shows the x87's functions beyond arithmetic: sines and tangents, logarithms, powers, FSCALE, FXTRACT (SDM vol. 2):
// known values, special ones, the condition codes, and the flags where processors and QEMU 7.2 agree. QEMU takes FSIN,
// FCOS, FSINCOS and FPTAN in double precision, so these may be off by what that brings; the others by one unit of 64
// bits.
#include "runtime.h"

struct Real {
  uint64_t mantissa;
  uint16_t top;
} __attribute__((packed));

static const struct Real kZero = {0, 0}, kMinusZero = {0, 0x8000}, kOne = {0x8000000000000000, 0x3fff},
                         kMinusOne = {0x8000000000000000, 0xbfff}, kTwo = {0x8000000000000000, 0x4000},
                         kThree = {0xc000000000000000, 0x4000}, kHalf = {0x8000000000000000, 0x3ffe},
                         kMinusThree = {0xc000000000000000, 0xc000}, kInfinity = {0x8000000000000000, 0x7fff},
                         kMinusInfinity = {0x8000000000000000, 0xffff}, kDefaultNan = {0xc000000000000000, 0xffff},
                         kHuge = {0x8000000000000000, 0x3fff + 63}, kHalfPi = {0xc90fdaa22168c235, 0x3fff},
                         kSeven = {0xe000000000000000, 0x4001}, kPi = {0xc90fdaa22168c235, 0x4000};

static uint16_t status;  // after the last function

// Pushes y, then x; `text` leaves its result in ST0, and as many more values as it likes.
#define FUNCTION(name, text)                                                           \
  static struct Real name(struct Real x, struct Real y) {                              \
    struct Real r;                                                                     \
    __asm__ volatile("fninit; fldt %3; fldt %2; " text "; fnstsw %1; fstpt %0; fninit" \
                     : "=m"(r), "=m"(status)                                           \
                     : "m"(x), "m"(y));                                                \
    return r;                                                                          \
  }
FUNCTION(f_sin, "fsin")
FUNCTION(f_cos, "fcos")
FUNCTION(f_sincos_sin, "fsincos; fxch")
FUNCTION(f_sincos_cos, "fsincos")
FUNCTION(f_tan, "fptan; fxch")
FUNCTION(f_tan_one, "fptan")
FUNCTION(f_atan, "fpatan")
FUNCTION(f_2xm1, "f2xm1")
FUNCTION(f_yl2x, "fyl2x")
FUNCTION(f_yl2xp1, "fyl2xp1")
FUNCTION(f_scale, "fscale")
FUNCTION(f_extract_exponent, "fxtract; fxch")
FUNCTION(f_extract_significand, "fxtract")
FUNCTION(f_prem, "fprem")
FUNCTION(f_prem1, "fprem1")

enum { kIe = 1, kZe = 4, kOe = 8, kUe = 16, kPe = 32, kC0 = 1 << 8, kC1 = 1 << 9, kC2 = 1 << 10, kC3 = 1 << 14 };

static void near(const char* what, struct Real got, struct Real want, uint64_t off) {
  const uint64_t d = got.mantissa > want.mantissa ? got.mantissa - want.mantissa : want.mantissa - got.mantissa;
  if (!check(got.top == want.top && d <= off, what))
    say("  %q/%x instead of %q/%x\n", got.mantissa, got.top, want.mantissa, want.top);
}
static void exact(const char* what, struct Real got, struct Real want, uint16_t flags) {
  near(what, got, want, 0);
  if ((status & 0x3d) != flags) check_value(status & 0x3d, flags, "  flags");
}

ASM_FUNCTION(take_sine, "fsin; ret")

enum { kLast = 1, kDouble = 0x1000 };

int main(void) {
  const struct Real a = {0x9000000000000000, 0x3ffe};  // 0.5625
  near("fsin", f_sin(a, kOne), (struct Real){0x88868625b4e1dbb2, 0x3ffe}, kDouble);
  near("fcos", f_cos(a, kOne), (struct Real){0xd88e820b1526311e, 0x3ffe}, kDouble);
  near("fsincos: sine", f_sincos_sin(a, kOne), (struct Real){0x88868625b4e1dbb2, 0x3ffe}, kDouble);
  near("fsincos: cosine", f_sincos_cos(a, kOne), (struct Real){0xd88e820b1526311e, 0x3ffe}, kDouble);
  near("fptan", f_tan(a, kOne), (struct Real){0xa1645d074a9bcee8, 0x3ffe}, kDouble);
  near("fptan pushes 1", f_tan_one(a, kOne), kOne, 0);
  check_value(status & kC2, 0, "C2");
  exact("fsin of -0", f_sin(kMinusZero, kOne), kMinusZero, 0);
  exact("fcos of -0", f_cos(kMinusZero, kOne), kOne, 0);
  exact("fsin of 2^64", f_sin((struct Real){0x8000000000000000, 0x3fff + 64}, kOne),
        (struct Real){0x8000000000000000, 0x3fff + 64}, 0);
  check_value(status & kC2, kC2, "C2");

  near("fpatan", f_atan(kTwo, kOne), (struct Real){0xed63382b0dda7b45, 0x3ffd}, kLast);
  near("fpatan of 0 and -1", f_atan(kMinusOne, kZero), kPi, kLast);
  near("fpatan of 1 and 0", f_atan(kZero, kOne), kHalfPi, kLast);
  near("fpatan of infinities", f_atan(kMinusInfinity, kInfinity), (struct Real){0x96cbe3f9990e91a8, 0x4000}, kLast);
  exact("fpatan of -0 and 1", f_atan(kOne, kMinusZero), kMinusZero, 0);

  near("f2xm1", f_2xm1(a, kOne), (struct Real){0xf4228e7d6030dafb, 0x3ffd}, kLast);
  exact("f2xm1 of 1", f_2xm1(kOne, kOne), kOne, 0);
  exact("f2xm1 of -1", f_2xm1(kMinusOne, kOne), (struct Real){0x8000000000000000, 0xbffe}, 0);
  exact("f2xm1 of -0", f_2xm1(kMinusZero, kOne), kMinusZero, 0);

  near("fyl2x", f_yl2x(kThree, kTwo), (struct Real){0xcae00d1cfdeb43d0, 0x4000}, kLast);
  exact("fyl2x of 1/2", f_yl2x(kHalf, kThree), kMinusThree, 0);
  exact("fyl2x of 1", f_yl2x(kOne, kMinusOne), kMinusZero, 0);
  exact("fyl2x of 0", f_yl2x(kZero, kMinusOne), kInfinity, kZe);
  exact("fyl2x of 0 and 0", f_yl2x(kZero, kZero), kDefaultNan, kIe);
  exact("fyl2x of -1", f_yl2x(kMinusOne, kOne), kDefaultNan, kIe);
  exact("fyl2x of infinity", f_yl2x(kInfinity, kMinusOne), kMinusInfinity, 0);
  exact("fyl2x of 1 and infinity", f_yl2x(kOne, kInfinity), kDefaultNan, kIe);

  near("fyl2xp1", f_yl2xp1((struct Real){0x8000000000000000, 0x3ffc}, kTwo), (struct Real){0xae00d1cfdeb43cfd, 0x3ffd},
       kLast);
  near("fyl2xp1 of little", f_yl2xp1((struct Real){0x8000000000000000, 0x3fc0}, kOne),
       (struct Real){0xb8aa3b295c17f0bb, 0x3fc0}, kLast);
  exact("fyl2xp1 of -0", f_yl2xp1(kMinusZero, kThree), kMinusZero, 0);

  exact("fscale", f_scale(kThree, (struct Real){0xf333333333333333, 0x3fff}), (struct Real){0xc000000000000000, 0x4001},
        0);
  exact("fscale of 0 by infinity", f_scale(kZero, kInfinity), kDefaultNan, kIe);
  exact("fscale by -infinity", f_scale(kMinusThree, kMinusInfinity), kMinusZero, 0);
  exact("fscale too far", f_scale(kOne, kHuge), kInfinity, kOe | kPe);
  exact("fxtract: exponent", f_extract_exponent(kMinusThree, kOne), kOne, 0);
  exact("fxtract: significand", f_extract_significand(kMinusThree, kOne), (struct Real){0xc000000000000000, 0xbfff}, 0);
  exact("fxtract of 0", f_extract_exponent(kZero, kOne), kMinusInfinity, kZe);
  exact("fxtract of -infinity", f_extract_exponent(kMinusInfinity, kOne), kInfinity, 0);

  exact("fprem of 2^63 + 1 and 3", f_prem((struct Real){0x8000000000000001, 0x3fff + 63}, kThree), kZero, 0);
  check_value(status & (kC0 | kC1 | kC2 | kC3), kC1 | kC3, "quotient");
  // Not the quotient's bits: QEMU 7.2 leaves them out.
  exact("fprem1 of 7 and 3", f_prem1(kSeven, kThree), kOne, 0);
  exact("fprem1 of 2 and 3", f_prem1(kTwo, kThree), kMinusOne, 0);
  f_prem((struct Real){0x8000000000000001, 0x3fff + 90}, kThree);
  check_value(status & kC2, kC2, "fprem of 2^90: C2");

  write_cr0(read_cr0() | kCr0Ts);
  traps(take_sine);
  expect_trap(7, 0, "fsin with CR0.TS");
  write_cr0(read_cr0() & ~(word)kCr0Ts);
  return 0;
}
