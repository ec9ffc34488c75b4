#include "tools/guest_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "emu/page_walk.h"
#include "emu/segment_load.h"

namespace understudy::tools {

namespace {

size_t left_in_page(uint64_t address) { return emu::kPageSize - (address & ~emu::kPageMask); }

// `bytes_at` gives the bytes of an address to the end of its page, or throws.
template <typename BytesAt>
size_t read_pages(uint64_t from, std::span<uint8_t> to, BytesAt&& bytes_at) {
  size_t done = 0;
  while (done < to.size()) {
    const size_t part = std::min(to.size() - done, left_in_page(from + done));
    try {
      std::memcpy(to.data() + done, bytes_at(from + done), part);
    } catch (const GdbRefusal&) {
      if (done == 0) throw;
      break;
    }
    done += part;
  }
  return done;
}

}  // namespace

uint64_t GuestMemory::wrap(uint64_t linear) const { return emu::wrap_linear(machine_.cpu().engine().cpu(), linear); }

uint64_t GuestMemory::a20_mask() const { return machine_.cpu().mmu().a20() ? ~0ull : ~(1ull << 20); }

uint64_t GuestMemory::physical(uint64_t linear) const {
  const emu::EngineCpu& cpu = machine_.cpu().engine().cpu();
  const emu::Translation t = emu::walk_pages(cpu, machine_.memory(), a20_mask(), wrap(linear), emu::Access::read, false,
                                             emu::AccessedBits::leave);
  if (!t.ok) throw GdbRefusal(fmt::format("linear address {:#x} is not mapped", wrap(linear)));
  return t.physical & a20_mask();
}

// Valid to the end of the page. Throws where there is no memory.
const uint8_t* GuestMemory::bytes_at(uint64_t physical) const {
  if (!machine_.mmio().is_free(physical & emu::kPageMask, emu::kPageSize))
    throw GdbRefusal(fmt::format("physical address {:#x} is a device's: reading it could change the device", physical));
  const uint8_t* bytes = machine_.memory().bytes_at(physical);
  if (bytes == nullptr) throw GdbRefusal(fmt::format("there is no memory at physical address {:#x}", physical));
  return bytes;
}

size_t GuestMemory::read(uint64_t linear, std::span<uint8_t> to) const {
  return read_pages(linear, to, [this](uint64_t at) { return bytes_at(physical(wrap(at))); });
}

size_t GuestMemory::read_physical(uint64_t physical, std::span<uint8_t> to) const {
  return read_pages(physical, to, [this](uint64_t at) { return bytes_at(at); });
}

void GuestMemory::write(uint64_t linear, std::span<const uint8_t> from) {
  struct Part {
    uint64_t physical;
    std::span<const uint8_t> bytes;
  };
  std::vector<Part> parts;
  for (size_t done = 0; done < from.size();) {
    const uint64_t at = wrap(linear + done);
    const size_t size = std::min(from.size() - done, left_in_page(at));
    parts.push_back({physical(at), from.subspan(done, size)});
    bytes_at(parts.back().physical);
    if (!machine_.memory().is_ram(parts.back().physical))
      throw GdbRefusal(fmt::format("physical address {:#x} is ROM", parts.back().physical));
    done += size;
  }
  for (const Part& part : parts) machine_.memory().store(part.physical, part.bytes);
}

}  // namespace understudy::tools
