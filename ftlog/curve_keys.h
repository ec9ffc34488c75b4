// CURVE keys (curve25519, as ZeroMQ's CURVE mechanism uses them, RFC 26/CurveZMQ): who a node is, and whom it talks to.
// A key is 40 characters of Z85. A key pair is a secret file, NAME.secret, which only its owner can read and which
// holds both halves, and a public file, NAME.public, to give away. Both are text: a line that says what it is, then
// `public KEY` and, in a secret file, `secret KEY`; empty lines and lines that begin with # are skipped.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::ftlog {

// A key, a key file or an address that is not what it must be: one line for the user.
class KeyError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct CurveKeyPair {
  std::string public_key, secret_key;
};

// What a node knows: itself, and the public keys of those it talks to. A server lets in nobody else; a client has one
// peer, its server.
struct CurveIdentity {
  std::string public_key, secret_key;
  std::vector<std::string> peers;
};

CurveKeyPair generate_keys();
// Whether the text has a key's length and characters.
bool is_curve_key(std::string_view text);

struct KeyFiles {
  std::string secret_file, public_file;
};
// Writes DIRECTORY/NAME.secret, mode 0600, and DIRECTORY/NAME.public. Neither may exist. Throws KeyError.
KeyFiles write_key_files(const std::string& directory, const std::string& name, const CurveKeyPair& keys);

// Refuses a file that others than its owner can read, and halves that do not belong together. Throws KeyError.
CurveKeyPair load_secret_file(const std::string& path);
// The public key of a public file or of a secret file. Throws KeyError.
std::string load_public_file(const std::string& path);
CurveIdentity load_identity(const std::string& secret_file, const std::vector<std::string>& peer_files);

// Whether only this host's processes can reach a ZeroMQ address: ipc, inproc, or TCP at a loopback address.
bool is_local_address(const std::string& address);
// The rule for every address that a node listens at or connects to: with keys any, without keys only local ones,
// unless the user insists. Throws KeyError.
void check_address(const std::string& address, bool has_keys, bool insecure);

}  // namespace understudy::ftlog
