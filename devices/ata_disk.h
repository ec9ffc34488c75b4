// An ATA hard disk with 28-bit, 48-bit and CHS addressing: the general feature set of ATA/ATAPI-6 (T13/1410D, chapter
// 8) without SMART, security and host protected area, whose commands abort and whose IDENTIFY bits are clear.
// Units: sectors of 512 bytes; an image's size is rounded down to whole sectors. Every backend failure reaches the
// guest as ERR with UNC (reads) or ABRT (writes, flushes), and the address of the failed chunk in the task file.
#pragma once

#include <cstdint>
#include <string>

#include "devices/ata_drive.h"

namespace understudy::devices {

class AtaDisk : public AtaDrive {
 public:
  AtaDisk(BlockPort& port, Cable& cable, std::string serial);

 protected:
  void execute(uint8_t command) override;
  void completed(bool ok) override;
  void transferred() override;
  void put_signature() override;
  void reset_settings() override;
  void visit_settings(emu::StateVisitor& visitor) override;

 private:
  enum class Job : uint8_t { kNone, kIdentify, kRead, kWrite, kVerify, kFlush };
  // How a data command moves its data, and how it names its sectors.
  struct Transfer {
    Job job;
    bool dma;
    bool multiple;
    bool extended;
  };

  void start_transfer(const Transfer& transfer);
  bool take_address(bool extended, uint64_t& lba, uint32_t& count) const;
  void put_address(uint64_t lba, bool extended);
  void next_chunk();
  void offer_block(size_t from);
  void advance(uint32_t sectors);
  void media_error();
  void set_features();
  void set_multiple();
  void init_parameters();
  void read_native_max(bool extended);
  void identify();

  struct State {
    Job job = Job::kNone;
    bool dma = false;
    bool extended = false;
    uint32_t block = 1;  // sectors per DRQ
    uint64_t lba = 0;
    uint32_t remaining = 0;
    // Settings.
    uint8_t multiple = 0;  // 0: off
    uint16_t heads = 16;   // the current CHS translation
    uint16_t sectors = 63;
    uint8_t transfer_mode = 0;  // as SET FEATURES 03h sets it
    bool write_cache = true;
    bool look_ahead = true;
  };
  State state_;
  const uint64_t total_;
  const std::string serial_;
};

}  // namespace understudy::devices
