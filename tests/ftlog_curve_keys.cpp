#include <doctest/doctest.h>
#include <sys/stat.h>

#include <optional>
#include <zmq.hpp>

#include "ftlog/curve_keys.h"
#include "ftlog/key_guard.h"
#include "tests/ftlog_rig.h"

using namespace understudy::ftlog;
using understudy::test::TempDir;

namespace {

struct Rig {
  TempDir scratch;
  CurveKeyPair keys = generate_keys();
  std::string path(const std::string& name) const { return scratch.path() + "/" + name; }
  std::string write(const std::string& name, const std::string& text, unsigned mode = 0600) const {
    std::ofstream(path(name), std::ios::binary) << text;
    ::chmod(path(name).c_str(), mode);
    return path(name);
  }
  std::string secret(const std::string& body) const {
    return write("key", "understudy CURVE secret key, format 1\n" + body);
  }
};

// What a call complains about; empty when it does not.
template <typename Call>
std::string complaint(Call call) {
  try {
    call();
    return "";
  } catch (const KeyError& error) {
    return error.what();
  }
}

unsigned mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

}  // namespace

TEST_CASE("key files: written, and read again") {
  const Rig rig;
  const KeyFiles files = write_key_files(rig.scratch.path(), "left", rig.keys);
  CHECK(files.secret_file == rig.path("left.secret"));
  CHECK(mode_of(files.secret_file) == 0600);
  CHECK((mode_of(files.public_file) & 0600) == 0600);
  const CurveKeyPair back = load_secret_file(files.secret_file);
  CHECK(back.public_key == rig.keys.public_key);
  CHECK(back.secret_key == rig.keys.secret_key);
  CHECK(load_public_file(files.public_file) == rig.keys.public_key);
  CHECK(load_public_file(files.secret_file) == rig.keys.public_key);
  const std::vector<uint8_t> given_away = understudy::test::read_bytes(files.public_file);
  CHECK(std::string(given_away.begin(), given_away.end()).find(rig.keys.secret_key) == std::string::npos);
  const CurveIdentity identity = load_identity(files.secret_file, {files.public_file, files.public_file});
  CHECK(identity.secret_key == rig.keys.secret_key);
  CHECK(identity.peers == std::vector<std::string>{rig.keys.public_key, rig.keys.public_key});
}

TEST_CASE("key files: none is overwritten, and names stay in their folder") {
  const Rig rig;
  const std::string folder = rig.scratch.path();
  write_key_files(folder, "left", rig.keys);
  CHECK(complaint([&] { write_key_files(folder, "left", generate_keys()); }) ==
        "key file " + rig.path("left.public") + ": exists already");
  ::unlink(rig.path("left.public").c_str());
  CHECK(complaint([&] { write_key_files(folder, "left", generate_keys()); }) ==
        "key file " + rig.path("left.secret") + ": exists already");
  CHECK(::access(rig.path("left.public").c_str(), F_OK) != 0);
  CHECK(load_secret_file(rig.path("left.secret")).secret_key == rig.keys.secret_key);
  for (const char* name : {"", "../x", "a/b", ".x"})
    CHECK(complaint([&] { write_key_files(folder, name, rig.keys); }).ends_with("without a folder"));
  CHECK(complaint([&] { write_key_files(folder + "/none", "x", rig.keys); }).ends_with("No such file or directory"));
}

TEST_CASE("key files: what is wrong is said exactly") {
  const Rig rig;
  const std::string own = rig.path("key");
  const std::string pub = "public " + rig.keys.public_key + "\n", sec = "secret " + rig.keys.secret_key + "\n";
  const auto says = [&](const std::string& path) {
    const std::string text = complaint([&] { load_secret_file(path); });
    const std::string head = "key file " + path + ": ";
    REQUIRE(text.starts_with(head));
    return text.substr(head.size());
  };
  CHECK(complaint([&] { load_secret_file(rig.secret("\n# a remark\r\n" + sec + pub)); }).empty());
  CHECK(says(rig.path("none")) == "No such file or directory");
  CHECK(says(rig.scratch.path()) == "is not a file");
  CHECK(says(rig.write("empty", "")).starts_with("is not a key file"));
  CHECK(says(rig.write("other", "-----BEGIN PRIVATE KEY-----\n")).starts_with("is not a key file"));
  CHECK(says(rig.write("long", std::string(5000, '#'))) == "is too long for a key file");
  CHECK(says(rig.secret(sec)) == "has no public key");
  CHECK(says(rig.secret(pub)) == "has no secret key");
  CHECK(says(rig.secret(pub + sec + pub)) == "line 4: a second public key");
  CHECK(says(rig.secret("public\n")) == "line 2 is not `public KEY` or `secret KEY`");
  CHECK(says(rig.secret("private " + rig.keys.secret_key)) == "line 2 is not `public KEY` or `secret KEY`");
  CHECK(says(rig.secret("public " + rig.keys.public_key.substr(1) + "\n")) ==
        "line 2: the public key is not 40 characters of Z85");
  CHECK(says(rig.secret("public " + std::string(40, '~') + "\n")) ==
        "line 2: the public key is not 40 characters of Z85");
  CHECK(says(rig.secret("public " + std::string(40, '#') + "\n")) ==
        "line 2: the public key is not 40 characters of Z85");
  CHECK(says(rig.secret("public " + generate_keys().public_key + "\n" + sec)) ==
        "its public key does not belong to its secret key");
  CHECK(says(rig.write("public", "understudy CURVE public key, format 1\n" + pub)) ==
        "is a public key file, where a secret one is needed");
  CHECK(says(rig.write("leak", "understudy CURVE public key, format 1\n" + pub + sec)) == "line 3 is not `public KEY`");
  rig.secret(pub + sec);
  ::chmod(own.c_str(), 0644);
  CHECK(says(own) == "others can read it (mode 0644): chmod 600 " + own);
  CHECK(load_public_file(own) == rig.keys.public_key);
}

TEST_CASE("addresses: without keys, local ones only") {
  for (const char* local : {"tcp://127.0.0.1:5555", "tcp://127.9.9.9:*", "tcp://localhost:1", "tcp://[::1]:5",
                            "ipc:///tmp/hub", "inproc://x"}) {
    CAPTURE(local);
    CHECK(is_local_address(local));
    CHECK(complaint([&] { check_address(local, false, false); }).empty());
  }
  for (const char* open : {"tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://eth0:5", "tcp://192.168.1.2:5", "tcp://[::]:5",
                           "tcp://127.0.0.1.example:5", "tcp://127.0.0.1:0;10.0.0.1:5", "tcp://1270.0.0.1:5", "tcp://",
                           "tcp://127.0.0.1"}) {
    CAPTURE(open);
    CHECK_FALSE(is_local_address(open));
    CHECK(complaint([&] { check_address(open, true, false); }).empty());
    CHECK(complaint([&] { check_address(open, false, true); }).empty());
    CHECK(complaint([&] { check_address(open, false, false); }) ==
          std::string("address ") + open +
              ": without keys (--key) only loopback and ipc:// addresses are allowed; --insecure lets anybody in who "
              "reaches it");
  }
  for (const char* other : {"", "udp://127.0.0.1:5", "127.0.0.1:5", "pgm://x"})
    CHECK(complaint([&] { check_address(other, true, true); }) ==
          std::string("address ") + other + ": want tcp://HOST:PORT or ipc://PATH");
}

namespace {

// A server that answers what it gets with who sent it, and clients with keys of their own.
struct GuardRig {
  zmq::context_t context;
  KeyGuard guard{context};
  CurveKeyPair server_keys = generate_keys();
  zmq::socket_t server{context, zmq::socket_type::router};
  std::string address;

  void listen(const std::vector<std::string>& peers) {
    guard.secure_server(server, {server_keys.public_key, server_keys.secret_key, peers}, "test");
    server.set(zmq::sockopt::linger, 0);
    server.bind("tcp://127.0.0.1:*");
    address = server.get(zmq::sockopt::last_endpoint);
  }
  zmq::socket_t client(const std::optional<CurveIdentity>& identity) {
    zmq::socket_t socket(context, zmq::socket_type::dealer);
    if (identity) secure_client(socket, *identity);
    socket.set(zmq::sockopt::linger, 0);
    socket.connect(address);
    socket.send(zmq::str_buffer("hello"), zmq::send_flags::none);
    return socket;
  }
  // The key of who sent what comes next.
  std::string heard_from() {
    zmq::message_t from, text;
    server.set(zmq::sockopt::rcvtimeo, 60000);
    REQUIRE(server.recv(from).has_value());
    REQUIRE(server.recv(text).has_value());
    CHECK(text.to_string() == "hello");
    return text.gets("User-Id");
  }
};

}  // namespace

TEST_CASE("key guard: lets in who is listed, counts who is not, and is deaf to the rest") {
  GuardRig rig;
  const CurveKeyPair left = generate_keys(), right = generate_keys(), stranger = generate_keys();
  rig.listen({left.public_key, right.public_key});
  const std::vector<std::string> server{rig.server_keys.public_key};
  const auto bare = rig.client({});
  const auto wrong_server = rig.client(CurveIdentity{left.public_key, left.secret_key, {generate_keys().public_key}});
  const auto unknown = rig.client(CurveIdentity{stranger.public_key, stranger.secret_key, server});
  while (rig.guard.counts("test").refused == 0) std::this_thread::yield();
  // Somebody else's public key is of no use without the secret one.
  const auto thief = rig.client(CurveIdentity{left.public_key, stranger.secret_key, server});
  const auto known = rig.client(CurveIdentity{right.public_key, right.secret_key, server});
  CHECK(rig.heard_from() == right.public_key);
  const auto known_too = rig.client(CurveIdentity{left.public_key, left.secret_key, server});
  CHECK(rig.heard_from() == left.public_key);
  CHECK(rig.guard.counts("test").admitted == 2);
  CHECK(rig.guard.counts("test").refused >= 1);
  CHECK(rig.guard.counts("other").refused == 0);
}

TEST_CASE("key guard: a client has one server") {
  zmq::context_t context;
  zmq::socket_t socket(context, zmq::socket_type::dealer);
  const CurveKeyPair own = generate_keys();
  CHECK(complaint([&] {
          secure_client(socket, {own.public_key, own.secret_key, {}});
        }) == "keys: the server's public key is needed too");
  CHECK(complaint([&] {
          secure_client(socket, {own.public_key, own.secret_key, {own.public_key, own.public_key}});
        }) == "keys: one public key is needed, the server's, and there are more");
}
