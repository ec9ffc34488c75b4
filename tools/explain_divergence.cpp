#include "tools/explain_divergence.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/cpu_text.h"
#include "tools/difference_text.h"
#include "tools/narrowable_session.h"

namespace understudy::tools {

namespace {

constexpr unsigned kShownInstructions = 4;

}  // namespace

void print_divergence(const backup::Divergence& divergence) {
  fmt::print(stderr,
             "understudy: the replay diverges: {}\n"
             "  at instruction {}, log entry {}; all was equal at instruction {}\n",
             divergence.what, divergence.icount, divergence.sequence, divergence.last_proven_icount);
}

void explain_divergence(const std::string& directory, const backup::Divergence& divergence,
                        const std::optional<RamFlip>& flip) {
  const uint64_t low = divergence.last_proven_icount, high = std::max(divergence.icount, low);
  NarrowableSession one(directory, low), other(directory, low);
  if (flip) one.session().inject(*flip);
  const char* const left = flip ? "the replay with the flip" : "a second replay";
  const char* const right = flip ? "one without" : "a third";
  const auto difference = backup::narrow(one, other, low, high);
  if (!difference) {
    fmt::print(
        stderr,
        "  two more replays agree with each other up to instruction {}: the replay is repeatable, and it is the\n"
        "  recording that went another way somewhere after instruction {}\n",
        high, low);
    return;
  }
  if (!difference->equal_before) {
    fmt::print(stderr, "  {} and {} already differ at instruction {}:\n", left, right, difference->icount);
    fmt::print(stderr, "{}", difference_text(*difference, left, right));
    return;
  }
  fmt::print(stderr, "  {} and {} first differ at instruction {}:\n", left, right, difference->icount);
  fmt::print(stderr, "{}", difference_text(*difference, left, right));
  one.go_back();
  fmt::print(stderr, "  both were equal at instruction {}, before\n{}{}", difference->icount - 1,
             disassembly_text(one.machine(), kShownInstructions, "    "), registers_text(one.machine(), "    "));
}

}  // namespace understudy::tools
