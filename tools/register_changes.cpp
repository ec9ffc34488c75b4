#include "tools/register_changes.h"

namespace understudy::tools {

void RegisterChanges::take_fpu(FpuState& state) const {
  constexpr unsigned kTopShift = 11;
  for (unsigned i = 0; i < 8; ++i) {
    state.mantissas[i] = cpu_.fpregs[i].mantissa;
    state.exponents[i] = cpu_.fpregs[i].exponent;
  }
  for (unsigned i = 0; i < 16; ++i) state.vectors[i] = {cpu_.xmm[i].q[0], cpu_.xmm[i].q[1]};
  state.control = cpu_.fpuc;
  state.status = (cpu_.fpus & ~(7u << kTopShift)) | (cpu_.fpstt & 7) << kTopShift;
  state.mxcsr = cpu_.mxcsr;
}

void RegisterChanges::remember() {
  compare(true, true, [](const char*, uint64_t, unsigned) {});
}

}  // namespace understudy::tools
