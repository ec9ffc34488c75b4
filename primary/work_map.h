// How much the machine's thread had computed when the machine was at a point. What a backup has yet to replay is worth
// the work it took, not the guest's time that passed: idle time is skipped, and a guest that computes at more than its
// clock's rate is no further ahead for it. One object per backup.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

namespace understudy::primary {

class WorkMap {
 public:
  struct Point {
    uint64_t icount = 0, virtual_ns = 0;
  };
  // The machine is here, and its thread has had so much of the host's processor. Neither goes back.
  void note(const Point& here, uint64_t work_ns);
  // The work when the machine was at `point`, which does not go back either: in proportion to the instructions between
  // two notes; the first note's or the last's outside of them.
  uint64_t at(const Point& point);

  // Notes that lie closer together than this are one: so many are kept as the backup is behind by.
  static constexpr uint64_t kGrain = 500'000;
  size_t notes() const { return notes_.size(); }

 private:
  struct Note {
    Point point;
    uint64_t work_ns = 0;
  };
  std::deque<Note> notes_;
};

}  // namespace understudy::primary
