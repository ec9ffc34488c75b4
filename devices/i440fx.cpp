#include "devices/i440fx.h"

namespace understudy::devices {

namespace {
constexpr uint8_t kPam0 = 0x59;
constexpr uint8_t kSmram = 0x72;
constexpr uint8_t kSmramDefault = 0x02;
constexpr uint8_t kSmramOpen = 0x40;
constexpr uint8_t kSmramLock = 0x10;
}  // namespace

I440fx::PamRegion I440fx::pam_region(unsigned region) {
  if (region >= 12) return {0xf0000, 0x10000};
  return {0xc0000 + region * 0x4000, 0x4000};
}

I440fx::I440fx(PciBus& bus)
    : PciDevice(bus, 0x00,
                {.vendor = 0x8086,
                 .device = 0x1237,
                 .class_code = 0x060000,
                 .revision = 2,
                 .header_type = 0,
                 .interrupt_pin = 0}) {
  for (unsigned at = 0x50; at <= 0x58; ++at) define8(static_cast<uint8_t>(at), 0, 0xff);
  for (unsigned at = kPam0; at < kPam0 + 7u; ++at) define8(static_cast<uint8_t>(at), 0, at == kPam0 ? 0x30 : 0x33);
  for (unsigned at = 0x60; at <= 0x71; ++at) define8(static_cast<uint8_t>(at), 0, 0xff);
  define8(kSmram, kSmramDefault, 0x78);
  smram_ = kSmramDefault;
}

void I440fx::reset() {
  PciDevice::reset();
  smram_ = kSmramDefault;
  report_pam(true);
}

void I440fx::state_loaded() {
  PciDevice::state_loaded();
  smram_ = config8(kSmram);
  report_pam(true);
}

uint8_t I440fx::pam_bits(unsigned region) const {
  if (region >= 12) return config8(kPam0) >> 4 & 3;
  const auto at = static_cast<uint8_t>(kPam0 + 1 + region / 2);
  return config8(at) >> (region % 2 == 0 ? 0 : 4) & 3;
}

void I440fx::report_pam(bool all) {
  for (unsigned region = 0; region < kPamRegions; ++region) {
    const uint8_t bits = pam_bits(region);
    if (!all && bits == reported_[region]) continue;
    reported_[region] = bits;
    if (on_pam_change_) on_pam_change_(region, (bits & 1) != 0, (bits & 2) != 0);
  }
}

void I440fx::config_written(unsigned offset, unsigned size) {
  if (offset < kPam0 + 7u && offset + size > kPam0) report_pam(false);
  if (offset <= kSmram && offset + size > kSmram) {
    // D_LCK closes the window and makes the register read-only until reset.
    if ((smram_ & kSmramLock) != 0) set_config8(kSmram, smram_);
    if ((config8(kSmram) & kSmramLock) != 0) set_config8(kSmram, config8(kSmram) & static_cast<uint8_t>(~kSmramOpen));
    smram_ = config8(kSmram);
  }
}

}  // namespace understudy::devices
