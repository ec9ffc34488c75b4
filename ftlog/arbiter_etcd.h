// An arbiter for nodes on more than one host: a key of an etcd 3 cluster that holds the newest reign, replaced by a
// compare-and-swap on the revision at which it was read. That is linearizable, so of all claims of an epoch one wins,
// and etcd itself answers only where a majority of its members is. The key is PREFIX/reign (default prefix:
// understudy), its value {"epoch":1,"node":"..."}; one prefix serves one machine.
//
// Anything that etcd would not say (another program's answer, another cluster's than before, a value that is no reign)
// is `unreachable`. A claim whose answer was lost is found as won when it is asked again, here or at another endpoint.
//
// No lease is used. A reign that ended with a lease would end while its machine, merely slow, still runs: it ends when
// a newer one is won. Whether a node is alive, its heartbeats tell sooner and without etcd.
#pragma once

#include "ftlog/arbiter.h"
#include "ftlog/bounded_call.h"

namespace understudy::ftlog {

class EtcdClient;

class EtcdArbiter : public Arbiter {
 public:
  // `places` is what follows "etcd:" in a specification. Throws ArbiterError.
  EtcdArbiter(const std::string& places, std::chrono::milliseconds timeout);
  Claim try_acquire(uint64_t epoch, const std::string& node) override;
  Lookup current() override;

 private:
  std::string name_, key_;
  std::chrono::milliseconds timeout_;
  BoundedCalls calls_;
  std::shared_ptr<EtcdClient> client_;  // a call that hangs outlives us
};

}  // namespace understudy::ftlog
