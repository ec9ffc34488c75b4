#include "ftlog/short_slice.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace understudy::ftlog {

namespace {

// The shortest there is.
constexpr uint64_t kSliceNs = 100'000;

// struct sched_attr in its first size (sched_setattr(2)): the C library has none, and the kernel's header redefines its
// sched_param.
struct Attributes {
  uint32_t size = sizeof(Attributes);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime_ns = 0, deadline_ns = 0, period_ns = 0;
};
static_assert(sizeof(Attributes) == 48);

bool get(Attributes& attributes) { return ::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) == 0; }
bool set(const Attributes& attributes) { return ::syscall(SYS_sched_setattr, 0, &attributes, 0) == 0; }

}  // namespace

ShortSlice::ShortSlice() {
  Attributes attributes;
  // Whoever runs us by another policy has his reasons.
  if (!get(attributes) || attributes.policy != SCHED_OTHER) return;
  before_ns_ = attributes.runtime_ns;
  attributes.runtime_ns = kSliceNs;
  changed_ = set(attributes);
}

ShortSlice::~ShortSlice() {
  Attributes attributes;
  if (!changed_ || !get(attributes)) return;
  attributes.runtime_ns = before_ns_;
  set(attributes);
}

}  // namespace understudy::ftlog
