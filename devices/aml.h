// Writes ACPI Machine Language (ACPI 6.4, chapter 20: the grammar's names are used here) without an ASL compiler: each
// function returns the bytes of one construct, and nesting calls nests constructs. Only what the PC's DSDT needs.
// Names are ASL paths ("\\_SB.PCI0"); segments shorter than four characters are padded with '_'.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace understudy::devices::aml {

using Bytes = std::vector<uint8_t>;

Bytes join(std::initializer_list<Bytes> parts);

// Data objects.
Bytes integer(uint64_t value);
Bytes eisa_id(std::string_view id);  // "PNP0A03"; exactly three letters and four hexadecimal digits
Bytes string(std::string_view text);
Bytes buffer(const Bytes& contents);
Bytes package(const std::vector<Bytes>& elements);

// Names and arguments.
Bytes path(std::string_view name);
Bytes arg(unsigned number);

// Definitions.
Bytes name(std::string_view path, const Bytes& value);
Bytes scope(std::string_view path, std::initializer_list<Bytes> body);
Bytes device(std::string_view path, std::initializer_list<Bytes> body);
Bytes method(std::string_view path, unsigned args, bool serialized, std::initializer_list<Bytes> body);
Bytes pci_config_region(std::string_view path, uint64_t offset, uint64_t length);
// Byte-access, no lock, preserve; consecutive fields of eight bits.
Bytes byte_fields(std::string_view region, std::initializer_list<std::string_view> names);

// Statements and expressions.
Bytes store(const Bytes& value, const Bytes& target);
Bytes bit_and(const Bytes& a, const Bytes& b);
Bytes bit_or(const Bytes& a, const Bytes& b, const Bytes& target);
Bytes when(const Bytes& condition, std::initializer_list<Bytes> body);
Bytes give(const Bytes& value);  // Return
Bytes dword_field(const Bytes& buffer, uint64_t byte_index, std::string_view name);

}  // namespace understudy::devices::aml
