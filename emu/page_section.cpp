#include "emu/page_section.h"

#include <bit>
#include <cstring>

#include "emu/snapshot_sections.h"

namespace understudy::emu {

namespace {

constexpr uint64_t kPage = PagedStore::kPageBytes;
constexpr size_t kMaxName = 255;

bool bit(const uint8_t* map, uint64_t i) { return map[i / 8] >> i % 8 & 1; }
void set_bit(uint8_t* map, uint64_t i) { map[i / 8] = static_cast<uint8_t>(map[i / 8] | 1u << i % 8); }

}  // namespace

bool PageSectionWriter::add(uint64_t page) {
  const uint64_t first = page / kPagesPerSection * kPagesPerSection;
  if (first != head_.first || data_.size() >= most_data_ * kPage) flush();
  head_.first = first;
  const bool base = store_.is_base(page);
  if (base && !with_base_pages_) return false;
  set_bit(head_.meant, page - first);
  any_ = true;
  if (base) return true;
  set_bit(head_.data, page - first);
  data_.resize(data_.size() + kPage);
  store_.read_page(page, std::span<uint8_t, kPage>(data_.data() + data_.size() - kPage, kPage));
  return true;
}

void PageSectionWriter::flush() {
  if (any_) {
    const std::string_view name = store_.store_name();
    head_.name_bytes = name.size();
    std::vector<uint8_t> body(sizeof head_);
    std::memcpy(body.data(), &head_, sizeof head_);
    body.insert(body.end(), name.begin(), name.end());
    if (!data_.empty()) {
      const std::vector<uint8_t> packed = snapshot::compress(data_);
      body.insert(body.end(), packed.begin(), packed.end());
    }
    emit_(std::move(body));
  }
  head_ = {};
  data_.clear();
  any_ = false;
}

PageSection::PageSection(Machine& machine, std::span<const uint8_t> body) {
  if (body.size() < sizeof head_) throw PageSectionError("are too short");
  std::memcpy(&head_, body.data(), sizeof head_);
  body = body.subspan(sizeof head_);
  if (head_.name_bytes > kMaxName || head_.name_bytes > body.size()) throw PageSectionError("have a bad name");
  const std::string_view name(reinterpret_cast<const char*>(body.data()), head_.name_bytes);
  body = body.subspan(head_.name_bytes);
  for (PagedStore* store : machine.stores())
    if (store->store_name() == name) store_ = store;
  if (store_ == nullptr) throw PageSectionError("are of a part that this machine does not have");
  const uint64_t there = store_->store_pages();
  size_t count = 0;
  for (uint64_t i = 0; i < kPagesPerSection; ++i) {
    if (bit(head_.data, i)) ++count;
    if (!bit(head_.meant, i) && bit(head_.data, i)) throw PageSectionError("have bad maps");
    if (bit(head_.meant, i) && (head_.first >= there || i >= there - head_.first))
      throw PageSectionError("are beyond the machine's");
  }
  data_.resize(count * kPage);
  if (!snapshot::decompress(body, data_)) throw PageSectionError("do not unpack");
}

void PageSection::apply() const {
  const uint8_t* from = data_.data();
  for (uint64_t i = 0; i < kPagesPerSection; ++i) {
    if (!bit(head_.meant, i)) continue;
    if (bit(head_.data, i)) {
      store_->write_page(head_.first + i, std::span<const uint8_t, kPage>(from, kPage));
      from += kPage;
    } else {
      store_->make_base(head_.first + i);
    }
  }
}

uint64_t PageSection::pages() const {
  uint64_t count = 0;
  for (const uint8_t byte : head_.meant) count += static_cast<uint64_t>(std::popcount(byte));
  return count;
}

}  // namespace understudy::emu
