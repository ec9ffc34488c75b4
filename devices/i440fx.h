// The 82441FX (PMC) host bridge, function 00.0: what a PC's firmware programs of it. PAM0..6 (59h..5Fh) say for each of
// 13 regions between C0000h and FFFFFh whether reads and writes go to DRAM or to PCI (ROM); SMRAM is at 72h.
// 82441FX datasheet (290549), sections 3.2.18 (PAM) and 3.2.20 (SMRAM). The DRAM timing registers are plain storage.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "devices/pci_device.h"

namespace understudy::devices {

class I440fx : public PciDevice {
 public:
  static constexpr unsigned kPamRegions = 13;
  struct PamRegion {
    uint32_t base;
    uint32_t length;
  };
  // Regions 0..11 are the 16 KiB pieces of C0000h..EFFFFh in order of address, region 12 is F0000h..FFFFFh.
  static PamRegion pam_region(unsigned region);

  explicit I440fx(PciBus& bus);

  // Where accesses to the region go: true is DRAM, false is PCI (the ROM). Called for every region whose setting
  // changed, and for all regions after reset and after a load.
  using PamCallback = std::function<void(unsigned region, bool read_dram, bool write_dram)>;
  void on_pam_change(PamCallback callback) { on_pam_change_ = std::move(callback); }
  bool pam_read_dram(unsigned region) const { return (pam_bits(region) & 1) != 0; }
  bool pam_write_dram(unsigned region) const { return (pam_bits(region) & 2) != 0; }

  std::string_view name() const override { return "i440fx"; }
  void reset() override;
  void state_loaded() override;

 protected:
  void config_written(unsigned offset, unsigned size) override;

 private:
  uint8_t pam_bits(unsigned region) const;
  void report_pam(bool all);
  std::array<uint8_t, kPamRegions> reported_{};  // what the callback was told last
  uint8_t smram_ = 0;                            // SMRAM before the write in hand, for its lock
  PamCallback on_pam_change_;
};

}  // namespace understudy::devices
