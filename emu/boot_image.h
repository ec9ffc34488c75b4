// Tells from a file's own bytes which boot path it wants. Only the first kRecogniseHead bytes, the last 16 and the size
// are looked at, so a disk image of any size costs nothing. A flat image carries no mark and is never recognised: its
// user names it by an option.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "emu/boot_plan.h"

namespace understudy::emu {

enum class ImageKind {
  unknown,
  linux_kernel,  // "HdrS" at 202h (Linux Documentation/arch/x86/boot.rst)
  multiboot,     // header in the first 8 KiB (Multiboot Specification 0.6.96, section 3.1)
  cdrom,         // "CD001" at 8001h (ECMA-119, section 8.1)
  floppy,        // 55AAh at 510 and the size of a PC floppy format
  disk,          // 55AAh at 510 and any other whole number of sectors
  rom,           // whole 64 KiB blocks up to 16 MiB, a jump 16 bytes before the end
};
std::string_view to_string(ImageKind kind);

inline constexpr size_t kRecogniseHead = 0x8800;

// `head` is the file's start (all of it, or at least kRecogniseHead bytes), `tail` its last bytes (16 are enough).
ImageKind recognise_image(std::span<const uint8_t> head, std::span<const uint8_t> tail, uint64_t size);

// Opens the file and recognises it. Throws BootError, with a hint at what the file seems to be, when it is unreadable
// or of no known kind; never returns ImageKind::unknown.
ImageKind recognise_file(const std::string& path);

// The whole file. Throws BootError when it cannot be read, is empty, or is larger than `max_size`.
std::vector<uint8_t> read_image(const std::string& path, uint64_t max_size);

// The offset of a valid Multiboot 1 header within `image`, or -1.
int64_t find_multiboot_header(std::span<const uint8_t> image);

}  // namespace understudy::emu
