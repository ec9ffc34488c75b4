#include "emu/boot_image.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace understudy::emu {

namespace {

bool matches(std::span<const uint8_t> bytes, size_t offset, std::string_view text) {
  return offset <= bytes.size() && text.size() <= bytes.size() - offset &&
         std::equal(text.begin(), text.end(), bytes.begin() + static_cast<ptrdiff_t>(offset),
                    [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; });
}

uint32_t le32(std::span<const uint8_t> bytes, size_t offset) {
  return bytes[offset] | bytes[offset + 1] << 8 | bytes[offset + 2] << 16 |
         static_cast<uint32_t>(bytes[offset + 3]) << 24;
}

bool is_floppy_size(uint64_t size) {
  constexpr uint64_t kKiB[] = {160, 180, 320, 360, 720, 1200, 1440, 1680, 2880};
  return std::any_of(std::begin(kKiB), std::end(kKiB), [&](uint64_t k) { return size == k << 10; });
}

bool is_rom(std::span<const uint8_t> tail, uint64_t size) {
  if (size == 0 || size % 0x10000 != 0 || size > 16 << 20 || tail.size() < 16) return false;
  const uint8_t opcode = tail[tail.size() - 16];
  return opcode == 0xea || opcode == 0xe9 || opcode == 0xeb;
}

// What a file of no bootable kind probably is, and the way out.
std::string hint(std::span<const uint8_t> head, uint64_t size) {
  if (size == 0) return "the file is empty";
  if (matches(head, 0, "\x1f\x8b") ||
      matches(head, 0,
              "\xfd"
              "7zXZ") ||
      matches(head, 0, "BZh") || matches(head, 0, "\x28\xb5\x2f\xfd"))
    return "the file is compressed: decompress it first";
  if (matches(head, 0, "KDMV") || matches(head, 0, "conectix") || matches(head, 0, "vhdxfile"))
    return "this is another hypervisor's disk format: convert it with 'qemu-img convert -O qcow2'";
  if (matches(head, 0,
              "\x7f"
              "ELF"))
    return "this ELF file has no Multiboot 1 header in its first 8 KiB: give a Linux bzImage or a multiboot kernel";
  if (matches(head, 0, "MZ")) return "this is an EFI or DOS program, not a kernel or disk image";
  if (matches(head, 0, "070701") || matches(head, 0, "070702")) return "this is an initramfs: give it with --initrd";
  if (head.size() < 512) return "the file is too short to boot from";
  if (head[510] == 0x55 && head[511] == 0xaa)
    return "it has a boot sector but its size is not a whole number of 512-byte sectors: truncated?";
  return "no kernel, CD, floppy or disk image was recognised in it: name its kind with an option";
}

}  // namespace

std::string_view to_string(ImageKind kind) {
  switch (kind) {
    case ImageKind::linux_kernel:
      return "Linux kernel";
    case ImageKind::multiboot:
      return "multiboot kernel";
    case ImageKind::cdrom:
      return "CD image";
    case ImageKind::floppy:
      return "floppy image";
    case ImageKind::disk:
      return "disk image";
    case ImageKind::rom:
      return "ROM";
    case ImageKind::unknown:
      break;
  }
  return "unknown";
}

int64_t find_multiboot_header(std::span<const uint8_t> image) {
  const size_t end = std::min<size_t>(image.size(), 8192);
  for (size_t at = 0; at + 12 <= end; at += 4)
    if (le32(image, at) == 0x1badb002 && le32(image, at) + le32(image, at + 4) + le32(image, at + 8) == 0)
      return static_cast<int64_t>(at);
  return -1;
}

ImageKind recognise_image(std::span<const uint8_t> head, std::span<const uint8_t> tail, uint64_t size) {
  // A hybrid ISO also has a boot sector, so the CD comes first.
  if (matches(head, 0x8001, "CD001")) return ImageKind::cdrom;
  if (matches(head, 0, "QFI\xfb")) return ImageKind::disk;  // qcow2
  const bool boot_sector = head.size() >= 512 && head[510] == 0x55 && head[511] == 0xaa;
  if (boot_sector && matches(head, 0x202, "HdrS")) return ImageKind::linux_kernel;
  // GRUB's own image, which follows a disk's boot sector, carries a multiboot header too: only an ELF beats a disk.
  const bool disk = boot_sector && size % 512 == 0 &&
                    !matches(head, 0,
                             "\x7f"
                             "ELF");
  if (!disk && find_multiboot_header(head) >= 0) return ImageKind::multiboot;
  if (boot_sector && is_floppy_size(size)) return ImageKind::floppy;
  if (boot_sector && size % 512 == 0) return ImageKind::disk;
  if (is_rom(tail, size)) return ImageKind::rom;
  return ImageKind::unknown;
}

namespace {
std::ifstream open(const std::string& path, uint64_t& size) {
  // Opening a FIFO would wait for ever, and a device may have no end.
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) throw BootError(path, "no such file (or its folder is not readable)");
  if (!std::filesystem::is_regular_file(status)) throw BootError(path, "not a regular file: give an image file");
  size = std::filesystem::file_size(path, error);
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (error || !file)
    throw BootError(path, "cannot open it: " + std::generic_category().message(errno != 0 ? errno : EIO));
  return file;
}

std::vector<uint8_t> take(std::ifstream& file, const std::string& path, uint64_t offset, uint64_t length) {
  std::vector<uint8_t> bytes(static_cast<size_t>(length));
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(length));
  if (!file) throw BootError(path, "cannot read it: the host reported an error");
  return bytes;
}
}  // namespace

ImageKind recognise_file(const std::string& path) {
  uint64_t size = 0;
  std::ifstream file = open(path, size);
  const auto head = take(file, path, 0, std::min<uint64_t>(size, kRecogniseHead));
  const uint64_t tail_length = std::min<uint64_t>(size, 16);
  const auto tail = take(file, path, size - tail_length, tail_length);
  const ImageKind kind = recognise_image(head, tail, size);
  if (kind == ImageKind::unknown) throw BootError(path, hint(head, size));
  return kind;
}

std::vector<uint8_t> read_image(const std::string& path, uint64_t max_size) {
  uint64_t size = 0;
  std::ifstream file = open(path, size);
  if (size == 0) throw BootError(path, "the file is empty");
  if (size > max_size)
    throw BootError(path, "the file is larger (" + std::to_string(size) + " bytes) than the guest's memory allows (" +
                              std::to_string(max_size) + "): give more memory or another file");
  return take(file, path, 0, size);
}

}  // namespace understudy::emu
