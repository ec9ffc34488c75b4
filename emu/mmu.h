// The guest's view of memory: translates at a TLB miss, and keeps stores and translated code apart.
//
// Every physical RAM page is in one of four states. `writable` pages are never translated from, so their stores run at
// full speed; `code` pages are never stored to, so their blocks stay true; a store or a fetch that meets the other
// state turns the page over. `mixed` pages are both: an instruction on them that may write is a block of its own, and
// the engine drops blocks at each store, which is slow but exact. Because the state belongs to the physical page, code
// that is modified through another mapping is seen. States never reach the guest: they cost time, nothing else.
//
// How long the engine's TLB remembers a translation depends on its size, which depends on the host's time, and on what
// our own work throws out of it. So that no guest can tell: a page from which a translation was read is watched, and
// the first store to it drops all translations. Then filling an entry again gives what it gave, and sets no accessed or
// dirty bit that was not set, whenever that happens. The one exception is a store to an entry through the translation
// that this entry itself gives.
#pragma once

#include <unicorn/unicorn.h>

#include <cstdint>
#include <span>
#include <vector>

#include "emu/engine.h"
#include "emu/linear_memory.h"
#include "emu/page_walk.h"
#include "emu/physical_memory.h"

namespace understudy::emu {

// Physical addresses that the guest cannot name (it has 36 bits), where the engine finds what is not RAM.
namespace engine_map {
constexpr uint64_t kNothing = 1ull << 37;    // I/O page: reads ones, drops writes
constexpr uint64_t kOpenBus = 2ull << 37;    // memory page full of ones: fetches from nothing
constexpr uint64_t kRomWindow = 3ull << 37;  // I/O: the ROM for accesses that write
constexpr uint64_t kWatched = 4ull << 37;    // I/O: RAM whose accesses are looked at, a page a slot
constexpr uint64_t kWatchedSlots = 1024;
constexpr uint64_t kCodeAlias = 0x00f0ull << 48;  // linear, non-canonical: names a physical page to drop_code()
}  // namespace engine_map

// Why the fill callback refused an access. The engine then leaves the block with the CPU exactly before the
// instruction; the exact address is Engine::refused_address().
enum class Refusal : uint8_t {
  none,
  page_fault,
  non_canonical,
  io,        // not memory, or watched: to be run as an instruction on its own
  own_page,  // a store to the page that the running block is translated from
};

class Mmu : public LinearMemory {
 public:
  Mmu(Engine& engine, PhysicalMemory& memory);

  // The engine's TLB miss. `running_code` is the linear range of the block that executes, empty for none.
  struct LinearRange {
    uint64_t first = 1, last = 0;
  };
  bool fill(uint64_t linear_page, Access access, const LinearRange& running_code, uc_tlb_entry& entry);

  struct Refused {
    Refusal why = Refusal::none;
    Access access = Access::read;
    uint32_t error_code = 0;
    uint64_t linear_page = 0;
    uint64_t physical_page = 0;  // own_page
    bool executable = true;      // own_page: the mapping that the store goes through is executable
  };
  const Refused& refused() const { return refused_; }
  void clear_refused() { refused_.why = Refusal::none; }

  // Lets I/O addresses through until end_io(), which also makes the TLB forget them: the next access asks again.
  void begin_io() { io_allowed_ = true; }
  void end_io();

  // Lets stores to one code page through until end_own_store(), which drops its code. For a store to the running page
  // through a mapping that is not executable: the engine watches such a mapping for nothing.
  void begin_own_store(uint64_t physical_page) { own_store_page_ = physical_page; }
  void end_own_store();

  // Accesses to watched pages come as I/O, to these. Between runs: the watch is another. With `alone`, an instruction
  // that may touch a watched byte is run as a block of its own; else blocks stay whole wherever no code is stored to.
  uint64_t watched_read(uint64_t offset, unsigned size);
  void watched_write(uint64_t offset, unsigned size, uint64_t value);
  void watch_changed(bool alone);

  void make_mixed(uint64_t physical_page);
  // Between runs: mixed pages start afresh, since what was code beside data may be plain code by now.
  void retry_mixed_pages();
  bool is_mixed_code(uint64_t linear);
  // The engine's own walker ran the instruction at `linear`: its page holds translated code now.
  void note_code(uint64_t linear);

  void set_a20(bool enabled);
  bool a20() const { return a20_mask_ == ~0ull; }

  // Code bytes at a linear address, as far as they are mapped; returns how many. Sets no accessed bits.
  size_t peek(uint64_t linear, std::span<uint8_t> to);

  void read(uint64_t linear, void* to, size_t size) override;
  void write(uint64_t linear, const void* from, size_t size) override;
  void flush_translations() override { engine_.flush_tlb(); }

  // Forgets all page states and translated code (reset, snapshot load).
  void reset();
  // Forgets what was read from page tables and what is under way: registers and RAM are others, but all changes of RAM
  // went through PhysicalMemory, so that page states and translated code are still true.
  void registers_changed();

  struct Statistics {
    uint64_t fills = 0, to_code = 0, to_writable = 0, to_mixed = 0, host_writes_to_code = 0, table_changes = 0,
             watched_alone = 0;
  };
  const Statistics& statistics() const { return statistics_; }

 private:
  enum class State : uint8_t { untouched, writable, code, mixed };
  bool fill_ram(uint64_t physical, Access access, const Translation& t, const LinearRange& running, uc_tlb_entry& out);
  bool fill_watched(uint64_t linear_page, uint64_t physical, Access access, const Translation& t, uc_tlb_entry& out);
  void forbid_writes(uint64_t physical_page);
  bool refuse(Refusal why, Access access, uint64_t linear_page, uint32_t error_code);
  bool runs_on(const LinearRange& running, uint64_t physical_page);
  void drop_code(uint64_t physical_page);
  void wrote(uint64_t physical_page);
  Translation walk_and_mark(uint64_t linear, Access access, bool user);
  void watch_tables(const Translation& t, uint64_t stored_page);
  void table_changes();
  void granted_write(uint64_t physical_page, uint64_t linear_page);
  uint64_t translate(uint64_t linear, Access access);
  uint64_t wrap(uint64_t linear) const;

  Engine& engine_;
  PhysicalMemory& memory_;
  std::vector<State> states_;
  std::vector<uint8_t> watched_;  // translations were read from this page since the last table_changes()
  std::vector<uint32_t> watched_pages_;
  // Since the last table_changes(): through which linear page stores to a page were let through.
  struct Grant {
    uint64_t period = 0;
    uint64_t linear_page = 0;
  };
  std::vector<Grant> grants_;
  uint64_t grant_period_ = 1;
  bool walking_ = false;
  std::vector<uint8_t> turns_;  // how often a page turned over lately
  uint64_t recent_turns_ = 0;
  uint64_t a20_mask_ = ~0ull;
  bool io_allowed_ = false;
  bool dropping_ = false;
  static constexpr uint64_t kNoPage = ~0ull;
  uint64_t own_store_page_ = kNoPage;
  std::vector<uint64_t> io_pages_;
  std::vector<uint32_t> mixed_pages_;
  struct WatchedPage {
    uint64_t linear_page, physical_page;
  };
  std::vector<WatchedPage> watched_slots_;  // what the engine's TLB may have at kWatched
  bool watched_alone_ = false;
  Refused refused_;
  Statistics statistics_;
};

}  // namespace understudy::emu
