// What an AtapiCd says about itself and its disc.
#include <algorithm>
#include <array>
#include <initializer_list>
#include <string_view>

#include "devices/atapi_cd.h"
#include "devices/big_endian.h"

namespace understudy::devices {

namespace {
// A block address as minute, second, frame; LBA 0 is 00:02:00.
void put_msf(uint8_t* p, uint32_t lba) {
  const uint32_t frames = lba + 150;
  p[0] = 0;
  p[1] = static_cast<uint8_t>(frames / 75 / 60);
  p[2] = static_cast<uint8_t>(frames / 75 % 60);
  p[3] = static_cast<uint8_t>(frames % 75);
}
}  // namespace

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
    for (const uint8_t byte : bytes) data.push_back(byte);
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

}  // namespace understudy::devices
