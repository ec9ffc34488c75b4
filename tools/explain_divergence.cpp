#include "tools/explain_divergence.h"

#include <fmt/format.h>

#include <algorithm>

#include "backup/narrowing.h"
#include "tools/cpu_text.h"

namespace understudy::tools {

namespace {

constexpr size_t kShownFields = 24;
constexpr unsigned kShownInstructions = 4;

class SessionReplay : public backup::NarrowableReplay {
 public:
  SessionReplay(const std::string& directory, uint64_t near) : session_(directory) { session_.start_near(near); }
  ReplaySession& session() { return session_; }
  emu::Machine& machine() override { return session_.machine(); }
  void run_to(uint64_t icount) override { session_.run_to(icount); }
  void hold() override { held_ = session_.mark(); }
  void go_back() override { session_.go_back(*held_); }

 private:
  ReplaySession session_;
  std::optional<ReplaySession::Mark> held_;
};

void print_difference(const backup::FirstDifference& difference, const char* left, const char* right) {
  for (const backup::RamPageDifference& page : difference.pages)
    fmt::print(stderr, "  RAM page {:#x}: {} bytes differ, the first at {:#x}: {:02x} in {}, {:02x} in {}\n",
               page.address & emu::kPageMask, page.bytes, page.address, page.left, left, page.right, right);
  if (difference.page_count > difference.pages.size())
    fmt::print(stderr, "  and {} more RAM pages\n", difference.page_count - difference.pages.size());
  const size_t shown = std::min(difference.fields.size(), kShownFields);
  for (size_t i = 0; i < shown; ++i)
    fmt::print(stderr, "  {}: {} in {}, {} in {}\n", difference.fields[i].field, difference.fields[i].left, left,
               difference.fields[i].right, right);
  if (shown < difference.fields.size()) fmt::print(stderr, "  and {} more fields\n", difference.fields.size() - shown);
}

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
  SessionReplay one(directory, low), other(directory, low);
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
    print_difference(*difference, left, right);
    return;
  }
  fmt::print(stderr, "  {} and {} first differ at instruction {}:\n", left, right, difference->icount);
  print_difference(*difference, left, right);
  one.go_back();
  fmt::print(stderr, "  both were equal at instruction {}, before\n{}{}", difference->icount - 1,
             disassembly_text(one.machine(), kShownInstructions, "    "), registers_text(one.machine(), "    "));
}

}  // namespace understudy::tools
