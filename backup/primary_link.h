// The backup's side of the pair: joins a primary, takes its machine's state, then its log, and acknowledges what has
// arrived (or, where that is wanted, is durable). Knows when the primary has fallen silent. The channel's thread
// receives; the machine's thread takes what it needs and says how far it is.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "ftlog/channel_socket.h"
#include "ftlog/codec.h"

namespace understudy::backup {

// Why a backup is not one, for good or for now.
struct JoinRefused {
  bool busy = false;
  std::string reason;
};

enum class LinkEvent : uint8_t {
  none,      // nothing within the time given
  news,      // entries, or a farther horizon
  lost,      // the primary is silent, or has gone on without this backup: see trouble()
  failed,    // this backup cannot be one any more, and has said so: see trouble()
  handover,  // the primary wants this node to take over, and everything from it is here
  goodbye,   // the primary ended: see trouble()
};

struct LinkStatus {
  uint64_t epoch = 0;
  std::string primary;
  bool engaged = false;
  uint64_t received = 0, delivered = 0;
  ftlog::Horizon horizon, replayed;
  uint64_t stale_messages = 0, gaps = 0, chunks = 0, waiting_bytes = 0;
  uint64_t stamp = 0;  // the newest that was heard
  ftlog::ChannelCounts channel;
};

class PrimaryLink {
 public:
  struct Options {
    ftlog::ChannelSocket::Options socket;
    std::string build, node;
    std::chrono::milliseconds timeout{250};
    std::chrono::milliseconds give_up{0};  // the machine's thread was not seen for so long: failed; 0: never
    uint64_t max_waiting_bytes = 256u << 20;
    std::function<void()> on_answer;  // on the channel's thread: has_answered() from now on
  };
  // Throws ftlog::ChannelError.
  explicit PrimaryLink(Options options);
  ~PrimaryLink();
  // On the channel's thread, before an entry is acknowledged: makes it durable.
  void on_entries(std::function<void(const std::vector<ftlog::LogEntry>&)> callback) { keep_ = std::move(callback); }
  // On the channel's thread, between entries: from here on this backup may take over.
  void on_engaged(std::function<void()> callback) { engaged_ = std::move(callback); }
  // On the channel's thread: outputs marked up to this sequence have been delivered by the primary.
  void on_delivered(std::function<void(uint64_t sequence)> callback) { delivered_ = std::move(callback); }

  // --- joining, in this order; each gives up after `most`, or when refused(): then false
  bool join(std::chrono::milliseconds most);
  // Whoever is there has said whether it can be joined.
  bool has_answered() const;
  const ftlog::Welcome& welcome() const { return welcome_; }
  void ready(const std::string& description);
  // The next chunk of the machine's state; false at its end, see state_end(), and when something is wrong: see
  // refused() and trouble().
  bool next_chunk(ftlog::Bytes& chunk);
  const std::optional<ftlog::StateEnd>& state_end() const { return state_end_; }
  std::optional<JoinRefused> refused() const;

  // --- following
  // The next entry; false when none is here.
  bool next(ftlog::LogEntry& entry);
  // A point that is behind everything received, when all of it was taken by next().
  std::optional<ftlog::Horizon> horizon() const;
  LinkEvent wait(std::chrono::milliseconds most);
  // How far the machine is.
  void replayed(const ftlog::Horizon& here);
  // Whether this backup may take over: outputs wait for its acknowledgements.
  bool engaged() const;
  // Whether something was heard from the primary within the timeout.
  bool is_heard() const;
  uint64_t epoch() const;
  std::chrono::steady_clock::time_point heard_at() const;
  // Behind everything received.
  ftlog::CodecState log_state() const;
  std::string trouble() const;
  LinkStatus status() const;

  // Tells the primary that it has no backup any more, as far as it can be told, and hears no more.
  void fail(const std::string& reason);
  void leave(const std::string& reason);

 private:
  using Clock = std::chrono::steady_clock;
  enum class Phase : uint8_t { hello, building, transfer, following, over };
  void hear(ftlog::ChannelMessage&& message);
  void hear_block(ftlog::LogBlock&& block);
  void acknowledge(bool resend);
  bool owes_report() const;
  void hear_damage(const std::string& why);
  void hear_version(const std::string& why);
  void break_off(const std::string& why);
  void give_up(const std::string& why);
  Clock::time_point timer();

  Options options_;
  ftlog::ChannelSocket socket_;
  std::function<void(const std::vector<ftlog::LogEntry>&)> keep_;
  std::function<void()> engaged_;
  std::function<void(uint64_t)> delivered_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Phase phase_ = Phase::hello;
  ftlog::Welcome welcome_;
  std::optional<JoinRefused> refused_;
  std::deque<ftlog::Bytes> chunks_;
  uint64_t chunks_taken_ = 0, parts_heard_ = 0;
  ftlog::Ready ready_;
  std::optional<ftlog::StateEnd> state_end_;
  ftlog::CodecState log_;  // behind everything received
  std::deque<ftlog::LogEntry> entries_;
  uint64_t waiting_bytes_ = 0;
  std::string trouble_;
  bool lost_ = false, failed_ = false, goodbye_ = false, news_ = false;
  std::optional<uint64_t> handover_;
  LinkStatus status_;
  uint64_t owed_bytes_ = 0;  // of the log, received and not acknowledged
  ftlog::Horizon reported_;  // where the primary was told that the machine is
  Clock::time_point heard_at_, beat_at_, hello_at_, ready_at_, resend_at_, timer_at_, damage_at_, seen_at_;
  std::chrono::milliseconds beat_{60};
};

}  // namespace understudy::backup
