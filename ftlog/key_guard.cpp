#include "ftlog/key_guard.h"

#include <array>
#include <cassert>
#include <vector>
#include <zmq_addon.hpp>

namespace understudy::ftlog {

namespace {

// Where libzmq asks.
constexpr const char* kZapAddress = "inproc://zeromq.zap.01";
// A request: version, id, domain, address, routing id, mechanism, and CURVE's credential: the key.
constexpr size_t kZapRequestParts = 7;
constexpr size_t kBinaryKey = 32;

void set_keys(zmq::socket_t& socket, const CurveIdentity& identity) {
  assert(is_curve_key(identity.public_key) && is_curve_key(identity.secret_key));
  socket.set(zmq::sockopt::curve_publickey, identity.public_key);
  socket.set(zmq::sockopt::curve_secretkey, identity.secret_key);
}

}  // namespace

void secure_client(zmq::socket_t& socket, const CurveIdentity& identity) {
  if (identity.peers.size() != 1)
    throw KeyError(identity.peers.empty() ? "keys: the server's public key is needed too"
                                          : "keys: one public key is needed, the server's, and there are more");
  set_keys(socket, identity);
  socket.set(zmq::sockopt::curve_serverkey, identity.peers.front());
}

KeyGuard::KeyGuard(zmq::context_t& context) : requests_(context, zmq::socket_type::rep) {
  requests_.set(zmq::sockopt::linger, 0);
  requests_.bind(kZapAddress);
  thread_ = std::thread([this] { serve(); });
}

KeyGuard::~KeyGuard() {
  stop_.notify();
  thread_.join();
}

void KeyGuard::secure_server(zmq::socket_t& socket, const CurveIdentity& identity, const std::string& domain) {
  {
    const std::lock_guard lock(mutex_);
    domains_[domain].peers.insert(identity.peers.begin(), identity.peers.end());
  }
  set_keys(socket, identity);
  socket.set(zmq::sockopt::curve_server, true);
  socket.set(zmq::sockopt::zap_domain, domain);
}

KeyGuard::Counts KeyGuard::counts(const std::string& domain) const {
  const std::lock_guard lock(mutex_);
  const auto found = domains_.find(domain);
  return found == domains_.end() ? Counts{} : found->second.counts;
}

bool KeyGuard::admits(const std::string& domain, const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = domains_.find(domain);
  if (found == domains_.end()) return false;
  const bool known = found->second.peers.contains(key);
  ++(known ? found->second.counts.admitted : found->second.counts.refused);
  return known;
}

void KeyGuard::serve() {
  std::vector<zmq::message_t> request;
  while (true) {
    std::array<zmq::pollitem_t, 2> items{
        {{requests_.handle(), 0, ZMQ_POLLIN, 0}, {nullptr, stop_.fd(), ZMQ_POLLIN, 0}}};
    try {
      zmq::poll(items.data(), items.size());
    } catch (const zmq::error_t& error) {
      if (error.num() == EINTR) continue;
      return;
    }
    if (items[1].revents != 0) return;
    if (items[0].revents == 0) continue;
    request.clear();
    if (!zmq::recv_multipart(requests_, std::back_inserter(request), zmq::recv_flags::dontwait)) continue;
    std::string key;
    const bool whole =
        request.size() == kZapRequestParts && request[5].to_string_view() == "CURVE" && request[6].size() == kBinaryKey;
    if (whole) {
      std::array<char, 41> text{};
      ::zmq_z85_encode(text.data(), request[6].data<uint8_t>(), kBinaryKey);
      key = text.data();
    }
    const bool in = whole && admits(request[2].to_string(), key);
    const std::string id = request.size() > 1 ? request[1].to_string() : "";
    const std::array<zmq::const_buffer, 6> answer{zmq::str_buffer("1.0"),
                                                  zmq::buffer(id),
                                                  in ? zmq::str_buffer("200") : zmq::str_buffer("400"),
                                                  in ? zmq::str_buffer("OK") : zmq::str_buffer("unknown key"),
                                                  in ? zmq::buffer(key) : zmq::str_buffer(""),
                                                  zmq::str_buffer("")};
    zmq::send_multipart(requests_, answer);
  }
}

}  // namespace understudy::ftlog
