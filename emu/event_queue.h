// What is due when, in virtual nanoseconds. Events are registered once, when the board is wired, in an order that is
// part of the machine (it breaks ties); after that a device only moves its events about. The due times are state: they
// are saved with the machine, so a device needs no rescheduling after a load.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "emu/state_visitor.h"

namespace understudy::emu {

class EventQueue {
 public:
  using Id = uint32_t;
  static constexpr uint64_t kNever = ~0ull;

  // `handler` is called with the event's due time when virtual time has reached it; it is disarmed first and may
  // schedule itself again. `name` must be unique: it names the due time in snapshots.
  Id add(std::string name, std::function<void(uint64_t due_ns)> handler);

  // Moves the event to `due_ns`. A time in the past is due at the next instruction boundary.
  void schedule(Id id, uint64_t due_ns);
  void cancel(Id id) { schedule(id, kNever); }
  uint64_t due(Id id) const { return events_[id].due_ns; }

  // The event whose handler runs, or empty.
  std::string_view running() const { return running_; }
  uint64_t next_due() const { return next_due_; }
  // Runs every event due at or before `now_ns`, earliest first, ties in order of registration.
  void run_due(uint64_t now_ns);

  // Called whenever next_due() becomes earlier: a running CPU must shorten its slice.
  void on_earlier(std::function<void()> callback) { on_earlier_ = std::move(callback); }

  // Disarms everything (power-on).
  void reset();
  void visit_state(StateVisitor& visitor);

 private:
  struct Event {
    std::string name;
    std::function<void(uint64_t)> handler;
    uint64_t due_ns = kNever;
  };
  void refresh();
  std::vector<Event> events_;
  uint64_t next_due_ = kNever;
  std::string_view running_;
  std::function<void()> on_earlier_;
};

}  // namespace understudy::emu
