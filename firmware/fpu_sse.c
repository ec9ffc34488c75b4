// Shows x87 and SSE: arithmetic with all 80 bits known, rounding and precision control, conversions, comparisons,
// constants, the register stack and its tags, transcendentals (rounded, see below), FXSAVE/FXRSTOR, FNSAVE/FRSTOR and
// FNSTENV, MMX, SSE to SSE4.2 vectors, lazy switching through #NM and #MF of an unmasked division by zero with CR0.NE
// set. SDM vol. 1, chapters 8 to 12.
//
// Transcendentals are compared to 30 bits behind the point only: their last bits differ between CPUs, and QEMU takes
// some from the host's C library. Exception flags are in fp_exceptions.c. Not tested because TCG does not implement it:
// #XM, x87 stack faults, the quotient of FPREM1, the exponent of a register written by MMX, FIP and FDP, alignment of
// SSE operands; and two NaN operands in SSE, where QEMU takes the x87's rule.
#include "runtime.h"

// clang-format never settles on one layout of the macro tables below.
// clang-format off

struct Real {
  uint64_t mantissa;
  uint16_t top;  // sign and exponent
} __attribute__((packed));
typedef struct {
  uint32_t v[4];
} __attribute__((aligned(16))) Vector;

static void say_real(const char* what, const struct Real* r) {
  say("%s: %04x %016q\n", what, (uint32_t)r->top, r->mantissa);
}

static void expect_real(const char* what, const struct Real* r, uint16_t top, uint64_t mantissa) {
  say_real(what, r);
  if (r->top != top || r->mantissa != mantissa) check(false, what);
}

static const struct Real kOne = {0x8000000000000000, 0x3fff}, kTwo = {0x8000000000000000, 0x4000},
                         kThree = {0xc000000000000000, 0x4000}, kTenth = {0xcccccccccccccccd, 0x3ffb},
                         kHalf = {0x8000000000000000, 0x3ffe}, kZero = {0, 0};
static const struct Real kReals[] = {
    {0x8000000000000000, 0x3fff},  // 1
    {0xc000000000000000, 0xc000},  // -3
    {0xcccccccccccccccd, 0x3ffb},  // 0.1
    {0xa000000000000000, 0x4000},  // 2.5
    {0x9502f90000000000, 0x4020},  // 1e10
    {0xc90fdaa22168c235, 0xc000},  // -pi
    {0xffffffffffffffff, 0x3ffe},  // just below 1
    {0x8000000000000001, 0x3fff},  // just above 1
    {0xffffffffffffffff, 0x7ffe},  // largest
    {0x8000000000000000, 0x0001},  // smallest normal
    {0x0000000000000001, 0x0000},  // smallest denormal
    {0, 0},
    {0, 0x8000},                   // -0
    {0x8000000000000000, 0x7fff},  // infinity
    {0x8000000000000000, 0xffff},
    {0xc000000000001234, 0x7fff},  // quiet NaN
};
enum { kRealCount = sizeof kReals / sizeof *kReals };

static void set_control(uint16_t control) { __asm__ volatile("fldcw %0" ::"m"(control)); }

#define X87_BINARY(name, text)                                                                        \
  static struct Real name(const struct Real* a, const struct Real* b) {                               \
    struct Real r;                                                                                    \
    __asm__ volatile("fldt %1; fldt %2; " text "; fstpt %0" : "=m"(r) : "m"(*a), "m"(*b) : "memory"); \
    return r;                                                                                         \
  }
#define X87_UNARY(name, text)                                                       \
  static struct Real name(const struct Real* a) {                                   \
    struct Real r;                                                                  \
    __asm__ volatile("fldt %1; " text "; fstpt %0" : "=m"(r) : "m"(*a) : "memory"); \
    return r;                                                                       \
  }
X87_BINARY(x_add, "faddp")
X87_BINARY(x_sub, "fsubrp %%st, %%st(1)")  // a - b in AT&T's naming
X87_BINARY(x_mul, "fmulp")
X87_BINARY(x_div, "fdivrp %%st, %%st(1)")
X87_BINARY(x_scale, "fxch; fscale; fstp %%st(1)")
X87_BINARY(x_atan, "fpatan")
X87_BINARY(x_log, "fyl2x")
X87_BINARY(x_log1, "fyl2xp1")
X87_UNARY(x_sqrt, "fsqrt")
X87_UNARY(x_abs, "fabs")
X87_UNARY(x_chs, "fchs")
X87_UNARY(x_round, "frndint")
X87_UNARY(x_sin, "fsin")
X87_UNARY(x_cos, "fcos")
X87_UNARY(x_tan, "fptan; fstp %%st(0)")
X87_UNARY(x_2xm1, "f2xm1")
X87_UNARY(x_exponent, "fxtract; fstp %%st(0)")
X87_UNARY(x_significand, "fxtract; fstp %%st(1)")

static void arithmetic(void) {
  struct Real r = x_div(&kOne, &kThree);
  expect_real("1/3", &r, 0x3ffd, 0xaaaaaaaaaaaaaaab);
  r = x_add(&kTenth, &kTwo);
  expect_real("0.1+2", &r, 0x4000, 0x8666666666666666);
  r = x_mul(&kTenth, &kThree);
  expect_real("0.1*3", &r, 0x3ffd, 0x999999999999999a);
  r = x_sub(&kOne, &kThree);
  expect_real("1-3", &r, 0xc000, 0x8000000000000000);
  r = x_sqrt(&kTwo);
  expect_real("sqrt 2", &r, 0x3fff, 0xb504f333f9de6484);
  r = x_div(&kOne, &kZero);
  expect_real("1/0", &r, 0x7fff, 0x8000000000000000);
  r = x_div(&kZero, &kZero);
  expect_real("0/0", &r, 0xffff, 0xc000000000000000);
  static const struct {
    const char* name;
    struct Real (*op)(const struct Real*, const struct Real*);
  } kOps[] = {{"add", x_add}, {"sub", x_sub}, {"mul", x_mul}, {"div", x_div}};
  for (int control = 0; control < 12; ++control) {
    static const uint16_t kPrecision[] = {0x300, 0x200, 0x000};
    set_control((uint16_t)(0x7f | kPrecision[control / 4] | (control % 4) << 10));
    for (int o = 0; o < 4; ++o) {
      uint32_t sum = 0;
      for (int i = 0; i < kRealCount; ++i)
        for (int j = 0; j < kRealCount; ++j) {
          // Short precision keeps the wide exponent; how denormals round there is left out.
          if (control >= 4 && (i == 9 || i == 10 || j == 9 || j == 10 || i == 8 || j == 8)) continue;
          r = kOps[o].op(&kReals[i], &kReals[j]);
          sum = crc32(sum, &r, 10);
        }
      say("%s with %u bits, rounding %u: sum %08x\n", kOps[o].name,
          control < 4   ? 64u
          : control < 8 ? 53u
                        : 24u,
          (uint32_t)control % 4, sum);
    }
  }
  set_control(0x07f);
  r = x_div(&kOne, &kThree);
  expect_real("1/3 in 24 bits", &r, 0x3ffd, 0xaaaaab0000000000);
  set_control(0x27f);
  r = x_div(&kOne, &kThree);
  expect_real("1/3 in 53 bits", &r, 0x3ffd, 0xaaaaaaaaaaaaa800);
  set_control(0xb7f);
  r = x_div(&kOne, &kThree);
  expect_real("1/3 rounded up", &r, 0x3ffd, 0xaaaaaaaaaaaaaaab);
  set_control(0x77f);
  r = x_div(&kOne, &kThree);
  expect_real("1/3 rounded down", &r, 0x3ffd, 0xaaaaaaaaaaaaaaaa);
  set_control(0x37f);
}

#define CONSTANT(text, top, mantissa)              \
  do {                                             \
    struct Real r;                                 \
    __asm__ volatile(text "; fstpt %0" : "=m"(r)); \
    expect_real(text, &r, top, mantissa);          \
  } while (0)

static void constants(void) {
  CONSTANT("fld1", 0x3fff, 0x8000000000000000);
  CONSTANT("fldz", 0, 0);
  CONSTANT("fldpi", 0x4000, 0xc90fdaa22168c235);
  CONSTANT("fldl2e", 0x3fff, 0xb8aa3b295c17f0bc);
  CONSTANT("fldl2t", 0x4000, 0xd49a784bcd1b8afe);
  CONSTANT("fldlg2", 0x3ffd, 0x9a209a84fbcff799);
  CONSTANT("fldln2", 0x3ffe, 0xb17217f7d1cf79ac);
}

static void conversions(void) {
  for (int i = 0; i < kRealCount; ++i) {
    uint32_t f;
    uint64_t d;
    struct Real from_f, from_d;
    __asm__ volatile("fldt %4; fsts %0; fstpl %1; flds %0; fstpt %2; fldl %1; fstpt %3"
                     : "=m"(f), "=m"(d), "=m"(from_f), "=m"(from_d)
                     : "m"(kReals[i]));
    say("real %u: float %08x double %016q back %04x %016q, %04x %016q\n", i, f, d, (uint32_t)from_f.top,
        from_f.mantissa, (uint32_t)from_d.top, from_d.mantissa);
  }
  static const struct Real kToInteger[] = {{0xa000000000000000, 0x4000}, {0xa000000000000000, 0xc000},  // 2.5
                                           {0xe000000000000000, 0x4000}, {0x8000000000000000, 0x3ffd},  // 3.5 0.25
                                           {0xfffe000000000000, 0xc00d}, {0x8000000000000000, 0xc00e},  // -32767 -32768
                                           {0x8000000000000000, 0x400e}, {0x8000000000000000, 0x401e},  // out of range
                                           {0x8000000000000000, 0x403e}, {0xc000000000000000, 0x7fff}};
  for (int mode = 0; mode < 4; ++mode) {
    set_control((uint16_t)(0x37f | mode << 10));
    for (unsigned i = 0; i < sizeof kToInteger / sizeof *kToInteger; ++i) {
      uint16_t w;
      uint32_t l;
      uint64_t q;
      struct Real r = x_round(&kToInteger[i]);
      __asm__ volatile("fldt %3; fists %0; fistl %1; fistpll %2" : "=m"(w), "=m"(l), "=m"(q) : "m"(kToInteger[i]));
      say("rounding %u of %u: %04x %08x %016q, %04x %016q\n", mode, i, (uint32_t)w, l, q, (uint32_t)r.top, r.mantissa);
    }
  }
  set_control(0x37f);
  struct Real r;
  uint32_t l = 0xfffffff9;
  uint64_t q = 0x8000000000000001;
  __asm__ volatile("fildl %1; fstpt %0" : "=m"(r) : "m"(l));
  expect_real("fild -7", &r, 0xc001, 0xe000000000000000);
  __asm__ volatile("fildll %1; fstpt %0" : "=m"(r) : "m"(q));
  expect_real("fild -(2^63-1)", &r, 0xc03d, 0xfffffffffffffffe);
  uint8_t bcd[10] = {0x78, 0x56, 0x34, 0x12, 0x90, 0x78, 0x56, 0x34, 0x12, 0x80}, back[10];
  __asm__ volatile("fbld %1; fstpt %0" : "=m"(r) : "m"(bcd));
  say_real("fbld -123456789012345678", &r);
  __asm__ volatile("fldt %1; fbstp %0" : "=m"(back) : "m"(r));
  check(memcmp(bcd, back, 10) == 0, "fbstp gives it back");
  uint16_t w;
  set_control(0xb7f);
  __asm__ volatile("fldt %1; fisttps %0" : "=m"(w) : "m"(kToInteger[0]));
  check_value(w, 2, "fisttp truncates while rounding up");
  set_control(0x37f);
}

#define CONDITION_BITS 0x4500  // C3, C2, C0

static void comparisons(void) {
  static const int kPairs[][2] = {{0, 1}, {1, 0}, {0, 0}, {11, 12}, {13, 8}, {0, 15}, {10, 11}};
  for (int i = 0; i < 7; ++i) {
    uint16_t fcom, fucom, ftst;
    word flags, uflags;
    const struct Real *a = &kReals[kPairs[i][0]], *b = &kReals[kPairs[i][1]];
    __asm__ volatile(
        "fldt %6; fldt %5; fcom; fnstsw %0; fucom; fnstsw %1; ftst; fnstsw %2;"
        "fcomi %%st(1), %%st; pushf; pop %3; fucomi %%st(1), %%st; pushf; pop %4; fstp %%st(0); fstp %%st(0)"
        : "=m"(fcom), "=m"(fucom), "=m"(ftst), "=r"(flags), "=r"(uflags)
        : "m"(*a), "m"(*b)
        : "cc");
    say("compare %u with %u: fcom %04x fucom %04x ftst %04x fcomi %02x fucomi %02x\n", kPairs[i][0], kPairs[i][1],
        fcom & CONDITION_BITS, fucom & CONDITION_BITS, ftst & CONDITION_BITS, (uint32_t)flags & 0x45,
        (uint32_t)uflags & 0x45);
  }
  for (int i = 0; i < kRealCount; ++i) {
    uint16_t fxam;
    __asm__ volatile("fldt %1; fxam; fnstsw %0; fstp %%st(0)" : "=m"(fxam) : "m"(kReals[i]));
    say("fxam %u: %04x\n", i, fxam & 0x4700);
  }
  uint16_t fxam;
  __asm__ volatile("fninit; fxam; fnstsw %0" : "=m"(fxam));
  check_value(fxam & CONDITION_BITS, 0x4100, "fxam of an empty register");
  __asm__ volatile("fninit");
  static const struct Real kDividends[] = {{0x8c00000000000000, 0x4003},
                                           {0x8c00000000000000, 0xc003},  // 17.5
                                           {0xc400000000000000, 0x4000},  // 3.0625
                                           {0xf000000000000000, 0x4002}};
  for (int i = 0; i < 4; ++i) {
    struct Real a, b;
    uint16_t s, s1;
    __asm__ volatile("fldt %5; fldt %4; fprem; fnstsw %2; fstpt %0; fldt %4; fprem1; fnstsw %3; fstpt %1; fstp %%st(0)"
                     : "=m"(a), "=m"(b), "=m"(s), "=m"(s1)
                     : "m"(kDividends[i]), "m"(kThree));
    say("remainder by 3: fprem %04x %016q %04x, fprem1 %04x %016q %04x\n", (uint32_t)a.top, a.mantissa, s & 0x4700,
        (uint32_t)b.top, b.mantissa, s1 & 0x400);
  }
  struct Real r = x_scale(&kThree, &kTwo);
  expect_real("fscale 3 by 2", &r, 0x4002, 0xc000000000000000);
  r = x_exponent(&kReals[4]);
  expect_real("exponent of 1e10", &r, 0x4004, 0x8400000000000000);
  r = x_significand(&kReals[4]);
  expect_real("significand of 1e10", &r, 0x3fff, 0x9502f90000000000);
  r = x_abs(&kReals[1]);
  expect_real("fabs", &r, 0x4000, 0xc000000000000000);
  r = x_chs(&kReals[11]);
  expect_real("fchs", &r, 0x8000, 0);
}

// value * 2^30 as an integer.
static void expect_rounded(const char* what, struct Real r, int32_t want) {
  int32_t got;
  static const struct Real k2To30 = {0x8000000000000000, 0x3fff + 30};
  struct Real scaled = x_mul(&r, &k2To30);
  __asm__ volatile("fldt %1; fistpl %0" : "=m"(got) : "m"(scaled));
  check_value((uint32_t)got, (uint32_t)want, what);
}

static void transcendentals(void) {
  expect_rounded("sin 1 * 2^30", x_sin(&kOne), 903522590);
  expect_rounded("cos 1 * 2^30", x_cos(&kOne), 580145183);
  expect_rounded("tan 0.5 * 2^30", x_tan(&kHalf), 586587832);
  expect_rounded("atan 0.5 * 2^30", x_atan(&kHalf, &kOne), 497837829);
  expect_rounded("2^0.5 - 1 * 2^30", x_2xm1(&kHalf), 444758426);
  expect_rounded("log2 3 * 2^30", x_log(&kOne, &kThree), 1701840526);
  expect_rounded("log2 1.1 * 2^30", x_log1(&kOne, &kTenth), 147643284);
  struct Real sine, cosine;
  __asm__ volatile("fldt %2; fsincos; fstpt %1; fstpt %0" : "=m"(sine), "=m"(cosine) : "m"(kOne));
  expect_rounded("fsincos: sine", sine, 903522590);
  expect_rounded("fsincos: cosine", cosine, 580145183);
  uint16_t s;
  static const struct Real kHuge = {0x8000000000000000, 0x3fff + 64};
  __asm__ volatile("fldt %1; fsin; fnstsw %0; fstp %%st(0)" : "=m"(s) : "m"(kHuge));
  check(s & 0x400, "fsin of 2^64 sets C2");
}

// ---- the register stack ----
struct Environment {
  uint32_t control, status, tags, ip, cs, dp, ds;
  struct Real st[8];
} __attribute__((packed));

static void stack(void) {
  struct Environment e;
  __asm__ volatile("fninit; fld1; fldz; fldpi; fnstenv %0" : "=m"(e));
  check_value(e.tags & 0xffff, 0x13ff, "tags of 1, 0, pi");
  check_value(e.status & 0x3800, 5 << 11, "top of stack");
  check_value(e.control & 0xffff, 0x37f, "FNSTENV keeps the control word's masks set");
  __asm__ volatile("fldcw %1; ffree %%st(1); fincstp; fnstenv %0" : "=m"(e) : "m"((uint16_t){0x37f}));
  check_value(e.tags & 0xffff, 0x33ff, "tags after ffree st(1)");
  check_value(e.status & 0x3800, 6 << 11, "top after fincstp");
  __asm__ volatile("fninit; fld1; fldpi; fldz; fxch %%st(2); fnsave %0" : "=m"(e));
  expect_real("st0 after fxch", &e.st[0], 0x3fff, 0x8000000000000000);
  expect_real("st1", &e.st[1], 0x4000, 0xc90fdaa22168c235);
  expect_real("st2", &e.st[2], 0, 0);
  struct Environment after;
  __asm__ volatile("fnstenv %0" : "=m"(after));
  check((after.tags & 0xffff) == 0xffff && (after.status & 0xffff) == 0 && (after.control & 0xffff) == 0x37f,
        "fnsave initialises");
  struct Real r;
  __asm__ volatile("frstor %1; fstp %%st(0); fstpt %0" : "=m"(r) : "m"(e));
  expect_real("st1 after frstor", &r, 0x4000, 0xc90fdaa22168c235);
  __asm__ volatile("fninit");
  uint64_t a = 0x00ff7f8001020304, b = 0x0101010180ff10f0, m;
  __asm__ volatile("movq %1, %%mm0; paddusb %2, %%mm0; movq %%mm0, %0; fnsave %3"
                   : "=m"(m)
                   : "m"(a), "m"(b), "m"(e)
                   : "memory");
  say("paddusb: %016q, in st0 %016q\n", m, e.st[0].mantissa);
  __asm__ volatile("movq %0, %%mm7; emms; fnsave %1" ::"m"(a), "m"(e) : "memory");
  check_value(e.tags & 0xffff, 0xffff, "tags after emms");
  __asm__ volatile("fninit");
}

// ---- SSE ----
#define VECTOR_OP(name, text)                                                            \
  static void name(const Vector* a, const Vector* b, Vector* r) {                        \
    __asm__ volatile("movaps %1, %%xmm0; movups %2, %%xmm1; " text "; movaps %%xmm0, %0" \
                     : "=m"(*r)                                                          \
                     : "m"(*a), "m"(*b));                                                \
  }
#define SIMPLE(op) VECTOR_OP(v_##op, #op " %%xmm1, %%xmm0")
#define IMMEDIATE(op, n) VECTOR_OP(v_##op##n, #op " $" #n ", %%xmm1, %%xmm0")
#define SHIFT(op, n) VECTOR_OP(v_##op##n, #op " $" #n ", %%xmm0")
#define FLOATS(X)                                                                                                  \
  X(addps)                                                                                                         \
  X(subps)                                                                                                         \
  X(mulps)                                                                                                         \
  X(divps) X(sqrtps) X(minps) X(maxps) X(addss) X(subss) X(mulss) X(divss) X(sqrtss) X(minss) X(maxss) X(cvtps2dq) \
      X(cvttps2dq) X(addsubps) X(haddps) X(hsubps) X(movsldup) X(movshdup) X(cmpeqps) X(cmpltps) X(cmpleps)        \
          X(cmpunordps) X(cmpneqps) X(cmpnltps) X(cmpnleps) X(cmpordps) X(cmpltss) X(cvtss2sd) X(cvtps2pd)
#define DOUBLES(X)                                                                                                 \
  X(addpd)                                                                                                         \
  X(subpd)                                                                                                         \
  X(mulpd)                                                                                                         \
  X(divpd) X(sqrtpd) X(minpd) X(maxpd) X(addsd) X(subsd) X(mulsd) X(divsd) X(sqrtsd) X(minsd) X(maxsd) X(cvtpd2ps) \
      X(cvtsd2ss) X(cvtpd2dq) X(cvttpd2dq) X(addsubpd) X(haddpd) X(hsubpd) X(cmpeqpd) X(cmpltpd) X(cmplepd)        \
          X(cmpunordpd) X(cmpneqpd) X(cmpltsd) X(movddup)
#define INTEGERS(X)                                                                                                    \
  X(andps)                                                                                                             \
  X(orps)                                                                                                              \
  X(xorps)                                                                                                             \
  X(andnps) X(unpcklps) X(unpckhps) X(unpcklpd) X(unpckhpd) X(movhlps) X(movlhps) X(movss) X(movsd) X(cvtdq2ps)        \
      X(cvtdq2pd) X(paddb) X(paddw) X(paddd) X(paddq) X(psubb) X(psubw) X(psubd) X(psubq) X(paddsb) X(paddsw)          \
          X(paddusb) X(paddusw) X(psubsb) X(psubsw) X(psubusb) X(psubusw) X(pmullw) X(pmulhw) X(pmulhuw) X(pmuludq)    \
              X(pmaddwd) X(psadbw) X(pavgb) X(pavgw) X(pminub) X(pmaxub) X(pminsw) X(pmaxsw) X(pcmpeqb) X(pcmpeqw)     \
                  X(pcmpeqd) X(pcmpgtb) X(pcmpgtw) X(pcmpgtd) X(packsswb) X(packssdw) X(packuswb) X(punpcklbw)         \
                      X(punpckhbw) X(punpcklwd) X(punpckhwd) X(punpckldq) X(punpckhdq) X(punpcklqdq) X(punpckhqdq)     \
                          X(pand) X(pandn) X(por) X(pxor) X(pshufb) X(phaddw) X(phaddd) X(phaddsw) X(phsubw) X(phsubd) \
                              X(phsubsw) X(pmaddubsw) X(pmulhrsw) X(psignb) X(psignw) X(psignd) X(pabsb) X(pabsw)      \
                                  X(pabsd) X(pmuldq) X(pmulld) X(pcmpeqq) X(pcmpgtq) X(packusdw) X(pminsb) X(pmaxsb)   \
                                      X(pminuw) X(pmaxuw) X(pminsd) X(pmaxsd) X(pminud) X(pmaxud) X(pmovsxbw)          \
                                          X(pmovsxbd) X(pmovsxwq) X(pmovzxbw) X(pmovzxdq) X(phminposuw)
#define IMMEDIATES(X)                                                                                        \
  X(shufps, 0x1b)                                                                                            \
  X(shufps, 0xe4)                                                                                            \
  X(shufpd, 1)                                                                                               \
  X(pshufd, 0x39) X(pshuflw, 0x1b) X(pshufhw, 0xb1) X(palignr, 5) X(palignr, 20) X(blendps, 5) X(blendpd, 2) \
      X(pblendw, 0x5a) X(mpsadbw, 6) X(insertps, 0x9c)
#define SHIFTS(X) \
  X(psllw, 3)     \
  X(pslld, 7)     \
  X(psllq, 33)    \
  X(psrlw, 5) X(psrld, 9) X(psrlq, 40) X(psraw, 4) X(psrad, 12) X(pslldq, 3) X(psrldq, 5) X(psllw, 16) X(psraw, 200)
FLOATS(SIMPLE)
DOUBLES(SIMPLE)
INTEGERS(SIMPLE)
IMMEDIATES(IMMEDIATE)
SHIFTS(SHIFT)
VECTOR_OP(v_roundps0, "roundps $0, %%xmm1, %%xmm0")
VECTOR_OP(v_roundps1, "roundps $1, %%xmm1, %%xmm0")
VECTOR_OP(v_roundps2, "roundps $2, %%xmm1, %%xmm0")
VECTOR_OP(v_roundps3, "roundps $3, %%xmm1, %%xmm0")
VECTOR_OP(v_roundss, "roundss $3, %%xmm1, %%xmm0")
VECTOR_OP(v_roundpd, "roundpd $2, %%xmm1, %%xmm0")

struct NamedOp {
  const char* name;
  void (*op)(const Vector*, const Vector*, Vector*);
};
#define ROW(op) {#op, v_##op},
#define ROW_N(op, n) {#op " " #n, v_##op##n},

static void run_ops(const struct NamedOp* ops, unsigned count, const Vector* a, const Vector* b, int pairs) {
  for (unsigned i = 0; i < count; ++i) {
    uint32_t sum = 0;
    for (int j = 0; j < pairs; ++j) {
      Vector r;
      ops[i].op(&a[j], &b[j], &r);
      sum = crc32(sum, &r, 16);
    }
    say("%s: %08x\n", ops[i].name, sum);
  }
}

// No denormals and no NaN meets NaN.
static const Vector kFloats[2][4] = {{{{0x3f800000, 0x40490fdb, 0xc2c80000, 0x3dcccccd}},
                                      {{0x7f7fffff, 0xff7fffff, 0x00800000, 0x4f000000}},
                                      {{0x7f800000, 0x00000000, 0x80000000, 0xbf000000}},
                                      {{0x4b7fffff, 0xc0200000, 0x3fc00000, 0x40600000}}},
                                     {{{0x40400000, 0xbfb504f3, 0x42c80001, 0x3e99999a}},
                                      {{0x7f7fffff, 0x3f800000, 0x40000000, 0x4f000000}},
                                      {{0xff800000, 0x80000000, 0x00000000, 0x7fc01234}},
                                      {{0x3f7fffff, 0x40200000, 0xbfc00000, 0xc0600000}}}};
static const Vector kDoubles[2][4] = {{{{0x00000000, 0x3ff00000, 0x54442d18, 0x400921fb}},
                                       {{0xffffffff, 0x7fefffff, 0x9999999a, 0x3fb99999}},
                                       {{0x00000000, 0x7ff00000, 0x00000000, 0x80000000}},
                                       {{0x00000000, 0xc0040000, 0x00000000, 0x41dfffff}}},
                                      {{{0x00000000, 0x40080000, 0x667f3bcd, 0xbff6a09e}},
                                       {{0x00000000, 0x3fe00000, 0x33333333, 0x3fd33333}},
                                       {{0x00000000, 0xfff00000, 0x00001234, 0x7ff80000}},
                                       {{0x00000000, 0x40040000, 0x00000000, 0xc1e00000}}}};
static const Vector kIntegers[2][4] = {{{{0x01020304, 0x80ff7f00, 0xdeadbeef, 0x12345678}},
                                        {{0x7fffffff, 0x80000000, 0x00007fff, 0xffff8000}},
                                        {{0xffffffff, 0x00000000, 0x55aa55aa, 0x0f1e2d3c}},
                                        {{0x00ff00ff, 0xff00ff00, 0x7f808182, 0xfefdfcfb}}},
                                       {{{0x0f0e0d0c, 0x0b8a0908, 0x07860504, 0x03020100}},
                                        {{0x00000001, 0xffffffff, 0x80008000, 0x7fff7fff}},
                                        {{0xffffffff, 0x00000001, 0xaa55aa55, 0x0f1e2d3c}},
                                        {{0x01fe01fe, 0x00ff8001, 0x80808080, 0x01020304}}}};

static void scalars(void) {
  for (int mode = 0; mode < 4; ++mode) {
    uint32_t mxcsr = 0x1f80 | (uint32_t)mode << 13, bits;
    __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
    int32_t rounded, truncated;
    uint32_t v = 0xc0200000;  // -2.5
    __asm__ volatile("cvtss2si %2, %0; cvttss2si %2, %1" : "=r"(rounded), "=r"(truncated) : "m"(v));
    __asm__ volatile("cvtsi2ss %1, %%xmm0; movss %%xmm0, %0" : "=m"(bits) : "r"(16777217));
    say("rounding %u: %d %d, 2^24+1 is %08x\n", mode, rounded, truncated, bits);
    Vector r;
    v_divps(&kFloats[0][0], &kFloats[1][0], &r);
    say("  quotients %08x %08x %08x %08x\n", r.v[0], r.v[1], r.v[2], r.v[3]);
  }
  uint32_t mxcsr = 0x1f80;
  __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
  static const uint32_t kPairs[][2] = {
      {0x3f800000, 0x40000000}, {0x40000000, 0x3f800000}, {0, 0x80000000}, {0x7fc00000, 0}};
  for (int i = 0; i < 4; ++i) {
    word flags;
    __asm__ volatile("movss %1, %%xmm0; ucomiss %2, %%xmm0; pushf; pop %0"
                     : "=r"(flags)
                     : "m"(kPairs[i][0]), "m"(kPairs[i][1])
                     : "cc");
    say("ucomiss %u: %03x\n", i, (uint32_t)flags & kArithmeticFlags);
  }
  uint32_t mask, extracted;
  word flags;
  __asm__ volatile("movaps %3, %%xmm0; movmskps %%xmm0, %0; pmovmskb %%xmm0, %1; pextrw $5, %%xmm0, %2"
                   : "=r"(mask), "=r"(extracted), "=r"(flags)
                   : "m"(kIntegers[0][3]));
  say("movmskps %x pmovmskb %x pextrw %x\n", mask, extracted, (uint32_t)flags);
  __asm__ volatile("movaps %1, %%xmm0; ptest %2, %%xmm0; pushf; pop %0"
                   : "=r"(flags)
                   : "m"(kIntegers[0][3]), "m"(kIntegers[1][3])
                   : "cc");
  say("ptest: %03x\n", (uint32_t)flags & kArithmeticFlags);
  static const Vector kText = {{0x6c6c6548, 0x6f77206f, 0x21646c72, 0}},
                      kSet = {{0x00006f77, 0, 0, 0}};  // Hello world!, wo
  uint32_t index;
  __asm__ volatile("movaps %2, %%xmm0; pcmpistri $0, %3, %%xmm0; pushf; pop %1"
                   : "=c"(index), "=r"(flags)
                   : "m"(kSet), "m"(kText)
                   : "cc");
  say("pcmpistri any of: %u %03x\n", index, (uint32_t)flags & kArithmeticFlags);
  __asm__ volatile("movaps %2, %%xmm0; pcmpistri $0xc, %3, %%xmm0; pushf; pop %1"
                   : "=c"(index), "=r"(flags)
                   : "m"(kSet), "m"(kText)
                   : "cc");
  say("pcmpistri substring: %u %03x\n", index, (uint32_t)flags & kArithmeticFlags);
  uint32_t crc = 0xffffffff;
  __asm__ volatile("crc32l %1, %0; crc32b %b2, %0" : "+r"(crc) : "r"(0x33323130), "q"(0x34));
  check_value(crc, 0x905ae267, "crc32c of 01234");
}

static void vectors(void) {
  write_cr4(read_cr4() | kCr4Osfxsr);
  static const struct NamedOp kFloatOps[] = {FLOATS(ROW){"roundps 0", v_roundps0},
                                             {"roundps 1", v_roundps1},
                                             {"roundps 2", v_roundps2},
                                             {"roundps 3", v_roundps3},
                                             {"roundss", v_roundss}};
  static const struct NamedOp kDoubleOps[] = {DOUBLES(ROW){"roundpd", v_roundpd}};
  static const struct NamedOp kIntegerOps[] = {INTEGERS(ROW) IMMEDIATES(ROW_N) SHIFTS(ROW_N)};
  run_ops(kFloatOps, sizeof kFloatOps / sizeof *kFloatOps, kFloats[0], kFloats[1], 4);
  run_ops(kDoubleOps, sizeof kDoubleOps / sizeof *kDoubleOps, kDoubles[0], kDoubles[1], 4);
  run_ops(kIntegerOps, sizeof kIntegerOps / sizeof *kIntegerOps, kIntegers[0], kIntegers[1], 4);
  Vector r;
  v_addps(&kFloats[0][0], &kFloats[1][0], &r);
  check(r.v[0] == 0x40800000 && r.v[1] == 0x3fdd1ac3 && r.v[2] == 0x37000000, "addps has the known bits");
  scalars();
}

static uint8_t saved[512] __attribute__((aligned(16))), again[512] __attribute__((aligned(16)));

static void save_and_restore(void) {
  memset(saved, 0xa5, 512);
  memset(again, 0xa5, 512);
  uint32_t mxcsr = 0x5f80;
  __asm__ volatile(
      "fninit; fldpi; fld1; ldmxcsr %2; movaps %3, %%xmm0; movaps %4, %%xmm7; fxsave %0; fninit; pxor %%xmm0, %%xmm0;"
      "pxor %%xmm7, %%xmm7; fxrstor %0; fxsave %1"
      : "+m"(saved), "+m"(again)
      : "m"(mxcsr), "m"(kIntegers[0][0]), "m"(kIntegers[1][0])
      : "memory");
  check_value(*(uint16_t*)saved, 0x37f, "fxsave: control word");
  check_value(*(uint16_t*)(saved + 2) & 0x3800, 6 << 11, "top");
  check_value(saved[4], 0xc0, "tags");
  check_value(*(uint32_t*)(saved + 24), 0x5f80, "MXCSR");
  expect_real("st0", (struct Real*)(saved + 32), 0x3fff, 0x8000000000000000);
  expect_real("st1", (struct Real*)(saved + 48), 0x4000, 0xc90fdaa22168c235);
  check(!memcmp(saved + 160, &kIntegers[0][0], 16) && !memcmp(saved + 272, &kIntegers[1][0], 16), "XMM0 and XMM7");
  check(!memcmp(saved, again, 6) && !memcmp(saved + 32, again + 32, 256), "fxrstor brings all of it back");
  mxcsr = 0x1f80;
  __asm__ volatile("ldmxcsr %0; fninit" ::"m"(mxcsr));
}

// ---- traps ----
ASM_FUNCTION(use_sse, "xorps %xmm0, %xmm0; int $0x80")
ASM_FUNCTION(use_x87, "fld1; int $0x80")
ASM_FUNCTION(use_mmx, "pxor %mm0, %mm0; int $0x80")
ASM_FUNCTION(divide_unmasked,
             "fninit; push $0x37b; fldcw (%esp); pop %eax; fldz; fld1; fdivp; mov $7, %ebx; fnstsw %ax;"
             ".globl at_wait; at_wait: fwait; int $0x80")
ASM_FUNCTION(divide_and_clear,
             "fninit; push $0x37b; fldcw (%esp); pop %eax; fldz; fld1; fdivp; fnclex; fwait; fnstsw %ax; int $0x80")
extern uint8_t at_wait[];
static volatile uint32_t switches;

static void on_nm(struct Frame* f) {
  ++switches;
  __asm__ volatile("clts");
}

static void exceptions(void) {
  trap_handlers[7] = on_nm;
  write_cr0(read_cr0() | kCr0Ts);
  traps(use_sse);
  check(trap.vector == 0x80 && switches == 1, "lazy switch by SSE");
  write_cr0(read_cr0() | kCr0Ts);
  traps(use_x87);
  traps(use_x87);
  check(trap.vector == 0x80 && switches == 2, "lazy switch by x87, once");
  write_cr0(read_cr0() | kCr0Ts);
  traps(use_mmx);
  check(trap.vector == 0x80 && switches == 3, "lazy switch by MMX");
  trap_handlers[7] = 0;
  write_cr0(read_cr0() | kCr0Em);
  traps(use_sse);
  expect_trap(6, 0, "SSE with EM");
  write_cr0(read_cr0() & ~(word)kCr0Em);
  write_cr4(read_cr4() & ~(word)kCr4Osfxsr);
  traps(use_sse);
  expect_trap(6, 0, "SSE without OSFXSR");
  write_cr4(read_cr4() | kCr4Osfxsr);
  __asm__ volatile("fninit");
  traps(divide_unmasked);
  expect_trap(16, 0, "fwait behind an unmasked division by zero");
  check(trap.ip == (word)at_wait && trap.bx == 7, "raised at the next waiting instruction");
  check_value(trap.ax & 0x8084, 0x8084, "status word: B, ES, ZE");
  traps(divide_and_clear);
  expect_trap(0x80, 0, "cleared by fnclex before fwait");
  check(!(trap.ax & 0x80ff), "no flags left");
  __asm__ volatile("fninit");
}

int main(void) {
  __asm__ volatile("fninit");
  arithmetic();
  constants();
  conversions();
  comparisons();
  transcendentals();
  stack();
  vectors();
  save_and_restore();
  exceptions();
  return 0;
}
