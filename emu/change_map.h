// Which pages of something changed since when. Time is counted in marks: mark() ends the present period and names it;
// changed_since() tells whether a page was noted after that. Any number of users (digests, snapshots) share one map,
// each with marks of its own. It may say "changed" of a page that has its old bytes, never the other way round.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace understudy::emu {

class ChangeMap {
 public:
  using Mark = uint64_t;
  // Everything that ever changed did so since this one.
  static constexpr Mark kBeginning = 0;

  explicit ChangeMap(uint64_t pages) : last_(pages, kBeginning) {}

  // Called by mark(): whoever lets writes pass unseen once they were noted must see the next one again.
  void on_mark(std::function<void()> callback) { on_mark_ = std::move(callback); }
  Mark mark() {
    if (on_mark_) on_mark_();
    return now_++;
  }

  void note(uint64_t page) { last_[page] = now_; }
  // Something changed, and nobody knows what.
  void note_all() { all_ = now_; }
  bool noted(uint64_t page) const { return last_[page] == now_ || all_ == now_; }
  bool changed_since(uint64_t page, Mark mark) const { return last_[page] > mark || all_ > mark; }
  uint64_t pages() const { return last_.size(); }

 private:
  std::vector<Mark> last_;  // the period of each page's last change
  Mark all_ = kBeginning;
  Mark now_ = kBeginning + 1;
  std::function<void()> on_mark_;
};

}  // namespace understudy::emu
