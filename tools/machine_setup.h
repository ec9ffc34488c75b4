// From a command line to a board with an image on it: recognises the files, opens disks, makes the boot plan. Every
// failure is one line about one file.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "devices/host_disk_image.h"
#include "devices/pc.h"
#include "tools/run_options.h"

namespace understudy::tools {

struct MachineSetup {
  std::vector<std::unique_ptr<devices::HostDiskImage>> images;
  std::unique_ptr<devices::Pc> pc;
  bool has_firmware = false;
  // What the machine is made of; a snapshot belongs to it.
  std::string description;
};

// Throws UsageError, emu::BootError or devices::DiskImageError.
MachineSetup set_up_machine(const RunOptions& options, int64_t rtc_start);

}  // namespace understudy::tools
