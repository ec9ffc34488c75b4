#include "emu/mmu.h"

#include <algorithm>
#include <cstring>

#include "emu/segment_load.h"

namespace understudy::emu {

namespace {

// A page that turns over this often within kTurnWindow turns of all pages holds code and data side by side.
constexpr uint8_t kTurnsToMixed = 16;
constexpr uint64_t kTurnWindow = 8192;
constexpr uint64_t kA20Line = 1ull << 20;

constexpr uc_prot protection(bool read, bool write, bool execute) {
  return static_cast<uc_prot>((read ? UC_PROT_READ : 0) | (write ? UC_PROT_WRITE : 0) | (execute ? UC_PROT_EXEC : 0));
}

}  // namespace

Mmu::Mmu(Engine& engine, PhysicalMemory& memory)
    : engine_(engine),
      memory_(memory),
      states_(memory.ram_size() / kPageSize, State::untouched),
      watched_(memory.ram_size() / kPageSize, 0),
      grants_(memory.ram_size() / kPageSize),
      turns_(memory.ram_size() / kPageSize, 0) {
  memory_.on_write([this](uint64_t page) { wrote(page); });
  memory_.changes().on_mark([this] { engine_.forbid_all_writes(); });
}

uint64_t Mmu::wrap(uint64_t linear) const { return wrap_linear(engine_.cpu(), linear); }

bool Mmu::fill(uint64_t linear_page, Access access, const LinearRange& running, uc_tlb_entry& out) {
  ++statistics_.fills;
  if (dropping_ && linear_page >= engine_map::kCodeAlias && linear_page - engine_map::kCodeAlias < kFourGiB) {
    out.paddr = linear_page - engine_map::kCodeAlias;
    out.perms = protection(true, false, true);
    return true;
  }
  const EngineCpu& cpu = engine_.cpu();
  if (in_long_mode(cpu) && !is_canonical(linear_page)) return refuse(Refusal::non_canonical, access, linear_page, 0);
  const bool user = (cpu.hflags & hflags::kCpl) == 3;
  const Translation t = walk_and_mark(linear_page, access, user);
  if (!t.ok) return refuse(Refusal::page_fault, access, linear_page, t.error_code);
  const uint64_t physical = t.physical & a20_mask_;
  const bool stores_to_ram = access == Access::write && memory_.is_ram(physical);
  if (stores_to_ram && watched_[physical / kPageSize]) table_changes();
  watch_tables(t, stores_to_ram ? physical & kPageMask : kNoPage);
  if (memory_.is_ram(physical)) {
    const AccessWatch& watch = memory_.watch();
    const bool reads = watch.on() && watch.wants_page(linear_page, physical & kPageMask, false);
    const bool writes = watch.on() && watch.wants_page(linear_page, physical & kPageMask, true);
    if ((access == Access::read && reads) || (access == Access::write && writes))
      return fill_watched(linear_page, physical, access, t, out);
    if (!fill_ram(physical, access, t, running, out)) return false;
    if (reads) out.perms = static_cast<uc_prot>(out.perms & ~UC_PROT_READ);
    if (writes) out.perms = static_cast<uc_prot>(out.perms & ~UC_PROT_WRITE);
    if (out.perms & UC_PROT_WRITE) granted_write(physical & kPageMask, linear_page);
    return true;
  }
  if (access == Access::fetch) {
    out.paddr = memory_.is_rom(physical) ? physical : engine_map::kOpenBus;
    out.perms = protection(memory_.is_rom(physical), false, true);
    return true;
  }
  if (access == Access::read && memory_.is_rom(physical)) {
    out.paddr = physical;
    out.perms = protection(true, false, t.executable);
    return true;
  }
  if (!io_allowed_) return refuse(Refusal::io, access, linear_page, 0);
  io_pages_.push_back(linear_page);
  if (memory_.is_rom(physical))
    out.paddr = engine_map::kRomWindow + (physical - memory_.rom_base());
  else
    out.paddr = physical < kFourGiB ? physical : engine_map::kNothing;
  out.perms = protection(true, t.writable || access == Access::write, false);
  return true;
}

bool Mmu::fill_ram(uint64_t physical, Access access, const Translation& t, const LinearRange& running,
                   uc_tlb_entry& out) {
  const uint64_t page = physical & kPageMask;
  State& state = states_[page / kPageSize];
  if (access == Access::fetch) {
    if (state == State::writable) {
      ++statistics_.to_code;
      forbid_writes(page);
    }
    if (state != State::mixed) state = State::code;
  } else if (access == Access::write) {
    memory_.changes().note(page / kPageSize);
    if (page == own_store_page_) {
      out.paddr = physical;
      out.perms = protection(true, true, false);
      return true;
    }
    if (state == State::code || (state == State::mixed && !t.executable)) {
      if (runs_on(running, page)) {
        refuse(Refusal::own_page, access, 0, 0);
        refused_.physical_page = page;
        refused_.executable = t.executable;
        return false;
      }
      if (++recent_turns_ >= kTurnWindow) {
        recent_turns_ = 0;
        std::fill(turns_.begin(), turns_.end(), uint8_t{0});
      }
      uint8_t& turns = turns_[page / kPageSize];
      if (t.executable && ++turns >= kTurnsToMixed) {
        make_mixed(page);
      } else {
        ++statistics_.to_writable;
        drop_code(page);
        engine_.forbid_fetches(page);
        state = State::writable;
      }
    }
    if (state == State::untouched) state = State::writable;
  } else if (state == State::untouched && t.writable) {
    state = State::writable;
  }
  // The first store after a mark must come by here.
  // So must the first one to a page of tables.
  const bool write = access == Access::write ||
                     (t.writable && memory_.changes().noted(page / kPageSize) && !watched_[page / kPageSize]);
  out.paddr = physical;
  switch (state) {
    case State::code:
      out.perms = protection(true, false, t.executable);
      break;
    case State::mixed:
      // Without the execute right the engine would stop watching the page for stores.
      out.perms = protection(true, write && t.executable, t.executable);
      break;
    default:
      out.perms = protection(true, write, false);
  }
  return true;
}

bool Mmu::fill_watched(uint64_t linear_page, uint64_t physical, Access access, const Translation& t,
                       uc_tlb_entry& out) {
  const uint64_t page = physical & kPageMask;
  State& state = states_[page / kPageSize];
  const bool write = access == Access::write || t.writable;
  if (!io_allowed_ && (watched_alone_ || state == State::code || state == State::mixed)) {
    ++statistics_.watched_alone;
    return refuse(Refusal::io, access, linear_page, 0);
  }
  // For the stores that come as long as the TLB has the entry, the page must not turn to code unseen.
  if (io_allowed_)
    io_pages_.push_back(linear_page);
  else if (write)
    state = State::writable;
  if (watched_slots_.size() >= engine_map::kWatchedSlots) {
    watched_slots_.clear();
    engine_.flush_tlb();
  }
  size_t slot = 0;
  while (slot < watched_slots_.size() &&
         (watched_slots_[slot].linear_page != linear_page || watched_slots_[slot].physical_page != page))
    ++slot;
  if (slot == watched_slots_.size()) watched_slots_.push_back({linear_page, page});
  out.paddr = engine_map::kWatched + slot * kPageSize + (physical & ~kPageMask);
  out.perms = protection(true, write, false);
  return true;
}

uint64_t Mmu::watched_read(uint64_t offset, unsigned size) {
  const WatchedPage& page = watched_slots_[offset / kPageSize];
  const uint64_t in_page = offset % kPageSize;
  memory_.watch().touched(AccessWatch::Who::instruction, false, page.linear_page + in_page,
                          page.physical_page + in_page, size);
  uint64_t value = 0;
  memory_.get(page.physical_page + in_page, {reinterpret_cast<uint8_t*>(&value), size});
  return value;
}

void Mmu::watched_write(uint64_t offset, unsigned size, uint64_t value) {
  const WatchedPage& page = watched_slots_[offset / kPageSize];
  const uint64_t in_page = offset % kPageSize;
  memory_.watch().touched(AccessWatch::Who::instruction, true, page.linear_page + in_page, page.physical_page + in_page,
                          size);
  memory_.put(page.physical_page + in_page, {reinterpret_cast<const uint8_t*>(&value), size});
}

void Mmu::watch_changed(bool alone) {
  watched_alone_ = alone;
  watched_slots_.clear();
  engine_.flush_tlb();
}

void Mmu::forbid_writes(uint64_t physical_page) {
  engine_.forbid_writes(physical_page);
  for (size_t slot = 0; slot < watched_slots_.size(); ++slot)
    if (watched_slots_[slot].physical_page == physical_page)
      engine_.forbid_writes(engine_map::kWatched + slot * kPageSize);
}

Translation Mmu::walk_and_mark(uint64_t linear, Access access, bool user) {
  walking_ = true;
  const Translation t = walk_pages(engine_.cpu(), memory_, a20_mask_, wrap(linear), access, user, AccessedBits::set);
  walking_ = false;
  return t;
}

// `stored_page`: the page that is about to be stored to, which cannot be watched meanwhile.
void Mmu::watch_tables(const Translation& t, uint64_t stored_page) {
  for (unsigned i = 0; i < t.entry_count; ++i) {
    const uint64_t page = t.entries[i] & kPageMask;
    if (!memory_.is_ram(page) || page == stored_page || watched_[page / kPageSize]) continue;
    watched_[page / kPageSize] = 1;
    watched_pages_.push_back(static_cast<uint32_t>(page / kPageSize));
    const Grant& grant = grants_[page / kPageSize];
    if (grant.period != grant_period_) continue;
    if (grant.linear_page == kNoPage)
      engine_.forbid_writes(page);
    else
      engine_.forget_page(grant.linear_page);
  }
}

void Mmu::granted_write(uint64_t physical_page, uint64_t linear_page) {
  Grant& grant = grants_[physical_page / kPageSize];
  const bool again = grant.period == grant_period_ && grant.linear_page != linear_page;
  grant = {grant_period_, again ? kNoPage : linear_page};
}

// A page of tables is about to change: what was read from it, and everything else, is to be read again.
void Mmu::table_changes() {
  for (const uint32_t index : watched_pages_) watched_[index] = 0;
  watched_pages_.clear();
  ++grant_period_;
  ++statistics_.table_changes;
  engine_.flush_tlb();
}

bool Mmu::refuse(Refusal why, Access access, uint64_t linear_page, uint32_t error_code) {
  refused_ = {why, access, error_code, linear_page, 0};
  return false;
}

bool Mmu::runs_on(const LinearRange& running, uint64_t physical_page) {
  if (running.first > running.last) return false;
  for (uint64_t linear = running.first & kPageMask; linear <= running.last; linear += kPageSize) {
    const Translation t =
        walk_pages(engine_.cpu(), memory_, a20_mask_, wrap(linear), Access::read, false, AccessedBits::leave);
    if (t.ok && (t.physical & a20_mask_ & kPageMask) == physical_page) return true;
  }
  return false;
}

void Mmu::drop_code(uint64_t physical_page) {
  dropping_ = true;
  engine_.drop_code(engine_map::kCodeAlias + physical_page, kPageSize);
  dropping_ = false;
}

void Mmu::make_mixed(uint64_t physical_page) {
  State& state = states_[physical_page / kPageSize];
  if (state != State::mixed) mixed_pages_.push_back(static_cast<uint32_t>(physical_page / kPageSize));
  state = State::mixed;
  ++statistics_.to_mixed;
  // Blocks of more than one instruction must go.
  drop_code(physical_page);
}

void Mmu::retry_mixed_pages() {
  for (const uint32_t index : mixed_pages_) {
    const uint64_t page = uint64_t{index} * kPageSize;
    drop_code(page);
    engine_.forbid_fetches(page);
    engine_.forbid_writes(page);
    states_[index] = State::untouched;
  }
  mixed_pages_.clear();
}

bool Mmu::is_mixed_code(uint64_t linear) {
  const Translation t =
      walk_pages(engine_.cpu(), memory_, a20_mask_, wrap(linear), Access::read, false, AccessedBits::leave);
  const uint64_t physical = t.physical & a20_mask_;
  return t.ok && memory_.is_ram(physical) && states_[physical / kPageSize] == State::mixed;
}

void Mmu::note_code(uint64_t linear) {
  const Translation t =
      walk_pages(engine_.cpu(), memory_, a20_mask_, wrap(linear), Access::read, false, AccessedBits::leave);
  const uint64_t physical = t.physical & a20_mask_;
  if (!t.ok || !memory_.is_ram(physical)) return;
  State& state = states_[physical / kPageSize];
  if (state == State::mixed) return;
  if (state == State::writable) forbid_writes(physical & kPageMask);
  state = State::code;
}

void Mmu::wrote(uint64_t physical_page) {
  if (watched_[physical_page / kPageSize] && !walking_) table_changes();
  State& state = states_[physical_page / kPageSize];
  if (state != State::code && state != State::mixed) return;
  ++statistics_.host_writes_to_code;
  drop_code(physical_page);
  if (state == State::code) {
    engine_.forbid_fetches(physical_page);
    state = State::untouched;
  }
}

void Mmu::end_io() {
  io_allowed_ = false;
  for (const uint64_t page : io_pages_) engine_.forget_page(page);
  io_pages_.clear();
}

void Mmu::end_own_store() {
  if (own_store_page_ == kNoPage) return;
  drop_code(own_store_page_);
  engine_.forbid_writes(own_store_page_);
  engine_.forbid_fetches(own_store_page_);
  if (states_[own_store_page_ / kPageSize] == State::code) states_[own_store_page_ / kPageSize] = State::untouched;
  own_store_page_ = kNoPage;
}

void Mmu::set_a20(bool enabled) {
  a20_mask_ = enabled ? ~0ull : ~kA20Line;
  engine_.cpu().a20_mask = enabled ? -1 : static_cast<int32_t>(~kA20Line);
  engine_.flush_tlb();
}

size_t Mmu::peek(uint64_t linear, std::span<uint8_t> to) {
  size_t done = 0;
  while (done < to.size()) {
    const uint64_t at = wrap(linear + done);
    const Translation t = walk_pages(engine_.cpu(), memory_, a20_mask_, at, Access::read, false, AccessedBits::leave);
    if (!t.ok) break;
    const uint8_t* bytes = memory_.bytes_at(t.physical & a20_mask_);
    if (bytes == nullptr) break;
    const size_t in_page = std::min<size_t>(to.size() - done, kPageSize - (at & ~kPageMask));
    std::memcpy(to.data() + done, bytes, in_page);
    done += in_page;
  }
  return done;
}

uint64_t Mmu::translate(uint64_t linear, Access access) {
  const EngineCpu& cpu = engine_.cpu();
  if (in_long_mode(cpu) && !is_canonical(linear)) throw fault_with_code(kVectorGp, 0);
  const Translation t = walk_and_mark(linear, access, false);
  if (!t.ok) throw GuestFault{kVectorPf, true, t.error_code, wrap(linear)};
  return t.physical & a20_mask_;
}

void Mmu::read(uint64_t linear, void* to, size_t size) {
  auto* bytes = static_cast<uint8_t*>(to);
  while (size > 0) {
    const size_t in_page = std::min<size_t>(size, kPageSize - (linear & ~kPageMask));
    const uint64_t physical = translate(linear, Access::read);
    if (memory_.watch().on()) memory_.watch().touched(AccessWatch::Who::cpu, false, wrap(linear), physical, in_page);
    memory_.get(physical, {bytes, in_page});
    linear += in_page;
    bytes += in_page;
    size -= in_page;
  }
}

void Mmu::write(uint64_t linear, const void* from, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(from);
  const size_t in_first = std::min<size_t>(size, kPageSize - (linear & ~kPageMask));
  const uint64_t first = translate(linear, Access::write);
  const uint64_t second = in_first < size ? translate(linear + in_first, Access::write) : 0;
  const AccessWatch& watch = memory_.watch();
  if (watch.on()) watch.touched(AccessWatch::Who::cpu, true, wrap(linear), first, in_first);
  memory_.put(first, {bytes, in_first});
  if (in_first == size) return;
  if (watch.on()) watch.touched(AccessWatch::Who::cpu, true, wrap(linear + in_first), second, size - in_first);
  memory_.put(second, {bytes + in_first, size - in_first});
}

void Mmu::reset() {
  std::fill(states_.begin(), states_.end(), State::untouched);
  std::fill(turns_.begin(), turns_.end(), uint8_t{0});
  mixed_pages_.clear();
  own_store_page_ = kNoPage;
  engine_.drop_all_code();
  registers_changed();
}

void Mmu::registers_changed() {
  end_own_store();
  io_pages_.clear();
  io_allowed_ = false;
  refused_ = {};
  watched_slots_.clear();
  table_changes();
}

}  // namespace understudy::emu
