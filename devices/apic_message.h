// What travels on the APIC bus: one interrupt message on its way to a local APIC. The I/O APIC makes them, the local
// APIC decides whether it is meant and whether it accepts. (Intel 82093AA datasheet, section 3.2.4; Intel SDM volume 3,
// section 11.11.1 has the same fields in an MSI.)
#pragma once

#include <cstdint>

namespace understudy::devices {

enum class DeliveryMode : uint8_t {
  kFixed = 0,
  kLowestPriority = 1,
  kSmi = 2,
  kReserved = 3,
  kNmi = 4,
  kInit = 5,
  kStartup = 6,
  kExtInt = 7,
};

struct ApicMessage {
  uint8_t vector = 0;
  DeliveryMode mode = DeliveryMode::kFixed;
  bool level_triggered = false;
  bool logical = false;  // `destination` is a logical address, else an APIC id
  uint8_t destination = 0;
};

}  // namespace understudy::devices
