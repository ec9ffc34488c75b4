#include "emu/task_switch.h"

#include <array>
#include <cstring>

#include "emu/segment_load.h"
#include "emu/stack_frame.h"

namespace understudy::emu {

namespace {

constexpr uint32_t kType32 = 1u << 11;  // in a TSS descriptor: the 32-bit form
constexpr uint32_t kBusy = 1u << 9;
constexpr uint64_t kDr7LocalEnables = 0x55;
constexpr uint64_t kDr6TaskSwitch = 1u << 15;
constexpr std::array kSegmentOrder = {kCs, kSs, kEs, kDs, kFs, kGs};

// Where things are in a TSS (SDM Vol. 3A figures 7-2 and 7-10). The saved part, in the order of the figure: EIP,
// EFLAGS, eight general registers, then as many segment registers as the form has.
struct TssForm {
  unsigned word;  // bytes of a register
  unsigned saved_offset;
  unsigned segments;
  unsigned ldt_offset;
  uint32_t least_limit;
  unsigned saved_size() const { return word * (10 + segments); }
};
constexpr TssForm kTss16 = {2, 0x0e, 4, 0x2a, 0x2b};
constexpr TssForm kTss32 = {4, 0x20, 6, 0x60, 0x67};
constexpr unsigned kTss32Cr3 = 0x1c;
constexpr unsigned kTss32Trap = 0x64;

// What a TSS holds of a task.
struct TaskState {
  uint32_t cr3 = 0;
  uint32_t eip = 0;
  uint32_t eflags = 0;
  uint32_t regs[8] = {};
  uint16_t segments[kSegmentCount] = {};
  uint16_t ldt = 0;
  bool trap = false;
};

class Switch {
 public:
  Switch(EngineCpu& cpu, LinearMemory& memory, const TaskSwitch& request)
      : cpu_(cpu),
        memory_(memory),
        request_(request),
        old_form_(cpu.tr.flags & kType32 ? kTss32 : kTss16),
        old_tss_(cpu.tr.base) {}

  bool run() {
    check_tss();
    touch_all();
    save_old_task();
    const TaskState next = read_new_task();
    mark_descriptors();
    commit(next);
    try {
      load_ldt(next.ldt);
      load_segments(next);
      push_error_code();
      if (next.eip > cpu_.segs[kCs].limit) throw fault_with_code(kVectorGp, external());
    } catch (const GuestFault& fault) {
      throw NewTaskFault{fault};
    }
    if (next.trap) cpu_.dr[6] |= kDr6TaskSwitch;
    return next.trap;
  }

 private:
  bool links() const { return request_.reason == TaskSwitchReason::call || request_.reason == TaskSwitchReason::gate; }
  bool returns() const { return request_.reason == TaskSwitchReason::iret; }
  uint32_t external() const { return request_.external ? kErrorExternal : 0; }
  GuestFault selector_fault(uint8_t vector, uint16_t selector) const {
    return fault_with_code(vector, (selector & 0xfffcu) | external());
  }
  uint64_t at(uint64_t base, unsigned offset) const { return wrap_linear(cpu_, base + offset); }

  // SDM table 7-1, the conditions on the TSS descriptors.
  void check_tss() {
    const uint16_t selector = request_.selector;
    const uint8_t bad_selector = returns() ? kVectorTs : kVectorGp;
    if (in_long_mode(cpu_) || (selector & 4) || !(selector & 0xfffc)) throw selector_fault(bad_selector, selector);
    const auto found = fetch_descriptor(cpu_, memory_, selector);
    if (!found) throw selector_fault(bad_selector, selector);
    descriptor_ = *found;
    const bool is_tss = descriptor_.is_system() && (descriptor_.type() & 5) == 1;
    if (!is_tss || static_cast<bool>(descriptor_.high & kBusy) != returns())
      throw selector_fault(bad_selector, selector);
    if (!descriptor_.present()) throw selector_fault(kVectorNp, selector);
    form_ = descriptor_.high & kType32 ? kTss32 : kTss16;
    if (descriptor_.limit() < form_.least_limit) throw selector_fault(kVectorTs, selector);
    new_tss_ = descriptor_.base();
    // The manual does not name this one; the old task must have a place to be saved in.
    const auto old_selector = static_cast<uint16_t>(cpu_.tr.selector);
    if (!(cpu_.tr.flags & descriptor::kPresent) || cpu_.tr.limit < old_form_.saved_offset + old_form_.saved_size() - 1)
      throw selector_fault(kVectorTs, old_selector);
  }

  // Everything that is written later is written once with what it holds, so that a page fault comes before any change.
  void touch_all() {
    uint8_t scratch[64];
    const auto touch = [&](uint64_t address, size_t size) {
      memory_.read(address, scratch, size);
      memory_.write(address, scratch, size);
    };
    std::array<uint8_t, 0x68> tss{};
    memory_.read(at(new_tss_, 0), tss.data(), form_.least_limit + 1);
    touch(at(old_tss_, old_form_.saved_offset), old_form_.saved_size());
    if (links()) touch(at(new_tss_, 0), 2);
    if (!links()) touch(type_byte(static_cast<uint16_t>(cpu_.tr.selector)), 1);
    if (!returns()) touch(type_byte(request_.selector), 1);
  }

  void save_old_task() {
    const unsigned word = old_form_.word;
    uint8_t saved[64];
    const uint64_t place = at(old_tss_, old_form_.saved_offset);
    memory_.read(place, saved, old_form_.saved_size());  // the reserved halves of selectors stay what they are
    const auto put = [&](unsigned index, uint32_t value, unsigned size) {
      std::memcpy(saved + index * word, &value, size);
    };
    put(0, request_.next_eip, word);
    put(1, returns() ? request_.eflags & ~eflags::kNt : request_.eflags, word);
    for (unsigned i = 0; i < 8; ++i) put(2 + i, static_cast<uint32_t>(cpu_.regs[i]), word);
    for (unsigned i = 0; i < old_form_.segments; ++i) put(10 + i, cpu_.segs[i].selector, 2);
    memory_.write(place, saved, old_form_.saved_size());
  }

  // After the old task is saved: an IRET may return to the very same TSS.
  TaskState read_new_task() {
    std::array<uint8_t, 0x68> tss{};
    memory_.read(at(new_tss_, 0), tss.data(), form_.least_limit + 1);
    const auto get = [&](unsigned offset, unsigned size) {
      uint32_t value = 0;
      std::memcpy(&value, tss.data() + offset, size);
      return value;
    };
    const auto saved = [&](unsigned index, unsigned size) {
      return get(form_.saved_offset + index * form_.word, size);
    };
    const bool wide = form_.word == 4;
    TaskState task;
    task.eip = saved(0, form_.word);
    task.eflags = saved(1, form_.word);
    // A 16-bit TSS says nothing of the upper halves; CPUs fill them with ones.
    for (unsigned i = 0; i < 8; ++i) task.regs[i] = saved(2 + i, form_.word) | (wide ? 0 : 0xffff0000);
    for (unsigned i = 0; i < form_.segments; ++i) task.segments[i] = static_cast<uint16_t>(saved(10 + i, 2));
    task.ldt = static_cast<uint16_t>(get(form_.ldt_offset, 2));
    if (wide) {
      task.cr3 = get(kTss32Cr3, 4);
      task.trap = get(kTss32Trap, 2) & 1;
    }
    if (links()) task.eflags |= eflags::kNt;
    return task;
  }

  uint64_t type_byte(uint16_t selector) const { return wrap_linear(cpu_, cpu_.gdt.base + (selector & ~7u) + 5); }
  void set_busy(uint16_t selector, bool busy) {
    uint8_t type;
    memory_.read(type_byte(selector), &type, 1);
    type = static_cast<uint8_t>(busy ? type | kBusy >> 8 : type & ~(kBusy >> 8));
    memory_.write(type_byte(selector), &type, 1);
  }
  // Busy bits and the link back (SDM table 7-2).
  void mark_descriptors() {
    if (links()) {
      const auto link = static_cast<uint16_t>(cpu_.tr.selector);
      memory_.write(at(new_tss_, 0), &link, 2);
    } else {
      set_busy(static_cast<uint16_t>(cpu_.tr.selector), false);
    }
    if (!returns()) set_busy(request_.selector, true);
  }

  // From here on the CPU is the new task's. Its segments are unusable until their descriptors are loaded.
  void commit(const TaskState& next) {
    cpu_.cr[0] |= cr0::kTs;
    cpu_.hflags |= hflags::kTs;
    // The engine's LTR keeps the busy bit out of its cache as well.
    cpu_.tr = {request_.selector, 0, new_tss_, descriptor_.limit(), descriptor_.high & ~kBusy};
    if (form_.word == 4 && (cpu_.cr[0] & cr0::kPg)) {
      cpu_.cr[3] = next.cr3;
      memory_.flush_translations();
    }
    cpu_.dr[7] &= ~kDr7LocalEnables;
    cpu_.eip = next.eip;
    for (unsigned i = 0; i < 8; ++i) cpu_.regs[i] = next.regs[i];
    set_eflags(cpu_, next.eflags);
    cpu_.ldt = {next.ldt, 0, 0, 0, 0};
    const unsigned privilege = next.segments[kCs] & 3;
    for (const SegmentIndex i : kSegmentOrder) {
      if (next.eflags & eflags::kVm)
        load_v86_segment(cpu_, i, next.segments[i]);
      else
        load_null_segment(cpu_, i, next.segments[i], i == kSs ? privilege : 0);
    }
  }

  void load_ldt(uint16_t selector) {
    if (!(selector & 0xfffc)) return;
    const auto found = fetch_descriptor(cpu_, memory_, selector);  // in the LDT itself there is nothing yet
    if (!found || !found->is_system() || found->type() != 2 || !found->present())
      throw selector_fault(kVectorTs, selector);
    cpu_.ldt = found->as_segment(selector);
  }

  void load_segments(const TaskState& next) {
    if (next.eflags & eflags::kVm) return;
    const unsigned privilege = next.segments[kCs] & 3;
    for (const SegmentIndex i : kSegmentOrder) load_one(i, next.segments[i], privilege);
  }

  // SDM table 7-1, the conditions on the segments of the new task.
  void load_one(SegmentIndex index, uint16_t selector, unsigned privilege) {
    const bool may_be_null = index != kCs && index != kSs;
    if (!(selector & 0xfffc) && may_be_null) return;
    const auto found = selector & 0xfffc ? fetch_descriptor(cpu_, memory_, selector) : std::nullopt;
    if (!found || !acceptable(index, *found, selector & 3, privilege)) throw selector_fault(kVectorTs, selector);
    if (!found->present()) throw selector_fault(index == kSs ? kVectorSs : kVectorNp, selector);
    Descriptor descriptor = *found;
    mark_accessed(cpu_, memory_, selector, descriptor);
    load_segment(cpu_, index, descriptor.as_segment(selector));
  }

  static bool acceptable(SegmentIndex index, const Descriptor& d, unsigned rpl, unsigned privilege) {
    if (index == kCs) return d.is_code() && (d.is_conforming_code() ? d.dpl() <= rpl : d.dpl() == rpl);
    if (index == kSs) return d.is_writable_data() && d.dpl() == privilege && rpl == privilege;
    if (d.is_system() || (d.is_code() && !(d.high & descriptor::kReadable))) return false;
    return d.is_conforming_code() || (d.dpl() >= privilege && d.dpl() >= rpl);
  }

  void push_error_code() {
    if (!request_.error_code) return;
    StackFrame frame(cpu_.segs[kSs], cpu_.regs[kRsp], form_.word);
    frame.push(*request_.error_code);
    if (!frame.fits()) throw fault_with_code(kVectorSs, external());
    frame.write(cpu_, memory_);
    cpu_.regs[kRsp] = frame.stack_pointer();
  }

  EngineCpu& cpu_;
  LinearMemory& memory_;
  const TaskSwitch& request_;
  TssForm old_form_;
  uint64_t old_tss_;
  Descriptor descriptor_{};
  TssForm form_{};
  uint64_t new_tss_ = 0;
};

}  // namespace

bool task_switch(EngineCpu& cpu, LinearMemory& memory, const TaskSwitch& request) {
  return Switch(cpu, memory, request).run();
}

}  // namespace understudy::emu
