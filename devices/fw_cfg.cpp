#include "devices/fw_cfg.h"

#include <algorithm>
#include <stdexcept>

#include "emu/byte_writer.h"

namespace understudy::devices {

namespace {
constexpr uint16_t kSelectorPort = 0x510;
constexpr uint16_t kDataPort = 0x511;
constexpr uint16_t kDmaHigh = 0x514;
constexpr uint16_t kDmaLow = 0x518;

// Bit 14 of a selector asks for write access, which no item here has.
constexpr uint16_t kKeyMask = 0xbfff;

constexpr uint32_t kDmaError = 1;
constexpr uint32_t kDmaRead = 2;
constexpr uint32_t kDmaSkip = 4;
constexpr uint32_t kDmaSelect = 8;
constexpr uint32_t kDmaWrite = 16;

constexpr char kDmaSignature[] = "QEMU CFG";

uint32_t swap32(uint32_t v) { return v >> 24 | (v >> 8 & 0xff00) | (v << 8 & 0xff0000) | v << 24; }
uint64_t be(const uint8_t* from, unsigned width) {
  uint64_t value = 0;
  for (unsigned i = 0; i < width; ++i) value = value << 8 | from[i];
  return value;
}
}  // namespace

FwCfg::FwCfg(emu::DmaMemory& memory) : memory_(memory) {
  add_key(kSignature, {'Q', 'E', 'M', 'U'});
  add_number(kId, 3, 4);  // the traditional interface and DMA
  rebuild_directory();
}

void FwCfg::attach(emu::PortBus& ports) {
  ports.attach(kSelectorPort, kSelectorPort, *this, 2);
  ports.attach(kDataPort, kDataPort, *this, 1);
  ports.attach(kDmaHigh, kDmaLow + 3, *this, 4);
}

void FwCfg::add_key(uint16_t key, std::vector<uint8_t> bytes) {
  if (key != (key & kKeyMask)) throw std::logic_error("fw_cfg: not a key");
  if (!items_.emplace(key, std::move(bytes)).second) throw std::logic_error("fw_cfg: a key is given twice");
}

void FwCfg::add_number(uint16_t key, uint64_t value, unsigned width) {
  emu::ByteWriter bytes(width);
  bytes.patch(0, value, width);
  add_key(key, bytes.take());
}

uint16_t FwCfg::add_file(const std::string& file, std::vector<uint8_t> bytes) {
  const bool taken = std::any_of(files_.begin(), files_.end(), [&](const File& f) { return f.name == file; });
  if (file.empty() || file.size() > kMaxFileName || taken || files_.size() == kMaxFiles || bytes.size() > UINT32_MAX)
    throw std::logic_error("fw_cfg: cannot add the file " + file);
  const auto key = static_cast<uint16_t>(kFirstFile + files_.size());
  files_.push_back({file, key, static_cast<uint32_t>(bytes.size())});
  add_key(key, std::move(bytes));
  rebuild_directory();
  return key;
}

void FwCfg::rebuild_directory() {
  emu::ByteWriter directory;
  directory.be32(files_.size());
  for (const File& f : files_) directory.be32(f.size).be16(f.key).be16(0).text(f.name, kMaxFileName + 1);
  items_[kFileDirectory] = directory.take();
}

void FwCfg::reset() { state_ = {}; }

void FwCfg::visit_state(emu::StateVisitor& visitor) {
  visitor.value("selector", state_.selector);
  visitor.value("position", state_.position);
  visitor.value("dma_address", state_.dma_address);
}

const std::vector<uint8_t>& FwCfg::selected() const {
  static const std::vector<uint8_t> kNothing;
  const auto item = items_.find(state_.selector);
  return item == items_.end() ? kNothing : item->second;
}

void FwCfg::select(uint16_t key) {
  state_.selector = key & kKeyMask;
  state_.position = 0;
}

uint8_t FwCfg::next_byte() {
  const auto& item = selected();
  return state_.position < item.size() ? item[state_.position++] : 0;
}

uint32_t FwCfg::port_read(uint16_t port, unsigned size) {
  if (port < kDmaHigh) return next_byte();
  // Big-endian, so a byte's place in the signature is its place on the bus.
  uint32_t value = 0;
  for (unsigned i = 0; i < size; ++i) {
    const unsigned at = port - kDmaHigh + i;
    if (at < 8) value |= static_cast<uint32_t>(static_cast<uint8_t>(kDmaSignature[at])) << (8 * i);
  }
  return value;
}

void FwCfg::port_write(uint16_t port, unsigned size, uint32_t value) {
  if (port == kSelectorPort && size == 2) select(static_cast<uint16_t>(value));
  if (size != 4) return;
  if (port == kDmaHigh) state_.dma_address = static_cast<uint64_t>(swap32(value)) << 32;
  if (port == kDmaLow) {
    const uint64_t descriptor = state_.dma_address | swap32(value);
    state_.dma_address = 0;
    run_dma(descriptor);
  }
}

void FwCfg::run_dma(uint64_t descriptor) {
  uint8_t raw[16];
  memory_.dma_read(descriptor, raw);
  const auto control = static_cast<uint32_t>(be(raw, 4));
  uint32_t length = static_cast<uint32_t>(be(raw + 4, 4));
  uint64_t address = be(raw + 8, 8);

  if ((control & kDmaSelect) != 0) select(static_cast<uint16_t>(control >> 16));
  uint32_t result = 0;
  if ((control & kDmaRead) != 0) {
    if (length > kMaxDma) {
      result = kDmaError;
      length = 0;
    }
    // Past the item's end the guest gets zeros.
    uint8_t page[4096];
    while (length > 0) {
      const uint32_t step = std::min<uint32_t>(length, sizeof page);
      const auto& item = selected();
      const size_t left = item.size() - std::min<size_t>(item.size(), state_.position);
      const size_t have = std::min<size_t>(step, left);
      std::fill(page, page + step, uint8_t{0});
      std::copy_n(item.begin() + static_cast<ptrdiff_t>(item.size() - left), have, page);
      state_.position += static_cast<uint32_t>(have);
      memory_.dma_write(address, {page, step});
      address += step;
      length -= step;
    }
  } else if ((control & kDmaWrite) != 0) {
    result = kDmaError;  // no item may be written
  } else if ((control & kDmaSkip) != 0) {
    const auto size = static_cast<uint32_t>(selected().size());
    const uint32_t left = size - std::min(size, state_.position);
    state_.position += std::min(length, left);
  }
  const uint8_t answer[4] = {0, 0, 0, static_cast<uint8_t>(result)};
  memory_.dma_write(descriptor, answer);
}

}  // namespace understudy::devices
