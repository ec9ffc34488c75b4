#include "primary/work_map.h"

#include <algorithm>

namespace understudy::primary {

namespace {

bool reached(const WorkMap::Point& point, const WorkMap::Point& mark) {
  return point.icount > mark.icount || (point.icount == mark.icount && point.virtual_ns >= mark.virtual_ns);
}

}  // namespace

void WorkMap::note(const Point& here, uint64_t work_ns) {
  if (notes_.size() > 1 && work_ns - notes_[notes_.size() - 2].work_ns < kGrain) notes_.pop_back();
  notes_.push_back({here, work_ns});
}

uint64_t WorkMap::at(const Point& point) {
  while (notes_.size() > 1 && reached(point, notes_[1].point)) notes_.pop_front();
  if (notes_.empty()) return 0;
  const Note& from = notes_.front();
  if (notes_.size() == 1 || !reached(point, from.point)) return from.work_ns;
  const Note& to = notes_[1];
  // Between the two, so that they differ in instructions, or in time alone: skipped time is no work.
  if (to.point.icount == from.point.icount) return from.work_ns;
  const double part =
      static_cast<double>(point.icount - from.point.icount) / static_cast<double>(to.point.icount - from.point.icount);
  return from.work_ns + static_cast<uint64_t>(part * static_cast<double>(to.work_ns - from.work_ns));
}

}  // namespace understudy::primary
