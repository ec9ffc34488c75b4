#include "ftlog/curve_keys.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "ftlog/descriptor.h"

namespace understudy::ftlog {

namespace {

constexpr size_t kKeyLength = 40;
constexpr std::string_view kSecretTitle = "understudy CURVE secret key, format 1";
constexpr std::string_view kPublicTitle = "understudy CURVE public key, format 1";
// More than any key file has.
constexpr size_t kMaxFile = 4096;
constexpr std::string_view kZ85 =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

using KeyText = std::array<char, kKeyLength + 1>;

[[noreturn]] void fail(const std::string& path, std::string_view what) {
  throw KeyError(fmt::format("key file {}: {}", path, what));
}

void write_new(const std::string& path, mode_t mode, std::string_view text) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (file.get() < 0) fail(path, errno == EEXIST ? "exists already" : std::strerror(errno));
  while (!text.empty()) {
    const ssize_t done = ::write(file.get(), text.data(), text.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) {
      const int reason = errno;
      ::unlink(path.c_str());
      fail(path, std::strerror(reason));
    }
    text.remove_prefix(static_cast<size_t>(done));
  }
}

struct KeyFile {
  bool secret = false;  // by its title
  mode_t mode = 0;
  std::optional<std::string> public_key, secret_key;
};

std::string read_text(const std::string& path, mode_t& mode) {
  // A FIFO would wait for a writer, a device could go on for ever.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) fail(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail(path, "is not a file");
  mode = status.st_mode;
  std::string text(kMaxFile + 1, '\0');
  size_t got = 0;
  while (got < text.size()) {
    const ssize_t done = ::read(file.get(), text.data() + got, text.size() - got);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail(path, std::strerror(errno));
    if (done == 0) break;
    got += static_cast<size_t>(done);
  }
  if (got > kMaxFile) fail(path, "is too long for a key file");
  text.resize(got);
  return text;
}

void take_key(const std::string& path, size_t number, std::string_view line, KeyFile& file) {
  const size_t space = line.find(' ');
  const std::string_view name = line.substr(0, space);
  std::optional<std::string>* key = nullptr;
  if (name == "public") key = &file.public_key;
  if (name == "secret" && file.secret) key = &file.secret_key;
  if (key == nullptr || space == std::string_view::npos)
    fail(path, fmt::format("line {} is not `public KEY`{}", number, file.secret ? " or `secret KEY`" : ""));
  const std::string_view value = line.substr(space + 1);
  if (*key) fail(path, fmt::format("line {}: a second {} key", number, name));
  if (!is_curve_key(value))
    fail(path, fmt::format("line {}: the {} key is not {} characters of Z85", number, name, kKeyLength));
  *key = std::string(value);
}

KeyFile read_key_file(const std::string& path) {
  KeyFile file;
  const std::string text = read_text(path, file.mode);
  bool titled = false;
  size_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line[0] == '#') continue;
    if (titled) {
      take_key(path, number, line, file);
    } else if (line == kSecretTitle || line == kPublicTitle) {
      titled = true;
      file.secret = line == kSecretTitle;
    } else {
      break;
    }
  }
  if (!titled) fail(path, "is not a key file: its first line says otherwise (`understudy keys new` makes key files)");
  if (!file.public_key) fail(path, "has no public key");
  if (!file.secret) return file;
  if (!file.secret_key) fail(path, "has no secret key");
  KeyText derived{};
  if (::zmq_curve_public(derived.data(), file.secret_key->c_str()) != 0)
    fail(path, "the secret key is not a CURVE key");
  if (*file.public_key != derived.data()) fail(path, "its public key does not belong to its secret key");
  return file;
}

bool is_loopback(const std::string& host) {
  if (host == "localhost" || host == "[::1]") return true;
  in_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

}  // namespace

CurveKeyPair generate_keys() {
  KeyText public_key{}, secret_key{};
  if (::zmq_curve_keypair(public_key.data(), secret_key.data()) != 0)
    throw KeyError(fmt::format("cannot make keys: {}", ::zmq_strerror(::zmq_errno())));
  return {public_key.data(), secret_key.data()};
}

bool is_curve_key(std::string_view text) {
  if (text.size() != kKeyLength || text.find_first_not_of(kZ85) != std::string_view::npos) return false;
  // Five characters can say more than four bytes hold.
  std::array<uint8_t, 32> bytes{};
  return ::zmq_z85_decode(bytes.data(), std::string(text).c_str()) != nullptr;
}

KeyFiles write_key_files(const std::string& directory, const std::string& name, const CurveKeyPair& keys) {
  if (name.empty() || name.find('/') != std::string::npos || name[0] == '.')
    throw KeyError(fmt::format("'{}' cannot name a key: want a file's name, without a folder", name));
  const std::string base = (directory.empty() ? "" : directory + "/") + name;
  KeyFiles files{base + ".secret", base + ".public"};
  if (::access(files.public_file.c_str(), F_OK) == 0) fail(files.public_file, "exists already");
  write_new(files.secret_file, 0600,
            fmt::format("# Keep this file to yourself.\n{}\npublic {}\nsecret {}\n", kSecretTitle, keys.public_key,
                        keys.secret_key));
  try {
    write_new(files.public_file, 0644, fmt::format("{}\npublic {}\n", kPublicTitle, keys.public_key));
  } catch (const KeyError&) {
    ::unlink(files.secret_file.c_str());
    throw;
  }
  return files;
}

CurveKeyPair load_secret_file(const std::string& path) {
  const KeyFile file = read_key_file(path);
  if (!file.secret) fail(path, "is a public key file, where a secret one is needed");
  if ((file.mode & 077) != 0)
    fail(path, fmt::format("others can read it (mode {:04o}): chmod 600 {}", file.mode & 07777, path));
  return {*file.public_key, *file.secret_key};
}

std::string load_public_file(const std::string& path) { return *read_key_file(path).public_key; }

CurveIdentity load_identity(const std::string& secret_file, const std::vector<std::string>& peer_files) {
  const CurveKeyPair own = load_secret_file(secret_file);
  CurveIdentity identity{own.public_key, own.secret_key, {}};
  for (const auto& file : peer_files) identity.peers.push_back(load_public_file(file));
  return identity;
}

bool is_local_address(const std::string& address) {
  if (address.starts_with("ipc://") || address.starts_with("inproc://")) return true;
  constexpr std::string_view kTcp = "tcp://";
  if (!address.starts_with(kTcp)) return false;
  const size_t colon = address.rfind(':');
  return colon >= kTcp.size() && is_loopback(address.substr(kTcp.size(), colon - kTcp.size()));
}

void check_address(const std::string& address, bool has_keys, bool insecure) {
  if (!address.starts_with("tcp://") && !address.starts_with("ipc://") && !address.starts_with("inproc://"))
    throw KeyError(fmt::format("address {}: want tcp://HOST:PORT or ipc://PATH", address));
  if (!has_keys && !insecure && !is_local_address(address))
    throw KeyError(
        fmt::format("address {}: without keys (--key) only loopback and ipc:// addresses are allowed; "
                    "--insecure lets anybody in who reaches it",
                    address));
}

}  // namespace understudy::ftlog
