// Puts CURVE on ZeroMQ's sockets. A server's peers are pinned: libzmq asks the guard, over ZAP (RFC 27), about every
// client that proved to have the key it shows, and only listed keys are let in; the rest are counted. The guard must
// outlive the servers it protects: libzmq lets in whoever comes while there is nobody to ask.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <zmq.hpp>

#include "ftlog/curve_keys.h"
#include "ftlog/wake_event.h"

namespace understudy::ftlog {

// Before connect(). The identity has one peer: the server. Throws KeyError.
void secure_client(zmq::socket_t& socket, const CurveIdentity& identity);

class KeyGuard {
 public:
  // One for a context, which outlives it. Throws zmq::error_t if the context has one.
  explicit KeyGuard(zmq::context_t& context);
  ~KeyGuard();
  KeyGuard(const KeyGuard&) = delete;
  KeyGuard& operator=(const KeyGuard&) = delete;

  // Before bind(). `domain` names the socket's list of peers; sockets of one domain share one. Messages of a peer carry
  // its public key as the property User-Id.
  void secure_server(zmq::socket_t& socket, const CurveIdentity& identity, const std::string& domain);

  // Handshakes.
  struct Counts {
    uint64_t admitted = 0;
    uint64_t refused = 0;  // good keys, but not listed
  };
  // Any thread.
  Counts counts(const std::string& domain) const;

 private:
  struct Domain {
    std::set<std::string> peers;
    Counts counts;
  };
  void serve();
  bool admits(const std::string& domain, const std::string& key);

  mutable std::mutex mutex_;
  std::map<std::string, Domain> domains_;
  WakeEvent stop_;
  zmq::socket_t requests_;
  std::thread thread_;
};

}  // namespace understudy::ftlog
