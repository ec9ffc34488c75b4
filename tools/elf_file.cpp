#include "tools/elf_file.h"

#include <dwarf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gelf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "tools/log_text.h"

namespace understudy::tools {

namespace {

// A kernel has some 200,000 symbols and 3,000 units of one or two ranges.
constexpr size_t kMostSymbols = 16u << 20;
constexpr size_t kMostUnits = 1u << 20;
constexpr size_t kMostRanges = 4u << 20;

}  // namespace

ElfFile::Descriptor::~Descriptor() {
  if (fd >= 0) close(fd);
}

bool ElfFile::is_elf(const std::string& path) {
  Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) throw SymbolError(fmt::format("{}: {}", path, std::strerror(errno)));
  struct stat status {};
  if (fstat(file.fd, &status) != 0 || !S_ISREG(status.st_mode))
    throw SymbolError(fmt::format("{}: not a regular file", path));
  char magic[SELFMAG];
  return pread(file.fd, magic, sizeof magic, 0) == sizeof magic && std::memcmp(magic, ELFMAG, SELFMAG) == 0;
}

ElfFile::ElfFile(const std::string& path) : path_(path) {
  elf_version(EV_CURRENT);
  file_.fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file_.fd < 0) throw SymbolError(fmt::format("{}: {}", path, std::strerror(errno)));
  elf_.reset(elf_begin(file_.fd, ELF_C_READ_MMAP, nullptr));
  GElf_Ehdr header;
  if (!elf_ || elf_kind(elf_.get()) != ELF_K_ELF || gelf_getehdr(elf_.get(), &header) == nullptr)
    throw SymbolError(fmt::format("{}: not an ELF file that can be read", path));
  if (header.e_machine != EM_386 && header.e_machine != EM_X86_64)
    throw SymbolError(fmt::format("{}: an ELF file for another CPU", path));
  // Objects and modules have their addresses only once they are loaded.
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN)
    throw SymbolError(fmt::format("{}: an ELF file without addresses: want an executable", path));
  dwarf_.reset(dwarf_begin_elf(elf_.get(), DWARF_C_READ, nullptr));
}

void ElfFile::add_symbols(SymbolTable& table) const {
  Elf_Scn* section = nullptr;
  while ((section = elf_nextscn(elf_.get(), section)) != nullptr) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || (header.sh_type != SHT_SYMTAB && header.sh_type != SHT_DYNSYM))
      continue;
    const size_t entry_bytes = gelf_fsize(elf_.get(), ELF_T_SYM, 1, EV_CURRENT);
    Elf_Data* const symbols = elf_getdata(section, nullptr);
    Elf_Scn* const string_section = elf_getscn(elf_.get(), header.sh_link);
    Elf_Data* const strings = string_section != nullptr ? elf_getdata(string_section, nullptr) : nullptr;
    if (entry_bytes == 0 || symbols == nullptr || symbols->d_buf == nullptr || strings == nullptr ||
        strings->d_buf == nullptr)
      continue;
    const std::string_view text(static_cast<const char*>(strings->d_buf), strings->d_size);
    for (size_t i = 1; i < symbols->d_size / entry_bytes; ++i) {
      GElf_Sym symbol;
      if (gelf_getsym(symbols, static_cast<int>(i), &symbol) == nullptr) break;
      const unsigned type = GELF_ST_TYPE(symbol.st_info);
      if (symbol.st_shndx == SHN_UNDEF || symbol.st_name >= text.size()) continue;
      if (type != STT_FUNC && type != STT_OBJECT && type != STT_NOTYPE && type != STT_GNU_IFUNC) continue;
      const size_t length = strnlen(text.data() + symbol.st_name, text.size() - symbol.st_name);
      const std::string_view name = text.substr(symbol.st_name, length);
      if (!is_symbol_name(name)) continue;
      Symbol made{symbol.st_value, 0, symbol.st_value, name, false, GELF_ST_BIND(symbol.st_info) != STB_LOCAL};
      GElf_Shdr home;
      if (symbol.st_shndx < SHN_LORESERVE && gelf_getshdr(elf_getscn(elf_.get(), symbol.st_shndx), &home) != nullptr) {
        if (!(home.sh_flags & SHF_ALLOC)) continue;
        made.code = (home.sh_flags & SHF_EXECINSTR) != 0;
        made.limit = home.sh_addr + home.sh_size;
        if (symbol.st_size != 0 && symbol.st_size <= ~symbol.st_value) made.end = symbol.st_value + symbol.st_size;
      } else if (symbol.st_shndx == SHN_ABS) {
        made.end = made.address;  // a number with a name: no address lies in it
      } else {
        continue;
      }
      if (table.size() >= kMostSymbols) throw SymbolError(fmt::format("{}: too many symbols", path_));
      table.add(made);
    }
    if (header.sh_type == SHT_SYMTAB) return;  // it has the dynamic ones, too
  }
}

void ElfFile::find_units() {
  units_found_ = true;
  if (!dwarf_) return;
  size_t units = 0;
  Dwarf_CU* unit = nullptr;
  Dwarf_Die die;
  while (units++ < kMostUnits && dwarf_get_units(dwarf_.get(), unit, &unit, nullptr, nullptr, &die, nullptr) == 0) {
    if (dwarf_tag(&die) != DW_TAG_compile_unit) continue;
    Dwarf_Addr base = 0, begin = 0, end = 0;
    ptrdiff_t at = 0;
    while (units_.size() < kMostRanges && (at = dwarf_ranges(&die, at, &base, &begin, &end)) > 0)
      if (begin < end) units_.push_back({begin, end, dwarf_dieoffset(&die)});
  }
  std::sort(units_.begin(), units_.end(), [](const Unit& a, const Unit& b) { return a.begin < b.begin; });
  for (const Unit& one : units_) widest_unit_ = std::max(widest_unit_, one.end - one.begin);
}

std::optional<SourceLine> ElfFile::line_at(uint64_t address) {
  constexpr unsigned kLookBack = 16;
  if (!units_found_) find_units();
  auto it = std::upper_bound(units_.begin(), units_.end(), address,
                             [](uint64_t value, const Unit& unit) { return value < unit.begin; });
  for (unsigned looked = 0; it != units_.begin() && looked < kLookBack; ++looked) {
    --it;
    if (address - it->begin >= widest_unit_) break;
    if (address >= it->end) continue;
    Dwarf_Die die;
    if (dwarf_offdie(dwarf_.get(), it->die, &die) == nullptr) continue;
    Dwarf_Line* const line = dwarf_getsrc_die(&die, address);
    const char* const file = line != nullptr ? dwarf_linesrc(line, nullptr, nullptr) : nullptr;
    SourceLine found;
    if (file == nullptr || dwarf_lineno(line, &found.line) != 0) continue;
    found.file = one_line(file);
    return found;
  }
  return std::nullopt;
}

}  // namespace understudy::tools
