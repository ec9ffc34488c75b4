#include "tools/net_options.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

#include "devices/host_net_tap.h"
#include "ftlog/short_slice.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

namespace {

using devices::HostForward;
using devices::HostNetTcp;
using devices::HostNetUdp;
using devices::UserNetOptions;

constexpr uint32_t kLoopback = 0x7f000001;
constexpr uint32_t kGuest = 0x0a00020f;  // 10.0.2.15, what DHCP gives

std::vector<std::string> split_at_commas(std::string_view text) {
  std::vector<std::string> parts(1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != ',')
      parts.back() += text[i];
    else if (i + 1 < text.size() && text[i + 1] == ',')
      parts.back() += text[i++];
    else
      parts.emplace_back();
  }
  return parts;
}

struct Setting {
  std::string name, value;
};
Setting setting(const std::string& part) {
  const size_t equals = part.find('=');
  if (equals == std::string::npos) return {part, ""};
  return {part.substr(0, equals), part.substr(equals + 1)};
}

// ADDRESS:PORT, where no address stands for `otherwise`.
bool parse_end(std::string_view text, uint32_t otherwise, in_addr& address, uint16_t& port) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return false;
  address.s_addr = htonl(otherwise);
  if (colon != 0 && ::inet_pton(AF_INET, std::string(text.substr(0, colon)).c_str(), &address) != 1) return false;
  const std::string_view digits = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  return error == std::errc() && end == digits.data() + digits.size() && port != 0;
}

std::optional<HostForward> parse_forward(std::string_view text) {
  HostForward forward;
  forward.udp = text.starts_with("udp:");
  if (!forward.udp && !text.starts_with("tcp:")) return {};
  text.remove_prefix(4);
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos ||
      !parse_end(text.substr(0, dash), kLoopback, forward.host_address, forward.host_port) ||
      !parse_end(text.substr(dash + 1), kGuest, forward.guest_address, forward.guest_port))
    return {};
  return forward;
}

UserNetOptions parse_user(const std::vector<std::string>& parts) {
  UserNetOptions options;
  for (size_t i = 1; i < parts.size(); ++i) {
    const auto [name, value] = setting(parts[i]);
    if (name == "hostfwd") {
      const auto forward = parse_forward(value);
      if (!forward)
        throw UsageError(fmt::format(
            "--net user: hostfwd={}: want tcp:HOSTADDR:PORT-GUESTADDR:PORT or udp:..., with IPv4 addresses and ports "
            "from 1 to 65535",
            value));
      options.forwards.push_back(*forward);
    } else if (name == "tftp" && !value.empty()) {
      options.tftp_root = value;
    } else if (name == "bootfile" && !value.empty()) {
      options.bootfile = value;
    } else if (name == "restrict" && (value == "on" || value == "off")) {
      options.restricted = value == "on";
    } else {
      throw UsageError(
          fmt::format("--net user: '{}' is not hostfwd=RULE, tftp=FOLDER, bootfile=NAME or restrict=on|off", parts[i]));
    }
  }
  return options;
}

HostNetTcp::Options tcp(HostNetTcp::Role role, const std::string& address) {
  HostNetTcp::Options options;
  options.role = role;
  options.address = address;
  return options;
}

NetOptions parse_socket(const std::vector<std::string>& parts, const std::string& spec) {
  const auto [how, address] = setting(parts[0].substr(std::string_view("socket:").size()));
  if (how == "listen" && parts.size() == 1) return tcp(HostNetTcp::Role::listen, address);
  if (how == "connect" && parts.size() == 1) return tcp(HostNetTcp::Role::connect, address);
  if (how == "udp" && parts.size() == 2 && setting(parts[1]).name == "local")
    return HostNetUdp::Options{address, setting(parts[1]).value};
  throw UsageError(
      fmt::format("--net {}: want socket:listen=ADDRESS:PORT, socket:connect=ADDRESS:PORT or "
                  "socket:udp=ADDRESS:PORT,local=ADDRESS:PORT",
                  spec));
}

HubNet parse_hub(const std::vector<std::string>& parts, const std::string& spec) {
  HubNet hub;
  hub.address = parts[0].substr(std::string_view("hub:").size());
  for (size_t i = 1; i < parts.size(); ++i) {
    const auto [name, value] = setting(parts[i]);
    if (name == "epoch") {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), hub.epoch);
      if (error != std::errc() || end != value.data() + value.size() || hub.epoch == 0)
        throw UsageError(fmt::format("--net {}: epoch={}: want a number from 1 on", spec, value));
    } else if (name == "node" && !value.empty()) {
      hub.node = value;
    } else if (name == "key" && !value.empty()) {
      hub.key_file = value;
    } else if (name == "peer" && !value.empty()) {
      hub.peer_file = value;
    } else if (parts[i] == "insecure") {
      hub.insecure = true;
    } else {
      throw UsageError(fmt::format(
          "--net hub: '{}' is not epoch=N, node=NAME, key=FILE, peer=FILE (the hub's public key) or insecure",
          parts[i]));
    }
  }
  if (hub.key_file.empty() != hub.peer_file.empty())
    throw UsageError(fmt::format("--net {}: key=FILE and peer=FILE, the hub's public key, need each other", spec));
  return hub;
}

struct Opener {
  devices::FrameReceiver receiver;
  std::unique_ptr<devices::HostNetwork> operator()(const NoNet&) { return nullptr; }
  std::unique_ptr<devices::HostNetwork> operator()(const UserNetOptions& o) {
    return std::make_unique<devices::HostNetUser>(o, receiver);
  }
  std::unique_ptr<devices::HostNetwork> operator()(const TapNet& o) {
    return std::make_unique<devices::HostNetTap>(o.name, receiver);
  }
  std::unique_ptr<devices::HostNetwork> operator()(const HostNetTcp::Options& o) {
    return std::make_unique<HostNetTcp>(o, receiver);
  }
  std::unique_ptr<devices::HostNetwork> operator()(const HostNetUdp::Options& o) {
    return std::make_unique<HostNetUdp>(o, receiver);
  }
  std::unique_ptr<devices::HostNetwork> operator()(const HubNet& o) {
    return std::make_unique<HostNetHub>(o, receiver);
  }
};

}  // namespace

NetOptions parse_net(const std::string& spec) {
  const std::vector<std::string> parts = split_at_commas(spec);
  if (spec == "none") return NoNet{};
  if (parts[0] == "user") return parse_user(parts);
  if (parts[0].starts_with("socket:")) return parse_socket(parts, spec);
  if (parts[0].starts_with("hub:")) return parse_hub(parts, spec);
  if (spec.starts_with("tap:")) return TapNet{spec.substr(std::string_view("tap:").size())};
  throw UsageError(fmt::format(
      "--net {}: want user[,hostfwd=RULE][,tftp=FOLDER][,bootfile=NAME][,restrict=on], tap:NAME, "
      "socket:listen=ADDRESS:PORT, "
      "socket:connect=ADDRESS:PORT, socket:udp=ADDRESS:PORT,local=ADDRESS:PORT, hub:ADDRESS[,epoch=N] or none",
      spec));
}

void try_net(const std::string& spec) {
  const NetOptions options = parse_net(spec);
  if (std::holds_alternative<TapNet>(options)) open_net(options, [](std::span<const uint8_t>) { return false; });
}

std::unique_ptr<devices::HostNetwork> open_net(const NetOptions& options, devices::FrameReceiver receiver) {
  const ftlog::ShortSlice slice;  // for its thread
  try {
    return std::visit(Opener{std::move(receiver)}, options);
  } catch (const devices::HostNetError& error) {
    throw UsageError(fmt::format("--net: {}", error.what()));
  } catch (const ftlog::KeyError& error) {
    throw UsageError(fmt::format("--net: {}", error.what()));
  }
}

}  // namespace understudy::tools
