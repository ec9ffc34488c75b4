// The x87's functions beyond arithmetic, on values of 80 bits: the same bits on every host, since MPFR computes them,
// rounded correctly to 64 bits of significand by the rounding control (the precision control does not apply: SDM Vol. 1
// 8.1.5.2). The engine's own go through the host's C library in double precision. Special values are those of the
// tables in SDM Vol. 2, exceptions those of masked ones (Vol. 1 8.5); where the manual leaves a result undefined, the
// header says what it is.
#pragma once

#include <cstdint>

namespace understudy::emu::x87 {

struct Real {
  uint64_t mantissa = 0;  // with its integer bit
  uint16_t top = 0;       // sign and exponent
  bool operator==(const Real&) const = default;
};

constexpr Real kOne = {1ull << 63, 0x3fff};
constexpr Real kInfinity = {1ull << 63, 0x7fff};
constexpr Real kDefaultNan = {3ull << 62, 0xffff};

// Bits of the status word.
constexpr uint8_t kInvalid = 1, kZeroDivide = 4, kOverflow = 8, kUnderflow = 16, kPrecision = 32;

// The control word's field.
enum class Rounding : uint8_t { nearest, down, up, to_zero };

struct Result {
  Real value;
  uint8_t flags = 0;
  bool rounded_up = false;  // away from zero: C1
};

// Smaller than 2^63: others are left alone by the four trigonometric instructions.
bool has_sine(Real x);
Result sine(Real x, Rounding rounding);
Result cosine(Real x, Rounding rounding);
Result tangent(Real x, Rounding rounding);
// The angle of (x, y).
Result arc_tangent(Real y, Real x, Rounding rounding);
// 2^x - 1. Invalid for finite x beyond -1 to 1.
Result exp2_minus_1(Real x, Rounding rounding);
// y * log2(x).
Result y_log2(Real x, Real y, Rounding rounding);
// y * log2(x + 1); also where the manual leaves it undefined.
Result y_log2_plus_1(Real x, Real y, Rounding rounding);
// x * 2^y, y truncated.
Result scale(Real x, Real y, Rounding rounding);

struct Remainder {
  Real value;
  uint8_t flags = 0;
  unsigned quotient = 0;  // its low three bits
  bool partial = false;   // not reduced all the way: to be done again
};
// Of x / y, with the quotient truncated (FPREM) or rounded to the nearest (FPREM1). Exact.
Remainder remainder(Real x, Real y, bool nearest);

struct Parts {
  Real exponent, significand;
  uint8_t flags = 0;
};
Parts extract(Real x);

}  // namespace understudy::emu::x87
