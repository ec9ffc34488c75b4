#include "emu/event_queue.h"

#include <algorithm>
#include <stdexcept>

namespace understudy::emu {

EventQueue::Id EventQueue::add(std::string name, std::function<void(uint64_t)> handler) {
  for (const Event& event : events_)
    if (event.name == name) throw std::logic_error("event queue: two events named " + name);
  events_.push_back({std::move(name), std::move(handler)});
  return static_cast<Id>(events_.size() - 1);
}

void EventQueue::schedule(Id id, uint64_t due_ns) {
  events_.at(id).due_ns = due_ns;
  const uint64_t before = next_due_;
  refresh();
  if (next_due_ < before && on_earlier_) on_earlier_();
}

void EventQueue::run_due(uint64_t now_ns) {
  while (next_due_ <= now_ns) {
    auto next = std::min_element(events_.begin(), events_.end(),
                                 [](const Event& a, const Event& b) { return a.due_ns < b.due_ns; });
    const uint64_t due_ns = next->due_ns;
    next->due_ns = kNever;
    refresh();
    running_ = next->name;
    next->handler(due_ns);
    running_ = {};
  }
}

void EventQueue::reset() {
  for (Event& event : events_) event.due_ns = kNever;
  refresh();
}

void EventQueue::visit_state(StateVisitor& visitor) {
  visitor.begin("events");
  for (Event& event : events_) visitor.value(event.name, event.due_ns);
  visitor.end();
  refresh();
}

void EventQueue::refresh() {
  next_due_ = kNever;
  for (const Event& event : events_) next_due_ = std::min(next_due_, event.due_ns);
}

}  // namespace understudy::emu
