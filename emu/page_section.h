// Up to 256 neighbouring pages of one store (emu/paged_store) as bytes: the body of the pages sections of a snapshot
// file, whose format emu/snapshot_file.h describes, and of the chunks of a state transfer.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <vector>

#include "emu/machine.h"

namespace understudy::emu {

constexpr uint64_t kPagesPerSection = 256;

struct PageSectionHead {
  static constexpr size_t kMapBytes = kPagesPerSection / 8;
  uint64_t first;
  uint8_t meant[kMapBytes];
  uint8_t data[kMapBytes];
  uint64_t name_bytes;
};

// Gathers pages of one store, section by section.
class PageSectionWriter {
 public:
  using Emit = std::function<void(std::vector<uint8_t>&& body)>;
  // `with_base_pages`: pages that are their base's again are told too, as the reader may have another content. A
  // section gets no more than `most_data` pages' bytes.
  PageSectionWriter(PagedStore& store, bool with_base_pages, Emit emit, uint64_t most_data = kPagesPerSection)
      : store_(store), with_base_pages_(with_base_pages), most_data_(most_data), emit_(std::move(emit)) {}
  // In ascending order, if sections are to be few. False: it is not told, being its base's.
  bool add(uint64_t page);
  // After the last page.
  void flush();

 private:
  PagedStore& store_;
  bool with_base_pages_;
  uint64_t most_data_;
  Emit emit_;
  PageSectionHead head_{};
  std::vector<uint8_t> data_;
  bool any_ = false;
};

// These bytes are no section for this machine; the message goes on after "the pages".
class PageSectionError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A section, taken apart and checked against the machine's stores.
class PageSection {
 public:
  // Throws PageSectionError.
  PageSection(Machine& machine, std::span<const uint8_t> body);
  // Writes its pages. What the store throws passes through.
  void apply() const;
  uint64_t pages() const;

 private:
  PagedStore* store_ = nullptr;
  PageSectionHead head_{};
  std::vector<uint8_t> data_;
};

}  // namespace understudy::emu
