// Makes a machine equal to one in another process, from the chunks that its primary::StateSender gives. The machine was
// set up from an equal description and has not run; what it holds (a loaded kernel) is dropped by the first chunk.
// Nothing is believed: what no sender sends is refused, at the latest by the state digest that ends a transfer, and
// memory taken meanwhile is bounded.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "emu/machine.h"
#include "primary/state_chunk.h"

namespace understudy::backup {

using primary::StateTransferError;

class StateReceiver {
 public:
  // The machine outlives it.
  explicit StateReceiver(emu::Machine& machine) : machine_(machine) {}

  // True with the last chunk: the machine equals the sender's. Throws StateTransferError; the machine is of no further
  // use then, and every further chunk is refused as well.
  bool accept(std::span<const uint8_t> chunk);

  struct Progress {
    uint64_t chunks = 0, bytes = 0;
    uint64_t pages = 0;  // a page counts each time it comes
  };
  const Progress& progress() const { return progress_; }

 private:
  enum class Stage : uint8_t { nothing, pages, archive, complete, failed };
  void take(const primary::StateChunk& chunk);
  void take_pages(std::span<const uint8_t> body);
  void take_archive(std::span<const uint8_t> body);
  void take_end(std::span<const uint8_t> body);

  emu::Machine& machine_;
  Stage stage_ = Stage::nothing;
  primary::StateChunkSequence sequence_;
  std::vector<uint8_t> archive_;
  Progress progress_;
};

}  // namespace understudy::backup
