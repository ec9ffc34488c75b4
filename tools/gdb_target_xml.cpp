#include "tools/gdb_target_xml.h"

#include <fmt/format.h>

#include <span>

namespace understudy::tools {

namespace {

using Feature = GdbRegister::Feature;

struct Field {
  const char* name;
  unsigned first, last;
};

constexpr Field kEflags[] = {{"CF", 0, 0},    {"", 1, 1},     {"PF", 2, 2},   {"AF", 4, 4},   {"ZF", 6, 6},
                             {"SF", 7, 7},    {"TF", 8, 8},   {"IF", 9, 9},   {"DF", 10, 10}, {"OF", 11, 11},
                             {"NT", 14, 14},  {"RF", 16, 16}, {"VM", 17, 17}, {"AC", 18, 18}, {"VIF", 19, 19},
                             {"VIP", 20, 20}, {"ID", 21, 21}};
constexpr Field kMxcsr[] = {{"IE", 0, 0},   {"DE", 1, 1},   {"ZE", 2, 2},   {"OE", 3, 3},  {"UE", 4, 4},
                            {"PE", 5, 5},   {"DAZ", 6, 6},  {"IM", 7, 7},   {"DM", 8, 8},  {"ZM", 9, 9},
                            {"OM", 10, 10}, {"UM", 11, 11}, {"PM", 12, 12}, {"FZ", 15, 15}};
constexpr Field kCr0[] = {{"PE", 0, 0},   {"MP", 1, 1},   {"EM", 2, 2},   {"TS", 3, 3},   {"ET", 4, 4},  {"NE", 5, 5},
                          {"WP", 16, 16}, {"AM", 18, 18}, {"NW", 29, 29}, {"CD", 30, 30}, {"PG", 31, 31}};
constexpr Field kCr4[] = {{"VME", 0, 0}, {"PVI", 1, 1},    {"TSD", 2, 2},         {"DE", 3, 3},
                          {"PSE", 4, 4}, {"PAE", 5, 5},    {"MCE", 6, 6},         {"PGE", 7, 7},
                          {"PCE", 8, 8}, {"OSFXSR", 9, 9}, {"OSXMMEXCPT", 10, 10}};
constexpr Field kEfer[] = {{"SCE", 0, 0}, {"LME", 8, 8}, {"LMA", 10, 10}, {"NXE", 11, 11}};

std::string flags_type(const char* id, unsigned bytes, std::span<const Field> fields) {
  std::string text = fmt::format("    <flags id=\"{}\" size=\"{}\">\n", id, bytes);
  for (const Field& field : fields)
    text += fmt::format("      <field name=\"{}\" start=\"{}\" end=\"{}\"/>\n", field.name, field.first, field.last);
  return text + "    </flags>\n";
}

std::string vector_type() {
  struct Part {
    const char* id;
    const char* type;
    const char* field;
    unsigned count;
  };
  constexpr Part kParts[] = {{"v4f", "ieee_single", "v4_float", 4}, {"v2d", "ieee_double", "v2_double", 2},
                             {"v16i8", "int8", "v16_int8", 16},     {"v8i16", "int16", "v8_int16", 8},
                             {"v4i32", "int32", "v4_int32", 4},     {"v2i64", "int64", "v2_int64", 2}};
  std::string text;
  for (const Part& part : kParts)
    text += fmt::format("    <vector id=\"{}\" type=\"{}\" count=\"{}\"/>\n", part.id, part.type, part.count);
  text += "    <union id=\"vec128\">\n";
  for (const Part& part : kParts) text += fmt::format("      <field name=\"{}\" type=\"{}\"/>\n", part.field, part.id);
  return text + "      <field name=\"uint128\" type=\"uint128\"/>\n    </union>\n";
}

struct FeatureText {
  Feature feature;
  const char* name;
  std::string types;
};

std::string document(GdbWidth width) {
  const unsigned word = width == GdbWidth::bits64 ? 8 : 4;
  const FeatureText features[] = {
      {Feature::core, "org.gnu.gdb.i386.core", flags_type("i386_eflags", 4, kEflags)},
      {Feature::sse, "org.gnu.gdb.i386.sse", vector_type() + flags_type("i386_mxcsr", 4, kMxcsr)},
      {Feature::segments, "org.gnu.gdb.i386.segments", {}},
      {Feature::system, "org.understudy.system",
       flags_type("cr0_flags", word, kCr0) + flags_type("cr4_flags", word, kCr4) +
           flags_type("efer_flags", word, kEfer)}};
  std::string text = fmt::format(
      "<?xml version=\"1.0\"?>\n"
      "<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
      "<target version=\"1.0\">\n"
      "  <architecture>{}</architecture>\n"
      "  <osabi>none</osabi>\n",
      architecture_name(width));
  const std::vector<GdbRegister>& registers = registers_of(width);
  for (const FeatureText& feature : features) {
    std::string lines;
    for (size_t number = 0; number < registers.size(); ++number) {
      const GdbRegister& reg = registers[number];
      if (reg.feature != feature.feature) continue;
      lines += fmt::format("    <reg name=\"{}\" bitsize=\"{}\" type=\"{}\" regnum=\"{}\"{}/>\n", reg.name, reg.bits,
                           reg.type, number, reg.group == nullptr ? "" : fmt::format(" group=\"{}\"", reg.group));
    }
    if (!lines.empty())
      text += fmt::format("  <feature name=\"{}\">\n{}{}  </feature>\n", feature.name, feature.types, lines);
  }
  return text + "</target>\n";
}

}  // namespace

const std::string& target_xml(GdbWidth width) {
  static const std::string documents[] = {document(GdbWidth::bits16), document(GdbWidth::bits32),
                                          document(GdbWidth::bits64)};
  return documents[static_cast<unsigned>(width)];
}

}  // namespace understudy::tools
