#include "kv_store.h"

enum { kSlots = 2 * kStoreEntries, kDigits = 18 };

static struct Entry entries[kStoreEntries];
static uint32_t slots[kSlots];  // entry number + 1; 0: free
static uint32_t count;

// The slot of this key, or the free one where it belongs: half of them are always free.
static uint32_t* slot_of(struct Text key) {
  uint32_t hash = 2166136261u;
  for (uint32_t i = 0; i < key.length; ++i) hash = (hash ^ (uint8_t)key.at[i]) * 16777619u;
  for (uint32_t at = (hash ^ hash >> 15) % kSlots;; at = (at + 1) % kSlots)
    if (!slots[at] || text_equal(entry_key(&entries[slots[at] - 1]), key)) return &slots[at];
}

struct Entry* store_find(struct Text key) {
  const uint32_t slot = *slot_of(key);
  return slot ? &entries[slot - 1] : NULL;
}

struct Entry* store_add(struct Text key) {
  if (count == kStoreEntries) return NULL;
  struct Entry* e = &entries[count];
  memcpy(e->key, key.at, key.length);
  e->key_length = (uint8_t)key.length;
  *slot_of(key) = ++count;
  return e;
}

void entry_set(struct Entry* e, struct Text value) {
  memcpy(e->value, value.at, value.length);
  e->value_length = (uint8_t)value.length;
}

bool entry_increment(struct Entry* e) {
  uint32_t at = e->value_length;
  if (at == 0 || at > kDigits || (e->value[0] == '0' && at > 1)) return false;
  bool nines = true;
  for (uint32_t i = 0; i < at; ++i) {
    if (e->value[i] < '0' || e->value[i] > '9') return false;
    nines &= e->value[i] == '9';
  }
  if (nines && at == kDigits) return false;
  while (at-- > 0) {
    if (e->value[at] != '9') {
      ++e->value[at];
      return true;
    }
    e->value[at] = '0';
  }
  e->value[e->value_length++] = '0';
  e->value[0] = '1';
  return true;
}

uint32_t store_count(void) { return count; }

const struct Entry* store_entry(uint32_t index) { return &entries[index]; }
