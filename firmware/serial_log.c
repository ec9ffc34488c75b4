#include "serial_log.h"

#include "ring.h"

enum { kCom1 = 0x3f8, kFifo = 16, kTransmitterEmpty = 0x20, kLine = 120 };

static uint8_t waiting_bytes[4096];
static struct Ring waiting = {.bytes = waiting_bytes, .size = sizeof waiting_bytes};
static char line[kLine + 1];
static unsigned length;

static void log_char(char c) {
  if (length < kLine) line[length++] = c;
}

void log_text(const char* text) {
  while (*text) log_char(*text++);
}

void log_number(uint32_t value) {
  if (value >= 10) log_number(value / 10);
  log_char((char)('0' + value % 10));
}

void log_address(uint32_t ip) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    log_number(ip >> shift & 0xff);
    if (shift) log_char('.');
  }
}

void log_end(void) {
  line[length++] = '\n';
  if (length <= ring_free(&waiting)) ring_add(&waiting, line, length);
  length = 0;
}

void log_poll(void) {
  if (!waiting.used || !(inb(kCom1 + 5) & kTransmitterEmpty)) return;
  uint8_t bytes[kFifo];
  const uint32_t count = waiting.used < kFifo ? waiting.used : kFifo;
  ring_get_at(&waiting, 0, bytes, count);
  ring_drop(&waiting, count);
  for (uint32_t i = 0; i < count; ++i) outb(kCom1, bytes[i]);
}
