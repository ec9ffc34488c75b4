// Shows that a multiboot image is loaded and entered, that COM1 prints and that port 0xf4 ends the run.
#include "runtime.h"

int main(void) {
  say("Hello from ring %u\n", 0u);
  say("numbers: %u %d %x %08x\n", 1234567u, -42, 0xbeefu, 0xcafeu);
  check(read_cr0() & kCr0Pe, "protected mode");
  return 0;
}
