#include "tools/symbol_table.h"

#include <algorithm>
#include <tuple>

namespace understudy::tools {

namespace {

constexpr size_t kLongestName = 1024;
// How many symbols that begin before an address but do not reach it are looked past.
constexpr size_t kLookBack = 64;

}  // namespace

bool is_symbol_name(std::string_view name) {
  return !name.empty() && name.size() <= kLongestName &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

void SymbolTable::sort() {
  // Of several at one address the last one is found first: the global one, and of these the one of known size.
  const auto rank = [](const Symbol& s) { return std::tuple(s.address, s.global, s.end != 0); };
  std::stable_sort(symbols_.begin(), symbols_.end(),
                   [&](const Symbol& a, const Symbol& b) { return rank(a) < rank(b); });
  // One without a size ends where the next of its kind begins.
  uint64_t next_address[2] = {~0ull, ~0ull}, after[2] = {~0ull, ~0ull};
  for (size_t i = symbols_.size(); i-- > 0;) {
    Symbol& symbol = symbols_[i];
    const unsigned kind = symbol.code;
    if (symbol.address != next_address[kind]) {
      after[kind] = next_address[kind];
      next_address[kind] = symbol.address;
    }
    if (symbol.end == 0) symbol.end = std::min(symbol.limit, after[kind]);
  }
  by_name_.reserve(symbols_.size());
  for (uint32_t i = 0; i < symbols_.size(); ++i) {
    const auto [found, fresh] = by_name_.emplace(symbols_[i].name, i);
    if (!fresh && symbols_[i].global && !symbols_[found->second].global) found->second = i;
  }
}

const Symbol* SymbolTable::at(uint64_t address, bool code_only) const {
  auto it = std::upper_bound(symbols_.begin(), symbols_.end(), address,
                             [](uint64_t value, const Symbol& symbol) { return value < symbol.address; });
  for (size_t looked = 0; it != symbols_.begin() && looked < kLookBack; ++looked) {
    --it;
    if (address < it->end && (it->code || !code_only)) return &*it;
  }
  return nullptr;
}

std::optional<uint64_t> SymbolTable::address_of(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return std::nullopt;
  return symbols_[found->second].address;
}

}  // namespace understudy::tools
