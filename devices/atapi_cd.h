// An ATAPI CD/DVD-ROM drive: the PACKET feature set of ATA/ATAPI-6 (T13/1410D, 8.23 and 9.8) and the commands of
// MMC-3 (T10/1363-D) that firmware, boot loaders and operating systems use on a data disc of one track.
// Units: blocks of 2048 bytes; an image's last block is filled with zeros. The disc is the image given at construction;
// the tray can be opened by the guest, and then holds no medium until it closes it. No unit attention is reported at
// power-on. Data commands move at most 64 KiB an operation, and PIO at most the guest's byte count limit a DRQ block.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "devices/ata_drive.h"

namespace understudy::devices {

class AtapiCd : public AtaDrive {
 public:
  static constexpr uint32_t kBlock = 2048;

  // The port's image is the disc; none means an empty drive.
  AtapiCd(BlockPort& port, Cable& cable, std::string serial);

 protected:
  void execute(uint8_t command) override;
  void completed(bool ok) override;
  void transferred() override;
  void put_signature() override;
  void reset_settings() override;
  void visit_settings(emu::StateVisitor& visitor) override;
  bool obeys_device_reset() const override { return true; }

 private:
  static constexpr size_t kPacketBytes = 12;
  // The stage that a completion or the end of a window belongs to.
  enum class Stage : uint8_t { kNone, kIdentify, kPacket, kReply, kRead };

  struct Sense {
    uint8_t key = 0;
    uint8_t code = 0;
    uint8_t qualifier = 0;
  };

  bool has_medium() const;
  uint32_t blocks() const;
  void identify();
  void accept_packet();
  void run_packet();
  // The three ends of a packet command, each after the time that a command takes (or at once).
  void reply(std::vector<uint8_t> data, size_t allocation);
  void good_later();
  void check_later(const Sense& sense);
  void end_good();
  void end_check(const Sense& sense);
  void offer_data(size_t from);
  void next_chunk();

  void read_blocks(uint32_t lba, uint32_t count);
  void read_cd();
  void request_sense();
  void inquiry();
  void read_toc();
  void mode_sense(bool ten);
  void start_stop();
  void get_configuration();
  void get_event_status();
  void read_disc_information();
  void mechanism_status();

  struct State {
    Stage stage = Stage::kNone;
    std::array<uint8_t, kPacketBytes> packet{};
    uint8_t sense_key = 0;
    uint8_t sense_code = 0;
    uint8_t sense_qualifier = 0;
    bool check = false;  // the outstanding delay ends in CHECK CONDITION
    bool dma = false;
    uint16_t byte_limit = 0;
    uint32_t lba = 0;
    uint32_t remaining = 0;  // blocks
    bool tray_open = false;
    bool locked = false;
    uint8_t event = 0;  // media event for the next GET EVENT STATUS: 2 new medium, 3 removed
    uint8_t transfer_mode = 0;
  };
  State state_;
  const std::string serial_;
};

}  // namespace understudy::devices
