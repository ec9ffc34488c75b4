#include "tools/recipe.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tools/serial_backend.h"
#include "tools/shared_disks.h"

namespace understudy::tools {

using Json = nlohmann::ordered_json;

// Found by nlohmann.
static void to_json(Json& json, const SharedShape& shape) {
  json = {{"bytes", shape.bytes}, {"read_only", shape.read_only}};
}
static void from_json(const Json& json, SharedShape& shape) {
  json.at("bytes").get_to(shape.bytes);
  json.at("read_only").get_to(shape.read_only);
}

namespace {

std::string absolute(const std::string& path) {
  return path.empty() || is_shared_disk(path) ? path : std::filesystem::absolute(path).lexically_normal().string();
}

std::vector<std::string> absolute(std::vector<std::string> paths) {
  for (std::string& path : paths) path = absolute(path);
  return paths;
}

// FILE@ADDRESS
std::string absolute_flat(const std::string& flat) {
  if (flat.empty()) return flat;
  const size_t at = std::min(flat.rfind('@'), flat.size());
  return absolute(flat.substr(0, at)) + flat.substr(at);
}

// Every field that makes the machine, once, for both directions.
template <typename Options, typename F>
void for_each_field(Options& o, F&& field) {
  field("images", o.images);
  field("kernel", o.kernel);
  field("initrd", o.initrd);
  field("append", o.append);
  field("disks", o.disks);
  field("virtio_disks", o.virtio_disks);
  field("shared_disks", o.shared_disks);
  field("cdrom", o.cdrom);
  field("floppy", o.floppy);
  field("nic", o.nic);
  field("mac", o.mac);
  field("nic_rom", o.nic_rom);
  field("flat", o.flat);
  field("bios", o.bios);
  field("entry64", o.linux_64bit_entry);
  field("memory_mib", o.memory_mib);
  field("stand_ins", o.stand_ins);
}

}  // namespace

std::string recipe_of(const RunOptions& options, bool reboots) {
  RunOptions o = options;
  o.images = absolute(o.images);
  o.disks = absolute(o.disks);
  o.virtio_disks = absolute(o.virtio_disks);
  for (std::string* path : {&o.kernel, &o.initrd, &o.cdrom, &o.floppy, &o.bios}) *path = absolute(*path);
  o.flat = absolute_flat(o.flat);
  if (o.nic_rom != "none") o.nic_rom = absolute(o.nic_rom);
  for (auto& [path, file] : o.stand_ins) file = absolute(file);
  Json json = {{"reboots", reboots}, {"readonly_disks", o.disk_mode == DiskMode::readonly}};
  for_each_field(o, [&json](const char* name, const auto& value) { json[name] = value; });
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

RunOptions options_of_recipe(const std::string& text, const std::string& where) {
  RunOptions o;
  try {
    const Json json = Json::parse(text);
    for_each_field(o, [&json](const char* name, auto& value) { json.at(name).get_to(value); });
    o.reboot = json.at("reboots").get<bool>();
    o.disk_mode = json.at("readonly_disks").get<bool>() ? DiskMode::readonly : DiskMode::snapshot;
  } catch (const Json::exception& error) {
    throw UsageError(fmt::format("{}: its first entry does not say how to build the machine: {}", where, error.what()));
  }
  return o;
}

RunOptions with_ends(const RunOptions& machine, const RunOptions& live) {
  RunOptions options = live;
  for_each_field(machine, [&options](const std::string& name, const auto& value) {
    for_each_field(options, [&](const char* mine, auto& field) {
      if constexpr (std::is_assignable_v<decltype(field), decltype(value)>)
        if (name == mine) field = value;
    });
  });
  options.disk_mode = machine.disk_mode;
  options.reboot = machine.reboot;
  return options;
}

}  // namespace understudy::tools
