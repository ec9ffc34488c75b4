#include "tools/machine_setup.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include <charconv>
#include <map>
#include <set>
#include <span>

#include "devices/option_rom.h"
#include "emu/boot_flat.h"
#include "emu/boot_image.h"
#include "emu/boot_linux.h"
#include "emu/boot_multiboot.h"
#include "emu/engine_layout.h"
#include "emu/memory_layout.h"
#include "tools/serial_backend.h"
#include "tools/shared_disks.h"

namespace understudy::tools {

namespace {

using devices::BootDevice;
using devices::HostDiskImage;
using emu::ImageKind;

constexpr char kSeabios[] = "/usr/share/seabios/bios-256k.bin";
constexpr char kVgaBios[] = "/usr/share/seabios/vgabios-isavga.bin";
constexpr char kNe2kRom[] = "/usr/lib/ipxe/qemu/pxe-ne2k_pci.rom";
constexpr char kVirtioRom[] = "/usr/lib/ipxe/qemu/pxe-virtio.rom";
constexpr int64_t kUnpacedRtcStart = 1767225600;  // 2026-01-01T00:00:00Z
constexpr uint64_t kMaxRom = 16u << 20;

HostDiskImage::Mode image_mode(DiskMode mode) {
  switch (mode) {
    case DiskMode::write:
      return HostDiskImage::Mode::kWrite;
    case DiskMode::readonly:
      return HostDiskImage::Mode::kReadOnly;
    case DiskMode::snapshot:
      break;
  }
  return HostDiskImage::Mode::kSnapshot;
}

// Where the files are that the options name, and which of them were asked for.
class FileFinder {
 public:
  explicit FileFinder(const RunOptions& options) : stand_ins_(options.stand_ins) {}
  const std::string& operator()(const std::string& path) {
    used_.insert(path);
    const auto found = stand_ins_.find(path);
    return found == stand_ins_.end() ? path : found->second;
  }
  const std::set<std::string>& used() const { return used_; }

 private:
  const std::map<std::string, std::string>& stand_ins_;
  std::set<std::string> used_;
};

std::vector<uint8_t> firmware_file(const std::string& path,
                                   const char* hint = "Debian's package seabios has it; --bios names another") {
  try {
    return emu::read_image(path, kMaxRom);
  } catch (const emu::BootError& error) {
    throw UsageError(fmt::format("{} ({})", error.what(), hint));
  }
}

std::vector<uint8_t> nic_rom(const RunOptions& options, FileFinder& find) {
  if (options.nic_rom == "none") return {};
  const std::string path = !options.nic_rom.empty() ? options.nic_rom : options.nic == "virtio" ? kVirtioRom : kNe2kRom;
  std::vector<uint8_t> rom =
      firmware_file(find(path), "Debian's package ipxe-qemu has it; --nic-rom names another, or none");
  try {
    devices::option_rom_for(rom, 0, 0);
  } catch (const std::runtime_error& error) {
    throw UsageError(fmt::format("{} {}", path, error.what()));
  }
  return rom;
}

struct Flat {
  std::string path;
  uint64_t address = 0;
};

Flat parse_flat(const std::string& text) {
  const size_t at = text.rfind('@');
  Flat flat{text.substr(0, at), 0x7c00};
  if (at == std::string::npos) return flat;
  std::string number = text.substr(at + 1);
  const bool hex = number.starts_with("0x") || number.starts_with("0X");
  if (hex) number.erase(0, 2);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), flat.address, hex ? 16 : 10);
  if (error != std::errc() || end != number.data() + number.size() || number.empty())
    throw UsageError(fmt::format("--flat {}: want FILE@ADDRESS, with an address like 0x7c00", text));
  return flat;
}

// Six bytes in hexadecimal between colons; a station's own address, so not a group's and not zero.
devices::MacAddress parse_mac(const std::string& text) {
  devices::MacAddress mac{};
  bool good = text.size() == 3 * mac.size() - 1;
  for (size_t i = 0; good && i < mac.size(); ++i) {
    const char* const first = text.data() + 3 * i;
    const auto [end, error] = std::from_chars(first, first + 2, mac[i], 16);
    good = error == std::errc() && end == first + 2 && (i + 1 == mac.size() || *end == ':');
  }
  if (!good || devices::is_group_address(mac) || mac == devices::MacAddress{})
    throw UsageError(fmt::format("--mac {}: want a station's address like 52:54:00:12:34:56", text));
  return mac;
}

devices::NicConfig nic_config(const RunOptions& options) {
  devices::NicConfig nic;
  if (options.nic == "ne2k") nic.model = devices::NicModel::ne2k;
  if (options.nic == "virtio") nic.model = devices::NicModel::virtio;
  if (!options.mac.empty()) {
    nic.mac = parse_mac(options.mac);
    if (nic.model == devices::NicModel::none) throw UsageError("--mac needs a network card: give --nic too");
  }
  if (!options.nic_rom.empty() && nic.model == devices::NicModel::none)
    throw UsageError("--nic-rom needs a network card: give --nic too");
  return nic;
}

// The command line's files, sorted by what they are.
struct Files {
  std::string kernel;
  ImageKind kernel_kind = ImageKind::unknown;
  std::vector<std::string> modules;
  std::vector<std::string> disks;
  std::string cdrom, floppy, rom;
  BootDevice first = BootDevice::disk;
};

Files sort_files(const RunOptions& options, FileFinder& find) {
  Files files;
  files.disks = options.disks;
  files.cdrom = options.cdrom;
  files.floppy = options.floppy;
  if (!files.cdrom.empty() && files.disks.empty()) files.first = BootDevice::cdrom;
  if (!files.floppy.empty() && files.disks.empty() && files.cdrom.empty()) files.first = BootDevice::floppy;
  auto take_kernel = [&files](const std::string& path, ImageKind kind) {
    files.kernel = path;
    files.kernel_kind = kind;
  };
  if (!options.kernel.empty()) {
    const ImageKind kind = emu::recognise_file(find(options.kernel));
    if (kind != ImageKind::linux_kernel && kind != ImageKind::multiboot)
      throw UsageError(fmt::format("--kernel {}: is a {}, not a Linux kernel or multiboot image", options.kernel,
                                   emu::to_string(kind)));
    take_kernel(options.kernel, kind);
  }
  for (const std::string& path : options.images) {
    if (files.kernel_kind == ImageKind::multiboot) {
      files.modules.push_back(path);
      continue;
    }
    const ImageKind kind = emu::recognise_file(find(path));
    switch (kind) {
      case ImageKind::linux_kernel:
      case ImageKind::multiboot:
        if (!files.kernel.empty())
          throw UsageError(fmt::format("{}: there is a kernel already, {}", path, files.kernel));
        take_kernel(path, kind);
        break;
      case ImageKind::cdrom:
        if (!files.cdrom.empty()) throw UsageError(fmt::format("{}: there is a CD already, {}", path, files.cdrom));
        files.cdrom = path;
        files.first = BootDevice::cdrom;
        break;
      case ImageKind::floppy:
        if (!files.floppy.empty())
          throw UsageError(fmt::format("{}: there is a floppy already, {}", path, files.floppy));
        files.floppy = path;
        files.first = BootDevice::floppy;
        break;
      case ImageKind::rom:
        files.rom = path;
        break;
      case ImageKind::disk:
      case ImageKind::unknown:
        files.disks.insert(files.disks.begin(), path);
        files.first = BootDevice::disk;
        break;
    }
  }
  if (files.disks.empty() && files.cdrom.empty() && files.floppy.empty())
    files.first = options.virtio_disks.empty() ? BootDevice::network : BootDevice::virtio_disk;
  if (files.disks.size() > devices::kMaxDisks)
    throw UsageError(
        fmt::format("{} disks given; the machine has room for {}", files.disks.size(), devices::kMaxDisks));
  return files;
}

const char* to_string(BootDevice device) {
  switch (device) {
    case BootDevice::floppy:
      return "floppy";
    case BootDevice::disk:
      return "disk";
    case BootDevice::virtio_disk:
      return "virtio_disk";
    case BootDevice::cdrom:
      return "cdrom";
    case BootDevice::network:
      return "network";
  }
  return "";
}

std::vector<BootDevice> boot_order(BootDevice first) {
  std::vector<BootDevice> order{first};
  for (const BootDevice device :
       {BootDevice::disk, BootDevice::virtio_disk, BootDevice::cdrom, BootDevice::floppy, BootDevice::network})
    if (device != first) order.push_back(device);
  return order;
}

emu::BootPlan plan_kernel(const RunOptions& options, const Files& files, const devices::Pc& pc,
                          const emu::MemoryLayout& memory, FileFinder& find) {
  const uint64_t largest = memory.ram_size();
  const std::vector<uint8_t> kernel = emu::read_image(find(files.kernel), largest);
  std::vector<uint8_t> initrd;
  if (!options.initrd.empty()) initrd = emu::read_image(find(options.initrd), largest);
  const devices::DirectBootTables tables = pc.tables();
  emu::BootPlan plan;
  if (files.kernel_kind == ImageKind::linux_kernel) {
    emu::LinuxBoot boot;
    boot.kernel_name = files.kernel;
    boot.kernel = kernel;
    boot.initrd_name = options.initrd;
    boot.initrd = initrd;
    boot.command_line = options.append;
    boot.entry = options.linux_64bit_entry ? emu::LinuxEntry::bits64 : emu::LinuxEntry::bits32;
    boot.rsdp_address = tables.rsdp_address;
    plan = emu::plan_linux(boot, memory);
  } else {
    emu::MultibootBoot boot;
    boot.kernel_name = files.kernel;
    boot.kernel = kernel;
    boot.command_line = options.append;
    std::vector<std::vector<uint8_t>> contents;
    std::vector<std::string> names = files.modules;
    if (!options.initrd.empty()) names.insert(names.begin(), options.initrd);
    for (const std::string& name : names) contents.push_back(emu::read_image(find(name), largest));
    for (size_t i = 0; i < names.size(); ++i) boot.modules.push_back({names[i], contents[i], names[i]});
    plan = emu::plan_multiboot(boot, memory);
  }
  plan.chunks.insert(plan.chunks.end(), tables.chunks.begin(), tables.chunks.end());
  return plan;
}

std::string hash_of(std::span<const uint8_t> bytes) {
  return fmt::format("{} bytes, XXH3 {:016x}", bytes.size(), XXH3_64bits(bytes.data(), bytes.size()));
}

// The firmware, and what a reset puts into memory again.
void describe_boot(emu::MachineDescription& description, const std::vector<uint8_t>& rom,
                   const std::vector<devices::OptionRom>& option_roms, const emu::BootPlan& plan,
                   const std::vector<BootDevice>& order) {
  if (!rom.empty()) description.add("firmware", hash_of(rom));
  for (const devices::OptionRom& option_rom : option_roms)
    description.add("option_rom." + option_rom.name, hash_of(option_rom.bytes));
  std::string names;
  for (const BootDevice device : order) names += std::string(" ") + to_string(device);
  description.add("boot_order", names.substr(names.empty() ? 0 : 1));
  std::vector<uint8_t> loaded;
  auto add = [&loaded](const void* data, size_t size) {
    loaded.insert(loaded.end(), static_cast<const uint8_t*>(data), static_cast<const uint8_t*>(data) + size);
  };
  for (const emu::Chunk& chunk : plan.chunks) {
    const uint64_t place[2] = {chunk.address, chunk.bytes.size()};
    add(place, sizeof place);
    add(chunk.bytes.data(), chunk.bytes.size());
  }
  const emu::InitialCpu& cpu = plan.cpu;
  const uint64_t registers[] = {cpu.rip, cpu.rflags, cpu.cr0, cpu.cr3, cpu.cr4, cpu.efer, cpu.cs.base};
  add(cpu.general.data(), sizeof cpu.general);
  add(registers, sizeof registers);
  description.add("boot", hash_of(loaded));
}

const char* mode_name(HostDiskImage::Mode mode) {
  return mode == HostDiskImage::Mode::kWrite      ? "write"
         : mode == HostDiskImage::Mode::kSnapshot ? "snapshot"
                                                  : "readonly";
}

}  // namespace

emu::MachineDescription MachineSetup::description() const {
  emu::MachineDescription all = fixed;
  for (const Drive& drive : drives) {
    all.add(drive.name + ".mode", mode_name(drive.image->mode()));
    all.add(drive.name + ".bytes", fmt::format("{}", drive.image->size_bytes()));
    all.add(drive.name + ".xxh3", fmt::format("{:016x}", drive.image->digest()));
  }
  return all;
}

bool is_paced(const RunOptions& options) {
  const bool at_terminal = isatty(STDIN_FILENO) && (options.serial == "stdio" || options.screen == "text");
  return options.paced.value_or(at_terminal || options.net != "none");
}

int64_t rtc_start(const RunOptions& options, bool paced) {
  const std::string& text = options.rtc;
  if (text.empty() && !paced) return kUnpacedRtcStart;
  if (text.empty() || text == "now")
    return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    throw UsageError(fmt::format("--rtc {}: want now, or seconds since 1970", text));
  return value;
}

MachineSetup set_up_machine(const RunOptions& options, int64_t rtc_start) {
  const emu::MemoryLayout memory(uint64_t{options.memory_mib} << 20);
  FileFinder find(options);
  const Files files = sort_files(options, find);
  if (files.kernel.empty() && files.rom.empty() && options.flat.empty() && files.disks.empty() && files.cdrom.empty() &&
      files.floppy.empty() && options.virtio_disks.empty() && options.nic == "none")
    throw UsageError(
        "nothing to boot: name an IMAGE, --kernel, --disk, --virtio-disk, --cdrom, --floppy, --flat or --nic (see "
        "--help)");
  if (files.kernel.empty() && (!options.initrd.empty() || !options.append.empty()))
    throw UsageError("--initrd and --append need a kernel");

  MachineSetup setup;
  devices::PcConfig config;
  config.ram_bytes = memory.ram_size();
  config.rtc_start = rtc_start;
  config.boot_order = boot_order(files.first);
  setup.fixed.add("memory", fmt::format("{} MiB", options.memory_mib));
  setup.fixed.add("engine", emu::engine_signature());
  auto open = [&setup, &find](std::string name, const std::string& path, HostDiskImage::Mode mode) {
    setup.drives.push_back({std::move(name), std::make_unique<HostDiskImage>(find(path), mode)});
    return setup.drives.back().image.get();
  };
  auto open_disk = [&](std::string name, const std::string& path) -> devices::BlockBackend* {
    if (!is_shared_disk(path)) return open(std::move(name), path, image_mode(options.disk_mode));
    const SharedShape shape = shape_of(options, path);
    const bool read_only = shape.read_only || options.disk_mode == DiskMode::readonly;
    setup.fixed.add(name + ".shared", fmt::format("{} bytes{}", shape.bytes, read_only ? ", read-only" : ""));
    setup.shared.push_back({name, path, std::make_unique<devices::SharedDisk>(name, shape.bytes, read_only)});
    return setup.shared.back().disk.get();
  };
  for (const std::string& path : files.disks)
    config.disks.push_back(open_disk(fmt::format("disk{}", config.disks.size()), path));
  config.cdrom = files.cdrom.empty() ? nullptr : open("cdrom", files.cdrom, HostDiskImage::Mode::kReadOnly);
  if (!files.floppy.empty()) config.floppy = open("floppy", files.floppy, image_mode(options.disk_mode));

  if (options.virtio_disks.size() > devices::kMaxVirtioDisks)
    throw UsageError(fmt::format("{} virtio disks given; the machine has room for {}", options.virtio_disks.size(),
                                 devices::kMaxVirtioDisks));
  for (const std::string& path : options.virtio_disks)
    config.virtio_disks.push_back(open_disk(fmt::format("virtio_disk{}", config.virtio_disks.size()), path));
  config.nic = nic_config(options);
  if (config.nic.model != devices::NicModel::none) setup.nic = config.nic.mac;
  if (config.nic.model != devices::NicModel::none)
    setup.fixed.add("nic", fmt::format("{} {:02x}", options.nic, fmt::join(config.nic.mac, ":")));

  std::vector<uint8_t> rom;
  std::vector<devices::OptionRom> option_roms;
  emu::BootPlan plan;
  if (!files.rom.empty()) {
    plan = emu::plan_rom(files.rom, emu::read_image(find(files.rom), kMaxRom));
  } else if (files.kernel.empty() && options.flat.empty()) {
    setup.has_firmware = true;
    const std::string bios = options.bios.empty() ? kSeabios : options.bios;
    plan = emu::plan_rom(bios, firmware_file(find(bios)));
    option_roms.push_back({"vgabios.bin", firmware_file(find(kVgaBios))});
    if (config.nic.model != devices::NicModel::none) {
      config.nic.rom = nic_rom(options, find);
      setup.fixed.add("nic_rom", hash_of(config.nic.rom));
    }
  }
  if (!plan.roms.empty()) rom = plan.roms.front().bytes;
  setup.pc = std::make_unique<devices::Pc>(config, rom, option_roms);
  std::vector<uint8_t> flat_bytes;
  if (!options.flat.empty()) {
    const Flat flat = parse_flat(options.flat);
    flat_bytes = emu::read_image(find(flat.path), memory.ram_size());
    emu::FlatBoot boot;
    boot.name = flat.path;
    boot.image = flat_bytes;
    boot.address = flat.address;
    plan = emu::plan_flat(boot, memory);
  } else if (!files.kernel.empty()) {
    plan = plan_kernel(options, files, *setup.pc, memory, find);
  }
  describe_boot(setup.fixed, rom, option_roms, plan, config.boot_order);
  setup.pc->start(std::move(plan));
  for (const auto& drive : setup.drives) {
    if (drive.image->mode() != HostDiskImage::Mode::kSnapshot) continue;
    drive.image->name_store(drive.name);
    setup.pc->machine().add(*drive.image);
  }
  setup.files = find.used();
  return setup;
}

}  // namespace understudy::tools
