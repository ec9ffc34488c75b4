#include "tools/cmd_keys.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "ftlog/curve_keys.h"

namespace understudy::tools {

namespace {

struct KeysCommand {
  std::string name, directory, file;
};

int make(const KeysCommand& command) {
  const ftlog::CurveKeyPair keys = ftlog::generate_keys();
  const ftlog::KeyFiles files = ftlog::write_key_files(command.directory, command.name, keys);
  fmt::print("{}: keep it here, give it as --key\n{}: give it to the nodes that talk to this one, as --peer\n",
             files.secret_file, files.public_file);
  return 0;
}

int show(const KeysCommand& command) {
  fmt::print("{}\n", ftlog::load_public_file(command.file));
  return 0;
}

}  // namespace

void add_keys_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto options = std::make_shared<KeysCommand>();
  CLI::App* command = app.add_subcommand("keys", "Make the keys by which nodes know each other, or show one");
  command->require_subcommand(1);
  command->footer(
      "Each node (hub, primary, backup) has a pair of its own. Example:\n"
      "  understudy keys new hub; understudy keys new left\n"
      "  understudy hub --key hub.secret --peer left.public ...");
  CLI::App* create =
      command->add_subcommand("new", "Make a pair: NAME.secret, which only you can read, and NAME.public");
  create->add_option("NAME", options->name, "The files' name without its end")->required();
  create->add_option("--dir", options->directory, "Put them into this folder")->check(CLI::ExistingDirectory);
  create->callback([options, then] { then([options] { return make(*options); }); });
  CLI::App* print = command->add_subcommand("show", "Check a key file and print its public key");
  print->add_option("FILE", options->file, "A .public or .secret file")->required();
  print->callback([options, then] { then([options] { return show(*options); }); });
}

}  // namespace understudy::tools
