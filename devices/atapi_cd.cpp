#include "devices/atapi_cd.h"

#include <algorithm>

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

uint16_t be16(const uint8_t* p) { return static_cast<uint16_t>(p[0] << 8 | p[1]); }
uint32_t be32(const uint8_t* p) { return static_cast<uint32_t>(be16(p)) << 16 | be16(p + 2); }
void put16(uint8_t* p, uint32_t value) {
  p[0] = static_cast<uint8_t>(value >> 8);
  p[1] = static_cast<uint8_t>(value);
}
void put32(uint8_t* p, uint32_t value) {
  put16(p, value >> 16);
  put16(p + 2, value);
}
// A block address as minute, second, frame; LBA 0 is 00:02:00.
void put_msf(uint8_t* p, uint32_t lba) {
  const uint32_t frames = lba + 150;
  p[0] = 0;
  p[1] = static_cast<uint8_t>(frames / 75 / 60);
  p[2] = static_cast<uint8_t>(frames / 75 % 60);
  p[3] = static_cast<uint8_t>(frames % 75);
}
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
  set_reg(kAtaDevice, 0);
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

void AtapiCd::request_sense() {
  std::vector<uint8_t> data(18);
  data[0] = 0x70;
  data[2] = state_.sense_key;
  data[7] = 10;
  data[12] = state_.sense_code;
  data[13] = state_.sense_qualifier;
  state_.sense_key = state_.sense_code = state_.sense_qualifier = 0;
  reply(std::move(data), state_.packet[4]);
}

void AtapiCd::inquiry() {
  if ((state_.packet[1] & 3) != 0 || state_.packet[2] != 0) return check_later({5, 0x24, 0x00});
  std::vector<uint8_t> data(36, ' ');
  const uint8_t head[8] = {0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0};
  std::copy_n(head, sizeof head, data.begin());
  const auto put = [&data](size_t at, std::string_view text) {
    std::copy(text.begin(), text.end(), data.begin() + static_cast<long>(at));
  };
  put(8, "UNDRSTDY");
  put(16, "UNDERSTUDY CDROM");
  put(32, "1.0");
  reply(std::move(data), be16(state_.packet.data() + 3));
}

// MMC-3, 5.1.17: one data track and the lead-out, in one session.
void AtapiCd::read_toc() {
  const uint8_t* p = state_.packet.data();
  const bool msf = (p[1] & 2) != 0;
  // Older drivers put the format into the control byte.
  unsigned format = p[2] & 0x0f;
  if (format == 0) format = p[9] >> 6;
  const size_t allocation = be16(p + 7);
  const auto put_address = [msf](uint8_t* at, uint32_t lba) { msf ? put_msf(at, lba) : put32(at, lba); };
  if (format == 0) {
    if (p[6] > 1 && p[6] != 0xaa) return check_later({5, 0x24, 0x00});
    std::vector<uint8_t> data{0, 0, 1, 1};
    const auto add_track = [&](uint8_t track, uint32_t lba) {
      const size_t at = data.size();
      data.resize(at + 8);
      data[at + 1] = 0x14;  // Q channel position; data track, no copy
      data[at + 2] = track;
      put_address(&data[at + 4], lba);
    };
    if (p[6] <= 1) add_track(1, 0);
    add_track(0xaa, blocks());
    put16(data.data(), static_cast<uint32_t>(data.size() - 2));
    return reply(std::move(data), allocation);
  }
  if (format == 1) {
    std::vector<uint8_t> data{0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0};
    put_address(&data[8], 0);
    return reply(std::move(data), allocation);
  }
  check_later({5, 0x24, 0x00});
}

// MMC-3, 5.2.3: the error recovery, CD audio and capabilities pages; changeable values are none.
void AtapiCd::mode_sense(bool ten) {
  const uint8_t* p = state_.packet.data();
  const uint8_t page = p[2] & 0x3f;
  const uint8_t control = p[2] >> 6;
  const size_t header = ten ? 8 : 4;
  std::vector<uint8_t> data(header);
  const auto add = [&](std::vector<uint8_t> bytes) {
    if (control == 1) std::fill(bytes.begin() + 2, bytes.end(), uint8_t{0});
    data.insert(data.end(), bytes.begin(), bytes.end());
  };
  if (control == 3) return check_later({5, 0x39, 0x00});  // no saved values
  if (page == 0x01 || page == 0x3f) add({0x01, 0x06, 0x00, 0x05, 0, 0, 0, 0});
  if (page == 0x0e || page == 0x3f) add({0x0e, 0x0e, 0x04, 0, 0, 0, 0, 75, 1, 0xff, 2, 0xff, 0, 0, 0, 0});
  if (page == 0x2a || page == 0x3f) {
    std::vector<uint8_t> bytes{0x2a, 0x12, 0x3b, 0x00, 0x70, 0x60, 0x29, 0};
    if (state_.locked) bytes[6] |= 2;
    bytes.resize(20);
    put16(&bytes[8], 706 * 50);  // kB/s
    put16(&bytes[10], 2);        // volume levels
    put16(&bytes[12], 512);      // buffer, KiB
    put16(&bytes[14], 706 * 50);
    add(std::move(bytes));
  }
  if (data.size() == header) return check_later({5, 0x24, 0x00});
  const uint8_t medium = state_.tray_open ? 0x71 : has_medium() ? 0x01 : 0x70;
  if (ten) {
    put16(data.data(), static_cast<uint32_t>(data.size() - 2));
    data[2] = medium;
    return reply(std::move(data), be16(p + 7));
  }
  data[0] = static_cast<uint8_t>(data.size() - 1);
  data[1] = medium;
  reply(std::move(data), p[4]);
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

// MMC-3, 5.1.6: profile list, core, and removable medium. Discs beyond 80 minutes are DVDs.
void AtapiCd::get_configuration() {
  const uint8_t* p = state_.packet.data();
  if ((p[1] & 3) == 3) return check_later({5, 0x24, 0x00});
  constexpr uint32_t kCdBlocks = 80 * 60 * 75;
  const bool dvd = has_medium() && blocks() > kCdBlocks;
  const bool cd = has_medium() && !dvd;
  const unsigned first = be16(p + 2);
  const bool only_one = (p[1] & 3) == 2;
  const bool only_current = (p[1] & 3) == 1;
  std::vector<uint8_t> data(8);
  put16(&data[6], cd ? 0x0008 : dvd ? 0x0010 : 0);
  const auto wanted = [&](unsigned feature) { return only_one ? feature == first : feature >= first; };
  const auto add = [&data](std::initializer_list<uint8_t> bytes) { data.insert(data.end(), bytes); };
  if (wanted(0)) {
    add({0x00, 0x00, 0x03, 8});
    add({0x00, 0x10, static_cast<uint8_t>(dvd), 0});
    add({0x00, 0x08, static_cast<uint8_t>(cd), 0});
  }
  if (wanted(1)) add({0x00, 0x01, 0x0b, 8, 0, 0, 0, 2, 1, 0, 0, 0});  // core: ATAPI
  if (wanted(3)) add({0x00, 0x03, 0x03, 4, 0x29, 0, 0, 0});           // removable: tray, lock, eject
  if (wanted(0x1e) && (cd || !only_current)) add({0x00, 0x1e, static_cast<uint8_t>(cd), 0});    // CD read
  if (wanted(0x1f) && (dvd || !only_current)) add({0x00, 0x1f, static_cast<uint8_t>(dvd), 0});  // DVD read
  put32(data.data(), static_cast<uint32_t>(data.size() - 4));
  reply(std::move(data), be16(p + 7));
}

// MMC-3, 5.1.7, polled only: the media class.
void AtapiCd::get_event_status() {
  const uint8_t* p = state_.packet.data();
  if ((p[1] & 1) == 0) return check_later({5, 0x24, 0x00});
  std::vector<uint8_t> data(4);
  data[3] = 0x10;
  if ((p[4] & 0x10) != 0) {
    data[2] = 4;
    data.resize(8);
    data[4] = state_.event;
    data[5] = static_cast<uint8_t>((state_.tray_open ? 1 : 0) | (has_medium() ? 2 : 0));
    state_.event = 0;
  } else {
    data[2] = 0x80;  // no class that this drive has
  }
  put16(data.data(), static_cast<uint32_t>(data.size() - 2));
  reply(std::move(data), be16(p + 7));
}

// MMC-3, 5.1.15: a finalised disc of one complete session.
void AtapiCd::read_disc_information() {
  if ((state_.packet[1] & 7) != 0) return check_later({5, 0x24, 0x00});
  std::vector<uint8_t> data(34);
  put16(data.data(), 32);
  data[2] = 0x0e;
  data[3] = data[4] = data[5] = data[6] = 1;
  data[7] = 0x20;
  for (unsigned i = 16; i < 24; ++i) data[i] = 0xff;  // no next lead-in or lead-out
  reply(std::move(data), be16(state_.packet.data() + 7));
}

void AtapiCd::mechanism_status() {
  std::vector<uint8_t> data(8);
  if (state_.tray_open) data[1] = 0x10;
  data[5] = 1;
  reply(std::move(data), be16(state_.packet.data() + 8));
}

void AtapiCd::identify() {
  std::array<uint16_t, 256> id{};
  id[0] = 0x85c0;  // ATAPI CD-ROM, removable, DRQ within 50 us, packets of 12 bytes
  put_ata_string(std::span(id).subspan(10, 10), serial_);
  put_ata_string(std::span(id).subspan(23, 4), "1.0");
  put_ata_string(std::span(id).subspan(27, 20), "UNDERSTUDY CDROM");
  id[48] = 1;
  id[49] = 0x0f00;
  id[53] = 0x0006;
  const auto selected = static_cast<uint16_t>(0x100u << (state_.transfer_mode & 7));
  id[63] = static_cast<uint16_t>(0x07 | (state_.transfer_mode >> 3 == 4 ? selected : 0));
  id[64] = 0x0003;
  for (unsigned i = 65; i <= 68; ++i) id[i] = 120;
  id[80] = 0x007e;
  id[82] = 0x0214;  // DEVICE RESET, PACKET, removable media
  id[83] = 0x4000;
  id[84] = 0x4000;
  id[85] = 0x0214;
  id[87] = 0x4000;
  id[88] = static_cast<uint16_t>(0x3f | (state_.transfer_mode >> 3 == 8 ? selected : 0));
  auto& data = port().data();
  data.resize(2 * id.size());
  for (size_t i = 0; i < id.size(); ++i) {
    data[2 * i] = static_cast<uint8_t>(id[i]);
    data[2 * i + 1] = static_cast<uint8_t>(id[i] >> 8);
  }
  offer(Phase::kPioIn, 0, data.size());
  raise_interrupt();
}

}  // namespace understudy::devices
