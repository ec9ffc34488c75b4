// The guest's physical memory: RAM in one piece from address 0, ROM that ends at 4 GiB, and nothing else. Holds the
// bytes; who may touch them how is the MMU's business, which is told of every write that does not go through it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "emu/access_watch.h"
#include "emu/dma.h"
#include "emu/paged_store.h"

namespace understudy::emu {

constexpr uint64_t kPageSize = 4096;
constexpr uint64_t kPageMask = ~(kPageSize - 1);
constexpr uint64_t kFourGiB = 1ull << 32;

class PhysicalMemory : public DmaMemory, public PagedStore {
 public:
  // `ram_bytes` is a multiple of the page size, at most 3 GiB. The host gives pages as the guest touches them. Throws
  // std::bad_alloc.
  explicit PhysicalMemory(uint64_t ram_bytes);
  ~PhysicalMemory() override;
  PhysicalMemory(const PhysicalMemory&) = delete;
  PhysicalMemory& operator=(const PhysicalMemory&) = delete;

  uint64_t ram_size() const { return ram_size_; }
  // For mapping into the CPU, whose stores the MMU notes in changes(). Nobody else writes here.
  uint8_t* ram() { return ram_; }
  const uint8_t* ram() const { return ram_; }
  std::span<const uint8_t> ram_bytes() const { return {ram_, ram_size_}; }
  bool is_ram(uint64_t address) const { return address < ram_size_; }

  // The system ROM, mapped so that it ends at 4 GiB. Its size is rounded up to pages, the start padded with ones. Only
  // before the CPU exists.
  void set_rom(std::span<const uint8_t> image);
  uint64_t rom_base() const { return kFourGiB - rom_.size(); }
  std::span<uint8_t> rom() { return rom_; }
  bool is_rom(uint64_t address) const { return address >= rom_base() && address < kFourGiB; }

  // Host memory behind an address, or null where there is neither RAM nor ROM. Valid to the end of the page.
  const uint8_t* bytes_at(uint64_t address) const;

  // Little-endian words for the page walk: all ones where there is nothing. Naturally aligned.
  uint32_t load32(uint64_t address) const;
  uint64_t load64(uint64_t address) const;
  // Writes to RAM by the CPU's own microcode (accessed bits, frames). Announced to on_write.
  void store(uint64_t address, std::span<const uint8_t> from);
  // The same for who is not part of the machine, or has told watch() itself.
  void put(uint64_t address, std::span<const uint8_t> from);
  // All ones where there is nothing.
  void get(uint64_t address, std::span<uint8_t> to) const;

  // For a device whose name watch() shall tell; lives as long as this.
  DmaMemory& dma_for(std::string device);
  // For one without a name.
  void dma_read(uint64_t address, std::span<uint8_t> to) override;
  void dma_write(uint64_t address, std::span<const uint8_t> from) override;

  // What somebody wants to hear of.
  AccessWatch& watch() { return watch_; }

  // Called before the bytes of a RAM page change from outside of the CPU's stores, with the page's address.
  void on_write(std::function<void(uint64_t page_address)> callback) { on_write_ = std::move(callback); }

  // Which pages changed: by store(), or noted by the MMU.
  ChangeMap& changes() { return changes_; }

  std::string_view store_name() const override { return "ram"; }
  uint64_t store_pages() const override { return ram_size_ / kPageSize; }
  void read_page(uint64_t page, std::span<uint8_t, kPageBytes> to) override;
  void write_page(uint64_t page, std::span<const uint8_t, kPageBytes> from) override;
  bool is_base(uint64_t page) override;
  void make_base(uint64_t page) override;
  void make_all_base() override { clear(); }
  ChangeMap::Mark mark() override { return changes_.mark(); }
  void for_each_changed(ChangeMap::Mark since, const std::function<void(uint64_t page)>& call) override;

  // Power-on: every RAM byte zero, given back to the host.
  void clear();

 private:
  class NamedDma;
  uint64_t ram_size_;
  uint8_t* ram_;
  std::span<uint8_t> rom_;
  ChangeMap changes_;
  AccessWatch watch_;
  std::function<void(uint64_t)> on_write_;
  std::vector<std::unique_ptr<NamedDma>> named_dma_;
};

}  // namespace understudy::emu
