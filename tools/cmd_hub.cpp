#include "tools/cmd_hub.h"

#include <fmt/format.h>
#include <sys/signalfd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <system_error>

#include "devices/host_fd.h"
#include "ftlog/short_slice.h"
#include "tools/config_file.h"
#include "tools/hub_server.h"
#include "tools/key_options.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

namespace {

struct HubCommand {
  HubOptions hub;
  KeyOptions keys;
};

// Readable when the process is asked to end. Before there are threads, so that none takes the signal.
devices::HostFd signals_as_input() {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t ends;
  sigemptyset(&ends);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ends, signal);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  devices::HostFd fd(::signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) throw std::system_error(errno, std::generic_category(), "signalfd");
  return fd;
}

int run(HubCommand command) {
  // Each frame and console byte passes through it, and somebody waits.
  const ftlog::ShortSlice slice;
  const devices::HostFd stop = signals_as_input();
  command.hub.keys = load_keys(command.keys);
  for (const std::string& address : {command.hub.listen, command.hub.control})
    if (!address.empty()) ftlog::check_address(address, command.keys.has_keys(), command.keys.insecure);
  if (command.hub.keys && command.hub.keys->peers.empty())
    throw UsageError("--key needs --peer for each node that may come: without any, nobody is let in");
  HubServer hub(command.hub);
  fmt::print(stderr, "understudy: hub at {}{}\n", hub.endpoint(),
             command.hub.control.empty() ? "" : ", control at " + hub.control_endpoint());
  hub.run(stop.get());
  return 0;
}

}  // namespace

void add_hub_command(CLI::App& app, const std::function<void(std::function<int()>)>& then) {
  auto options = std::make_shared<HubCommand>();
  HubOptions& o = options->hub;
  CLI::App* command = app.add_subcommand("hub", "Be the network and the console of a replicated machine");
  command->footer(
      "Replicas connect to the hub and announce themselves with their epoch. The one with the highest is live: only "
      "its\n"
      "frames and console output pass, only it hears the network and the user. Whatever an older one still sends is\n"
      "dropped and counted. The hub runs on while replicas come and go.\n\n"
      "Examples\n"
      "  understudy hub --listen tcp://127.0.0.1:7000 --net user,hostfwd=tcp:127.0.0.1:2222-:22 --console stdio\n"
      "  understudy hub --listen ipc:///tmp/hub --net tap:tap0 --console unix:/tmp/console --journal hub.journal\n"
      "  understudy hub --listen ipc:///tmp/hub --disk data=/tmp/nbd.sock     # nbdkit --unix /tmp/nbd.sock file "
      "data.img\n"
      "  understudy run --net hub:tcp://127.0.0.1:7000 IMAGE        # a machine on its own, on the hub's network\n\n"
      "With --journal a hub that is started again lets in nothing older than what it let in before. Give each service\n"
      "a journal of its own.");
  command->add_option("--listen", o.listen, "Where replicas connect: tcp://HOST:PORT or ipc://PATH")
      ->required()
      ->type_name("ADDRESS");
  command
      ->add_option("--net", o.nets,
                   "An end of the network, as of `run`: user[,hostfwd=RULE]..., tap:NAME, socket:...; may be repeated")
      ->type_name("SPEC")
      ->allow_extra_args(false);
  command
      ->add_option("--disk", o.disks,
                   "A disk for the machine, which nodes name as hub:NAME: its server's URI (nbd://HOST/EXPORT, "
                   "nbd+unix:///EXPORT?socket=PATH) or Unix socket; may be repeated")
      ->type_name("NAME=URI")
      ->allow_extra_args(false);
  command
      ->add_option("--console", o.console,
                   "Who sits at the machine's COM1: stdio, file:PATH, unix:PATH, tcp:HOST:PORT or none")
      ->type_name("SPEC")
      ->capture_default_str();
  command->add_option("--pcap", o.pcap, "Write the service's frames to a file that Wireshark reads")->type_name("FILE");
  command->add_option("--journal", o.journal, "Write down who was live when, and remember it")->type_name("FILE");
  command
      ->add_option("--control", o.control,
                   "Answer questions at this address, tcp://HOST:PORT or ipc://PATH (`understudy status`)")
      ->type_name("ADDRESS");
  add_key_options(*command, options->keys);
  add_config_option(*command);
  command->callback([options, then] { then([options] { return run(*options); }); });
}

}  // namespace understudy::tools
