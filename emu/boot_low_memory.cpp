#include "emu/boot_low_memory.h"

#include "emu/byte_writer.h"

namespace understudy::emu {

namespace {
constexpr uint32_t kCode32 = 0x00cf9b00;
constexpr uint32_t kCode64 = 0x00af9b00;
constexpr uint32_t kData = 0x00cf9300;

uint64_t flat_descriptor(uint32_t access) { return static_cast<uint64_t>(access | 0xf0000) << 32 | 0xffff; }
}  // namespace

Chunk boot_gdt(bool long_mode) {
  ByteWriter gdt;
  gdt.u64(0).u64(0).u64(flat_descriptor(long_mode ? kCode64 : kCode32)).u64(flat_descriptor(kData));
  return {kBootGdt, gdt.take()};
}

InitialCpu flat_protected_mode() {
  InitialCpu cpu;
  cpu.cr0 = 0x11;
  cpu.general[InitialCpu::rsp] = kBootStack;
  cpu.cs = {kBootCode, 0, 0xffffffff, kCode32};
  cpu.ss = cpu.ds = cpu.es = cpu.fs = cpu.gs = {kBootData, 0, 0xffffffff, kData};
  cpu.gdtr = {kBootGdt, 31};
  cpu.idtr = {0, 0};
  return cpu;
}

InitialCpu flat_long_mode() {
  InitialCpu cpu = flat_protected_mode();
  cpu.cr0 = 0x80000011;
  cpu.cr3 = kPageTables;
  cpu.cr4 = 0x20;    // PAE
  cpu.efer = 0x500;  // LME, LMA
  cpu.cs.access = kCode64;
  return cpu;
}

Chunk identity_page_tables() {
  constexpr uint64_t kPresentWritable = 3;
  constexpr uint64_t kLarge = 0x80;
  ByteWriter tables(6 * 4096);
  tables.patch(0, (kPageTables + 0x1000) | kPresentWritable, 8);
  for (unsigned i = 0; i < 4; ++i)
    tables.patch(0x1000 + 8 * i, (kPageTables + 0x2000 + 0x1000 * i) | kPresentWritable, 8);
  for (uint64_t i = 0; i < 4 * 512; ++i)
    tables.patch(static_cast<size_t>(0x2000 + 8 * i), i << 21 | kPresentWritable | kLarge, 8);
  return {kPageTables, tables.take()};
}

}  // namespace understudy::emu
