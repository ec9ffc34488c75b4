// A byte queue of a fixed size, a power of two, with a look at any part of it: what a TCP connection keeps of its two
// streams. Offsets count from the oldest byte.
#pragma once
#include "runtime.h"

struct Ring {
  uint8_t* bytes;
  uint32_t size;  // a power of two
  uint32_t start, used;
};

void copy_bytes(void* to, const void* from, size_t count);  // by words, unlike memcpy

static inline uint32_t ring_free(const struct Ring* r) { return r->size - r->used; }
void ring_clear(struct Ring* r);
void ring_put_at(struct Ring* r, uint32_t offset, const void* from, uint32_t count);  // `used` stays as it is
void ring_get_at(const struct Ring* r, uint32_t offset, void* to, uint32_t count);
void ring_add(struct Ring* r, const void* from, uint32_t count);  // there must be room
void ring_drop(struct Ring* r, uint32_t count);                   // the oldest
