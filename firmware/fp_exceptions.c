// Shows the exception flags of x87 (status word) and SSE (MXCSR): invalid, zero divide, overflow, underflow and
// precision, one operation each, all masked; the sticky behaviour, FNCLEX and LDMXCSR, flush to zero and denormals are
// zero. SDM vol. 1, 8.5 and 11.5. Apart from fpu_sse.c because engines derived from QEMU before 5.1 do not set most of
// these flags. Not tested: the denormal-operand flag, which QEMU 7.2 sets for none of them.
#include "runtime.h"

struct Real {
  uint64_t mantissa;
  uint16_t top;
} __attribute__((packed));
static const struct Real kOne = {0x8000000000000000, 0x3fff}, kThree = {0xc000000000000000, 0x4000}, kZero = {0, 0},
                         kHuge = {0xffffffffffffffff, 0x7ffe}, kTiny = {0x8000000000000000, 0x0001},
                         kInfinity = {0x8000000000000000, 0x7fff}, kMinusOne = {0x8000000000000000, 0xbfff},
                         kSignalling = {0x8000000000000001, 0x7fff};

#define X87(name, text)                                                                                          \
  static uint16_t name(const struct Real* a, const struct Real* b) {                                             \
    uint16_t status;                                                                                             \
    __asm__ volatile("fnclex; fldt %1; fldt %2; " text "; fnstsw %0; fninit" : "=m"(status) : "m"(*a), "m"(*b)); \
    return status & 0x3f;                                                                                        \
  }
X87(x_add, "faddp")
X87(x_mul, "fmulp")
X87(x_div, "fdivrp %%st, %%st(1)")
X87(x_sqrt, "fstp %%st(0); fsqrt")
X87(x_to_int, "fstp %%st(0); push %%eax; fistpl (%%esp); pop %%eax")
X87(x_to_float, "fstp %%st(0); push %%eax; fstps (%%esp); pop %%eax")
X87(x_compare, "fcompp")
X87(x_quiet_compare, "fucompp")

#define SSE(name, text)                                                                                       \
  static uint32_t name(uint32_t control, uint32_t a, uint32_t b, uint32_t* r) {                               \
    uint32_t mxcsr = control;                                                                                 \
    __asm__ volatile("ldmxcsr %0; movss %2, %%xmm0; movss %3, %%xmm1; " text "; movss %%xmm0, %1; stmxcsr %0" \
                     : "+m"(mxcsr), "=m"(*r)                                                                  \
                     : "m"(a), "m"(b));                                                                       \
    return mxcsr & 0x3f;                                                                                      \
  }
SSE(s_add, "addss %%xmm1, %%xmm0")
SSE(s_mul, "mulss %%xmm1, %%xmm0")
SSE(s_div, "divss %%xmm1, %%xmm0")
SSE(s_sqrt, "sqrtss %%xmm0, %%xmm0")
SSE(s_compare, "comiss %%xmm1, %%xmm0")
SSE(s_quiet_compare, "ucomiss %%xmm1, %%xmm0")

enum { kI = 1, kZ = 4, kOver = 8, kUnder = 16, kPe = 32 };

static void sse(const char* what, uint32_t (*op)(uint32_t, uint32_t, uint32_t, uint32_t*), uint32_t control, uint32_t a,
                uint32_t b, uint32_t flags, uint32_t result) {
  uint32_t r;
  check_value(op(control, a, b, &r), flags, what);
  check_value(r, result, "  result");
}

int main(void) {
  write_cr4(read_cr4() | kCr4Osfxsr);
  check_value(x_add(&kOne, &kThree), 0, "1 + 3");
  check_value(x_div(&kOne, &kThree), kPe, "1 / 3");
  check_value(x_div(&kOne, &kZero), kZ, "1 / 0");
  check_value(x_div(&kZero, &kZero), kI, "0 / 0");
  check_value(x_mul(&kHuge, &kHuge), kOver | kPe, "overflow");
  check_value(x_mul(&kTiny, &kTiny), kUnder | kPe, "underflow");
  check_value(x_mul(&kInfinity, &kZero), kI, "infinity * 0");
  check_value(x_add(&kSignalling, &kOne), kI, "signalling NaN");
  check_value(x_sqrt(&kMinusOne, &kOne), kI, "sqrt -1");
  check_value(x_to_int(&kHuge, &kOne), kI, "fistp out of range");
  check_value(x_to_float(&kHuge, &kOne), kOver | kPe, "fstp overflow");
  check_value(x_compare(&kSignalling, &kOne), kI, "fcom of a NaN");
  check_value(x_quiet_compare(&kSignalling, &kOne), kI, "fucom of a signalling NaN");

  enum { kMasked = 0x1f80, kFtz = 0x8000, kDaz = 0x40 };
  sse("1 + 1", s_add, kMasked, 0x3f800000, 0x3f800000, 0, 0x40000000);
  sse("1 / 3", s_div, kMasked, 0x3f800000, 0x40400000, kPe, 0x3eaaaaab);
  sse("1 / 0", s_div, kMasked, 0x3f800000, 0, kZ, 0x7f800000);
  sse("0 / 0", s_div, kMasked, 0, 0, kI, 0xffc00000);
  sse("overflow", s_mul, kMasked, 0x7f7fffff, 0x7f7fffff, kOver | kPe, 0x7f800000);
  sse("underflow", s_mul, kMasked, 0x00800001, 0x3f000001, kUnder | kPe, 0x00400001);
  sse("sqrt -1", s_sqrt, kMasked, 0xbf800000, 0, kI, 0xffc00000);
  sse("comiss of a quiet NaN", s_compare, kMasked, 0x7fc00000, 0, kI, 0x7fc00000);
  sse("ucomiss of a quiet NaN", s_quiet_compare, kMasked, 0x7fc00000, 0, 0, 0x7fc00000);
  sse("sticky", s_add, kMasked | kZ | kI, 0x3f800000, 0x3f800000, kZ | kI, 0x40000000);
  sse("flush to zero", s_mul, kMasked | kFtz, 0x00800001, 0x3f000001, kUnder | kPe, 0);
  sse("denormals are zero", s_add, kMasked | kDaz, 0x00000001, 0x00000001, 0, 0);
  return 0;
}
