// Sends a running machine's whole state to another process, piece by piece between slices of the machine's run: rounds
// of pages, each round those that changed since they were last sent, and at the end, with the machine standing still,
// the few that are left and everything that is not in pages. The guest sees nothing of it. Runs on the machine's
// thread.
//
// When to stop is the caller's business: step() tells what is left, and a guest that writes faster than its pages go
// out never comes to an end by itself (see rounds).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "emu/machine.h"
#include "emu/page_section.h"
#include "primary/state_chunk.h"

namespace understudy::primary {

class StateSender {
 public:
  // The machine outlives it.
  explicit StateSender(emu::Machine& machine);

  // Gets each chunk (primary/state_chunk.h), of at most 1 MiB, in the order in which the receiver must have them.
  using Sink = std::function<void(std::vector<uint8_t>&&)>;
  // Looks at up to `max_pages` pages that were not sent yet or changed since, and sends them. Returns how many are
  // left, at most. What a store throws, when the host's disk fails, passes through; the transfer is of no further use
  // then.
  uint64_t step(uint64_t max_pages, const Sink& sink);
  // All that is left. When its last chunk has been accepted, the receiver's machine equals this one as it is now.
  // Nothing may follow.
  void finish(const Sink& sink);

  struct Counts {
    uint64_t rounds = 0;        // begun; the last one is finish()
    uint64_t pages = 0;         // sent
    uint64_t resent_pages = 0;  // of these, after the first round
    uint64_t chunks = 0, bytes = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Part {
    emu::PagedStore* store;
    emu::ChangeMap::Mark since = emu::ChangeMap::kBeginning;  // when its present round began
    std::vector<uint64_t> pending;                            // of that round, ascending
    size_t next = 0;
    uint64_t left() const { return pending.size() - next; }
  };
  void begin(const Sink& sink);
  void begin_round();
  void send_pages(Part& part, uint64_t count, const Sink& sink);
  void send(StateChunkKind kind, std::span<const uint8_t> body, const Sink& sink);

  emu::Machine& machine_;
  std::vector<Part> parts_;
  StateChunkSequence sequence_;
  Counts counts_;
};

}  // namespace understudy::primary
