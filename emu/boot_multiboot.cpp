#include "emu/boot_multiboot.h"

#include <algorithm>
#include <cstdio>

#include "emu/boot_image.h"
#include "emu/boot_low_memory.h"
#include "emu/byte_writer.h"
#include "emu/image_bytes.h"

namespace understudy::emu {

namespace {

constexpr uint32_t kLoaderMagic = 0x2badb002;
constexpr uint32_t kAddressFields = 1u << 16;
// Flags 0..15 are requirements; these are the ones that are met: page-aligned modules, memory sizes, video mode.
constexpr uint32_t kKnownRequirements = 7;

// A piece of the kernel: file bytes at a physical address, zeros after them up to `memory_size`.
struct Segment {
  uint64_t address;
  uint64_t memory_size;
  std::span<const uint8_t> bytes;
};

struct Kernel {
  std::vector<Segment> segments;  // by address, not overlapping
  uint64_t entry = 0;
  uint64_t high_end = MemoryLayout::kHighBase;  // first byte above the kernel's high memory
};

// Section 3.1.3: the address fields, with the file taken as one segment.
Kernel load_by_header(const ImageBytes& image, uint64_t header) {
  const uint64_t header_address = image.u32(header + 12);
  const uint64_t load_address = image.u32(header + 16);
  const uint64_t load_end = image.u32(header + 20);
  const uint64_t bss_end = image.u32(header + 24);
  if (load_address > header_address || header_address - load_address > header)
    image.fail("its multiboot address fields place the kernel before the start of the file: damaged?");
  const uint64_t offset = header - (header_address - load_address);
  uint64_t length = image.size() - offset;
  if (load_end != 0) {
    if (load_end < load_address) image.fail("its multiboot load_end_addr lies before load_addr: damaged?");
    length = load_end - load_address;
  }
  Kernel kernel;
  kernel.entry = image.u32(header + 28);
  const uint64_t end = std::max(load_address + length, bss_end);
  kernel.segments.push_back({load_address, end - load_address, image.slice(offset, length)});
  return kernel;
}

Kernel load_elf(const ImageBytes& image) {
  const bool wide = image.u8(4) == 2;
  if ((image.u8(4) != 1 && !wide) || image.u8(5) != 1) image.fail("its ELF class or byte order is not a PC's");
  const uint16_t machine = image.u16(18);
  if (machine != 3 && machine != 62) image.fail("its ELF machine is not x86: build the kernel for i386 or x86-64");
  Kernel kernel;
  const uint64_t linked_entry = wide ? image.u64(24) : image.u32(24);
  kernel.entry = linked_entry;
  const uint64_t table = wide ? image.u64(32) : image.u32(28);
  const uint16_t entry_size = image.u16(wide ? 54 : 42);
  const uint16_t count = image.u16(wide ? 56 : 44);
  if (count == 0) image.fail("its ELF file has no program headers: link it as an executable");
  if (entry_size < (wide ? 56 : 32)) image.fail("its ELF program headers are too small: damaged?");
  image.slice(table, static_cast<uint64_t>(entry_size) * count);
  for (unsigned i = 0; i < count; ++i) {
    const uint64_t at = table + static_cast<uint64_t>(i) * entry_size;
    if (image.u32(at) != 1) continue;  // PT_LOAD
    const uint64_t offset = wide ? image.u64(at + 8) : image.u32(at + 4);
    const uint64_t virtual_address = wide ? image.u64(at + 16) : image.u32(at + 8);
    const uint64_t address = wide ? image.u64(at + 24) : image.u32(at + 12);
    const uint64_t file_size = wide ? image.u64(at + 32) : image.u32(at + 16);
    const uint64_t memory_size = wide ? image.u64(at + 40) : image.u32(at + 20);
    if (memory_size == 0) continue;
    if (file_size > memory_size) image.fail("an ELF segment is larger in the file than in memory: damaged?");
    kernel.segments.push_back({address, memory_size, image.slice(offset, file_size)});
    // Higher-half kernels give the entry as a virtual or as a physical address; both are in use.
    if (linked_entry >= virtual_address && linked_entry - virtual_address < memory_size)
      kernel.entry = linked_entry - virtual_address + address;
  }
  return kernel;
}

void check_segments(const ImageBytes& image, Kernel& kernel, const MemoryLayout& memory) {
  if (kernel.segments.empty()) image.fail("nothing in it is to be loaded: not an executable?");
  auto& segments = kernel.segments;
  std::stable_sort(segments.begin(), segments.end(),
                   [](const Segment& a, const Segment& b) { return a.address < b.address; });
  bool entry_inside = false;
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& s = segments[i];
    if (!memory.usable(s.address, s.memory_size)) {
      if (s.address >= MemoryLayout::kHighBase && s.address < MemoryLayout::kMaxRam &&
          s.memory_size <= MemoryLayout::kMaxRam)
        image.fail("its memory ends at " + std::to_string((s.address + s.memory_size) >> 20) +
                   " MiB, beyond the guest's RAM: give more memory");
      char address[24];
      std::snprintf(address, sizeof address, "0x%llx", static_cast<unsigned long long>(s.address));
      image.fail("its segment at " + std::string(address) +
                 " lies where a PC has no usable RAM: link everything, ELF headers too, at 1 MiB or above");
    }
    if (i > 0 && segments[i - 1].address + segments[i - 1].memory_size > s.address)
      image.fail("its segments overlap in memory: damaged?");
    // The BIOS data area and the interrupt vectors are the planner's.
    if (s.address < 0x500) image.fail("it wants to be loaded over the BIOS data area: link it at 1 MiB or above");
    entry_inside |= kernel.entry >= s.address && kernel.entry - s.address < s.memory_size;
    if (s.address >= MemoryLayout::kHighBase) kernel.high_end = std::max(kernel.high_end, s.address + s.memory_size);
  }
  if (!entry_inside) image.fail("its entry point is outside of everything it loads: damaged?");
}

struct PlacedModule {
  uint64_t start;
  uint64_t end;
  const std::string* command_line;
};

std::vector<PlacedModule> place_modules(const MultibootBoot& boot, const Kernel& kernel, const MemoryLayout& memory,
                                        BootPlan& plan) {
  std::vector<PlacedModule> placed;
  uint64_t next = kernel.high_end;
  for (const MultibootModule& module : boot.modules) {
    const uint64_t start = (next + 0xfff) & ~0xfffull;
    if (!memory.usable(start, module.bytes.size()))
      throw BootError(module.name, "this module does not fit into the guest's RAM above the kernel: give more memory");
    next = start + module.bytes.size();
    placed.push_back({start, next, &module.command_line});
    if (!module.bytes.empty()) plan.chunks.push_back({start, {module.bytes.begin(), module.bytes.end()}});
  }
  return placed;
}

constexpr size_t kInfoSize = 116;  // up to and with the framebuffer fields
constexpr std::string_view kLoaderName = "Understudy";

// The boot information of section 3.3 with everything it points at, GDT first, for loading at `base`.
std::vector<uint8_t> information(const MultibootBoot& boot, const std::vector<PlacedModule>& modules,
                                 const MemoryLayout& memory, uint64_t base, uint64_t& info_address) {
  ByteWriter block;
  block.bytes(boot_gdt(false).bytes);
  const size_t info = block.size();
  info_address = base + info;
  block.zeros(kInfoSize);
  const auto put = [&](size_t field, uint64_t value, unsigned width = 4) { block.patch(info + field, value, width); };
  const auto text = [&](std::string_view value) {
    const uint64_t at = base + block.size();
    block.text(value, value.size() + 1);
    return at;
  };

  put(4, MemoryLayout::kLowEnd >> 10);
  put(8, (memory.high_end() - MemoryLayout::kHighBase) >> 10);
  put(16, text(boot.command_line));
  put(64, text(kLoaderName));
  std::vector<uint64_t> lines;
  for (const PlacedModule& module : modules) lines.push_back(text(*module.command_line));

  block.align(16);
  put(20, modules.size());
  put(24, base + block.size());
  for (size_t i = 0; i < modules.size(); ++i) block.u32(modules[i].start).u32(modules[i].end).u32(lines[i]).u32(0);

  const size_t map = block.size();
  for (const MemoryRange& r : memory.ranges())
    block.u32(20).u64(r.base).u64(r.length).u32(static_cast<uint32_t>(r.type));
  put(44, block.size() - map);
  put(48, base + map);

  // Framebuffer: the text screen at B8000h (section 3.3, framebuffer_type 2).
  put(88, 0xb8000, 8);
  put(96, 160);
  put(100, 80);
  put(104, 25);
  put(108, 16, 1);
  put(109, 2, 1);
  // Flags: memory sizes, command line, modules, memory map, loader name, framebuffer.
  put(0, 1u | 1u << 2 | 1u << 3 | 1u << 6 | 1u << 9 | 1u << 12);
  return block.take();
}

// The first page of base memory from which `size` bytes are free of the kernel, or 0.
uint64_t free_low_memory(const Kernel& kernel, uint64_t size) {
  uint64_t at = 0x10000;
  for (const Segment& s : kernel.segments) {  // by address
    if (s.address >= at + size) break;
    at = std::max<uint64_t>(at, (s.address + s.memory_size + 0xfff) & ~0xfffull);
  }
  return at + size <= MemoryLayout::kLowEnd ? at : 0;
}

}  // namespace

BootPlan plan_multiboot(const MultibootBoot& boot, const MemoryLayout& memory) {
  const ImageBytes image(boot.kernel_name, boot.kernel);
  const int64_t found = find_multiboot_header(boot.kernel);
  if (found < 0) image.fail("no Multiboot 1 header in its first 8 KiB: not a multiboot kernel, or truncated");
  const auto header = static_cast<uint64_t>(found);
  const uint32_t flags = image.u32(header + 4);
  if ((flags & 0xffff & ~kKnownRequirements) != 0)
    image.fail("its multiboot header requires features that no loader of version 1 knows: damaged, or a newer kernel");
  const bool is_elf = image.has(0, 52) && image.u32(0) == 0x464c457f;
  if ((flags & kAddressFields) == 0 && !is_elf)
    image.fail("a multiboot kernel must be an ELF file or have address fields in its header (flag 16)");

  Kernel kernel = (flags & kAddressFields) != 0 ? load_by_header(image, header) : load_elf(image);
  check_segments(image, kernel, memory);

  BootPlan plan;
  plan.bypasses_firmware = true;
  for (const Segment& s : kernel.segments)
    if (!s.bytes.empty()) plan.chunks.push_back({s.address, {s.bytes.begin(), s.bytes.end()}});
  const auto modules = place_modules(boot, kernel, memory, plan);

  uint64_t info_address = 0;
  const uint64_t size = information(boot, modules, memory, 0, info_address).size();
  const uint64_t base = free_low_memory(kernel, size);
  if (base == 0) image.fail("no base memory is left for the boot information: shorten the command lines");
  plan.chunks.push_back({base, information(boot, modules, memory, base, info_address)});
  plan.chunks.push_back(bios_data_area());

  plan.cpu = flat_protected_mode();
  plan.cpu.gdtr = {base, 31};
  plan.cpu.rip = kernel.entry;
  plan.cpu.general[InitialCpu::rsp] = 0;  // undefined by section 3.2: a kernel that uses it is wrong
  plan.cpu.general[InitialCpu::rax] = kLoaderMagic;
  plan.cpu.general[InitialCpu::rbx] = info_address;
  return plan;
}

}  // namespace understudy::emu
