// Bytes of a machine that are saved page by page and only where they changed: its RAM, and what a guest wrote over the
// image of a drive. A store has a base that it can be put back to (zeros, the image) and knows which pages may differ
// from it or changed since a mark. Not thread-safe; used between runs.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "emu/change_map.h"

namespace understudy::emu {

class PagedStore {
 public:
  static constexpr uint64_t kPageBytes = 4096;
  virtual ~PagedStore() = default;

  // Unique in the machine, stable: it names the store's part of a snapshot ("ram", "disk0").
  virtual std::string_view store_name() const = 0;
  virtual uint64_t store_pages() const = 0;
  // Of the last page fewer than kPageBytes may exist; the rest reads as zeros and is dropped. Both may throw
  // std::runtime_error: the host's disk.
  virtual void read_page(uint64_t page, std::span<uint8_t, kPageBytes> to) = 0;
  virtual void write_page(uint64_t page, std::span<const uint8_t, kPageBytes> from) = 0;
  // Whether the page has its base's bytes. May say no when it does.
  virtual bool is_base(uint64_t page) = 0;
  virtual void make_base(uint64_t page) = 0;
  virtual void make_all_base() = 0;

  virtual ChangeMap::Mark mark() = 0;
  // Ascending; after kBeginning: every page that is not its base's.
  virtual void for_each_changed(ChangeMap::Mark since, const std::function<void(uint64_t page)>& call) = 0;
};

}  // namespace understudy::emu
