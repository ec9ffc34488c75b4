// A CPU-bound benchmark: a sieve, a sort, hashing, string search, matrix products and a small interpreter, all integer
// code of a C compiler, no device but the console at the end. About 1.7 G instructions; the results are checked by
// sums.
#include "runtime.h"

#ifndef ROUNDS
#define ROUNDS 9
#endif
enum { kRounds = ROUNDS };
static uint32_t random_state;

static uint32_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}

// ---- sieve ----
static uint8_t composite[1 << 20];
static uint32_t sieve(void) {
  const uint32_t limit = sizeof composite;
  memset(composite, 0, limit);
  uint32_t primes = 0;
  for (uint32_t i = 2; i < limit; ++i) {
    if (composite[i]) continue;
    ++primes;
    for (uint32_t k = i * 2; k < limit; k += i) composite[k] = 1;
  }
  return primes;
}

// ---- quicksort ----
static uint32_t numbers[1 << 17];
static void sort(uint32_t* a, int32_t low, int32_t high) {
  while (low < high) {
    const uint32_t pivot = a[low + (high - low) / 2];
    int32_t i = low, j = high;
    while (i <= j) {
      while (a[i] < pivot) ++i;
      while (a[j] > pivot) --j;
      if (i > j) break;
      const uint32_t t = a[i];
      a[i++] = a[j];
      a[j--] = t;
    }
    if (j - low < high - i) {
      sort(a, low, j);
      low = i;
    } else {
      sort(a, i, high);
      high = j;
    }
  }
}

static uint32_t sorting(uint32_t seed) {
  random_state = seed;
  const int32_t count = sizeof numbers / sizeof *numbers;
  for (int32_t i = 0; i < count; ++i) numbers[i] = next_random();
  sort(numbers, 0, count - 1);
  for (int32_t i = 1; i < count; ++i)
    if (numbers[i - 1] > numbers[i]) return 0;
  return numbers[count / 3] ^ numbers[count / 2];
}

// ---- hash table and checksum ----
static struct { uint32_t key, value; } table[1 << 15];
static uint32_t hashing(uint32_t seed) {
  memset(table, 0, sizeof table);
  random_state = seed;
  const uint32_t mask = sizeof table / sizeof *table - 1;
  uint32_t hits = 0;
  for (uint32_t i = 0; i < 600000; ++i) {
    const uint32_t key = next_random() % 24000 + 1;
    uint32_t at = key * 2654435761u >> 17 & mask;
    while (table[at].key && table[at].key != key) at = (at + 1) & mask;
    hits += table[at].key == key;
    table[at].key = key;
    table[at].value += i;
  }
  return crc32(hits, table, sizeof table);
}

// ---- matrices ----
static uint32_t matrix[3][96][96];
static uint32_t products(uint32_t seed) {
  random_state = seed;
  for (uint32_t i = 0; i < 96 * 96; ++i) {
    matrix[0][i / 96][i % 96] = next_random();
    matrix[1][i / 96][i % 96] = next_random();
  }
  uint32_t sum = 0;
  for (int turn = 0; turn < 4; ++turn) {
    for (int i = 0; i < 96; ++i)
      for (int j = 0; j < 96; ++j) {
        uint32_t s = 0;
        for (int k = 0; k < 96; ++k) s += matrix[turn & 1][i][k] * matrix[1 - (turn & 1)][k][j];
        matrix[2][i][j] = s;
      }
    memcpy(matrix[turn & 1], matrix[2], sizeof matrix[2]);
    sum = crc32(sum, matrix[2], sizeof matrix[2]);
  }
  return sum;
}

// ---- an interpreter: dispatch through a switch, as most of them do ----
enum { kPush, kAdd, kAddUnder, kMul, kDup, kSwap, kLess, kJumpIfNot, kJump, kHalt };
static uint32_t interpret(uint32_t n) {
  // for (sum = 0, i = 0; i < n; ++i) sum = sum * 3 + i, as (sum, i) on the stack
  const uint32_t code[] = {kPush, 0, kPush, 0,     kDup,      kPush, n, kLess, kJumpIfNot, 21, kSwap,
                           kPush, 3, kMul,  kSwap, kAddUnder, kPush, 1, kAdd,  kJump,      4,  kHalt};
  uint32_t stack[16], *top = stack;
  for (const uint32_t* pc = code;;) {
    switch (*pc++) {
      case kPush:
        *top++ = *pc++;
        break;
      case kAdd:
        --top;
        top[-1] += top[0];
        break;
      case kAddUnder:
        top[-2] += top[-1];
        break;
      case kMul:
        --top;
        top[-1] *= top[0];
        break;
      case kDup:
        top[0] = top[-1];
        ++top;
        break;
      case kSwap: {
        const uint32_t t = top[-1];
        top[-1] = top[-2];
        top[-2] = t;
        break;
      }
      case kLess:
        --top;
        top[-1] = top[-1] < top[0];
        break;
      case kJumpIfNot:
        pc = *--top ? pc + 1 : code + *pc;
        break;
      case kJump:
        pc = code + *pc;
        break;
      default:
        return top[-2];
    }
  }
}

int main(void) {
  uint32_t sums[5] = {0};
  for (uint32_t round = 0; round < kRounds; ++round) {
    sums[0] = sums[0] * 31 + sieve();
    sums[1] = sums[1] * 31 + sorting(round + 1);
    sums[2] = sums[2] * 31 + hashing(round + 1);
    sums[3] = sums[3] * 31 + products(round + 1);
    sums[4] = sums[4] * 31 + interpret(400000 + round);
  }
  say("sieve %08x\nsort %08x\nhash %08x\nmatrix %08x\ninterpreter %08x\n", sums[0], sums[1], sums[2], sums[3], sums[4]);
  return 0;
}
