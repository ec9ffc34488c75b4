// ACPI resource descriptors (ACPI 6.4, section 6.4): what a device's _CRS and _PRS list. A template is the descriptors
// in a row, closed by resource_template() and wrapped into an AML buffer.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "devices/aml.h"

namespace understudy::devices::aml {

Bytes resource_template(std::initializer_list<Bytes> descriptors);

Bytes io_ports(uint16_t first, uint8_t length);                   // 6.4.2.5, decodes 16 bits, fixed
Bytes irq(unsigned number);                                       // 6.4.2.1, edge, active high, exclusive
Bytes dma_channel(unsigned number);                               // 6.4.2.2, compatibility, 8 bit
Bytes level_interrupts(std::initializer_list<uint32_t> numbers);  // 6.4.3.6, level, active high, shared

// 6.4.3.5, windows that a bridge passes on: minimum to maximum, both inclusive.
Bytes bus_window(uint16_t minimum, uint16_t maximum);
Bytes io_window(uint16_t minimum, uint16_t maximum);
Bytes memory_window(uint32_t minimum, uint32_t maximum, bool cacheable);

}  // namespace understudy::devices::aml
