#include "tools/cmd_pack.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "tools/pack.h"

namespace understudy::tools {

namespace {

struct PackCommand {
  std::string directory, file;
  uint64_t max_mib = 64u << 10;
};

int pack(const PackCommand& command) {
  const PackSummary summary = pack_recording(command.directory, command.file);
  fmt::print("{}: {} files, {} bytes unpacked\n", command.file, summary.files, summary.bytes);
  return 0;
}

int unpack(const PackCommand& command) {
  const PackSummary summary = unpack_recording(command.file, command.directory, command.max_mib << 20);
  fmt::print("{}: {} files, {} bytes\n", command.directory, summary.files, summary.bytes);
  return 0;
}

}  // namespace

void add_pack_commands(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto command = std::make_shared<PackCommand>();
  CLI::App* into = app.add_subcommand(
      "pack", "Put a recording, with the images that its machine is built from, into one file (a tar.zst)");
  into->add_option("DIR", command->directory, "The recording")->required();
  into->add_option("FILE", command->file, "The file to make")->required();
  into->callback([command, then] { then([command] { return pack(*command); }); });
  CLI::App* out = app.add_subcommand("unpack", "Make a recording out of a packed one, and check all of it");
  out->add_option("FILE", command->file, "What `pack` made")->required();
  out->add_option("DIR", command->directory, "Where the recording goes: a new or empty folder")->required();
  out->add_option("--max-mib", command->max_mib, "Refuse one that would take more than this")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 40))
      ->capture_default_str();
  out->callback([command, then] { then([command] { return unpack(*command); }); });
}

}  // namespace understudy::tools
