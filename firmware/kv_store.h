// Up to 65,536 keys with their values, in memory. Entries stay where they are, in the order in which their keys first
// came, so that a walk over them may be interrupted.
#pragma once
#include "runtime.h"

enum { kStoreEntries = 65536, kKeyLimit = 64, kValueLimit = 126 };

struct Text {
  const char* at;
  uint32_t length;
};

struct Entry {
  uint8_t key_length, value_length;
  char key[kKeyLimit], value[kValueLimit];
};

static inline bool text_equal(struct Text a, struct Text b) {
  return a.length == b.length && memcmp(a.at, b.at, a.length) == 0;
}
static inline struct Text entry_key(const struct Entry* e) { return (struct Text){e->key, e->key_length}; }
static inline struct Text entry_value(const struct Entry* e) { return (struct Text){e->value, e->value_length}; }

// Lengths must be within the limits.
struct Entry* store_find(struct Text key);  // null if it is not there
struct Entry* store_add(struct Text key);   // a key that is not there, with an empty value; null if the store is full
void entry_set(struct Entry* e, struct Text value);
// One more, in decimal of up to 18 digits; false if the value is no such number.
bool entry_increment(struct Entry* e);
uint32_t store_count(void);
const struct Entry* store_entry(uint32_t index);
