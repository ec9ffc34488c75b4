#include "tools/symbols.h"

#include <fmt/format.h>

#include <charconv>
#include <fstream>

namespace understudy::tools {

namespace {

constexpr size_t kLargestMap = 256u << 20;

std::string read_map(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  char buffer[1u << 16];
  while (file.read(buffer, sizeof buffer), file.gcount() > 0) {
    text.append(buffer, static_cast<size_t>(file.gcount()));
    if (text.size() > kLargestMap) throw SymbolError(fmt::format("{}: too large for a list of symbols", path));
  }
  return text;
}

// Lines of `ffffffff81000000 T name`, perhaps with a module's name behind.
void add_map(const std::string& path, std::string_view text, SymbolTable& table) {
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty()) continue;
    uint64_t address = 0;
    const auto [behind, error] = std::from_chars(line.data(), line.data() + line.size(), address, 16);
    const auto at = static_cast<size_t>(behind - line.data());
    if (error != std::errc() || line.size() < at + 4 || line[at] != ' ' || line[at + 2] != ' ')
      throw SymbolError(
          fmt::format("{}: line {}: neither an ELF file nor a list of lines 'ADDRESS TYPE NAME'", path, number));
    const char type = line[at + 1];
    const std::string_view name = line.substr(at + 3, line.find_first_of(" \t", at + 3) - (at + 3));
    if (type == 'U' || type == 'a' || type == 'A' || !is_symbol_name(name)) continue;
    const bool code = type == 't' || type == 'T' || type == 'w' || type == 'W';
    table.add({address, 0, ~0ull, name, code, type >= 'A' && type <= 'Z'});
  }
}

}  // namespace

void Symbols::load(const std::string& path, uint64_t bias) {
  File file;
  file.bias = bias;
  if (ElfFile::is_elf(path)) {
    file.elf = std::make_unique<ElfFile>(path);
    file.elf->add_symbols(file.table);
  } else {
    file.text = std::make_unique<std::string>(read_map(path));
    add_map(path, *file.text, file.table);
    if (file.table.size() == 0) throw SymbolError(fmt::format("{}: no symbols in it", path));
  }
  file.table.sort();
  files_.push_back(std::move(file));
}

void Symbols::load_spec(const std::string& spec) {
  const size_t at = spec.rfind('@');
  if (at == std::string::npos) return load(spec);
  uint64_t bias = 0;
  std::string_view number = std::string_view(spec).substr(at + 1);
  const bool hex = number.starts_with("0x") || number.starts_with("0X");
  if (hex) number.remove_prefix(2);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), bias, hex ? 16 : 10);
  // A file's name may have an @ in it.
  if (number.empty() || error != std::errc() || end != number.data() + number.size()) return load(spec);
  load(spec.substr(0, at), bias);
}

std::optional<Symbols::Place> Symbols::at(uint64_t address, Kind kind) const {
  for (const File& file : files_)
    if (const Symbol* symbol = file.table.at(address - file.bias, kind == Kind::code))
      return Place{symbol->name, address - file.bias - symbol->address};
  return std::nullopt;
}

std::string Symbols::text_at(uint64_t address, Kind kind) const {
  const auto place = at(address, kind);
  if (!place) return "";
  return place->offset == 0 ? std::string(place->name) : fmt::format("{}+{:#x}", place->name, place->offset);
}

std::optional<SourceLine> Symbols::line_at(uint64_t address) {
  for (File& file : files_)
    if (file.elf != nullptr)
      if (auto line = file.elf->line_at(address - file.bias)) return line;
  return std::nullopt;
}

std::optional<uint64_t> Symbols::address_of(std::string_view name) const {
  for (const File& file : files_)
    if (const auto address = file.table.address_of(name)) return *address + file.bias;
  return std::nullopt;
}

}  // namespace understudy::tools
