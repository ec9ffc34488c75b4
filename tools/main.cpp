// The `understudy` command.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>

#include "devices/host_disk_image.h"
#include "devices/host_nbd.h"
#include "emu/boot_plan.h"
#include "emu/snapshot_file.h"
#include "ftlog/arbiter.h"
#include "ftlog/channel_socket.h"
#include "ftlog/curve_keys.h"
#include "ftlog/log_error.h"
#include "ftlog/recording.h"
#include "primary/hub_link.h"
#include "tools/cmd_arbiter.h"
#include "tools/cmd_backup.h"
#include "tools/cmd_ctl.h"
#include "tools/cmd_debug.h"
#include "tools/cmd_diff.h"
#include "tools/cmd_hub.h"
#include "tools/cmd_keys.h"
#include "tools/cmd_log.h"
#include "tools/cmd_pack.h"
#include "tools/cmd_primary.h"
#include "tools/cmd_record.h"
#include "tools/cmd_recover.h"
#include "tools/cmd_replay.h"
#include "tools/cmd_resume.h"
#include "tools/cmd_run.h"
#include "tools/cmd_status.h"
#include "tools/cmd_timeline.h"
#include "tools/cmd_trace.h"
#include "tools/control_socket.h"
#include "tools/run_session.h"
#include "tools/serial_backend.h"
#include "tools/symbols.h"

using namespace understudy;

namespace {

int report(int code, const std::exception& error) {
  fmt::print(stderr, "understudy: {}\n", error.what());
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Understudy: a deterministic x86 PC in user space.");
  app.name("understudy");
  app.set_version_flag("--version", UNDERSTUDY_VERSION);
  app.require_subcommand(1);
  app.footer("`understudy SUBCOMMAND --help` explains a subcommand.");
  std::function<int()> chosen;
  const auto then = [&chosen](std::function<int()> carry_out) { chosen = std::move(carry_out); };
  tools::add_run_command(app, then);
  tools::add_record_command(app, then);
  tools::add_replay_command(app, then);
  tools::add_resume_command(app, then);
  tools::add_debug_command(app, then);
  tools::add_log_command(app, then);
  tools::add_pack_commands(app, then);
  tools::add_trace_command(app, then);
  tools::add_hub_command(app, then);
  tools::add_primary_command(app, then);
  tools::add_backup_command(app, then);
  tools::add_recover_command(app, then);
  tools::add_status_command(app, then);
  tools::add_diff_command(app, then);
  tools::add_ctl_command(app, then);
  tools::add_timeline_command(app, then);
  tools::add_keys_command(app, then);
  tools::add_arbiter_command(app, then);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : tools::exit_code::kUsage;
  } catch (const tools::UsageError& error) {
    return report(tools::exit_code::kUsage, error);
  }
  try {
    return chosen();
  } catch (const tools::UsageError& error) {
    return report(tools::exit_code::kUsage, error);
  } catch (const ftlog::KeyError& error) {
    return report(tools::exit_code::kUsage, error);
  } catch (const ftlog::ArbiterError& error) {
    return report(tools::exit_code::kUsage, error);
  } catch (const ftlog::ChannelError& error) {
    return report(tools::exit_code::kUsage, error);
  } catch (const primary::HubLinkError& error) {
    return report(tools::exit_code::kUsage, error);
  } catch (const emu::BootError& error) {
    return report(tools::exit_code::kUsage, error);
  } catch (const devices::NbdError& error) {
    return report(tools::exit_code::kUsage, error);
  } catch (const devices::DiskHostError& error) {
    return report(tools::exit_code::kInternal, error);
  } catch (const devices::DiskImageError& error) {
    return report(tools::exit_code::kUsage, error);
  } catch (const tools::SymbolError& error) {
    return report(tools::exit_code::kUsage, error);
  } catch (const emu::SnapshotError& error) {
    return report(tools::exit_code::kUsage, error);
  } catch (const ftlog::RecordingError& error) {
    return report(tools::exit_code::kUsage, error);
  } catch (const tools::ControlError& error) {
    return report(tools::exit_code::kUsage, error);
  } catch (const ftlog::LogError& error) {
    return report(tools::exit_code::kDamaged, error);
  } catch (const std::exception& error) {
    return report(tools::exit_code::kInternal, error);
  }
}
