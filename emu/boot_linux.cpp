#include "emu/boot_linux.h"

#include <algorithm>

#include "emu/boot_low_memory.h"
#include "emu/byte_writer.h"
#include "emu/image_bytes.h"

namespace understudy::emu {

namespace {

constexpr uint32_t kSetupStart = 0x1f1;
constexpr uint32_t kSetupEndMax = 0x290;  // where the zero page's next field begins
constexpr uint64_t kHighLoad = 0x100000;

// The setup header's fields that decide something here, after checks.
struct SetupHeader {
  uint32_t setup_bytes;  // real-mode part, dropped
  uint32_t header_end;
  uint16_t version;
  uint64_t load_address;
  uint64_t entry_offset;
  uint64_t run_size;  // memory the kernel needs from load_address on until it is up
  uint64_t initrd_max;
  uint32_t command_line_max;
  bool has_64bit_entry;
};

std::string mib_up(uint64_t bytes) { return std::to_string((bytes + MemoryLayout::kMiB - 1) / MemoryLayout::kMiB); }

bool is_power_of_two(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

SetupHeader parse_header(const ImageBytes& image) {
  if (!image.has(0, 0x250)) image.fail("the file is too short for a Linux kernel: truncated?");
  if (image.u16(0x1fe) != 0xaa55 || image.u32(0x202) != 0x53726448)
    image.fail("not a Linux bzImage: its setup header has no 'HdrS' mark");

  SetupHeader h{};
  h.version = image.u16(0x206);
  if (h.version < 0x202)
    image.fail("its boot protocol is older than 2.02 (Linux 2.4): use a newer kernel, or boot a disk image");
  h.header_end = std::min<uint32_t>(0x202 + image.u8(0x201), kSetupEndMax);
  // Fields past the end of a short header are not there, whatever their bytes.
  const auto field32 = [&](uint32_t at) { return at + 4 <= h.header_end ? image.u32(at) : 0; };
  const auto field64 = [&](uint32_t at) { return at + 8 <= h.header_end ? image.u64(at) : 0; };

  const unsigned sectors = image.u8(kSetupStart) == 0 ? 4 : image.u8(kSetupStart);
  h.setup_bytes = (sectors + 1) * 512;
  if (image.size() <= h.setup_bytes) image.fail("the file ends within its real-mode setup code: truncated?");
  const uint64_t payload = image.size() - h.setup_bytes;
  const uint64_t announced = static_cast<uint64_t>(h.version >= 0x204 ? image.u32(0x1f4) : image.u16(0x1f4)) * 16;
  // The announced size is in 16-byte units, rounded up.
  if (payload + 15 < announced)
    image.fail("the file is truncated: it holds " + std::to_string(payload) + " of " + std::to_string(announced) +
               " kernel bytes");
  if ((image.u8(0x211) & 1) == 0) image.fail("a zImage that loads low is not supported: use a bzImage");

  const uint64_t code32 = image.u32(0x214);
  if (code32 < kHighLoad || code32 - kHighLoad >= payload)
    image.fail("it has no 32-bit entry point (real-mode only, as iPXE's .lkrn): boot its ISO or disk image instead");
  h.entry_offset = code32 - kHighLoad;

  h.load_address = kHighLoad;
  h.run_size = payload;
  if (h.version >= 0x205 && image.u8(0x234) != 0) {
    const uint64_t alignment = field32(0x230);
    if (!is_power_of_two(alignment) || alignment > 1 << 30) image.fail("its kernel_alignment is not a power of two");
    h.load_address = (kHighLoad + alignment - 1) & ~(alignment - 1);
    if (h.version >= 0x20a) {
      const uint64_t preferred = field64(0x258);
      if (preferred >= kHighLoad && preferred % alignment == 0) h.load_address = preferred;
    }
  }
  if (h.version >= 0x20a) h.run_size = std::max<uint64_t>(payload, field32(0x260));
  h.initrd_max = h.version >= 0x203 ? image.u32(0x22c) : 0x37ffffff;
  h.command_line_max = h.version >= 0x206 ? image.u32(0x238) : 255;
  if (h.command_line_max == 0) h.command_line_max = 255;
  h.has_64bit_entry = h.version >= 0x20c && (image.u16(0x236) & 1) != 0 && h.entry_offset + 0x200 < payload;
  return h;
}

void check_kernel_fits(const ImageBytes& image, const SetupHeader& h, const MemoryLayout& memory) {
  // Two steps, so that no sum of hostile values wraps.
  if (h.load_address < memory.high_end() && h.run_size <= memory.high_end() - h.load_address) return;
  if (h.load_address > MemoryLayout::kMaxRam || h.run_size > MemoryLayout::kMaxRam)
    image.fail("its header asks for more memory than the machine can have: damaged?");
  image.fail("this kernel needs at least " + mib_up(h.load_address + h.run_size + MemoryLayout::kTableArea) +
             " MiB of RAM to unpack itself, and the machine has " +
             std::to_string(memory.ram_size() / MemoryLayout::kMiB) + ": give more memory");
}

uint64_t place_initrd(const LinuxBoot& boot, const SetupHeader& h, const MemoryLayout& memory) {
  const uint64_t top = std::min(memory.high_end(), h.initrd_max + 1);
  const uint64_t bottom = h.load_address + h.run_size;
  const uint64_t size = boot.initrd.size();
  const uint64_t start = size <= top ? (top - size) & ~0xfffull : 0;
  if (start < bottom)
    throw BootError(boot.initrd_name, "this initrd of " + mib_up(size) + " MiB does not fit beside the kernel in " +
                                          std::to_string(memory.ram_size() / MemoryLayout::kMiB) +
                                          " MiB of RAM: give more memory or a smaller initrd");
  return start;
}

std::vector<uint8_t> zero_page(const ImageBytes& image, const SetupHeader& h, const LinuxBoot& boot,
                               const MemoryLayout& memory, uint64_t initrd_address) {
  ByteWriter page(4096);
  page.patch_bytes(kSetupStart, image.slice(kSetupStart, h.header_end - kSetupStart));
  if (boot.text_screen) {
    // struct screen_info: the cursor at the top left of a colour VGA's mode 3.
    page.patch(0x06, 3, 1);
    page.patch(0x07, 80, 1);
    page.patch(0x0e, 25, 1);
    page.patch(0x0f, 1, 1);
    page.patch(0x10, 16, 2);
  }
  const uint64_t extended_kib = (memory.high_end() - MemoryLayout::kHighBase) >> 10;
  page.patch(0x02, std::min<uint64_t>(extended_kib, 0xfc00), 2);
  page.patch(0x1e0, extended_kib, 4);
  if (h.version >= 0x20e) page.patch(0x70, boot.rsdp_address, 8);
  page.patch(0x1fa, 0xffff, 2);  // video mode: as it is
  page.patch(0x210, 0xff, 1);    // a loader without an assigned number
  page.patch(0x211, image.u8(0x211) | 0x80, 1);
  page.patch(0x214, h.load_address + h.entry_offset, 4);
  page.patch(0x218, initrd_address, 4);
  page.patch(0x21c, boot.initrd.size(), 4);
  page.patch(0x224, 0xfe00, 2);
  page.patch(0x228, kCommandLine, 4);
  unsigned count = 0;
  for (const MemoryRange& range : memory.ranges()) {
    const size_t at = 0x2d0 + 20 * count++;
    page.patch(at, range.base, 8);
    page.patch(at + 8, range.length, 8);
    page.patch(at + 16, static_cast<uint32_t>(range.type), 4);
  }
  page.patch(0x1e8, count, 1);
  return page.take();
}

}  // namespace

BootPlan plan_linux(const LinuxBoot& boot, const MemoryLayout& memory) {
  const ImageBytes image(boot.kernel_name, boot.kernel);
  const SetupHeader h = parse_header(image);
  check_kernel_fits(image, h, memory);
  const bool long_mode = boot.entry == LinuxEntry::bits64;
  if (long_mode && !h.has_64bit_entry) image.fail("this kernel has no 64-bit entry point: use the 32-bit one");
  const uint64_t line_max = std::min<uint64_t>(h.command_line_max, kCommandLineEnd - kCommandLine - 1);
  if (boot.command_line.size() > line_max)
    image.fail("the command line has " + std::to_string(boot.command_line.size()) +
               " characters, but this kernel takes at most " + std::to_string(line_max));
  if (boot.command_line.find('\0') != std::string::npos) image.fail("the command line holds a zero byte");
  const uint64_t initrd_address = boot.initrd.empty() ? 0 : place_initrd(boot, h, memory);

  BootPlan plan;
  plan.bypasses_firmware = true;
  const auto payload = image.slice(h.setup_bytes, image.size() - h.setup_bytes);
  plan.chunks.push_back({h.load_address, {payload.begin(), payload.end()}});
  if (!boot.initrd.empty()) plan.chunks.push_back({initrd_address, {boot.initrd.begin(), boot.initrd.end()}});
  plan.chunks.push_back({kBootParams, zero_page(image, h, boot, memory, initrd_address)});
  std::vector<uint8_t> line(boot.command_line.begin(), boot.command_line.end());
  line.push_back(0);
  plan.chunks.push_back({kCommandLine, std::move(line)});
  plan.chunks.push_back(boot_gdt(long_mode));
  plan.chunks.push_back(bios_data_area());
  if (long_mode) plan.chunks.push_back(identity_page_tables());

  plan.cpu = long_mode ? flat_long_mode() : flat_protected_mode();
  plan.cpu.rip = h.load_address + h.entry_offset + (long_mode ? 0x200 : 0);
  plan.cpu.general[InitialCpu::rsi] = kBootParams;
  return plan;
}

}  // namespace understudy::emu
