#include "devices/acpi_resources.h"

#include "emu/byte_writer.h"

namespace understudy::devices::aml {

namespace {
constexpr uint8_t kFixedBounds = 0x0c;  // minimum and maximum fixed, positive decode, producer

Bytes word_window(uint8_t type, uint8_t type_flags, uint16_t minimum, uint16_t maximum) {
  emu::ByteWriter d;
  d.u8(0x88).u16(13).u8(type).u8(kFixedBounds).u8(type_flags);
  d.u16(0).u16(minimum).u16(maximum).u16(0).u16(static_cast<uint16_t>(maximum - minimum + 1));
  return d.take();
}
}  // namespace

Bytes resource_template(std::initializer_list<Bytes> descriptors) {
  // End tag; a zero checksum counts as correct (6.4.2.9).
  return buffer(join({join(descriptors), {0x79, 0x00}}));
}

Bytes io_ports(uint16_t first, uint8_t length) {
  emu::ByteWriter d;
  d.u8(0x47).u8(1).u16(first).u16(first).u8(1).u8(length);
  return d.take();
}

Bytes irq(unsigned number) {
  emu::ByteWriter d;
  d.u8(0x22).u16(1u << number);
  return d.take();
}

Bytes dma_channel(unsigned number) {
  emu::ByteWriter d;
  d.u8(0x2a).u8(1u << number).u8(0);
  return d.take();
}

Bytes level_interrupts(std::initializer_list<uint32_t> numbers) {
  emu::ByteWriter d;
  d.u8(0x89).u16(2 + 4 * numbers.size()).u8(0x09).u8(numbers.size());  // consumer, level, high, shared
  for (const uint32_t number : numbers) d.u32(number);
  return d.take();
}

Bytes bus_window(uint16_t minimum, uint16_t maximum) { return word_window(2, 0, minimum, maximum); }
Bytes io_window(uint16_t minimum, uint16_t maximum) { return word_window(1, 3, minimum, maximum); }

Bytes memory_window(uint32_t minimum, uint32_t maximum, bool cacheable) {
  emu::ByteWriter d;
  d.u8(0x87).u16(23).u8(0).u8(kFixedBounds).u8(cacheable ? 3 : 1);
  d.u32(0).u32(minimum).u32(maximum).u32(0).u32(maximum - minimum + 1);
  return d.take();
}

}  // namespace understudy::devices::aml
