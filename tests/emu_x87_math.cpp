// The x87's functions against values that mpmath computed to hundreds of bits, and the tables of special values in SDM
// Vol. 2. tests/scenario_firmware.sh has the instructions themselves.
#include <doctest/doctest.h>

#include <cstdio>
#include <vector>

#include "emu/x87_math.h"

using namespace understudy::emu::x87;

namespace doctest {
template <>
struct StringMaker<Real> {
  static String convert(const Real& x) {
    char text[32];
    std::snprintf(text, sizeof text, "%016llx/%04x", static_cast<unsigned long long>(x.mantissa), x.top);
    return text;
  }
};
}  // namespace doctest

namespace {

constexpr Real kZero = {0, 0}, kMinusZero = {0, 0x8000}, kMinusOne = {1ull << 63, 0xbfff},
               kMinusInfinity = {1ull << 63, 0xffff}, kHalf = {1ull << 63, 0x3ffe}, kTwo = {1ull << 63, 0x4000},
               kThree = {3ull << 62, 0x4000}, kQuiet = {0xc000000000001234, 0x7fff},
               kSignalling = {0x8000000000001235, 0x7fff}, kUnnormal = {1, 0x3fff}, kDenormal = {1, 0},
               kPi = {0xc90fdaa22168c235, 0x4000}, kHalfPi = {0xc90fdaa22168c235, 0x3fff}, kMax = {~0ull, 0x7ffe};

Real minus(Real x) { return {x.mantissa, static_cast<uint16_t>(x.top ^ 0x8000)}; }

void check(const Result& got, Real value, uint8_t flags, bool rounded_up) {
  CHECK(got.value == value);
  CHECK(got.flags == flags);
  CHECK(got.rounded_up == rounded_up);
}
void check_exact(const Result& got, Real value, uint8_t flags = 0) { check(got, value, flags, false); }

struct Unary {
  Result (*function)(Real, Rounding);
  Real x;
  Rounding rounding;
  Real value;
  uint8_t flags;
  bool rounded_up;
};
const std::vector<Unary> kUnary = {
    {sine, {0xf2a74de452e6b438, 0x3fd9}, Rounding::nearest, {0xf2a74de452e6b438, 0x3fd9}, 32, true},
    {sine, {0x8c5c7fd0a6a3a450, 0xbff7}, Rounding::down, {0x8c5c63af5a754b8d, 0xbff7}, 32, true},
    {sine, {0x9818e811892f902b, 0xbffe}, Rounding::up, {0x8f4e45af963ed32f, 0xbffe}, 32, false},
    {sine, {0xe8e25d940ed90475, 0x3ffe}, Rounding::to_zero, {0xca1102f50d28ad28, 0x3ffe}, 32, false},
    {sine, {0xef03675a1600a35a, 0x4002}, Rounding::nearest, {0xb2249d7ab9c46b72, 0x3ffe}, 32, true},
    {sine, {0x9738f7d93d9c1724, 0x401b}, Rounding::down, {0xafc915d3643738d7, 0x3ffe}, 32, false},
    {sine, {0xd3ac94af0f21ddb6, 0xc03c}, Rounding::up, {0x8214d097efa03719, 0x3ffe}, 32, true},
    {sine, {0xa170b33839263059, 0x8001}, Rounding::to_zero, {0xa170b33839263058, 0x8001}, 32, false},
    {cosine, {0xe58cda1495e60af5, 0xbfd7}, Rounding::nearest, {0x8000000000000000, 0x3fff}, 32, true},
    {cosine, {0x8becd7b03898d190, 0xbffb}, Rounding::down, {0xff6719203c8f449a, 0x3ffe}, 32, false},
    {cosine, {0xca23d5962217bead, 0x3ffe}, Rounding::up, {0xb4416464c1aca6a6, 0x3ffe}, 32, true},
    {cosine, {0x9e27a1c08a6a63ec, 0xbffe}, Rounding::to_zero, {0xd0ae47027d6ee5c4, 0x3ffe}, 32, false},
    {cosine, {0xae97ba94d0eda82f, 0x4000}, Rounding::nearest, {0xea6a7999f3a47bf4, 0xbffe}, 32, false},
    {cosine, {0x923a736994e3bf91, 0x401d}, Rounding::down, {0xa126520fefe0d4ef, 0xbff8}, 32, true},
    {cosine, {0x98f135d25f557203, 0xc03c}, Rounding::up, {0x9391507bd36bc84d, 0x3ffd}, 32, true},
    {cosine, {0x9e7769b10f4205b4, 0x0001}, Rounding::to_zero, {0xffffffffffffffff, 0x3ffe}, 32, false},
    {tangent, {0x881ed162ae2eb154, 0xbfdd}, Rounding::nearest, {0x881ed162ae2eb154, 0xbfdd}, 32, false},
    {tangent, {0xf731af10506bf2ef, 0xbffb}, Rounding::down, {0xf866caeb61ee06a6, 0xbffb}, 32, true},
    {tangent, {0xdc90a9587403e430, 0x3ffe}, Rounding::up, {0x9527e528c04a6192, 0x3fff}, 32, true},
    {tangent, {0xae05319acb5c7427, 0x3ffe}, Rounding::to_zero, {0xceeb277c6ae3afcd, 0x3ffe}, 32, false},
    {tangent, {0xccdd2055930d6eaf, 0xc002}, Rounding::nearest, {0xf800d428f0e093a9, 0xbffc}, 32, true},
    {tangent, {0xbabced2057ee05cd, 0x401a}, Rounding::down, {0xa3ac5ebd83b10c82, 0xc004}, 32, true},
    {tangent, {0xfaecbd389be4bcfc, 0x403c}, Rounding::up, {0xc8639361e558e65e, 0xc001}, 32, false},
    {tangent, {0xeb0a18e8830e07bc, 0x8001}, Rounding::to_zero, {0xeb0a18e8830e07bc, 0x8001}, 32, false},
    {exp2_minus_1, {0xa6e875555790f82e, 0x3fde}, Rounding::nearest, {0xe7623889a29ee8d0, 0x3fdd}, 32, false},
    {exp2_minus_1, {0xf646e1f40a097c97, 0x3ffc}, Rounding::down, {0xb9c27a8da37c3d17, 0x3ffc}, 32, false},
    {exp2_minus_1, {0x8ede0d7ac3baea9e, 0x3ffe}, Rounding::up, {0xf1d1da238eb5db69, 0x3ffd}, 32, true},
    {exp2_minus_1, {0xd9a54a7bb1fee08f, 0xbffe}, Rounding::to_zero, {0xe3fc3ef81a85b542, 0xbffd}, 32, false},
    {exp2_minus_1, {0xf4c9df6acc011cdd, 0xbff1}, Rounding::nearest, {0xa9aaea76ca5ae849, 0xbff1}, 32, false},
    {exp2_minus_1, {0xf1d69ed617f5e837, 0x3ff7}, Rounding::down, {0xa80f1fb0477e6093, 0x3ff7}, 32, false},
    {exp2_minus_1, {0xaa05e11ab2715945, 0x3ff1}, Rounding::up, {0xebb560627842c1ed, 0x3ff0}, 32, true},
    {exp2_minus_1, {0xb394fb36bb2d420f, 0x8001}, Rounding::to_zero, {0x7c7a0ad8f0481d5c, 0x8000}, 48, false},
};

struct Binary {
  Result (*function)(Real, Real, Rounding);
  Real first, second;
  Rounding rounding;
  Real value;
  uint8_t flags;
  bool rounded_up;
};
const std::vector<Binary> kBinary = {
    {arc_tangent,
     {0xfe3b890b93f448b3, 0xc00c},
     {0xc8db40af72158370, 0x400e},
     Rounding::nearest,
     {0x9ce92798af53ea39, 0xbffd},
     32,
     false},
    {arc_tangent,
     {0xab2cd31ee3151288, 0x3ff7},
     {0xf631a992f0ce5835, 0x3ff7},
     Rounding::down,
     {0x9b88b6446e7414ab, 0x3ffe},
     32,
     false},
    {arc_tangent,
     {0x9df9fd789c653938, 0x4000},
     {0xc4aaeac137dc76fb, 0x3ff3},
     Rounding::up,
     {0xc90adfd6a30dff37, 0x3fff},
     32,
     true},
    {arc_tangent,
     {0xbf63af83bd0561e6, 0x3ffa},
     {0xdf1582b0eab477d2, 0x4000},
     Rounding::to_zero,
     {0xdb9d9d8e667ded8d, 0x3ff8},
     32,
     false},
    {arc_tangent,
     {0xf2fdf2022a96fb1a, 0xbffa},
     {0xe22571594720771f, 0xbfe9},
     Rounding::nearest,
     {0xc91016324a33083d, 0xbfff},
     32,
     false},
    {arc_tangent,
     {0xdd2e16096e36aab0, 0x4004},
     {0xea50df4db4d66a3a, 0xbff7},
     Rounding::down,
     {0xc9141772dd0b91ae, 0x3fff},
     32,
     false},
    {arc_tangent,
     {0xe16499c9e25a7605, 0x3fef},
     {0xad1c9af0153e7c2a, 0x3fea},
     Rounding::up,
     {0xc5fd8721d2d4e30f, 0x3fff},
     32,
     true},
    {arc_tangent,
     {0xbbbbe9eaa8948c89, 0x3fe1},
     {0x96d0cc5fd4c28c2e, 0x3fec},
     Rounding::to_zero,
     {0x9f5554c411835fc2, 0x3ff4},
     32,
     false},
    {y_log2,
     {0x8000000000000005, 0x3fff},
     {0x810c4759482c9cbc, 0x3ff4},
     Rounding::nearest,
     {0xe8b89825937eb1c0, 0x3fb7},
     32,
     false},
    {y_log2,
     {0xde8766ed88daf401, 0x4025},
     {0xd19088f590fbbd11, 0xbff3},
     Rounding::down,
     {0xfe153e13a9c1ba7c, 0xbff8},
     32,
     true},
    {y_log2,
     {0x83f73f16dbf4a8b2, 0x4026},
     {0xad1b72dba7abe1c2, 0x3fee},
     Rounding::up,
     {0xd3366a3c836365a6, 0x3ff3},
     32,
     true},
    {y_log2,
     {0xdef88334e647cb8f, 0x401e},
     {0xe5e7e4236472f1a3, 0x4004},
     Rounding::to_zero,
     {0xe47959541c2087fb, 0x4009},
     32,
     false},
    {y_log2,
     {0xfb45145c1a81682c, 0x400a},
     {0xb0cbc97d0fef7928, 0xbfef},
     Rounding::nearest,
     {0x844cbac0bd0d1971, 0xbff3},
     32,
     false},
    {y_log2,
     {0xf0ccec313571810a, 0x3feb},
     {0xd70dc1951c2442f9, 0x4011},
     Rounding::down,
     {0x8048175b48c6a7e7, 0xc016},
     32,
     true},
    {y_log2,
     {0x800f49c81a358ca0, 0x401f},
     {0x895fd7b326b94c7f, 0xbff1},
     Rounding::up,
     {0x89609507358bef59, 0xbff6},
     32,
     false},
    {y_log2,
     {0x9d1de2a05d158a2f, 0x3fda},
     {0xdfd43f371200339d, 0xbff8},
     Rounding::to_zero,
     {0x805df766395b8f51, 0x3ffe},
     32,
     false},
    {y_log2_plus_1,
     {0xa607679d6050914a, 0xbffc},
     {0x9a2ef80f58ee8571, 0x4002},
     Rounding::nearest,
     {0x9d664d3c8c6edfee, 0xc000},
     32,
     false},
    {y_log2_plus_1,
     {0x9d87cec31f7296ab, 0x3ff9},
     {0xfa529ba3fe3bfada, 0x4008},
     Rounding::down,
     {0xdc1e5eefaa024504, 0x4003},
     32,
     false},
    {y_log2_plus_1,
     {0xcfd58dbe7bdc968b, 0x3ffb},
     {0xbfeaa1551a28f7b3, 0xc000},
     Rounding::up,
     {0xd6184a5612b6a3db, 0xbffd},
     32,
     false},
    {y_log2_plus_1,
     {0xfa86f7a243c71b9a, 0xbff8},
     {0x842e7fc229540a6e, 0x3fec},
     Rounding::to_zero,
     {0xbc10043e770f8413, 0xbfe6},
     32,
     false},
    {y_log2_plus_1,
     {0xf3b7a50df373ca53, 0x3ffc},
     {0x8b0d590bb0a844e5, 0xbfec},
     Rounding::nearest,
     {0xab52699b444b9ddf, 0xbfea},
     32,
     false},
    {y_log2_plus_1,
     {0xcc4f9b0687322e25, 0xbfec},
     {0xb239f3c7174c77a2, 0xbffb},
     Rounding::down,
     {0xcd35cd826ebefc23, 0x3fe9},
     32,
     false},
    {y_log2_plus_1,
     {0xe883a1d45de00997, 0x3ffb},
     {0xb908f227c59db916, 0xc00d},
     Rounding::up,
     {0xe5a7d89dfaf8897a, 0xc00a},
     32,
     false},
    {y_log2_plus_1,
     {0x80b0c08bc7702420, 0xbfd8},
     {0x9cfc865239194242, 0xbff7},
     Rounding::to_zero,
     {0xe3b487ed2363482e, 0x3fd0},
     32,
     false},
};

struct Division {
  Real x, y, truncated;
  unsigned truncated_quotient;
  Real nearest;
  unsigned nearest_quotient;
};
const std::vector<Division> kDivisions = {
    {{0xd17e44973d4882a5, 0xc009},
     {0xba0b9965cda6c6fd, 0xc009},
     {0xbb95598b7d0ddd40, 0xc006},
     1,
     {0xbb95598b7d0ddd40, 0xc006},
     1},
    {{0xdb06258e7e26f36a, 0xc00a},
     {0xca44eb860726e25c, 0x4009},
     {0x8609d043b8008870, 0xc007},
     2,
     {0x8609d043b8008870, 0xc007},
     2},
    {{0xb192b70442594052, 0x400e},
     {0xefe09f07cefe2a1f, 0xc009},
     {0xa52896d4b2524177, 0x4009},
     7,
     {0x957010663957d150, 0xc008},
     0},
    {{0xdd58c705f979d04a, 0x4031},
     {0xba12917c1a26f889, 0x4009},
     {0xcc3740cea0910500, 0x4002},
     6,
     {0xcc3740cea0910500, 0x4002},
     6},
    {{0xb451d0135675f6ad, 0xc047},
     {0xe67a9b75fc394724, 0x4009},
     {0x8d0121edc575f838, 0xc009},
     2,
     {0xb2f2f3106d869dd8, 0x4008},
     3},
    {{0xa72991b9e8c14743, 0xc048},
     {0x95b40aeba4a45eff, 0xc009},
     {0xb33ccac05d8365bc, 0xc008},
     6,
     {0xf056962dd78ab084, 0x4007},
     7},
    {{0xc845007063771407, 0x4048},
     {0xadb3997fe39639be, 0xc009},
     {0xfe1b3d9d2ff8c978, 0x4008},
     6,
     {0xba97eac52e675408, 0xc007},
     7},
    {{0xd51fd8f9a2c68e45, 0xc008},
     {0xf8be8831f237e45a, 0x4009},
     {0xd51fd8f9a2c68e45, 0xc008},
     0,
     {0xd51fd8f9a2c68e45, 0xc008},
     0},
};

}  // namespace

TEST_CASE("x87 functions are rounded correctly to 64 bits, whatever the rounding") {
  for (const Unary& c : kUnary) {
    CAPTURE(c.x);
    check(c.function(c.x, c.rounding), c.value, c.flags, c.rounded_up);
  }
  for (const Binary& c : kBinary) {
    CAPTURE(c.first);
    check(c.function(c.first, c.second, c.rounding), c.value, c.flags, c.rounded_up);
  }
}

TEST_CASE("x87 remainders are exact, with the quotient's low bits") {
  for (const Division& c : kDivisions) {
    CAPTURE(c.x);
    const Remainder truncated = remainder(c.x, c.y, false), nearest = remainder(c.x, c.y, true);
    CHECK(truncated.value == c.truncated);
    CHECK(truncated.quotient == c.truncated_quotient);
    CHECK(nearest.value == c.nearest);
    CHECK(nearest.quotient == c.nearest_quotient);
    CHECK(!truncated.partial);
    CHECK(truncated.flags + nearest.flags == 0);
  }
  // Nearly half of a divisor that is the larger: to the nearest, the quotient is one.
  CHECK(remainder(kTwo, kThree, false).value == kTwo);
  CHECK(remainder(kTwo, kThree, true).value == kMinusOne);
  CHECK(remainder(kTwo, kThree, true).quotient == 1);
  // From 64 bits on it takes several steps, each exact.
  const Real huge = {0xfedcba9876543211, 0x3fff + 300};
  Remainder step = remainder(huge, kThree, false);
  CHECK(step.partial);
  for (int steps = 1; step.partial; ++steps) {
    REQUIRE(steps < 12);
    step = remainder(step.value, kThree, false);
  }
  CHECK(step.value == kTwo);  // by whole numbers: see below
  CHECK(remainder(kMinusOne, kOne, false).value == kMinusZero);
  CHECK(remainder(kOne, kInfinity, false).value == kOne);
  CHECK(remainder(kZero, kOne, true).value == kZero);
  for (const Remainder& r : {remainder(kInfinity, kOne, false), remainder(kOne, kZero, false)}) {
    CHECK(r.value == kDefaultNan);
    CHECK(r.flags == kInvalid);
    CHECK(!r.partial);
  }
}

TEST_CASE("x87 functions of values that are no numbers") {
  using Function = Result (*)(Real, Rounding);
  for (const Function f : {Function(sine), Function(cosine), Function(tangent), Function(exp2_minus_1)}) {
    check_exact(f(kQuiet, Rounding::nearest), kQuiet);
    check_exact(f(kSignalling, Rounding::nearest), {0xc000000000001235, 0x7fff}, kInvalid);
    check_exact(f(kUnnormal, Rounding::nearest), kDefaultNan, kInvalid);
  }
  for (const Function f : {Function(sine), Function(cosine), Function(tangent)})
    check_exact(f(kInfinity, Rounding::nearest), kDefaultNan, kInvalid);
  using Binary2 = Result (*)(Real, Real, Rounding);
  for (const Binary2 f : {Binary2(arc_tangent), Binary2(y_log2), Binary2(y_log2_plus_1), Binary2(scale)}) {
    check_exact(f(kQuiet, kOne, Rounding::nearest), kQuiet);
    check_exact(f(kOne, kQuiet, Rounding::nearest), kQuiet);
    check_exact(f(kOne, kSignalling, Rounding::nearest), {0xc000000000001235, 0x7fff}, kInvalid);
    check_exact(f(kQuiet, kSignalling, Rounding::nearest), kQuiet, kInvalid);
    check_exact(f(kQuiet, {0xc000000000001235, 0xffff}, Rounding::nearest), {0xc000000000001235, 0xffff});
    check_exact(f(kQuiet, minus(kQuiet), Rounding::nearest), kQuiet);
    check_exact(f(kUnnormal, kQuiet, Rounding::nearest), kDefaultNan, kInvalid);
  }
  CHECK(has_sine({~0ull, 0x3fff + 62}));
  CHECK(!has_sine({1ull << 63, 0x3fff + 63}));
  CHECK(!has_sine(minus(kMax)));
}

TEST_CASE("x87 functions of zeros, infinities and ones") {
  const Rounding n = Rounding::nearest;
  check_exact(sine(kMinusZero, n), kMinusZero);
  check_exact(cosine(kMinusZero, n), kOne);
  check_exact(tangent(kMinusZero, n), kMinusZero);
  check_exact(exp2_minus_1(kMinusZero, n), kMinusZero);
  check_exact(exp2_minus_1(kOne, n), kOne);
  check_exact(exp2_minus_1(kMinusOne, n), minus(kHalf));
  check_exact(exp2_minus_1(kInfinity, n), kInfinity);
  check_exact(exp2_minus_1(kMinusInfinity, n), kMinusOne);
  check_exact(exp2_minus_1(kTwo, n), kDefaultNan, kInvalid);

  check_exact(arc_tangent(kZero, kOne, n), kZero);
  check_exact(arc_tangent(kMinusZero, kZero, n), kMinusZero);
  check(arc_tangent(kMinusZero, kMinusZero, n), minus(kPi), kPrecision, true);
  check(arc_tangent(kZero, kMinusOne, Rounding::down), {kPi.mantissa - 1, kPi.top}, kPrecision, false);
  check(arc_tangent(kOne, kZero, n), kHalfPi, kPrecision, true);
  check(arc_tangent(kInfinity, kInfinity, n), {kPi.mantissa, 0x3ffe}, kPrecision, true);
  check(arc_tangent(kMinusInfinity, kMinusInfinity, n), {0x96cbe3f9990e91a8, 0xc000}, kPrecision, true);
  check_exact(arc_tangent(kMinusOne, kInfinity, n), kMinusZero);
  check(arc_tangent(kDenormal, kMax, n), kZero, kPrecision | kUnderflow, false);
  check(arc_tangent(kDenormal, kMax, Rounding::up), kDenormal, kPrecision | kUnderflow, true);

  check_exact(y_log2(kTwo, kThree, n), kThree);
  check_exact(y_log2(kHalf, kThree, n), minus(kThree));
  check_exact(y_log2(kOne, kMinusOne, n), kMinusZero);
  check_exact(y_log2(kOne, kInfinity, n), kDefaultNan, kInvalid);
  check_exact(y_log2(kZero, kMinusOne, n), kInfinity, kZeroDivide);
  check_exact(y_log2(kMinusZero, kOne, n), kMinusInfinity, kZeroDivide);
  check_exact(y_log2(kZero, kInfinity, n), kMinusInfinity);
  check_exact(y_log2(kZero, kZero, n), kDefaultNan, kInvalid);
  check_exact(y_log2(kMinusOne, kOne, n), kDefaultNan, kInvalid);
  check_exact(y_log2(kMinusInfinity, kOne, n), kDefaultNan, kInvalid);
  check_exact(y_log2(kInfinity, kMinusOne, n), kMinusInfinity);
  check_exact(y_log2(kInfinity, kZero, n), kDefaultNan, kInvalid);
  check_exact(y_log2(kHalf, kInfinity, n), kMinusInfinity);
  check_exact(y_log2(kThree, kMinusZero, n), kMinusZero);
  check(y_log2({1ull << 63, 0x3fff + 16000}, kMax, n), kInfinity, kOverflow | kPrecision, true);
  check(y_log2({1ull << 63, 0x3fff + 16000}, kMax, Rounding::to_zero), kMax, kOverflow | kPrecision, false);

  check_exact(y_log2_plus_1(kThree, kThree, n), {3ull << 62, 0x4001});
  check_exact(y_log2_plus_1(minus(kHalf), kThree, n), minus(kThree));
  check_exact(y_log2_plus_1(kMinusZero, kThree, n), kMinusZero);
  check_exact(y_log2_plus_1(kZero, kInfinity, n), kDefaultNan, kInvalid);
  check_exact(y_log2_plus_1(kMinusOne, kOne, n), kMinusInfinity, kZeroDivide);
  check_exact(y_log2_plus_1(minus(kTwo), kOne, n), kDefaultNan, kInvalid);
  check_exact(y_log2_plus_1(minus(kHalf), kInfinity, n), kMinusInfinity);
  check_exact(y_log2_plus_1(kInfinity, kOne, n), kInfinity);
}

TEST_CASE("FSCALE and FXTRACT take numbers apart and put them together") {
  const Rounding n = Rounding::nearest;
  check_exact(scale(kThree, {0xf333333333333333, 0x3fff}, n), {3ull << 62, 0x4001});  // by 1.9
  check_exact(scale(kThree, minus({0xf333333333333333, 0x3fff}), n), {3ull << 62, 0x3fff});
  check_exact(scale(kInfinity, kMinusOne, n), kInfinity);
  check_exact(scale(kInfinity, kMinusInfinity, n), kDefaultNan, kInvalid);
  check_exact(scale(kZero, kInfinity, n), kDefaultNan, kInvalid);
  check_exact(scale(kMinusOne, kInfinity, n), kMinusInfinity);
  check_exact(scale(kMinusOne, kMinusInfinity, n), kMinusZero);
  check_exact(scale(kDenormal, {0x9000000000000000, 0x3fff + 14}, n), {1ull << 63, 0x3fff - 16445 + 18432});
  check(scale(kOne, kMax, n), kInfinity, kOverflow | kPrecision, true);
  check(scale(kOne, minus(kMax), n), kZero, kUnderflow | kPrecision, false);
  check(scale(kOne, minus(kMax), Rounding::up), kDenormal, kUnderflow | kPrecision, true);
  check_exact(scale({1ull << 63, 1}, {1ull << 63, 0xbfff}, n), {1ull << 62, 0});  // exact, however small

  const Parts parts = extract({0xc000000000000000, 0xc005});
  CHECK(parts.exponent == Real{0xc000000000000000, 0x4001});  // 6
  CHECK(parts.significand == Real{0xc000000000000000, 0xbfff});
  CHECK(extract(kDenormal).significand == kOne);
  CHECK(extract(kDenormal).exponent == Real{0x807a000000000000, 0xc00d});  // -16445
  CHECK(extract(kMinusZero).exponent == kMinusInfinity);
  CHECK(extract(kMinusZero).significand == kMinusZero);
  CHECK(extract(kMinusZero).flags == kZeroDivide);
  CHECK(extract(kMinusInfinity).exponent == kInfinity);
  CHECK(extract(kMinusInfinity).significand == kMinusInfinity);
  CHECK(extract(kSignalling).exponent.mantissa == 0xc000000000001235);
  CHECK(extract(kSignalling).flags == kInvalid);
}
