#include "ring.h"

void copy_bytes(void* to, const void* from, size_t count) {
  uint8_t* p = to;
  const uint8_t* q = from;
  for (; count >= 16; count -= 16, p += 16, q += 16) {
    const uint32_t *a = (const uint32_t*)q, w0 = a[0], w1 = a[1], w2 = a[2], w3 = a[3];
    uint32_t* b = (uint32_t*)p;
    b[0] = w0;
    b[1] = w1;
    b[2] = w2;
    b[3] = w3;
  }
  while (count--) *p++ = *q++;
}

void ring_clear(struct Ring* r) { r->start = r->used = 0; }

void ring_put_at(struct Ring* r, uint32_t offset, const void* from, uint32_t count) {
  const uint32_t at = (r->start + offset) & (r->size - 1);
  const uint32_t first = count < r->size - at ? count : r->size - at;
  copy_bytes(r->bytes + at, from, first);
  copy_bytes(r->bytes, (const uint8_t*)from + first, count - first);
}

void ring_get_at(const struct Ring* r, uint32_t offset, void* to, uint32_t count) {
  const uint32_t at = (r->start + offset) & (r->size - 1);
  const uint32_t first = count < r->size - at ? count : r->size - at;
  copy_bytes(to, r->bytes + at, first);
  copy_bytes((uint8_t*)to + first, r->bytes, count - first);
}

void ring_add(struct Ring* r, const void* from, uint32_t count) {
  ring_put_at(r, r->used, from, count);
  r->used += count;
}

void ring_drop(struct Ring* r, uint32_t count) {
  r->start = (r->start + count) & (r->size - 1);
  r->used -= count;
}
