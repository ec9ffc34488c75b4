// An ELF file's symbols and source lines, by elfutils. The file may be anything: what is wrong with it is an error of
// one line, and what cannot be read of it is as if it were not there.
#pragma once

#include <elfutils/libdw.h>
#include <libelf.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tools/symbol_table.h"

namespace understudy::tools {

class SymbolError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct SourceLine {
  std::string file;
  int line = 0;
  bool operator==(const SourceLine&) const = default;
};

class ElfFile {
 public:
  // Throws SymbolError.
  explicit ElfFile(const std::string& path);

  static bool is_elf(const std::string& path);
  // The names live as long as this object.
  void add_symbols(SymbolTable& table) const;
  std::optional<SourceLine> line_at(uint64_t address);

 private:
  struct Unit {
    uint64_t begin, end;
    Dwarf_Off die;
  };
  void find_units();

  struct Close {
    void operator()(Elf* elf) const { elf_end(elf); }
    void operator()(Dwarf* dwarf) const { dwarf_end(dwarf); }
  };
  struct Descriptor {
    ~Descriptor();
    int fd = -1;
  };
  std::string path_;
  Descriptor file_;
  std::unique_ptr<Elf, Close> elf_;
  std::unique_ptr<Dwarf, Close> dwarf_;
  bool units_found_ = false;
  std::vector<Unit> units_;  // by their first address
  uint64_t widest_unit_ = 0;
};

}  // namespace understudy::tools
