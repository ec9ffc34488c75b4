#include "emu/x87_math.h"

#include <mpfr.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

namespace understudy::emu::x87 {

namespace {

constexpr uint16_t kSign = 0x8000, kExponent = 0x7fff;
constexpr int kBias = 16383;
constexpr uint64_t kIntegerBit = 1ull << 63, kQuietBit = 1ull << 62;
constexpr mpfr_prec_t kPrecision64 = 64;
// MPFR's exponents are those of significands from 0.5 to 1.
constexpr mpfr_exp_t kSmallestExponent = -16444;  // of the smallest denormal number
constexpr mpfr_exp_t kSmallestNormal = -16381;
constexpr mpfr_exp_t kLargestExponent = 16384;

class Number {
 public:
  explicit Number(mpfr_prec_t precision = kPrecision64) { mpfr_init2(value_, precision); }
  ~Number() { mpfr_clear(value_); }
  Number(const Number&) = delete;
  Number& operator=(const Number&) = delete;
  // NOLINTBEGIN(google-explicit-constructor): it is to be given to MPFR's functions as it is.
  operator mpfr_ptr() { return value_; }
  operator mpfr_srcptr() const { return value_; }
  // NOLINTEND(google-explicit-constructor)

 private:
  mpfr_t value_;
};

// While alive, numbers have the exponents of 80-bit reals.
class ExtendedRange {
 public:
  ExtendedRange() : emin_(mpfr_get_emin()), emax_(mpfr_get_emax()) {
    mpfr_set_emin(kSmallestExponent);
    mpfr_set_emax(kLargestExponent);
  }
  ~ExtendedRange() {
    mpfr_set_emin(emin_);
    mpfr_set_emax(emax_);
  }
  ExtendedRange(const ExtendedRange&) = delete;
  ExtendedRange& operator=(const ExtendedRange&) = delete;

 private:
  mpfr_exp_t emin_, emax_;
};

bool negative(Real x) { return x.top & kSign; }
unsigned exponent_of(Real x) { return x.top & kExponent; }
bool is_zero(Real x) { return exponent_of(x) == 0 && x.mantissa == 0; }
bool is_infinite(Real x) { return exponent_of(x) == kExponent && x.mantissa == kIntegerBit; }
// Encodings that the 387 and its successors refuse (SDM Vol. 1 8.2.2).
bool is_unsupported(Real x) { return exponent_of(x) != 0 && !(x.mantissa & kIntegerBit); }
bool is_nan(Real x) { return exponent_of(x) == kExponent && x.mantissa > kIntegerBit; }
bool is_signalling(Real x) { return is_nan(x) && !(x.mantissa & kQuietBit); }

Real with_sign(Real x, bool minus) {
  return {x.mantissa, static_cast<uint16_t>((x.top & kExponent) | (minus ? kSign : 0))};
}
Real zero(bool minus) { return with_sign({0, 0}, minus); }
Real infinity(bool minus) { return with_sign(kInfinity, minus); }
Real quieted(Real x) { return {x.mantissa | kQuietBit, x.top}; }

Result invalid() { return {kDefaultNan, kInvalid}; }

std::optional<Result> if_no_number(Real x) {
  if (is_unsupported(x)) return invalid();
  if (is_nan(x)) return Result{quieted(x), is_signalling(x) ? kInvalid : uint8_t{0}};
  return std::nullopt;
}

// SDM Vol. 1 table 4-7.
std::optional<Result> if_no_numbers(Real a, Real b) {
  if (is_unsupported(a) || is_unsupported(b)) return invalid();
  if (!is_nan(a)) return if_no_number(b);
  if (!is_nan(b)) return if_no_number(a);
  const uint8_t flags = is_signalling(a) || is_signalling(b) ? kInvalid : 0;
  if (is_signalling(a) != is_signalling(b)) return Result{is_signalling(a) ? b : a, flags};
  const bool first = a.mantissa != b.mantissa ? a.mantissa > b.mantissa : !negative(a);
  return Result{quieted(first ? a : b), flags};
}

mpfr_rnd_t mpfr_rounding(Rounding rounding) {
  switch (rounding) {
    case Rounding::nearest:
      return MPFR_RNDN;
    case Rounding::down:
      return MPFR_RNDD;
    case Rounding::up:
      return MPFR_RNDU;
    case Rounding::to_zero:
      break;
  }
  return MPFR_RNDZ;
}

// Exactly.
void set(mpfr_ptr to, Real x) {
  if (is_infinite(x))
    mpfr_set_inf(to, 1);
  else if (is_zero(x))
    mpfr_set_zero(to, 1);
  else
    mpfr_set_ui_2exp(to, x.mantissa, static_cast<mpfr_exp_t>(std::max(exponent_of(x), 1u)) - kBias - 63, MPFR_RNDN);
  mpfr_setsign(to, to, negative(x), MPFR_RNDN);
}

// A value that an 80-bit real can hold.
Real get(mpfr_srcptr from) {
  const bool minus = mpfr_signbit(from);
  if (mpfr_zero_p(from)) return zero(minus);
  if (mpfr_inf_p(from)) return infinity(minus);
  const mpfr_exp_t exponent = std::max(mpfr_get_exp(from), kSmallestNormal);
  Number scaled;
  mpfr_mul_2si(scaled, from, 64 - exponent, MPFR_RNDN);
  mpfr_abs(scaled, scaled, MPFR_RNDN);
  const uint64_t mantissa = mpfr_get_ui(scaled, MPFR_RNDN);
  const auto biased = static_cast<uint16_t>(mantissa & kIntegerBit ? exponent - 1 + kBias : 0);
  return with_sign({mantissa, biased}, minus);
}

// `value` is the true one, rounded to 64 bits without bounds to its exponent: `ternary` says which way.
Result finish(Number& value, int ternary, mpfr_rnd_t rounding) {
  const bool tiny = mpfr_regular_p(value) && mpfr_get_exp(value) < kSmallestNormal;
  const bool huge = mpfr_regular_p(value) && mpfr_get_exp(value) > kLargestExponent;
  const ExtendedRange range;
  ternary = mpfr_check_range(value, ternary, rounding);
  ternary = mpfr_subnormalize(value, ternary, rounding);
  Result result{get(value)};
  if (ternary != 0) result.flags |= kPrecision;
  if (tiny && ternary != 0) result.flags |= kUnderflow;
  if (huge) result.flags |= kOverflow;
  result.rounded_up = mpfr_signbit(value) ? ternary < 0 : ternary > 0;
  return result;
}

// For functions that MPFR does not have. `approximate` computes the irrational true value to the precision of its
// argument, but for the last eight bits.
template <typename F>
Result finish_approximated(F&& approximate, mpfr_rnd_t rounding) {
  constexpr mpfr_prec_t kUnsure = 8;
  for (mpfr_prec_t precision = 128;; precision *= 2) {
    Number near(precision);
    approximate(near);
    if (!mpfr_can_round(near, precision - kUnsure, MPFR_RNDN, rounding, kPrecision64 + (rounding == MPFR_RNDN)))
      continue;
    Number value;
    const int ternary = mpfr_set(value, near, rounding);
    return finish(value, ternary, rounding);
  }
}

template <typename F>
Result trigonometric(F&& function, Real x, Rounding rounding) {
  if (auto special = if_no_number(x)) return *special;
  if (is_infinite(x)) return invalid();
  Number value, argument;
  set(argument, x);
  const mpfr_rnd_t way = mpfr_rounding(rounding);
  const int ternary = function(value, argument, way);
  return finish(value, ternary, way);
}

bool is_power_of_two(mpfr_srcptr x) { return mpfr_min_prec(x) == 1; }

// y * log2(x) with y a number and log2(x) infinite or zero or infinitely large; nothing for others. `sign` is that of
// the logarithm: -1, 0 or 1.
std::optional<Result> special_product(Real y, int sign, bool log_is_infinite) {
  const bool minus = negative(y) != (sign < 0);
  if (log_is_infinite) {
    if (is_zero(y)) return invalid();
    return Result{infinity(minus)};
  }
  if (sign == 0) {
    if (is_infinite(y)) return invalid();
    return Result{zero(negative(y))};
  }
  if (is_infinite(y)) return Result{infinity(minus)};
  if (is_zero(y)) return Result{zero(minus)};
  return std::nullopt;
}

// The unbiased exponent that the number would have if it were normal.
int true_exponent(Real x) {
  Number value;
  set(value, x);
  return static_cast<int>(mpfr_get_exp(value)) - 1;
}

}  // namespace

bool has_sine(Real x) { return exponent_of(x) < kBias + 63 || exponent_of(x) == kExponent; }

Result sine(Real x, Rounding rounding) { return trigonometric(mpfr_sin, x, rounding); }
Result cosine(Real x, Rounding rounding) { return trigonometric(mpfr_cos, x, rounding); }
Result tangent(Real x, Rounding rounding) { return trigonometric(mpfr_tan, x, rounding); }

Result arc_tangent(Real y, Real x, Rounding rounding) {
  if (auto special = if_no_numbers(y, x)) return *special;
  Number value, ordinate, abscissa;
  set(ordinate, y);
  set(abscissa, x);
  const mpfr_rnd_t way = mpfr_rounding(rounding);
  const int ternary = mpfr_atan2(value, ordinate, abscissa, way);
  return finish(value, ternary, way);
}

Result exp2_minus_1(Real x, Rounding rounding) {
  if (auto special = if_no_number(x)) return *special;
  if (is_zero(x)) return {x};
  if (is_infinite(x)) return {negative(x) ? with_sign(kOne, true) : x};
  Number argument;
  set(argument, x);
  const int beyond = mpfr_cmpabs_ui(argument, 1);
  if (beyond > 0) return invalid();
  constexpr Real kMinusHalf = {1ull << 63, 0xbffe};
  if (beyond == 0) return {negative(x) ? kMinusHalf : kOne};
  return finish_approximated(
      [&](Number& near) {
        mpfr_const_log2(near, MPFR_RNDN);
        mpfr_mul(near, near, argument, MPFR_RNDN);
        mpfr_expm1(near, near, MPFR_RNDN);
      },
      mpfr_rounding(rounding));
}

Result y_log2(Real x, Real y, Rounding rounding) {
  if (auto special = if_no_numbers(y, x)) return *special;
  if (negative(x) && !is_zero(x)) return invalid();
  if (is_zero(x)) {
    auto pole = *special_product(y, -1, true);
    if (!is_infinite(y) && pole.flags == 0) pole.flags = kZeroDivide;
    return pole;
  }
  if (is_infinite(x)) return *special_product(y, 1, true);
  Number argument, factor;
  set(argument, x);
  set(factor, y);
  const int sign = mpfr_cmp_ui(argument, 1);
  if (auto special = special_product(y, sign, false)) return *special;
  const mpfr_rnd_t way = mpfr_rounding(rounding);
  if (is_power_of_two(argument)) {
    Number value;
    const int ternary = mpfr_mul_si(value, factor, mpfr_get_exp(argument) - 1, way);
    return finish(value, ternary, way);
  }
  return finish_approximated(
      [&](Number& near) {
        mpfr_log2(near, argument, MPFR_RNDN);
        mpfr_mul(near, near, factor, MPFR_RNDN);
      },
      way);
}

Result y_log2_plus_1(Real x, Real y, Rounding rounding) {
  if (auto special = if_no_numbers(y, x)) return *special;
  if (is_zero(x)) {
    if (is_infinite(y)) return invalid();
    return {zero(negative(x) != negative(y))};
  }
  if (is_infinite(x)) return negative(x) ? invalid() : *special_product(y, 1, true);
  Number argument, factor;
  set(argument, x);
  set(factor, y);
  const int beyond = mpfr_cmp_si(argument, -1);
  if (beyond < 0) return invalid();
  if (beyond == 0) {
    auto pole = *special_product(y, -1, true);
    if (!is_infinite(y) && pole.flags == 0) pole.flags = kZeroDivide;
    return pole;
  }
  if (auto special = special_product(y, negative(x) ? -1 : 1, false)) return *special;
  const mpfr_rnd_t way = mpfr_rounding(rounding);
  // A sum that is a power of two has a rational logarithm; one of more bits than this is none.
  Number sum(256);
  if (mpfr_add_ui(sum, argument, 1, MPFR_RNDN) == 0 && is_power_of_two(sum)) {
    Number value;
    const int ternary = mpfr_mul_si(value, factor, mpfr_get_exp(sum) - 1, way);
    return finish(value, ternary, way);
  }
  return finish_approximated(
      [&](Number& near) {
        Number ln2(mpfr_get_prec(near));
        mpfr_const_log2(ln2, MPFR_RNDN);
        mpfr_log1p(near, argument, MPFR_RNDN);
        mpfr_div(near, near, ln2, MPFR_RNDN);
        mpfr_mul(near, near, factor, MPFR_RNDN);
      },
      way);
}

Result scale(Real x, Real y, Rounding rounding) {
  if (auto special = if_no_numbers(x, y)) return *special;
  if (is_infinite(y)) {
    if (negative(y)) return is_infinite(x) ? invalid() : Result{zero(negative(x))};
    return is_zero(x) ? invalid() : Result{infinity(negative(x))};
  }
  if (is_zero(x) || is_infinite(x)) return {x};
  Number value, exponent;
  set(value, x);
  set(exponent, y);
  // Beyond what any exponent can make up for.
  constexpr long kMost = 1 << 17;
  const long by =
      mpfr_cmpabs_ui(exponent, kMost) > 0 ? (negative(y) ? -kMost : kMost) : mpfr_get_si(exponent, MPFR_RNDZ);
  mpfr_mul_2si(value, value, by, MPFR_RNDN);
  return finish(value, 0, mpfr_rounding(rounding));
}

Remainder remainder(Real x, Real y, bool nearest) {
  if (auto special = if_no_numbers(x, y)) return {special->value, special->flags};
  if (is_infinite(x) || is_zero(y)) return {kDefaultNan, kInvalid};
  if (is_zero(x) || is_infinite(y)) return {x};
  Number value, dividend, divisor;
  set(dividend, x);
  set(divisor, y);
  Remainder result{x};
  long quotient = 0;
  const int distance = true_exponent(x) - true_exponent(y);
  if (distance < 64) {
    if (nearest)
      mpfr_remquo(value, &quotient, dividend, divisor, MPFR_RNDN);
    else
      mpfr_fmodquo(value, &quotient, dividend, divisor, MPFR_RNDN);
    result.quotient = static_cast<unsigned>(std::labs(quotient) & 7);
  } else {
    // How far one execution comes is the processor's choice, from 32 bits to 63.
    const int bits = 32 + distance % 32;
    mpfr_mul_2si(divisor, divisor, distance - bits, MPFR_RNDN);
    mpfr_fmod(value, dividend, divisor, MPFR_RNDN);
    result.partial = true;
  }
  result.value = get(value);
  if (is_zero(result.value)) result.value = zero(negative(x));
  return result;
}

Parts extract(Real x) {
  if (auto special = if_no_number(x)) return {special->value, special->value, special->flags};
  if (is_infinite(x)) return {kInfinity, x};
  if (is_zero(x)) return {infinity(true), x, kZeroDivide};
  Number value;
  set(value, x);
  const mpfr_exp_t exponent = mpfr_get_exp(value) - 1;
  mpfr_mul_2si(value, value, -exponent, MPFR_RNDN);
  Parts parts{{}, get(value)};
  mpfr_set_si(value, exponent, MPFR_RNDN);
  parts.exponent = get(value);
  return parts;
}

}  // namespace understudy::emu::x87
