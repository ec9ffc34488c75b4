// Asks a hub what a disk of its is, before there is a machine.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "ftlog/curve_keys.h"

namespace understudy::primary {

struct HubDisk {
  uint64_t bytes = 0;
  bool read_only = false;
};

// Throws HubLinkError: nobody answers in time, there is no such disk, or the address or the keys are no good.
HubDisk ask_hub_for_disk(const std::string& address, const ftlog::CurveIdentity* keys, const std::string& disk,
                         std::chrono::milliseconds patience);

}  // namespace understudy::primary
