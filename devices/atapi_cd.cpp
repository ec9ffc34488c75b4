#include "devices/atapi_cd.h"

#include <algorithm>

#include "devices/big_endian.h"

namespace understudy::devices {

namespace {
constexpr uint32_t kChunkBlocks = 32;
constexpr uint8_t kMultiwordDma2 = 0x22;

// Interrupt reason, in the sector count register (ATA/ATAPI-6, 9.8).
constexpr uint8_t kReasonCommand = 0x01;  // C/D
constexpr uint8_t kReasonToHost = 0x02;   // I/O

// ATA commands.
constexpr uint8_t kPacketCommand = 0xa0;
constexpr uint8_t kIdentifyPacket = 0xa1;
constexpr uint8_t kSetFeatures = 0xef;

// MMC-3 and SPC-2 operation codes.
enum : uint8_t {
  kTestUnitReady = 0x00,
  kRequestSense = 0x03,
  kInquiry = 0x12,
  kModeSense6 = 0x1a,
  kStartStopUnit = 0x1b,
  kPreventAllow = 0x1e,
  kReadCapacity = 0x25,
  kRead10 = 0x28,
  kSeek10 = 0x2b,
  kReadToc = 0x43,
  kGetConfiguration = 0x46,
  kGetEventStatus = 0x4a,
  kReadDiscInformation = 0x51,
  kModeSense10 = 0x5a,
  kRead12 = 0xa8,
  kSetCdSpeed = 0xbb,
  kMechanismStatus = 0xbd,
  kReadCd = 0xbe,
};
}  // namespace

AtapiCd::AtapiCd(BlockPort& port, Cable& cable, std::string serial)
    : AtaDrive(port, cable), serial_(std::move(serial)) {
  power_on();
}

bool AtapiCd::has_medium() const { return !state_.tray_open && blocks() != 0; }

uint32_t AtapiCd::blocks() const {
  const BlockBackend* image = port().image();
  if (image == nullptr) return 0;
  const uint64_t size = image->size_bytes();
  return static_cast<uint32_t>(std::min<uint64_t>(size / kBlock + (size % kBlock != 0 ? 1 : 0), 0x7fffffff));
}

void AtapiCd::put_signature() {
  set_reg(kAtaSectorCount, 1);
  set_reg(kAtaLbaLow, 1);
  set_reg(kAtaLbaMid, 0x14);
  set_reg(kAtaLbaHigh, 0xeb);
  set_reg(kAtaDevice, reg(kAtaDevice) & kAtaDeviceSelect);
  set_ready_bits(0);  // a packet device is not DRDY until its first command
  state_.stage = Stage::kNone;
}

void AtapiCd::reset_settings() {
  state_ = {};
  state_.transfer_mode = kMultiwordDma2;
}

void AtapiCd::visit_settings(emu::StateVisitor& visitor) {
  visitor.value("stage", state_.stage);
  visitor.value("packet", state_.packet);
  visitor.value("sense_key", state_.sense_key);
  visitor.value("sense_code", state_.sense_code);
  visitor.value("sense_qualifier", state_.sense_qualifier);
  visitor.value("check", state_.check);
  visitor.value("dma", state_.dma);
  visitor.value("byte_limit", state_.byte_limit);
  visitor.value("lba", state_.lba);
  visitor.value("remaining", state_.remaining);
  visitor.value("tray_open", state_.tray_open);
  visitor.value("locked", state_.locked);
  visitor.value("event", state_.event);
  visitor.value("transfer_mode", state_.transfer_mode);
}

void AtapiCd::execute(uint8_t command) {
  state_.stage = Stage::kNone;
  set_ready_bits(kAtaStatusDrdy | kAtaStatusDsc);
  switch (command) {
    case kPacketCommand:
      return accept_packet();
    case kIdentifyPacket:
      state_.stage = Stage::kIdentify;
      busy();
      return port().delay();
    case kSetFeatures:
      if (reg(kAtaError) == 0x03) {
        const uint8_t mode = reg(kAtaSectorCount);
        if (mode >> 3 >= 4) state_.transfer_mode = mode;
      }
      return finish_later();
    case 0xe0:  // STANDBY, IDLE (IMMEDIATE), SLEEP
    case 0xe1:
    case 0xe2:
    case 0xe3:
    case 0xe6:
    case 0xe7:  // FLUSH CACHE
      return finish_later();
    case 0xe5:  // CHECK POWER MODE
      set_reg(kAtaSectorCount, 0xff);
      return finish_later();
    case 0x20:  // READ SECTORS and IDENTIFY DEVICE abort and show what kind of device this is (8.15.5.2, 8.34.5.2)
    case 0xec:
      put_signature();
      return fail_later(kAtaErrorAbrt);
    default:
      return fail_later(kAtaErrorAbrt);
  }
}

void AtapiCd::accept_packet() {
  state_.dma = (reg(kAtaError) & 1) != 0;
  // The limit is even but for a last block; 0 stands for the most that fits.
  const auto limit = static_cast<uint16_t>(reg(kAtaLbaHigh) << 8 | reg(kAtaLbaMid));
  state_.byte_limit = limit < 2 ? 0xfffe : limit & 0xfffe;
  state_.stage = Stage::kPacket;
  set_reg(kAtaSectorCount, kReasonCommand);
  port().data().assign(kPacketBytes, 0);
  offer(Phase::kPioOut, 0, kPacketBytes);
}

void AtapiCd::transferred() {
  switch (state_.stage) {
    case Stage::kPacket:
      std::copy_n(port().data().begin(), std::min(kPacketBytes, port().data().size()), state_.packet.begin());
      port().data().clear();
      return run_packet();
    case Stage::kReply:
    case Stage::kRead:
      if (window_end() < port().data().size()) return offer_data(window_end());
      if (state_.stage == Stage::kRead && state_.remaining != 0) return next_chunk();
      return end_good();
    default:
      return finish_quietly();
  }
}

void AtapiCd::completed(bool ok) {
  switch (state_.stage) {
    case Stage::kIdentify:
      return identify();
    case Stage::kReply:
      return offer_data(0);
    case Stage::kRead: {
      const auto moved = static_cast<uint32_t>(port().data().size() / kBlock);
      if (!ok || moved == 0) return end_check({3, 0x11, 0x00});  // medium error: unrecovered read error
      state_.lba += moved;
      state_.remaining -= std::min(moved, state_.remaining);
      return offer_data(0);
    }
    default:
      if (state_.check) return end_check({state_.sense_key, state_.sense_code, state_.sense_qualifier});
      return end_good();
  }
}

void AtapiCd::offer_data(size_t from) {
  const size_t left = port().data().size() - from;
  set_reg(kAtaSectorCount, kReasonToHost);
  if (state_.dma) return offer(Phase::kDmaIn, from, left);
  const size_t length = std::min<size_t>(left, state_.byte_limit);
  set_reg(kAtaLbaMid, static_cast<uint8_t>(length));
  set_reg(kAtaLbaHigh, static_cast<uint8_t>(length >> 8));
  offer(Phase::kPioIn, from, length);
  raise_interrupt();
}

void AtapiCd::reply(std::vector<uint8_t> data, size_t allocation) {
  if (data.size() > allocation) data.resize(allocation);
  if (data.empty()) return good_later();
  state_.stage = Stage::kReply;
  port().data() = std::move(data);
  busy();
  port().delay();
}

void AtapiCd::good_later() {
  state_.stage = Stage::kNone;
  state_.check = false;
  busy();
  port().delay();
}

void AtapiCd::check_later(const Sense& sense) {
  state_.stage = Stage::kNone;
  state_.check = true;
  state_.sense_key = sense.key;
  state_.sense_code = sense.code;
  state_.sense_qualifier = sense.qualifier;
  busy();
  port().delay();
}

void AtapiCd::end_good() {
  state_.stage = Stage::kNone;
  set_reg(kAtaSectorCount, kReasonCommand | kReasonToHost);
  finish();
}

void AtapiCd::end_check(const Sense& sense) {
  state_.stage = Stage::kNone;
  state_.sense_key = sense.key;
  state_.sense_code = sense.code;
  state_.sense_qualifier = sense.qualifier;
  set_reg(kAtaSectorCount, kReasonCommand | kReasonToHost);
  fail(static_cast<uint8_t>(sense.key << 4 | kAtaErrorAbrt));
}

void AtapiCd::next_chunk() {
  const uint32_t chunk = std::min(state_.remaining, kChunkBlocks);
  busy();
  port().read(static_cast<uint64_t>(state_.lba) * kBlock, chunk * kBlock);
}

void AtapiCd::run_packet() {
  const uint8_t* p = state_.packet.data();
  constexpr Sense kNoMedium{2, 0x3a, 0x00};
  constexpr Sense kBadOperation{5, 0x20, 0x00};
  switch (p[0]) {
    case kTestUnitReady:
    case kReadCapacity:
    case kRead10:
    case kRead12:
    case kReadCd:
    case kReadToc:
    case kSeek10:
    case kReadDiscInformation:
      if (!has_medium()) return check_later(kNoMedium);
      break;
    default:
      break;
  }
  switch (p[0]) {
    case kTestUnitReady:
    case kSetCdSpeed:
      return good_later();
    case kPreventAllow:
      state_.locked = (p[4] & 1) != 0;
      return good_later();
    case kSeek10:
      if (be32(p + 2) >= blocks()) return check_later({5, 0x21, 0x00});
      return good_later();
    case kRequestSense:
      return request_sense();
    case kInquiry:
      return inquiry();
    case kStartStopUnit:
      return start_stop();
    case kReadCapacity: {
      std::vector<uint8_t> data(8);
      put32(data.data(), blocks() - 1);
      put32(data.data() + 4, kBlock);
      return reply(std::move(data), 8);
    }
    case kRead10:
      return read_blocks(be32(p + 2), be16(p + 7));
    case kRead12:
      return read_blocks(be32(p + 2), be32(p + 6));
    case kReadCd:
      return read_cd();
    case kReadToc:
      return read_toc();
    case kModeSense6:
      return mode_sense(false);
    case kModeSense10:
      return mode_sense(true);
    case kGetConfiguration:
      return get_configuration();
    case kGetEventStatus:
      return get_event_status();
    case kReadDiscInformation:
      return read_disc_information();
    case kMechanismStatus:
      return mechanism_status();
    default:
      return check_later(kBadOperation);
  }
}

void AtapiCd::read_blocks(uint32_t lba, uint32_t count) {
  if (lba > blocks() || count > blocks() - lba) return check_later({5, 0x21, 0x00});
  if (count == 0) return good_later();
  state_.stage = Stage::kRead;
  state_.lba = lba;
  state_.remaining = count;
  next_chunk();
}

// Only the user data of mode 1 sectors exists in an image.
void AtapiCd::read_cd() {
  const uint8_t* p = state_.packet.data();
  const uint32_t count = static_cast<uint32_t>(p[6]) << 16 | be16(p + 7);
  const uint8_t parts = p[9] & 0xf8;
  if (parts == 0x00 || count == 0) return good_later();
  if (parts != 0x10 || (p[10] & 7) != 0) return check_later({5, 0x24, 0x00});
  read_blocks(be32(p + 2), count);
}

void AtapiCd::start_stop() {
  const uint8_t* p = state_.packet.data();
  const bool start = (p[4] & 1) != 0;
  if ((p[4] & 2) == 0) return good_later();
  if (!start) {
    if (state_.locked) return check_later({5, 0x53, 0x02});  // removal prevented
    if (!state_.tray_open) state_.event = 3;
    state_.tray_open = true;
  } else {
    if (state_.tray_open && blocks() != 0) state_.event = 2;
    state_.tray_open = false;
  }
  good_later();
}

}  // namespace understudy::devices
