// Names and source lines for a guest's addresses, out of any number of files: ELF executables (a kernel's vmlinux, our
// own firmware, a program), or a text of `address type name` lines as nm, System.map and /proc/kallsyms have. Addresses
// are linear. A file that was loaded elsewhere than it was linked for has a bias, which is added to its addresses.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/elf_file.h"
#include "tools/symbol_table.h"

namespace understudy::tools {

class Symbols {
 public:
  // Throws SymbolError, with the file's name.
  void load(const std::string& path, uint64_t bias = 0);
  // FILE or FILE@BIAS, as commands take it.
  void load_spec(const std::string& spec);
  bool empty() const { return files_.empty(); }

  struct Place {
    std::string_view name;
    uint64_t offset = 0;
  };
  enum class Kind : uint8_t { any, code };
  // What `address` lies in; the file that was loaded first goes first.
  std::optional<Place> at(uint64_t address, Kind kind = Kind::any) const;
  // `name+0x12`, `name`, or nothing.
  std::string text_at(uint64_t address, Kind kind = Kind::any) const;
  std::optional<SourceLine> line_at(uint64_t address);
  std::optional<uint64_t> address_of(std::string_view name) const;

 private:
  struct File {
    uint64_t bias = 0;
    std::unique_ptr<ElfFile> elf;       // either an ELF file, or
    std::unique_ptr<std::string> text;  // a map's text
    SymbolTable table;
  };
  std::vector<File> files_;
};

}  // namespace understudy::tools
