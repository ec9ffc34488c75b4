// A planted bug, for debugging backwards. A small bank moves money between accounts and keeps statistics of the
// amounts; one amount in many thousands is larger than the statistics have room for, and its count lands in an account
// that nobody uses. Only an audit long afterwards finds the account wrong, when nothing is left that tells who it was.
// The guest passes if the audit finds exactly that.
#include "runtime.h"

enum { kAccounts = 16, kReserve = 5, kClasses = 24, kTransfers = 60000, kOpening = 1000000 };

struct Account {
  uint32_t balance;
  uint32_t seal;  // ~balance, as whoever changes an account sees to
};

static struct {
  uint16_t amounts[kClasses];  // how many transfers were of so many hundreds
  struct Account accounts[kAccounts];
} bank;

static uint32_t random_state = 12345;
static uint32_t random_below(uint32_t bound) {
  random_state = random_state * 1664525u + 1013904223u;
  return (random_state >> 8) % bound;
}

static void change(struct Account* account, uint32_t by) {
  account->balance += by;
  account->seal = ~account->balance;
}

__attribute__((noinline)) static void count_amount(uint32_t amount) {
  ++bank.amounts[amount / 100];  // the bug: there are larger ones
}

static uint32_t some_account(void) {
  uint32_t account = random_below(kAccounts - 1);
  return account < kReserve ? account : account + 1;
}

static void transfer(void) {
  uint32_t from = some_account(), to = some_account();
  uint32_t amount = random_below(kClasses * 100);
  change(&bank.accounts[from], -amount);
  change(&bank.accounts[to], amount);
  count_amount(amount);
}

static unsigned audit(void) {
  unsigned wrong = 0;
  for (unsigned i = 0; i < kAccounts; ++i)
    if (bank.accounts[i].seal != ~bank.accounts[i].balance) {
      say("audit: account %u is wrong: its balance is %u\n", i, bank.accounts[i].balance);
      ++wrong;
    }
  return wrong;
}

int main(void) {
  for (unsigned i = 0; i < kAccounts; ++i) change(&bank.accounts[i], kOpening);
  check(audit() == 0, "the accounts are right at the opening");
  for (unsigned i = 0; i < kTransfers; ++i) {
    transfer();
    // The one transfer that is too large.
    if (i == kTransfers / 3) {
      uint32_t amount = (kClasses + 2 * 2 * kReserve) * 100 + 50;
      change(&bank.accounts[0], -amount);
      change(&bank.accounts[1], amount);
      count_amount(amount);
    }
  }
  say("%u transfers\n", kTransfers);
  check(audit() == 1 && bank.accounts[kReserve].balance == kOpening + 1, "only the reserve is wrong, by one");
  finish();
}
