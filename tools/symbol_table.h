// Symbols sorted by address: which one an address lies in, and where a name is. Names are not copied: whoever fills the
// table keeps their bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace understudy::tools {

struct Symbol {
  uint64_t address = 0;
  uint64_t end = 0;  // behind its last byte; 0: not known, it reaches to the next symbol, at most to `limit`
  uint64_t limit = 0;
  std::string_view name;
  bool code = false;
  bool global = false;
};

class SymbolTable {
 public:
  void add(const Symbol& symbol) { symbols_.push_back(symbol); }
  // After the last add(), before the first question.
  void sort();
  size_t size() const { return symbols_.size(); }

  // The innermost symbol that `address` lies in; nullptr for none. `code_only` leaves data out.
  const Symbol* at(uint64_t address, bool code_only) const;
  // A global symbol before a local one of the same name.
  std::optional<uint64_t> address_of(std::string_view name) const;

 private:
  std::vector<Symbol> symbols_;
  std::unordered_map<std::string_view, uint32_t> by_name_;
};

// Whether a symbol's name can be shown as it is: not empty, not too long, printable ASCII.
bool is_symbol_name(std::string_view name);

}  // namespace understudy::tools
