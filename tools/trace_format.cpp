#include "tools/trace_format.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

namespace understudy::tools {

namespace {

constexpr size_t kBytesWidth = 22, kTextWidth = 44, kShownInput = 32;
constexpr char kDigits[] = "0123456789abcdef";

void append_hex(std::string& out, uint64_t value, unsigned digits) {
  char text[16];
  for (unsigned i = digits; i-- > 0; value >>= 4) text[i] = kDigits[value & 15];
  out.append(text, digits);
}

void append_decimal(std::string& out, uint64_t value, size_t width = 0) {
  char text[20];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  const auto length = static_cast<size_t>(end - text);
  if (length < width) out.append(width - length, ' ');
  out.append(text, length);
}

// As a number: the last byte first.
void append_value(std::string& out, const MemoryTouch& touch) {
  for (unsigned i = touch.size; i-- > 0;) append_hex(out, touch.value[i], 2);
}

std::string hex_of(std::span<const uint8_t> bytes) { return fmt::format("{:02x}", fmt::join(bytes, "")); }

std::string exception_name(uint8_t vector) {
  static constexpr std::array<const char*, 20> kNames = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD",
                                                         "#NM", "#DF", "",    "#TS", "#NP", "#SS", "#GP",
                                                         "#PF", "",    "#MF", "#AC", "#MC", "#XM"};
  const std::string name = vector < kNames.size() ? kNames[vector] : "";
  return name.empty() ? fmt::format("exception {}", vector) : name;
}

bool has_error_code(const emu::Event& event) {
  return event.kind == emu::EventKind::exception && emu::has_error_code(event.vector);
}

bool has_address(const emu::Event& event) {
  return event.kind == emu::EventKind::exception && event.vector == emu::kVectorPf;
}

std::string quoted(const std::string& text) { return nlohmann::json(text).dump(); }

}  // namespace

std::string event_name(const emu::Event& event) {
  switch (event.kind) {
    case emu::EventKind::hardware:
      return event.vector == 2 ? "NMI" : fmt::format("interrupt {:#04x}", event.vector);
    case emu::EventKind::software_int:
      return fmt::format("INT {:#04x}", event.vector);
    case emu::EventKind::int3:
      return "INT3";
    case emu::EventKind::into:
      return "INTO";
    case emu::EventKind::icebp:
      return "INT1";
    case emu::EventKind::exception:
    case emu::EventKind::debug_trap:
      break;
  }
  return exception_name(event.vector);
}

// --- text

std::string TextTraceFormat::fixed_part(const DecodedInstruction& instruction, bool wide, uint64_t ip, uint64_t linear,
                                        Symbols& symbols) {
  std::string out =
      fmt::format("{:0{}x}  {:<{}}  {}", ip, wide ? 16 : 8,
                  hex_of(std::span(instruction.bytes).first(instruction.length)), kBytesWidth, instruction.text);
  const std::string symbol = symbols.text_at(linear, Symbols::Kind::code);
  const auto line = symbols.line_at(linear);
  if (symbol.empty() && !line && !aligned_) return out;
  const size_t want = (wide ? 16 : 8) + 2 + kBytesWidth + 2 + kTextWidth;
  if (out.size() < want) out.append(want - out.size(), ' ');
  if (symbol.empty() && !line) return out;
  out += "  <" + symbol;
  if (line) {
    if (!symbol.empty()) out += ' ';
    out += fmt::format("{}:{}", line->file.substr(line->file.rfind('/') + 1), line->line);
  }
  return out + '>';
}

void TextTraceFormat::begin_instruction(std::string& out, uint64_t icount, uint32_t cs, std::string_view fixed) {
  append_decimal(out, icount, 12);
  out += "  ";
  append_hex(out, cs, 4);
  out += ':';
  out += fixed;
}

void TextTraceFormat::begin_event(std::string& out, uint64_t icount, const emu::Event& event, uint64_t address) {
  append_decimal(out, icount, 12);
  out += "  -- ";
  out += event_name(event);
  if (event.kind == emu::EventKind::debug_trap) out += ", after the instruction";
  if (has_error_code(event)) out += fmt::format(", error code {:#06x}", event.error_code);
  if (has_address(event)) out += fmt::format(", address {:#x}", address);
}

void TextTraceFormat::begin_input(std::string& out, uint64_t icount, std::string_view channel,
                                  std::span<const uint8_t> bytes) {
  append_decimal(out, icount, 12);
  const auto shown = bytes.first(std::min(bytes.size(), kShownInput));
  out += fmt::format("  -- input {}, {} bytes: {:02x}{}", channel, bytes.size(), fmt::join(shown, " "),
                     shown.size() < bytes.size() ? " ..." : "");
}

void TextTraceFormat::begin_idle(std::string& out, uint64_t icount, uint64_t until_ns) {
  append_decimal(out, icount, 12);
  out += fmt::format("  -- halted until {}.{:09} s", until_ns / 1'000'000'000, until_ns % 1'000'000'000);
}

void TextTraceFormat::begin_reset(std::string& out, uint64_t icount) {
  append_decimal(out, icount, 12);
  out += "  -- reset";
}

void TextTraceFormat::changed(std::string& out, const char* name, uint64_t value, unsigned digits) {
  if (name != nullptr) {
    out += "  ";
    out += name;
    out += '=';
  }
  append_hex(out, value, digits);
}

void TextTraceFormat::touched(std::string& out, const MemoryTouch& touch, bool wide) {
  out += touch.write ? "  w" : "  r";
  append_decimal(out, touch.size);
  out += '[';
  append_hex(out, touch.address, wide ? 16 : 8);
  out += ']';
  if (!touch.known) return;
  out += '=';
  append_value(out, touch);
}

void TextTraceFormat::end(std::string& out, bool faulted) { out += faulted ? "  (faults)\n" : "\n"; }

// --- JSON

std::string JsonTraceFormat::fixed_part(const DecodedInstruction& instruction, bool wide, uint64_t ip, uint64_t linear,
                                        Symbols& symbols) {
  const int digits = wide ? 16 : 8;
  std::string out =
      fmt::format(R"("ip":"{:0{}x}","linear":"{:0{}x}","bytes":"{}","text":{})", ip, digits, linear, digits,
                  hex_of(std::span(instruction.bytes).first(instruction.length)), quoted(instruction.text));
  const std::string symbol = symbols.text_at(linear, Symbols::Kind::code);
  if (!symbol.empty()) out += fmt::format(R"(,"symbol":{})", quoted(symbol));
  if (const auto line = symbols.line_at(linear))
    out += fmt::format(R"(,"file":{},"line":{})", quoted(line->file), line->line);
  return out;
}

void JsonTraceFormat::begin_instruction(std::string& out, uint64_t icount, uint32_t cs, std::string_view fixed) {
  in_ = In::object;
  out += R"({"icount":)";
  append_decimal(out, icount);
  out += R"(,"cs":")";
  append_hex(out, cs, 4);
  out += "\",";
  out += fixed;
}

void JsonTraceFormat::begin_event(std::string& out, uint64_t icount, const emu::Event& event, uint64_t address) {
  static constexpr const char* kKinds[] = {"hardware", "software_int", "int3",      "into",
                                           "icebp",    "exception",    "debug_trap"};
  in_ = In::object;
  out += fmt::format(R"({{"icount":{},"event":"{}","vector":{})", icount, kKinds[static_cast<unsigned>(event.kind)],
                     event.vector);
  if (has_error_code(event)) out += fmt::format(R"(,"error_code":{})", event.error_code);
  if (has_address(event)) out += fmt::format(R"(,"address":"{:08x}")", address);
}

void JsonTraceFormat::begin_input(std::string& out, uint64_t icount, std::string_view channel,
                                  std::span<const uint8_t> bytes) {
  in_ = In::object;
  out += fmt::format(R"({{"icount":{},"event":"input","channel":{},"bytes":"{}")", icount, quoted(std::string(channel)),
                     hex_of(bytes));
}

void JsonTraceFormat::begin_idle(std::string& out, uint64_t icount, uint64_t until_ns) {
  in_ = In::object;
  out += fmt::format(R"({{"icount":{},"event":"halted","until_ns":{})", icount, until_ns);
}

void JsonTraceFormat::begin_reset(std::string& out, uint64_t icount) {
  in_ = In::object;
  out += fmt::format(R"({{"icount":{},"event":"reset")", icount);
}

void JsonTraceFormat::changed(std::string& out, const char* name, uint64_t value, unsigned digits) {
  if (name != nullptr) {
    out += in_ == In::object ? R"(,"regs":{")" : R"(",")";
    out += name;
    out += R"(":")";
    in_ = In::registers;
  }
  append_hex(out, value, digits);
}

void JsonTraceFormat::close_group(std::string& out) {
  if (in_ == In::registers) out += "\"}";
  if (in_ == In::memory) out += ']';
  in_ = In::object;
}

void JsonTraceFormat::touched(std::string& out, const MemoryTouch& touch, bool wide) {
  if (in_ == In::memory) {
    out += ',';
  } else {
    close_group(out);
    out += R"(,"mem":[)";
    in_ = In::memory;
  }
  out += touch.write ? R"({"op":"w","address":")" : R"({"op":"r","address":")";
  append_hex(out, touch.address, wide ? 16 : 8);
  out += R"(","size":)";
  append_decimal(out, touch.size);
  if (touch.known) {
    out += R"(,"value":")";
    append_value(out, touch);
    out += '"';
  }
  out += '}';
}

void JsonTraceFormat::end(std::string& out, bool faulted) {
  close_group(out);
  out += faulted ? ",\"faulted\":true}\n" : "}\n";
}

}  // namespace understudy::tools
