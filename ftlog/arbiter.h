// Who may be live. A reign is one epoch held by one node; reigns follow each other with growing epochs, and which node
// has one is decided by a test-and-set at a place that all nodes can reach: the arbiter. Nobody goes live without
// having won here, and an arbiter that cannot be asked, or says what no arbiter says, has not been won.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace understudy::ftlog {

struct Reign {
  uint64_t epoch = 0;
  std::string node;
  bool operator==(const Reign&) const = default;
};

enum class Verdict : uint8_t { won, lost, unreachable };
const char* to_string(Verdict verdict);

struct Claim {
  Verdict verdict = Verdict::unreachable;
  Reign holder;        // if lost: who has this epoch or a newer one
  std::string reason;  // if unreachable: one line
};

struct Lookup {
  bool reachable = false;
  std::optional<Reign> reign;  // the newest; none before the first
  std::string reason;          // if not reachable: one line
};

// What the caller gave is wrong: a specification, a node's name, epoch 0. One line.
class ArbiterError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Any number of threads may ask.
class Arbiter {
 public:
  virtual ~Arbiter() = default;

  // Test-and-set: an epoch is won by exactly one node for ever, and only if it is greater than every epoch won before.
  // - A node that holds exactly this epoch, while nobody has a newer one, wins it again: after `unreachable` the claim
  //   may have been won or may yet be, and asking again tells. Hence a node's name is never used by two processes.
  // - The first reign is epoch 1. A greater one where none is recorded is `unreachable`: that is how a disk that is not
  //   mounted, or another path than the other node's, looks.
  // Returns within the timeout given at construction. Throws ArbiterError for epoch 0 and names that no node may have.
  virtual Claim try_acquire(uint64_t epoch, const std::string& node) = 0;
  // The newest reign. It may be older than the truth by the time that it is read; only a claim is certain.
  virtual Lookup current() = 0;
};

// 1 to 200 printable ASCII characters without blanks.
bool is_node_name(std::string_view name);
// Throws ArbiterError as try_acquire() does.
void check_claim(uint64_t epoch, std::string_view node);

// "file:DIRECTORY" (ftlog/arbiter_file.h) or "etcd:http://HOST:PORT[,http://HOST:PORT...][/PREFIX]"
// (ftlog/arbiter_etcd.h). Touches neither disk nor network. Throws ArbiterError for anything else.
std::unique_ptr<Arbiter> open_arbiter(const std::string& spec, std::chrono::milliseconds timeout);

}  // namespace understudy::ftlog
