// Small valid images for the boot tests, built in memory, and what every plan must obey whatever the image.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "emu/boot_plan.h"
#include "emu/byte_writer.h"
#include "emu/memory_layout.h"

namespace understudy::tests {

using Image = std::vector<uint8_t>;

inline void put(Image& image, size_t at, uint64_t value, unsigned width) {
  for (unsigned i = 0; i < width; ++i) image.at(at + i) = static_cast<uint8_t>(value >> (8 * i));
}
inline uint64_t get(const Image& image, size_t at, unsigned width) {
  uint64_t value = 0;
  for (unsigned i = 0; i < width; ++i) value |= static_cast<uint64_t>(image.at(at + i)) << (8 * i);
  return value;
}

// Protocol 2.15, relocatable, both entries, 64 KiB of payload that counts up; wants 1 MiB at 16 MiB.
inline Image small_bzimage() {
  constexpr size_t kSetup = 2 * 512;
  constexpr size_t kPayload = 64 << 10;
  Image image(kSetup + kPayload);
  for (size_t i = 0; i < kPayload; ++i) image[kSetup + i] = static_cast<uint8_t>(i * 7 + (i >> 8));
  put(image, 0x1f1, 1, 1);
  put(image, 0x1f4, kPayload / 16, 4);
  put(image, 0x1fe, 0xaa55, 2);
  put(image, 0x200, 0x6aeb, 2);
  put(image, 0x202, 0x53726448, 4);
  put(image, 0x206, 0x20f, 2);
  put(image, 0x211, 1, 1);
  put(image, 0x214, 0x100000, 4);
  put(image, 0x22c, 0x7fffffff, 4);
  put(image, 0x230, 0x200000, 4);
  put(image, 0x234, 1, 1);
  put(image, 0x236, 3, 2);
  put(image, 0x238, 2047, 4);
  put(image, 0x258, 0x1000000, 8);
  put(image, 0x260, 0x100000, 4);
  return image;
}

struct ElfSegment {
  uint32_t virtual_address;
  uint32_t address;
  Image bytes;
  uint32_t memory_size;
};

// A multiboot ELF file; the multiboot header follows the program headers.
inline Image multiboot_elf(uint32_t flags, uint64_t entry, const std::vector<ElfSegment>& segments, bool wide = false) {
  const size_t header_size = wide ? 64 : 52;
  const size_t entry_size = wide ? 56 : 32;
  const size_t multiboot = header_size + entry_size * segments.size();
  Image image(multiboot + 48);
  const uint8_t ident[] = {0x7f, 'E', 'L', 'F', static_cast<uint8_t>(wide ? 2 : 1), 1, 1};
  std::copy(std::begin(ident), std::end(ident), image.begin());
  put(image, 16, 2, 2);
  put(image, 18, wide ? 62 : 3, 2);
  put(image, 20, 1, 4);
  put(image, 24, entry, wide ? 8 : 4);
  put(image, wide ? 32 : 28, header_size, wide ? 8 : 4);
  put(image, wide ? 54 : 42, entry_size, 2);
  put(image, wide ? 56 : 44, segments.size(), 2);
  put(image, multiboot, 0x1badb002, 4);
  put(image, multiboot + 4, flags, 4);
  put(image, multiboot + 8, 0u - 0x1badb002u - flags, 4);
  for (size_t i = 0; i < segments.size(); ++i) {
    const ElfSegment& s = segments[i];
    const size_t at = header_size + i * entry_size;
    put(image, at, 1, 4);
    const size_t offset = image.size();
    if (wide) {
      put(image, at + 8, offset, 8);
      put(image, at + 16, s.virtual_address, 8);
      put(image, at + 24, s.address, 8);
      put(image, at + 32, s.bytes.size(), 8);
      put(image, at + 40, s.memory_size, 8);
    } else {
      put(image, at + 4, offset, 4);
      put(image, at + 8, s.virtual_address, 4);
      put(image, at + 12, s.address, 4);
      put(image, at + 16, s.bytes.size(), 4);
      put(image, at + 20, s.memory_size, 4);
    }
    image.insert(image.end(), s.bytes.begin(), s.bytes.end());
  }
  return image;
}

inline Image small_multiboot() {
  return multiboot_elf(3, 0x100010,
                       {{0x100000, 0x100000, Image(300, 0x90), 300}, {0x102000, 0x102000, {1, 2, 3}, 5000}});
}

// The header is at offset 16 of a file without any other format; 80h bytes load at 1 MiB from offset 8.
inline Image multiboot_kludge() {
  Image image(0x100, 0xcc);
  const uint32_t flags = 1u << 16;
  const uint32_t fields[] = {0x1badb002, flags,   0u - 0x1badb002u - flags, 0x100008, 0x100000, 0x100080,
                             0x101000,   0x100040};
  for (size_t i = 0; i < 8; ++i) put(image, 16 + 4 * i, fields[i], 4);
  return image;
}

// The bytes that a plan puts at `address`, which must lie in one chunk.
inline Image planned(const emu::BootPlan& plan, uint64_t address, size_t length) {
  for (const emu::Chunk& c : plan.chunks)
    if (address >= c.address && address - c.address + length <= c.bytes.size()) {
      const auto from = c.bytes.begin() + static_cast<ptrdiff_t>(address - c.address);
      return {from, from + static_cast<ptrdiff_t>(length)};
    }
  FAIL("no chunk holds the address ", address);
  return {};
}
inline uint64_t planned_value(const emu::BootPlan& plan, uint64_t address, unsigned width) {
  return get(planned(plan, address, width), 0, width);
}
inline std::string planned_text(const emu::BootPlan& plan, uint64_t address) {
  std::string text;
  for (char c; (c = static_cast<char>(planned_value(plan, address + text.size(), 1))) != 0;) text += c;
  return text;
}

// Everything lies in RAM that is the kernel's, nothing overlaps, and so nothing is larger than RAM.
inline bool is_sound(const emu::BootPlan& plan, const emu::MemoryLayout& memory) {
  std::vector<std::pair<uint64_t, uint64_t>> spans;
  for (const emu::Chunk& c : plan.chunks) {
    if (c.bytes.empty() || !memory.usable(c.address, c.bytes.size())) return false;
    spans.emplace_back(c.address, c.address + c.bytes.size());
  }
  std::sort(spans.begin(), spans.end());
  for (size_t i = 1; i < spans.size(); ++i)
    if (spans[i - 1].second > spans[i].first) return false;
  return true;
}

// Expects a BootError of one line that names the file and holds `words`.
inline void check_refused(const std::function<void()>& action, const std::string& file, const std::string& words) {
  try {
    action();
    FAIL_CHECK("accepted, but expected: ", words);
  } catch (const emu::BootError& error) {
    const std::string what = error.what();
    CAPTURE(what);
    CHECK(what.rfind(file + ": ", 0) == 0);
    CHECK(what.find(words) != std::string::npos);
    CHECK(what.find('\n') == std::string::npos);
  }
}

// Cuts and flips: some interesting values at some early place, now and then a shorter file.
inline Image mutated(Image image, std::mt19937& random, size_t header_bytes) {
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  const size_t edits = 1 + below(4);
  for (size_t i = 0; i < edits; ++i) {
    constexpr uint64_t kValues[] = {0, 1, 0x7f, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffffffffff0};
    const unsigned width = 1u << below(4);
    const size_t at = below(std::min(header_bytes, image.size() - 8));
    put(image, at, below(3) == 0 ? random() : kValues[below(std::size(kValues))], width);
  }
  if (below(4) == 0) image.resize(below(image.size() + 1));
  return image;
}

}  // namespace understudy::tests
