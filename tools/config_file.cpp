#include "tools/config_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "tools/serial_backend.h"

namespace understudy::tools {

namespace {

constexpr std::array<const char*, 4> kRoles{"hub", "primary", "backup", "recover"};
// The roles' sections are in one table: `hub` is an option, too.
constexpr std::string_view kRolesKey = "role";
// The way to boot something has no dashes, and its name is not an option's.
constexpr std::string_view kImageKey = "image", kImagePositional = "IMAGE";

class ConfigFile {
 public:
  ConfigFile(CLI::App& command, const std::string& path) : command_(command), path_(path) {}

  void apply() {
    toml::table table;
    try {
      table = toml::parse_file(path_);
    } catch (const toml::parse_error& error) {
      if (error.source().begin.line == 0) throw UsageError(fmt::format("--config {}: {}", path_, error.description()));
      fail(error.source(), std::string(error.description()));
    }
    // The role's own section first: what is said there is said already when the rest is looked at.
    if (const toml::table* roles = table[kRolesKey].as_table()) {
      for (const auto& [key, node] : *roles) {
        const toml::table* section = node.as_table();
        if (section == nullptr) fail(key.source(), fmt::format("want a section [{}.{}]", kRolesKey, key.str()));
        apply_section(key, *section);
      }
    }
    for (const auto& [key, node] : table)
      if (key != kRolesKey || !node.is_table()) apply_common(key, node);
  }

 private:
  [[noreturn]] void fail(const toml::source_region& where, const std::string& what) const {
    throw UsageError(fmt::format("{}:{}: {}", path_, where.begin.line, what));
  }

  static CLI::Option* find(CLI::App& role, std::string_view key) {
    if (key == "config" || key == "help") return nullptr;
    if (key == kImageKey) return role.get_option_no_throw(std::string(kImagePositional));
    return role.get_option_no_throw(fmt::format("--{}", key));
  }

  CLI::App* role_named(const std::string& name) const {
    if (name == command_.get_name()) return &command_;
    CLI::App* all = command_.get_parent();
    if (all == nullptr) return nullptr;
    const auto named = all->get_subcommands([&name](CLI::App* one) { return one->get_name() == name; });
    return named.empty() ? nullptr : named.front();
  }

  void apply_section(const toml::key& key, const toml::table& section) {
    const std::string name(key.str());
    if (std::find(kRoles.begin(), kRoles.end(), name) == kRoles.end())
      fail(key.source(),
           fmt::format("there is no section [{}.{}]: the roles are {}", kRolesKey, name, fmt::join(kRoles, ", ")));
    CLI::App* role = role_named(name);
    if (role == nullptr) return;
    for (const auto& [option, node] : section) {
      if (find(*role, option.str()) == nullptr)
        fail(option.source(),
             fmt::format("'{}' is no option of understudy {}: see its --help, and leave out the dashes", option.str(),
                         name));
      if (role == &command_) give(*find(command_, option.str()), option, node);
    }
  }

  void apply_common(const toml::key& key, const toml::node& node) {
    if (CLI::Option* option = find(command_, key.str())) return give(*option, key, node);
    const bool of_another = std::any_of(kRoles.begin(), kRoles.end(), [&](const char* name) {
      CLI::App* role = role_named(name);
      return role != nullptr && find(*role, key.str()) != nullptr;
    });
    if (!of_another)
      fail(key.source(),
           fmt::format("'{}' is no option of any role: see understudy {} --help, and leave out the dashes", key.str(),
                       command_.get_name()));
  }

  std::string text_of(const toml::key& key, const toml::node& node) const {
    if (const auto text = node.value_exact<std::string>()) return *text;
    if (const auto number = node.value_exact<int64_t>()) return fmt::format("{}", *number);
    if (const auto number = node.value_exact<double>()) return fmt::format("{}", *number);
    if (const auto flag = node.value_exact<bool>()) return *flag ? "true" : "false";
    fail(node.source(), fmt::format("{}: want text, a number, true or false, or a list of these", key.str()));
  }

  void give(CLI::Option& option, const toml::key& key, const toml::node& node) {
    if (option.count() != 0) return;
    const bool is_flag = option.get_expected_min() == 0;
    if (is_flag && !node.is_boolean()) fail(node.source(), fmt::format("{}: want true or false", key.str()));
    try {
      if (const toml::array* list = node.as_array()) {
        for (const toml::node& element : *list) option.add_result(text_of(key, element));
      } else if (is_flag) {
        option.add_result(option.get_flag_value(std::string(key.str()), text_of(key, node)));
      } else {
        option.add_result(text_of(key, node));
      }
      if (option.count() != 0) option.run_callback();
    } catch (const CLI::Error& error) {
      fail(node.source(), error.what());
    }
  }

  CLI::App& command_;
  const std::string& path_;
};

}  // namespace

void add_config_option(CLI::App& command) {
  command
      .add_option_function<std::string>(
          "--config", [&command](const std::string& path) { ConfigFile(command, path).apply(); },
          "Options from a TOML file, where a key is an option without its dashes (an IMAGE's is image): before any "
          "section for every role that has it, in [role.hub], [role.primary], [role.backup] or [role.recover] for that "
          "one; what the command line says goes before it")
      ->type_name("FILE");
}

}  // namespace understudy::tools
