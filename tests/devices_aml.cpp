#include <doctest/doctest.h>

#include <stdexcept>

#include "devices/acpi_resources.h"
#include "devices/aml.h"

using namespace understudy::devices::aml;

TEST_CASE("aml: integers take the shortest form") {
  CHECK(integer(0) == Bytes{0x00});
  CHECK(integer(1) == Bytes{0x01});
  CHECK(integer(2) == Bytes{0x0a, 2});
  CHECK(integer(0xff) == Bytes{0x0a, 0xff});
  CHECK(integer(0x100) == Bytes{0x0b, 0x00, 0x01});
  CHECK(integer(0x1ffff) == Bytes{0x0c, 0xff, 0xff, 0x01, 0x00});
  CHECK(integer(0x100000000) == Bytes{0x0e, 0, 0, 0, 0, 1, 0, 0, 0});
}

TEST_CASE("aml: names") {
  CHECK(path("ISA") == Bytes{'I', 'S', 'A', '_'});
  CHECK(path("\\_SB") == Bytes{'\\', '_', 'S', 'B', '_'});
  CHECK(path("^PCI0.ISA") == Bytes{'^', 0x2e, 'P', 'C', 'I', '0', 'I', 'S', 'A', '_'});
  CHECK(path("\\_SB.PCI0.ISA") == Bytes{'\\', 0x2f, 3, '_', 'S', 'B', '_', 'P', 'C', 'I', '0', 'I', 'S', 'A', '_'});
  CHECK(path("") == Bytes{0});
  CHECK_THROWS_AS(path("TOOLONG"), std::logic_error);
  // The specification's own example (EISAID macro) and the PCI bus.
  CHECK(eisa_id("PNP0C09") == Bytes{0x0c, 0x41, 0xd0, 0x0c, 0x09});
  CHECK(eisa_id("PNP0A03") == Bytes{0x0c, 0x41, 0xd0, 0x0a, 0x03});
  CHECK_THROWS_AS(eisa_id("PNP0G03"), std::logic_error);
  CHECK_THROWS_AS(eisa_id("PNP"), std::logic_error);
}

TEST_CASE("aml: a package length counts itself, in one to four bytes") {
  const auto head = [](size_t contents, size_t n) {
    const Bytes all = scope("A", {Bytes(contents)});
    CHECK(all.size() == 1 + n + 4 + contents);
    return Bytes(all.begin() + 1, all.begin() + 1 + static_cast<long>(n));
  };
  // The body is the four characters of the name and the contents.
  CHECK(head(0, 1) == Bytes{5});
  CHECK(head(58, 1) == Bytes{63});
  CHECK(head(59, 2) == Bytes{0x40 | (65 & 0xf), 65 >> 4});
  CHECK(head(4089, 2) == Bytes{0x40 | 0xf, 0xff});
  CHECK(head(4090, 3) == Bytes{0x80 | (4097 & 0xf), (4097 >> 4) & 0xff, 4097 >> 12});
  CHECK(head(1 << 20, 4) == Bytes{0xc0 | 8, 0x00, 0x00, 0x01});
}

TEST_CASE("aml: objects, definitions and statements") {
  CHECK(string("ab") == Bytes{0x0d, 'a', 'b', 0});
  CHECK(buffer({7, 8}) == Bytes{0x11, 5, 0x0a, 2, 7, 8});
  CHECK(package({integer(0), integer(5)}) == Bytes{0x12, 5, 2, 0x00, 0x0a, 5});
  CHECK(name("_UID", integer(1)) == Bytes{0x08, '_', 'U', 'I', 'D', 1});
  CHECK(device("D", {integer(1)}) == Bytes{0x5b, 0x82, 6, 'D', '_', '_', '_', 1});
  CHECK(method("M", 1, true, {give(arg(0))}) == Bytes{0x14, 8, 'M', '_', '_', '_', 0x09, 0xa4, 0x68});
  CHECK(when(bit_and(arg(0), integer(1)), {give(integer(0))}) == Bytes{0xa0, 7, 0x7b, 0x68, 1, 0, 0xa4, 0});
  CHECK(store(integer(1), arg(1)) == Bytes{0x70, 1, 0x69});
  CHECK(bit_or(arg(0), integer(1), arg(0)) == Bytes{0x7d, 0x68, 1, 0x68});
  CHECK(dword_field(arg(0), 5, "N") == Bytes{0x8a, 0x68, 0x0a, 5, 'N', '_', '_', '_'});
  CHECK(pci_config_region("R", 0x60, 4) == Bytes{0x5b, 0x80, 'R', '_', '_', '_', 2, 0x0a, 0x60, 0x0a, 4});
  CHECK(byte_fields("R", {"A", "B"}) ==
        Bytes{0x5b, 0x81, 16, 'R', '_', '_', '_', 1, 'A', '_', '_', '_', 8, 'B', '_', '_', '_', 8});
}

TEST_CASE("aml: resource descriptors") {
  CHECK(resource_template({}) == Bytes{0x11, 5, 0x0a, 2, 0x79, 0});
  CHECK(io_ports(0x3f8, 8) == Bytes{0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8});
  CHECK(irq(4) == Bytes{0x22, 0x10, 0});
  CHECK(irq(12) == Bytes{0x22, 0, 0x10});
  CHECK(dma_channel(2) == Bytes{0x2a, 4, 0});
  CHECK(level_interrupts({10}) == Bytes{0x89, 6, 0, 0x09, 1, 10, 0, 0, 0});
  CHECK(level_interrupts({1, 2})[1] == 10);
  // The link device's methods patch the number at this place.
  CHECK(level_interrupts({0xaabbccdd})[5] == 0xdd);
  CHECK(bus_window(0, 255) == Bytes{0x88, 13, 0, 2, 0x0c, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0, 1});
  CHECK(io_window(0xd00, 0xffff) == Bytes{0x88, 13, 0, 1, 0x0c, 3, 0, 0, 0, 0x0d, 0xff, 0xff, 0, 0, 0, 0xf3});
  const Bytes memory = memory_window(0xc0000000, 0xfebfffff, false);
  REQUIRE(memory.size() == 26);
  CHECK(memory[1] == 23);
  CHECK(Bytes(memory.begin() + 22, memory.end()) == Bytes{0x00, 0x00, 0xc0, 0x3e});
}
