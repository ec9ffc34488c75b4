#include "emu/x87_functions.h"

#include <cassert>

#include "emu/fp_status.h"
#include "emu/x87_math.h"

namespace understudy::emu {

namespace {

constexpr uint16_t kC0 = 1u << 8, kC1 = 1u << 9, kC2 = 1u << 10, kC3 = 1u << 14;

class Stack {
 public:
  explicit Stack(EngineCpu& cpu) : cpu_(cpu) {}
  x87::Real get(unsigned i) const {
    const EngineCpu::X87& reg = cpu_.fpregs[(cpu_.fpstt + i) & 7];
    return {reg.mantissa, reg.exponent};
  }
  void set(unsigned i, x87::Real value) {
    EngineCpu::X87& reg = cpu_.fpregs[(cpu_.fpstt + i) & 7];
    reg.mantissa = value.mantissa;
    reg.exponent = value.top;
  }
  void push(x87::Real value) {
    cpu_.fpstt = (cpu_.fpstt - 1) & 7;
    cpu_.fptags[cpu_.fpstt] = 0;
    set(0, value);
  }
  void pop() {
    cpu_.fptags[cpu_.fpstt] = 1;
    cpu_.fpstt = (cpu_.fpstt + 1) & 7;
  }

 private:
  EngineCpu& cpu_;
};

}  // namespace

void execute_x87_function(EngineCpu& cpu, uint8_t reg, uint8_t rm) {
  using namespace x87;
  const auto rounding = static_cast<Rounding>(cpu.fpuc >> 10 & 3);
  Stack stack(cpu);
  const Real st0 = stack.get(0), st1 = stack.get(1);
  cpu.fpcs = static_cast<uint16_t>(cpu.segs[kCs].selector);
  cpu.fpip = cpu.eip;
  uint16_t conditions = 0, kept = kC0 | kC2 | kC3;
  auto note = [&](const Result& result) {
    raise_x87_flags(cpu, result.flags);
    conditions |= result.rounded_up ? kC1 : 0;
    return result.value;
  };
  auto note_remainder = [&](const Remainder& result) {
    raise_x87_flags(cpu, result.flags);
    kept = 0;
    conditions = static_cast<uint16_t>((result.quotient & 4 ? kC0 : 0) | (result.quotient & 2 ? kC3 : 0) |
                                       (result.quotient & 1 ? kC1 : 0) | (result.partial ? kC2 : 0));
    return result.value;
  };
  // False for an operand that is too large: then only C2 says so.
  auto trigonometric = [&] {
    kept = kC0 | kC3;
    if (has_sine(st0)) return true;
    conditions = kC2;
    return false;
  };
  switch ((reg & 7) << 3 | (rm & 7)) {
    case 060:  // F2XM1
      stack.set(0, note(exp2_minus_1(st0, rounding)));
      break;
    case 061:  // FYL2X
      stack.set(1, note(y_log2(st0, st1, rounding)));
      stack.pop();
      break;
    case 062:  // FPTAN
      if (trigonometric()) {
        const Result result = tangent(st0, rounding);
        stack.set(0, note(result));
        // No number has no tangent, and is pushed in the place of 1.
        stack.push((result.value.top & 0x7fff) == 0x7fff ? result.value : kOne);
      }
      break;
    case 063:  // FPATAN
      stack.set(1, note(arc_tangent(st1, st0, rounding)));
      stack.pop();
      break;
    case 064: {  // FXTRACT
      const Parts parts = extract(st0);
      raise_x87_flags(cpu, parts.flags);
      stack.set(0, parts.exponent);
      stack.push(parts.significand);
      break;
    }
    case 065:  // FPREM1
      stack.set(0, note_remainder(remainder(st0, st1, true)));
      break;
    case 070:  // FPREM
      stack.set(0, note_remainder(remainder(st0, st1, false)));
      break;
    case 071:  // FYL2XP1
      stack.set(1, note(y_log2_plus_1(st0, st1, rounding)));
      stack.pop();
      break;
    case 073:  // FSINCOS: C1 is the sine's or the cosine's
      if (trigonometric()) {
        stack.set(0, note(sine(st0, rounding)));
        stack.push(note(cosine(st0, rounding)));
      }
      break;
    case 075:  // FSCALE
      stack.set(0, note(scale(st0, st1, rounding)));
      break;
    case 076:  // FSIN
      if (trigonometric()) stack.set(0, note(sine(st0, rounding)));
      break;
    case 077:  // FCOS
      if (trigonometric()) stack.set(0, note(cosine(st0, rounding)));
      break;
    default:
      assert(false);
  }
  cpu.fpus = static_cast<uint16_t>((cpu.fpus & ~(kC0 | kC1 | kC2 | kC3)) | (cpu.fpus & kept) | conditions);
}

}  // namespace understudy::emu
