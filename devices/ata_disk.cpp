#include "devices/ata_disk.h"

#include <algorithm>
#include <array>
#include <stdexcept>

namespace understudy::devices {

namespace {
constexpr uint32_t kSector = 512;
constexpr uint32_t kChunkSectors = BlockPort::kMaxTransfer / kSector;
constexpr uint8_t kMaxMultiple = 16;
constexpr uint16_t kHeads = 16;
constexpr uint16_t kSectorsPerTrack = 63;
constexpr uint8_t kMultiwordDma2 = 0x22;

// Chapter 8's command codes.
enum : uint8_t {
  kReadSectors = 0x20,
  kReadSectorsNoRetry = 0x21,
  kReadSectorsExt = 0x24,
  kReadDmaExt = 0x25,
  kReadNativeMaxExt = 0x27,
  kReadMultipleExt = 0x29,
  kWriteSectors = 0x30,
  kWriteSectorsNoRetry = 0x31,
  kWriteSectorsExt = 0x34,
  kWriteDmaExt = 0x35,
  kWriteMultipleExt = 0x39,
  kWriteVerify = 0x3c,
  kVerify = 0x40,
  kVerifyNoRetry = 0x41,
  kVerifyExt = 0x42,
  kInitParameters = 0x91,
  kReadMultiple = 0xc4,
  kWriteMultiple = 0xc5,
  kSetMultiple = 0xc6,
  kReadDma = 0xc8,
  kReadDmaNoRetry = 0xc9,
  kWriteDma = 0xca,
  kWriteDmaNoRetry = 0xcb,
  kStandbyImmediate = 0xe0,
  kIdleImmediate = 0xe1,
  kStandby = 0xe2,
  kIdle = 0xe3,
  kCheckPower = 0xe5,
  kSleep = 0xe6,
  kFlushCache = 0xe7,
  kFlushCacheExt = 0xea,
  kIdentify = 0xec,
  kSetFeatures = 0xef,
  kReadNativeMax = 0xf8,
};
}  // namespace

AtaDisk::AtaDisk(BlockPort& port, Cable& cable, std::string serial)
    : AtaDrive(port, cable),
      total_(std::min<uint64_t>(port.image()->size_bytes() / kSector, (1ull << 48) - 1)),
      serial_(std::move(serial)) {
  if (total_ == 0) throw std::invalid_argument("ata disk: the image has not even one sector");
  power_on();
}

void AtaDisk::put_signature() {
  set_reg(kAtaSectorCount, 1);
  set_reg(kAtaLbaLow, 1);
  set_reg(kAtaLbaMid, 0);
  set_reg(kAtaLbaHigh, 0);
  set_reg(kAtaDevice, reg(kAtaDevice) & kAtaDeviceSelect);
  set_ready_bits(kAtaStatusDrdy | kAtaStatusDsc);
  state_.job = Job::kNone;
}

void AtaDisk::reset_settings() {
  state_ = {};
  state_.transfer_mode = kMultiwordDma2;
}

void AtaDisk::visit_settings(emu::StateVisitor& visitor) {
  visitor.value("job", state_.job);
  visitor.value("dma", state_.dma);
  visitor.value("extended", state_.extended);
  visitor.value("block", state_.block);
  visitor.value("lba", state_.lba);
  visitor.value("remaining", state_.remaining);
  visitor.value("multiple", state_.multiple);
  visitor.value("heads", state_.heads);
  visitor.value("sectors", state_.sectors);
  visitor.value("transfer_mode", state_.transfer_mode);
  visitor.value("write_cache", state_.write_cache);
  visitor.value("look_ahead", state_.look_ahead);
  // Divisors and lengths that later code relies on, whatever a snapshot says.
  state_.block = std::clamp<uint32_t>(state_.block, 1, kMaxMultiple);
  state_.heads = std::clamp<uint16_t>(state_.heads, 1, 16);
  state_.sectors = std::clamp<uint16_t>(state_.sectors, 1, 255);
}

void AtaDisk::execute(uint8_t command) {
  state_.job = Job::kNone;
  switch (command) {
    case kReadSectors:
    case kReadSectorsNoRetry:
      return start_transfer({Job::kRead, false, false, false});
    case kReadSectorsExt:
      return start_transfer({Job::kRead, false, false, true});
    case kReadMultiple:
      return start_transfer({Job::kRead, false, true, false});
    case kReadMultipleExt:
      return start_transfer({Job::kRead, false, true, true});
    case kReadDma:
    case kReadDmaNoRetry:
      return start_transfer({Job::kRead, true, false, false});
    case kReadDmaExt:
      return start_transfer({Job::kRead, true, false, true});
    case kWriteSectors:
    case kWriteSectorsNoRetry:
    case kWriteVerify:
      return start_transfer({Job::kWrite, false, false, false});
    case kWriteSectorsExt:
      return start_transfer({Job::kWrite, false, false, true});
    case kWriteMultiple:
      return start_transfer({Job::kWrite, false, true, false});
    case kWriteMultipleExt:
      return start_transfer({Job::kWrite, false, true, true});
    case kWriteDma:
    case kWriteDmaNoRetry:
      return start_transfer({Job::kWrite, true, false, false});
    case kWriteDmaExt:
      return start_transfer({Job::kWrite, true, false, true});
    case kVerify:
    case kVerifyNoRetry:
      return start_transfer({Job::kVerify, false, false, false});
    case kVerifyExt:
      return start_transfer({Job::kVerify, false, false, true});
    case kFlushCache:
    case kFlushCacheExt:
      state_.job = Job::kFlush;
      busy();
      return port().flush();
    case kIdentify:
      state_.job = Job::kIdentify;
      busy();
      return port().delay();
    case kSetFeatures:
      return set_features();
    case kSetMultiple:
      return set_multiple();
    case kInitParameters:
      return init_parameters();
    case kReadNativeMax:
      return read_native_max(false);
    case kReadNativeMaxExt:
      return read_native_max(true);
    case kCheckPower:
    case 0x98:
      set_reg(kAtaSectorCount, 0xff);  // active or idle
      return finish_later();
    case kStandbyImmediate:
    case kIdleImmediate:
    case kStandby:
    case kIdle:
    case kSleep:  // the platter has no motor: power modes change nothing that a host could see
    case 0x94:
    case 0x95:
    case 0x96:
    case 0x97:
    case 0x99:
      return finish_later();
    default:
      // RECALIBRATE 1xh and SEEK 7xh.
      if ((command & 0xf0) == 0x10 || (command & 0xf0) == 0x70) return finish_later();
      return fail_later(kAtaErrorAbrt);
  }
}

// False when the address does not exist; `count` is never 0.
bool AtaDisk::take_address(bool extended, uint64_t& lba, uint32_t& count) const {
  const uint8_t device = reg(kAtaDevice);
  if (extended) {
    count = static_cast<uint32_t>(old_reg(kAtaSectorCount) << 8 | reg(kAtaSectorCount));
    if (count == 0) count = 65536;
    lba = reg(kAtaLbaLow) | static_cast<uint64_t>(reg(kAtaLbaMid)) << 8 |
          static_cast<uint64_t>(reg(kAtaLbaHigh)) << 16 | static_cast<uint64_t>(old_reg(kAtaLbaLow)) << 24 |
          static_cast<uint64_t>(old_reg(kAtaLbaMid)) << 32 | static_cast<uint64_t>(old_reg(kAtaLbaHigh)) << 40;
  } else {
    count = reg(kAtaSectorCount) != 0 ? reg(kAtaSectorCount) : 256;
    const uint32_t cylinder = static_cast<uint32_t>(reg(kAtaLbaHigh) << 8 | reg(kAtaLbaMid));
    const uint32_t head = device & 0x0f;
    if ((device & kAtaDeviceLba) != 0) {
      lba = reg(kAtaLbaLow) | cylinder << 8 | head << 24;
    } else {
      const uint32_t sector = reg(kAtaLbaLow);
      if (sector == 0 || sector > state_.sectors || head >= state_.heads) return false;
      lba = (static_cast<uint64_t>(cylinder) * state_.heads + head) * state_.sectors + sector - 1;
    }
  }
  return lba < total_ && count <= total_ - lba;
}

void AtaDisk::put_address(uint64_t lba, bool extended) {
  const uint8_t device = reg(kAtaDevice);
  if (!extended && (device & kAtaDeviceLba) == 0) {
    const uint64_t track = lba / state_.sectors;
    const uint64_t cylinder = track / state_.heads;
    set_reg(kAtaLbaLow, static_cast<uint8_t>(lba % state_.sectors + 1));
    set_reg(kAtaLbaMid, static_cast<uint8_t>(cylinder));
    set_reg(kAtaLbaHigh, static_cast<uint8_t>(cylinder >> 8));
    set_reg(kAtaDevice, static_cast<uint8_t>((device & 0xf0) | (track % state_.heads)));
    return;
  }
  set_reg(kAtaLbaLow, static_cast<uint8_t>(lba));
  set_reg(kAtaLbaMid, static_cast<uint8_t>(lba >> 8));
  set_reg(kAtaLbaHigh, static_cast<uint8_t>(lba >> 16));
  if (extended) {
    set_old_reg(kAtaLbaLow, static_cast<uint8_t>(lba >> 24));
    set_old_reg(kAtaLbaMid, static_cast<uint8_t>(lba >> 32));
    set_old_reg(kAtaLbaHigh, static_cast<uint8_t>(lba >> 40));
  } else {
    set_reg(kAtaDevice, static_cast<uint8_t>((device & 0xf0) | (lba >> 24 & 0x0f)));
  }
}

void AtaDisk::start_transfer(const Transfer& transfer) {
  if (transfer.multiple && state_.multiple == 0) return fail_later(kAtaErrorAbrt);
  if (transfer.job == Job::kWrite && port().image()->read_only()) return fail_later(kAtaErrorAbrt);
  uint64_t lba = 0;
  uint32_t count = 0;
  if (!take_address(transfer.extended, lba, count)) return fail_later(kAtaErrorIdnf);
  state_.job = transfer.job;
  state_.dma = transfer.dma;
  state_.extended = transfer.extended;
  state_.block = transfer.multiple ? state_.multiple : 1;
  state_.lba = lba;
  state_.remaining = count;
  next_chunk();
}

// Reads fetch as much as the port takes and hand it out in DRQ blocks; a PIO write goes to the image block by block, so
// that the interrupt after a block says that it is there.
void AtaDisk::next_chunk() {
  const uint32_t chunk = std::min(state_.remaining, kChunkSectors);
  if (state_.job != Job::kWrite) {
    busy();
    return port().read(state_.lba * kSector, chunk * kSector);
  }
  const uint32_t sectors = state_.dma ? chunk : std::min(state_.remaining, state_.block);
  port().data().assign(sectors * kSector, 0);
  offer(state_.dma ? Phase::kDmaOut : Phase::kPioOut, 0, sectors * kSector);
}

void AtaDisk::offer_block(size_t from) {
  const size_t length = std::min<size_t>(port().data().size() - from, state_.block * kSector);
  offer(Phase::kPioIn, from, length);
  raise_interrupt();
}

void AtaDisk::advance(uint32_t sectors) {
  sectors = std::min(sectors, state_.remaining);
  state_.lba += sectors;
  state_.remaining -= sectors;
}

void AtaDisk::media_error() {
  if (state_.job != Job::kFlush) put_address(state_.lba, state_.extended);
  fail(state_.job == Job::kRead || state_.job == Job::kVerify ? kAtaErrorUnc : kAtaErrorAbrt);
}

void AtaDisk::completed(bool ok) {
  if (!ok) return media_error();
  const auto moved = static_cast<uint32_t>(port().data().size() / kSector);
  switch (state_.job) {
    case Job::kIdentify:
      identify();
      break;
    case Job::kRead:
      if (moved == 0) return media_error();
      if (state_.dma)
        offer(Phase::kDmaIn, 0, port().data().size());
      else
        offer_block(0);
      break;
    case Job::kWrite:
      advance(moved);
      if (state_.remaining == 0 || moved == 0) return finish();
      next_chunk();
      if (!state_.dma) raise_interrupt();
      break;
    case Job::kVerify:
      advance(moved);
      if (state_.remaining == 0 || moved == 0) return finish();
      next_chunk();
      break;
    case Job::kNone:
    case Job::kFlush:
      finish();
      break;
  }
}

void AtaDisk::transferred() {
  switch (state_.job) {
    case Job::kRead: {
      const size_t end = window_end();
      advance(static_cast<uint32_t>((end - window_begin()) / kSector));
      // PIO reads end without a further interrupt: the last one announced the last block.
      if (state_.remaining == 0) return state_.dma ? finish() : finish_quietly();
      if (!state_.dma && end < port().data().size()) return offer_block(end);
      return next_chunk();
    }
    case Job::kWrite:
      busy();
      return port().write(state_.lba * kSector);
    default:
      return finish_quietly();
  }
}

void AtaDisk::set_features() {
  const uint8_t value = reg(kAtaSectorCount);
  switch (reg(kAtaError)) {
    case 0x03: {  // transfer mode
      const unsigned kind = value >> 3;
      const unsigned mode = value & 7;
      const bool known =
          (kind == 0 && mode <= 1) || (kind == 1 && mode <= 4) || (kind == 4 && mode <= 2) || (kind == 8 && mode <= 5);
      if (!known) return fail_later(kAtaErrorAbrt);
      if (kind >= 4) state_.transfer_mode = value;
      break;
    }
    case 0x02:
    case 0x82:
      state_.write_cache = reg(kAtaError) == 0x02;
      break;
    case 0xaa:
    case 0x55:
      state_.look_ahead = reg(kAtaError) == 0xaa;
      break;
    case 0x66:  // keep or revert settings at a soft reset: they are always kept
    case 0xcc:
      break;
    default:
      return fail_later(kAtaErrorAbrt);
  }
  finish_later();
}

void AtaDisk::set_multiple() {
  const uint8_t count = reg(kAtaSectorCount);
  if (count > kMaxMultiple || (count & (count - 1)) != 0) return fail_later(kAtaErrorAbrt);
  state_.multiple = count;
  finish_later();
}

void AtaDisk::init_parameters() {
  if (reg(kAtaSectorCount) == 0) return fail_later(kAtaErrorAbrt);
  state_.heads = static_cast<uint16_t>((reg(kAtaDevice) & 0x0f) + 1);
  state_.sectors = reg(kAtaSectorCount);
  finish_later();
}

void AtaDisk::read_native_max(bool extended) {
  if ((reg(kAtaDevice) & kAtaDeviceLba) == 0) return fail_later(kAtaErrorAbrt);
  const uint64_t last = total_ - 1;
  put_address(extended ? last : std::min<uint64_t>(last, 0x0fffffff), extended);
  finish_later();
}

// Chapter 8.15. Words not set are zero.
void AtaDisk::identify() {
  std::array<uint16_t, 256> id{};
  const auto cylinders = static_cast<uint16_t>(std::clamp<uint64_t>(total_ / (kHeads * kSectorsPerTrack), 1, 16383));
  id[0] = 0x0040;
  id[1] = cylinders;
  id[3] = kHeads;
  id[4] = kSectorsPerTrack * kSector;
  id[5] = kSector;
  id[6] = kSectorsPerTrack;
  put_ata_string(std::span(id).subspan(10, 10), serial_);
  id[20] = 3;
  id[21] = 512;  // buffer, in sectors
  id[22] = 4;
  put_ata_string(std::span(id).subspan(23, 4), "1.0");
  put_ata_string(std::span(id).subspan(27, 20), "UNDERSTUDY HARDDISK");
  id[47] = 0x8000 | kMaxMultiple;
  id[48] = 1;       // 32-bit PIO
  id[49] = 0x0f00;  // IORDY, LBA, DMA
  id[50] = 0x4000;
  id[51] = 0x0200;
  id[52] = 0x0200;
  id[53] = 0x0007;
  // The current translation, as INITIALIZE DEVICE PARAMETERS left it.
  const uint32_t track = static_cast<uint32_t>(state_.heads) * state_.sectors;
  const auto current_cylinders = static_cast<uint16_t>(std::clamp<uint64_t>(total_ / track, 1, 65535));
  const uint64_t current_total = std::min<uint64_t>(static_cast<uint64_t>(current_cylinders) * track, total_);
  id[54] = current_cylinders;
  id[55] = state_.heads;
  id[56] = state_.sectors;
  id[57] = static_cast<uint16_t>(current_total);
  id[58] = static_cast<uint16_t>(current_total >> 16);
  if (state_.multiple != 0) id[59] = 0x0100 | state_.multiple;
  const uint64_t lba28 = std::min<uint64_t>(total_, 0x0fffffff);
  id[60] = static_cast<uint16_t>(lba28);
  id[61] = static_cast<uint16_t>(lba28 >> 16);
  const auto selected = static_cast<uint16_t>(0x100u << (state_.transfer_mode & 7));
  id[63] = static_cast<uint16_t>(0x07 | (state_.transfer_mode >> 3 == 4 ? selected : 0));
  id[64] = 0x0003;
  for (unsigned i = 65; i <= 68; ++i) id[i] = 120;
  id[80] = 0x007e;  // ATA-1 .. ATA/ATAPI-6
  // Supported, then enabled: write cache and look-ahead; 48-bit addresses, FLUSH CACHE and FLUSH CACHE EXT.
  id[82] = 0x0060;
  id[83] = 0x7400;
  id[84] = 0x4000;
  id[85] = static_cast<uint16_t>((state_.write_cache ? 0x20 : 0) | (state_.look_ahead ? 0x40 : 0));
  id[86] = 0x3400;
  id[87] = 0x4000;
  id[88] = static_cast<uint16_t>(0x3f | (state_.transfer_mode >> 3 == 8 ? selected : 0));
  id[93] = 0x6001;
  for (unsigned i = 0; i < 4; ++i) id[100 + i] = static_cast<uint16_t>(total_ >> (16 * i));
  auto& data = port().data();
  data.resize(kSector);
  for (size_t i = 0; i < id.size(); ++i) {
    data[2 * i] = static_cast<uint8_t>(id[i]);
    data[2 * i + 1] = static_cast<uint8_t>(id[i] >> 8);
  }
  state_.block = 1;
  offer_block(0);
}

}  // namespace understudy::devices
