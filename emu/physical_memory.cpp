#include "emu/physical_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <utility>

namespace understudy::emu {

namespace {

uint8_t* map_pages(uint64_t size) {
  void* pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  return static_cast<uint8_t*>(pages);
}

}  // namespace

static_assert(PagedStore::kPageBytes == kPageSize);

class PhysicalMemory::NamedDma : public DmaMemory {
 public:
  NamedDma(PhysicalMemory& memory, std::string device) : memory_(memory), device_(std::move(device)) {}

  void dma_read(uint64_t address, std::span<uint8_t> to) override {
    const AccessWatch& watch = memory_.watch_;
    if (watch.on()) watch.touched(AccessWatch::Who::device, false, AccessWatch::kUnknown, address, to.size(), device_);
    memory_.get(address, to);
  }
  void dma_write(uint64_t address, std::span<const uint8_t> from) override {
    const AccessWatch& watch = memory_.watch_;
    if (watch.on()) watch.touched(AccessWatch::Who::device, true, AccessWatch::kUnknown, address, from.size(), device_);
    memory_.put(address, from);
  }

 private:
  PhysicalMemory& memory_;
  const std::string device_;
};

PhysicalMemory::PhysicalMemory(uint64_t ram_bytes)
    : ram_size_(ram_bytes), ram_(map_pages(ram_bytes)), changes_(ram_bytes / kPageSize) {}

PhysicalMemory::~PhysicalMemory() {
  munmap(ram_, ram_size_);
  if (!rom_.empty()) munmap(rom_.data(), rom_.size());
}

void PhysicalMemory::set_rom(std::span<const uint8_t> image) {
  if (!rom_.empty()) munmap(rom_.data(), rom_.size());
  const uint64_t size = (image.size() + kPageSize - 1) & kPageMask;
  rom_ = {map_pages(size), size};
  std::fill(rom_.begin(), rom_.end(), uint8_t{0xff});
  std::copy(image.begin(), image.end(), rom_.end() - static_cast<ptrdiff_t>(image.size()));
}

const uint8_t* PhysicalMemory::bytes_at(uint64_t address) const {
  if (is_ram(address)) return ram_ + address;
  if (is_rom(address)) return rom_.data() + (address - rom_base());
  return nullptr;
}

uint32_t PhysicalMemory::load32(uint64_t address) const {
  const uint8_t* bytes = bytes_at(address);
  uint32_t value = ~0u;
  if (bytes != nullptr) std::memcpy(&value, bytes, sizeof value);
  return value;
}

uint64_t PhysicalMemory::load64(uint64_t address) const {
  const uint8_t* bytes = bytes_at(address);
  uint64_t value = ~0ull;
  if (bytes != nullptr) std::memcpy(&value, bytes, sizeof value);
  return value;
}

void PhysicalMemory::store(uint64_t address, std::span<const uint8_t> from) {
  if (watch_.on()) watch_.touched(AccessWatch::Who::cpu, true, AccessWatch::kUnknown, address, from.size());
  put(address, from);
}

void PhysicalMemory::put(uint64_t address, std::span<const uint8_t> from) {
  while (!from.empty() && is_ram(address)) {
    const size_t in_page = std::min<size_t>(from.size(), kPageSize - (address & ~kPageMask));
    if (on_write_) on_write_(address & kPageMask);
    changes_.note(address / kPageSize);
    std::memcpy(ram_ + address, from.data(), in_page);
    address += in_page;
    from = from.subspan(in_page);
  }
}

void PhysicalMemory::get(uint64_t address, std::span<uint8_t> to) const {
  while (!to.empty()) {
    const size_t in_page = std::min<size_t>(to.size(), kPageSize - (address & ~kPageMask));
    if (const uint8_t* bytes = bytes_at(address))
      std::memcpy(to.data(), bytes, in_page);
    else
      std::memset(to.data(), 0xff, in_page);
    address += in_page;
    to = to.subspan(in_page);
  }
}

DmaMemory& PhysicalMemory::dma_for(std::string device) {
  return *named_dma_.emplace_back(std::make_unique<NamedDma>(*this, std::move(device)));
}

void PhysicalMemory::dma_read(uint64_t address, std::span<uint8_t> to) {
  if (watch_.on()) watch_.touched(AccessWatch::Who::device, false, AccessWatch::kUnknown, address, to.size());
  get(address, to);
}

void PhysicalMemory::dma_write(uint64_t address, std::span<const uint8_t> from) {
  if (watch_.on()) watch_.touched(AccessWatch::Who::device, true, AccessWatch::kUnknown, address, from.size());
  put(address, from);
}

void PhysicalMemory::clear() {
  madvise(ram_, ram_size_, MADV_DONTNEED);
  changes_.note_all();
}

void PhysicalMemory::read_page(uint64_t page, std::span<uint8_t, kPageBytes> to) {
  std::memcpy(to.data(), ram_ + page * kPageSize, kPageSize);
}

void PhysicalMemory::write_page(uint64_t page, std::span<const uint8_t, kPageBytes> from) {
  put(page * kPageSize, from);
}

bool PhysicalMemory::is_base(uint64_t page) {
  static const std::array<uint8_t, kPageSize> zeros{};
  return std::memcmp(ram_ + page * kPageSize, zeros.data(), kPageSize) == 0;
}

void PhysicalMemory::make_base(uint64_t page) {
  static const std::array<uint8_t, kPageSize> zeros{};
  if (!is_base(page)) put(page * kPageSize, zeros);
}

void PhysicalMemory::for_each_changed(ChangeMap::Mark since, const std::function<void(uint64_t page)>& call) {
  for (uint64_t page = 0; page < changes_.pages(); ++page)
    if (changes_.changed_since(page, since)) call(page);
}

}  // namespace understudy::emu
