#include "devices/aml.h"

#include <stdexcept>

namespace understudy::devices::aml {

namespace {

constexpr uint8_t kExtended = 0x5b;

void append(Bytes& to, const Bytes& from) { to.insert(to.end(), from.begin(), from.end()); }

// PkgLength counts its own bytes (section 20.2.4).
Bytes with_length(Bytes opcode, const Bytes& body) {
  const size_t size = body.size();
  if (size + 1 < 0x40) {
    opcode.push_back(static_cast<uint8_t>(size + 1));
  } else {
    const unsigned extra = size + 2 < 0x1000 ? 1 : size + 3 < 0x100000 ? 2 : 3;
    const size_t total = size + 1 + extra;
    opcode.push_back(static_cast<uint8_t>(extra << 6 | (total & 0xf)));
    for (unsigned i = 0; i < extra; ++i) opcode.push_back(static_cast<uint8_t>(total >> (4 + 8 * i)));
  }
  append(opcode, body);
  return opcode;
}

Bytes little_endian(uint8_t opcode, uint64_t value, unsigned width) {
  Bytes out{opcode};
  for (unsigned i = 0; i < width; ++i) out.push_back(static_cast<uint8_t>(value >> (8 * i)));
  return out;
}

Bytes segment(std::string_view text) {
  if (text.empty() || text.size() > 4) throw std::logic_error("aml: bad name segment");
  Bytes out(text.begin(), text.end());
  out.resize(4, '_');
  return out;
}

unsigned hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
  throw std::logic_error("aml: bad EISA id");
}

}  // namespace

Bytes join(std::initializer_list<Bytes> parts) {
  Bytes out;
  for (const Bytes& part : parts) append(out, part);
  return out;
}

Bytes integer(uint64_t value) {
  if (value <= 1) return {static_cast<uint8_t>(value)};  // ZeroOp, OneOp
  if (value <= 0xff) return little_endian(0x0a, value, 1);
  if (value <= 0xffff) return little_endian(0x0b, value, 2);
  if (value <= 0xffffffff) return little_endian(0x0c, value, 4);
  return little_endian(0x0e, value, 8);
}

Bytes eisa_id(std::string_view id) {
  if (id.size() != 7) throw std::logic_error("aml: bad EISA id");
  unsigned letters = 0;
  for (int i = 0; i < 3; ++i) letters = letters << 5 | (static_cast<unsigned>(id[static_cast<size_t>(i)] - '@') & 0x1f);
  const unsigned product = hex_digit(id[3]) << 12 | hex_digit(id[4]) << 8 | hex_digit(id[5]) << 4 | hex_digit(id[6]);
  // Both halves are big-endian within the doubleword (section 19.3.4, EISAID).
  return {0x0c, static_cast<uint8_t>(letters >> 8), static_cast<uint8_t>(letters), static_cast<uint8_t>(product >> 8),
          static_cast<uint8_t>(product)};
}

Bytes string(std::string_view text) {
  Bytes out{0x0d};
  out.insert(out.end(), text.begin(), text.end());
  out.push_back(0);
  return out;
}

Bytes buffer(const Bytes& contents) { return with_length({0x11}, join({integer(contents.size()), contents})); }

Bytes package(const std::vector<Bytes>& elements) {
  if (elements.size() > 255) throw std::logic_error("aml: package too long");
  Bytes body{static_cast<uint8_t>(elements.size())};
  for (const Bytes& element : elements) append(body, element);
  return with_length({0x12}, body);
}

Bytes path(std::string_view text) {
  Bytes out;
  while (!text.empty() && (text[0] == '\\' || text[0] == '^')) {
    out.push_back(static_cast<uint8_t>(text[0]));
    text.remove_prefix(1);
  }
  std::vector<Bytes> segments;
  while (!text.empty()) {
    const size_t dot = text.find('.');
    segments.push_back(segment(text.substr(0, dot)));
    text.remove_prefix(dot == std::string_view::npos ? text.size() : dot + 1);
  }
  if (segments.empty()) out.push_back(0);
  if (segments.size() == 2) out.push_back(0x2e);
  if (segments.size() > 2) append(out, {0x2f, static_cast<uint8_t>(segments.size())});
  for (const Bytes& s : segments) append(out, s);
  return out;
}

Bytes arg(unsigned number) { return {static_cast<uint8_t>(0x68 + number)}; }

Bytes name(std::string_view what, const Bytes& value) { return join({{0x08}, path(what), value}); }

Bytes scope(std::string_view where, std::initializer_list<Bytes> body) {
  return with_length({0x10}, join({path(where), join(body)}));
}

Bytes device(std::string_view what, std::initializer_list<Bytes> body) {
  return with_length({kExtended, 0x82}, join({path(what), join(body)}));
}

Bytes method(std::string_view what, unsigned args, bool serialized, std::initializer_list<Bytes> body) {
  const auto flags = static_cast<uint8_t>(args | (serialized ? 8u : 0u));
  return with_length({0x14}, join({path(what), {flags}, join(body)}));
}

Bytes pci_config_region(std::string_view what, uint64_t offset, uint64_t length) {
  return join({{kExtended, 0x80}, path(what), {0x02}, integer(offset), integer(length)});
}

Bytes byte_fields(std::string_view region, std::initializer_list<std::string_view> names) {
  Bytes body = join({path(region), {0x01}});
  for (const std::string_view field : names) append(body, join({segment(field), {8}}));
  return with_length({kExtended, 0x81}, body);
}

Bytes store(const Bytes& value, const Bytes& target) { return join({{0x70}, value, target}); }
Bytes bit_and(const Bytes& a, const Bytes& b) { return join({{0x7b}, a, b, {0x00}}); }
Bytes bit_or(const Bytes& a, const Bytes& b, const Bytes& target) { return join({{0x7d}, a, b, target}); }
Bytes when(const Bytes& condition, std::initializer_list<Bytes> body) {
  return with_length({0xa0}, join({condition, join(body)}));
}
Bytes give(const Bytes& value) { return join({{0xa4}, value}); }
Bytes dword_field(const Bytes& from, uint64_t byte_index, std::string_view what) {
  return join({{0x8a}, from, integer(byte_index), path(what)});
}

}  // namespace understudy::devices::aml
