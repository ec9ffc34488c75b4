// From a command line to a board with an image on it: recognises the files, opens disks, makes the boot plan. Every
// failure is one line about one file.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "devices/host_disk_image.h"
#include "devices/pc.h"
#include "devices/shared_disk.h"
#include "emu/machine_description.h"
#include "tools/run_options.h"

namespace understudy::tools {

struct MachineSetup {
  struct Drive {
    std::string name;
    std::unique_ptr<devices::HostDiskImage> image;
  };
  std::vector<Drive> drives;
  // Disks outside of the machine.
  struct Shared {
    std::string name, where;
    std::unique_ptr<devices::SharedDisk> disk;
  };
  std::vector<Shared> shared;
  std::unique_ptr<devices::Pc> pc;
  bool has_firmware = false;
  std::optional<devices::MacAddress> nic;  // the card's address, if there is one
  // Every file that was read to build this, as the options name it: images, kernels, ROMs.
  std::set<std::string> files;
  // What the machine is made of as far as it never changes, without the drives' contents.
  emu::MachineDescription fixed;
  // All of it: what a snapshot or a recording belongs to. Reads every image, at some GB/s. Throws
  // devices::DiskImageError.
  emu::MachineDescription description() const;
};

// Whether a run keeps to the host's pace: as asked, or when a user sits at a terminal.
bool is_paced(const RunOptions& options);
// What the guest's clock starts with, seconds since 1970. Throws UsageError.
int64_t rtc_start(const RunOptions& options, bool paced);

// Throws UsageError, emu::BootError or devices::DiskImageError.
MachineSetup set_up_machine(const RunOptions& options, int64_t rtc_start);

}  // namespace understudy::tools
