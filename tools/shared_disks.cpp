#include "tools/shared_disks.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include "devices/host_nbd.h"
#include "primary/hub_disk_query.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

namespace {

using namespace std::chrono_literals;

constexpr std::string_view kHub = "hub:";
constexpr auto kPatience = 5s;

bool is_socket(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode);
}

}  // namespace

bool is_shared_disk(const std::string& disk) { return devices::is_nbd_uri(disk) || disk.starts_with(kHub); }

std::optional<std::string> hub_disk(const std::string& disk) {
  if (!disk.starts_with(kHub)) return std::nullopt;
  return disk.substr(kHub.size());
}

RunOptions with_disk_servers(RunOptions options) {
  for (auto* disks : {&options.disks, &options.virtio_disks})
    for (std::string& disk : *disks) {
      if (hub_disk(disk))
        throw UsageError(fmt::format(
            "{}: a hub's disks are for the nodes of a pair; a machine on its own takes the server's URI (nbd://...)",
            disk));
      if (is_socket(disk)) disk = devices::nbd_uri_of_socket(disk);
      if (!devices::is_nbd_uri(disk)) continue;
      devices::HostNbd server(disk);
      const devices::HostNbd::Shape shape = server.open(kPatience);
      options.shared_disks[disk] = {shape.bytes, shape.read_only};
    }
  return options;
}

RunOptions with_hub_disks(RunOptions options, const std::string& hub, const ftlog::CurveIdentity* keys) {
  for (auto* disks : {&options.disks, &options.virtio_disks})
    for (const std::string& disk : *disks) {
      if (is_socket(disk) || devices::is_nbd_uri(disk))
        throw UsageError(
            fmt::format("{}: the nodes of a pair reach a disk through their hub: give `understudy hub` --disk NAME={}, "
                        "and the nodes "
                        "hub:NAME",
                        disk, disk));
      const auto name = hub_disk(disk);
      if (!name) continue;
      if (hub.empty()) throw UsageError(fmt::format("{}: needs --hub: the hub whose disk it is", disk));
      const primary::HubDisk found = primary::ask_hub_for_disk(hub, keys, *name, kPatience);
      options.shared_disks[disk] = {found.bytes, found.read_only};
    }
  return options;
}

SharedShape shape_of(const RunOptions& options, const std::string& disk) {
  const auto found = options.shared_disks.find(disk);
  if (found == options.shared_disks.end())
    throw UsageError(fmt::format("{}: this command cannot use a disk outside of the machine", disk));
  return found->second;
}

}  // namespace understudy::tools
