// Shows that FPREM keeps all 64 bits of a mantissa (SDM vol. 2, FPREM). Apart from fpu_sse.c because engines derived
// from QEMU before 5.1 take remainders in double precision.
#include "runtime.h"

struct Real {
  uint64_t mantissa;
  uint16_t top;
} __attribute__((packed));
static const struct Real kThree = {0xc000000000000000, 0x4000};

int main(void) {
  struct Real pi = {0xc90fdaa22168c235, 0x4000};
  __asm__ volatile("fninit; fldt %1; fldt %0; fprem; fstpt %0; fstp %%st(0)" : "+m"(pi) : "m"(kThree));
  check(pi.mantissa == 0x90fdaa22168c2350 && pi.top == 0x3ffc, "fprem of pi and 3 keeps all bits");
  return 0;
}
