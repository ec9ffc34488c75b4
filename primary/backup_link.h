// The primary's side of the pair: the log's way to a backup, and what follows from how that backup does. Entries go out
// in blocks; acknowledgements come back and let outputs leave (primary/output_commit). A backup that wants to join gets
// the machine's state while the machine runs, then the log; from the moment it is engaged no output leaves without it.
// When it is lost, going on alone takes an epoch won at the arbiter: until then outputs wait.
//
// Two threads meet here: the machine's calls append() and service(), the channel's hears the peer. Nothing blocks the
// machine but service() saying so.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "emu/machine.h"
#include "ftlog/arbiter.h"
#include "ftlog/channel_socket.h"
#include "ftlog/codec.h"
#include "ftlog/log_sink.h"
#include "primary/lease.h"
#include "primary/output_commit.h"
#include "primary/output_sums.h"
#include "primary/state_sender.h"

namespace understudy::primary {

enum class PairState : uint8_t {
  alone,         // live with no backup; outputs leave at once
  joining,       // a backup builds its machine and gets its state
  catching_up,   // it has the state, and gets the log
  lock_step,     // the output rule holds
  deciding,      // the backup is lost; outputs wait for the arbiter's word
  handing_over,  // the backup was told to take over
  deposed,       // another node reigns
};
const char* to_string(PairState state);

struct PairStatus {
  PairState state = PairState::alone;
  uint64_t epoch = 0;
  std::string backup;  // its node's name
  uint64_t appended = 0, acknowledged = 0;
  ftlog::Horizon horizon, replayed;  // where the machine is, and where the backup's is
  uint64_t backups_joined = 0, backups_lost = 0, stale_messages = 0, resent_blocks = 0;
  uint64_t transfer_pages = 0, transfer_bytes = 0, transfer_pause_us = 0;  // of the last transfer
  ftlog::ChannelCounts channel;
};

struct BackupLinkOptions {
  ftlog::ChannelSocket::Options socket;
  std::string build, node, description;
  ftlog::Start start;  // how a backup builds the machine
  bool durable = false;
  // Nobody fences this node off when it is deposed: outputs leave on the backup's word only under a lease.
  bool lease = false;
  std::chrono::milliseconds timeout{250};
  // Without the arbiter's word: wait for it, or stop.
  bool stop_when_unreachable = false;
  // The machine's thread was not seen for so long: beats stop, so that the backup takes over. 0: never.
  std::chrono::milliseconds give_up{0};
  uint64_t max_unacknowledged_bytes = 64u << 20;  // see full()
};

class BackupLink : public ftlog::LogSink {
 public:
  // All outlive the link. The machine's log goes on behind `log`; the node reigns in `epoch`. Outputs leave at once
  // until a backup is engaged. Throws ftlog::ChannelError.
  BackupLink(BackupLinkOptions options, emu::Machine& machine, OutputCommit& outputs, ftlog::Arbiter& arbiter,
             const ftlog::CodecState& log, uint64_t epoch);
  ~BackupLink() override;
  // Called on the channel's thread: there is something for service() to do; a new epoch was won, and outputs are about
  // to leave under it.
  void on_attention(std::function<void()> callback) { attention_ = std::move(callback); }
  void on_epoch(std::function<void(uint64_t epoch)> callback) { new_epoch_ = std::move(callback); }
  void start();

  // --- the machine's thread
  uint64_t append(uint64_t icount, uint64_t virtual_ns, const ftlog::Payload& payload) override;
  void tick(uint64_t) override {}
  // Between two runs of the machine, with every output marked: sends what was appended, moves a joining backup on.
  // True when it wants to be called again at once.
  bool service(const OutputSums& sums);
  // An epoch that was won since the last call, to be logged.
  std::optional<uint64_t> take_new_epoch();
  // Tells the backup where the machine is, before it waits for the backup to get there.
  void tell_where();
  // Waits until something changes, at most so long.
  void wait(std::chrono::nanoseconds most);
  // Tells the backup to take over behind everything that was appended; the machine stands still from now on. True once
  // it is told; the owner then waits for handed_over().
  bool hand_over();
  // The backup has everything; it reigns, or will.
  bool handed_over() const;
  // The machine has ended: waits until the backup has all of it, at most so long.
  void finish(std::chrono::milliseconds most, const std::string& reason);
  // A backup that is there and does not do its work. Any thread.
  void lose(const std::string& why);

  // The last entry that was appended, and the last that cannot be lost with this node alone (without a backup: all).
  uint64_t last() const { return log_.sequence - 1; }
  uint64_t committed() const;

  // So much waits for the backup's acknowledgement that the machine should wait too.
  bool full() const;
  // Another node is known to reign. Any thread.
  void depose(const std::string& why);
  // Ends the channel's thread: none of the callbacks is called any more.
  void stop() { socket_.stop(std::chrono::milliseconds(0)); }
  PairState state() const;
  // There is one that has the machine's state, and whose place status() knows.
  bool has_backup() const;
  PairStatus status() const;
  // Who reigns, when deposed; or why the arbiter cannot be asked.
  std::string verdict() const;
  std::string endpoint() const { return socket_.endpoint(); }

 private:
  using Clock = std::chrono::steady_clock;
  struct SentBlock {
    uint64_t last = 0;  // sequence
    ftlog::LogBlock block;
  };
  // On the channel's thread.
  void hear(const ftlog::ChannelSocket::Peer& peer, ftlog::ChannelMessage&& message);
  void hear_hello(const ftlog::ChannelSocket::Peer& peer, const ftlog::Hello& hello);
  void hear_ready(const ftlog::Ready& ready);
  void hear_ack(const ftlog::Ack& ack);
  Clock::time_point timer();
  bool machine_hangs(Clock::time_point now);
  void decide();
  // On the machine's thread.
  void flush();
  void send_horizon();
  bool transfer(const OutputSums& sums);
  void engage();
  uint64_t parts_sent() const;
  uint64_t stamp() const { return lease_ ? lease_->stamp() : 0; }
  void send(const ftlog::ChannelPayload& payload);
  void refuse(const ftlog::ChannelSocket::Peer& peer, bool busy, const std::string& why);

  BackupLinkOptions options_;
  emu::Machine& machine_;
  OutputCommit& outputs_;
  ftlog::Arbiter& arbiter_;
  std::optional<Lease> lease_;
  ftlog::ChannelSocket socket_;
  std::chrono::milliseconds beat_;
  std::function<void()> attention_;
  std::function<void(uint64_t)> new_epoch_;

  // The machine's thread only.
  ftlog::CodecState log_;  // after the last entry
  std::unique_ptr<ftlog::Encoder> encoder_;
  std::unique_ptr<StateSender> sender_;
  uint64_t sender_for_ = 0;  // joiner_
  Clock::time_point horizon_sent_at_;
  uint64_t horizon_sent_ = 0;  // icount

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  PairStatus status_;
  ftlog::ChannelSocket::Peer peer_;
  std::string peer_node_;
  uint64_t joiner_ = 0;  // how many there were
  bool transfer_wanted_ = false, engage_wanted_ = false;
  uint64_t engaged_from_ = 0;  // the sequence that a joiner must have received to be engaged
  uint64_t chunks_sent_ = 0, chunks_taken_ = 0;
  uint64_t parts_sent_ = 0;  // chunks that are really under way, and the state's end
  bool knows_it_is_engaged_ = false;
  std::deque<SentBlock> unacknowledged_;
  uint64_t unacknowledged_bytes_ = 0;
  std::optional<uint64_t> epoch_won_;
  std::string verdict_;
  bool hangs_ = false;
  Clock::time_point heard_at_, beat_at_, decide_at_, timer_at_, seen_at_, nudged_at_;
};

}  // namespace understudy::primary
