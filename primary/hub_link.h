// A replica's connection to the hub: the outside world of its service. Frames pass both ways; the console's bytes pass
// exactly once, whatever breaks in between: output is kept until the hub has delivered it and sent again after a
// reconnection, input is asked for from where the guest is. Requests to the hub's disks are kept until they are
// answered, and sent again, in their order, after a reconnection.
//
// Nothing is sent before announce(), and nothing after the hub has said that another replica is live (the link is
// fenced) until announce() is called with a greater epoch. Whenever the connection was lost, the link comes back and
// announces again by itself; the frames of the last moments go again then. All methods are for any thread and never
// wait; callbacks come on the link's own thread and may call the link.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include <zmq.hpp>

#include "ftlog/curve_keys.h"
#include "ftlog/wake_event.h"
#include "primary/console_outbox.h"
#include "primary/hub_connection.h"
#include "primary/hub_protocol.h"
#include "primary/hub_trouble.h"
#include "primary/recent_frames.h"

namespace understudy::primary {

// The address or the keys are no good; one line.
class HubLinkError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class HubLink {
 public:
  // What became of a request to a disk, once.
  using DiskHandler = std::function<void(const std::string& disk, emu::BlockAnswer answer)>;
  struct Options {
    std::string address;                         // tcp://HOST:PORT or ipc://PATH, checked by ftlog::check_address
    std::string node;                            // a name that hub::is_node_name() takes
    const ftlog::CurveIdentity* keys = nullptr;  // none: no CURVE; its one peer is the hub
    DiskHandler on_disk = {};
    bool durable = false;  // writes to disks are over when they are on the server's disk
    // A line for the user: why the hub does not let this replica in, or that it has at last.
    std::function<void(const std::string& line)> on_trouble = {};
  };
  // A frame for the guest; false when there is no room, and it is lost.
  using FrameHandler = std::function<bool(std::span<const uint8_t>)>;
  // Input for the guest's COM1; false when there is no room, and it is offered again a little later or after
  // console_taken().
  using ConsoleHandler = std::function<bool(std::span<const uint8_t>)>;
  using FencedHandler = std::function<void(uint64_t epoch, const std::string& node)>;

  struct Counts {
    uint64_t frames_out = 0, bytes_out = 0;  // given to ZeroMQ
    uint64_t frames_again = 0;               // of these, sent again over another connection
    uint64_t frames_in = 0, bytes_in = 0;    // given to the guest
    uint64_t out_bad_size = 0;               // no Ethernet frame
    uint64_t out_not_live = 0;               // before announce(), or fenced
    uint64_t out_no_link = 0;                // lost with a connection, or sent while there was none
    uint64_t out_queue_full = 0;
    uint64_t in_no_room = 0;                   // refused by the frame handler
    uint64_t console_out = 0, console_in = 0;  // bytes: given to ZeroMQ (again counts again), given to the guest
    uint64_t connections = 0, announcements = 0;
    uint64_t bad_messages = 0;  // from the hub; also those of another version
    uint64_t bad_peers = 0;     // whoever listens at the hub's address is none, or refuses our keys
    uint64_t fenced = 0;
    uint64_t disk_requests = 0, disk_answers = 0;  // given to ZeroMQ (again counts again), heard first
  };

  static constexpr size_t kMaxFrames = 1024;  // that wait to be sent
  static constexpr size_t kMaxAgain = 256;    // that are sent again when the connection was lost

  // Throws HubLinkError.
  HubLink(Options options, FrameHandler on_frame, ConsoleHandler on_console, FencedHandler on_fenced);
  ~HubLink();
  HubLink(const HubLink&) = delete;
  HubLink& operator=(const HubLink&) = delete;

  // This replica is live, by `epoch` (at least 1). Its guest has had the console input before `console_in_offset`, and
  // will send console output from `console_out_offset` on, which may lie before what the hub has had.
  void announce(uint64_t epoch, uint64_t console_in_offset, uint64_t console_out_offset);
  // False when it is lost, which counts() explains.
  bool send_frame(std::span<const uint8_t> frame);
  // The same in two steps, for frames that leave in one go: they travel together.
  bool queue_frame(std::span<const uint8_t> frame);
  void send_queued_frames();
  // False when there is no room: nothing was taken, and it is to be offered again. Bytes that were given before are
  // left out. What was given before announce() waits for it.
  bool send_console(uint64_t offset, std::span<const uint8_t> bytes);
  // A request to one of the hub's disks; one whose number is out at that disk already is left alone. False when there
  // is no room. What was given before announce() waits for it.
  bool send_disk(const std::string& disk, emu::BlockRequest request);
  // Input before `offset` is in the guest for good: no replica will ask for it again.
  void console_taken(uint64_t offset);

  // Output before this has left the hub, or will by no doing of ours.
  uint64_t console_delivered() const { return delivered_.load(std::memory_order_acquire); }
  // Output that waits here.
  size_t console_pending() const;
  bool connected() const { return connected_.load(std::memory_order_acquire); }
  // The hub has accepted the newest announcement, on the present connection.
  bool accepted() const { return accepted_.load(std::memory_order_acquire); }
  bool is_fenced() const;
  Counts counts() const;
  // Until frames and console output have left and the hub has delivered it, and the disks have answered; false when
  // that takes longer.
  bool flush(std::chrono::milliseconds patience);

 private:
  struct Announcement {
    uint64_t epoch = 0;
    bool sent = false;  // on the present connection
  };
  void run();
  // Any thread, with the lock held: gives ZeroMQ what waits. True when the link's thread has to look: something found
  // no room, or has come meanwhile, which ZeroMQ's descriptor does not tell again.
  bool send_now();
  bool send_waiting(HubConnection& connection);
  bool queue_locked(std::span<const uint8_t> frame);
  // All on the link's thread.
  void serve(HubConnection& connection);
  bool pass_events(HubConnection& connection);
  bool send_announcement(HubConnection& connection);
  bool send_frames(HubConnection& connection);
  void send_again();
  bool send_console_output(HubConnection& connection);
  bool send_disk_requests(HubConnection& connection);
  void receive(HubConnection& connection);
  void take(HubConnection& connection, const hub::Accepted& m);
  void take(const hub::Fenced& m);
  void take(const hub::FramesIn& m);
  void take(const hub::ConsoleIn& m);
  void take(const hub::ConsoleDelivered& m);
  void take(const hub::DiskAnswer& m);
  void take(const hub::DiskShape&) {}     // of a question that was not this link's
  void take(const hub::OtherVersion&) {}  // says its version, which is this one
  void offer_console();
  void connection_lost();
  void note_delivered(uint64_t offset);

  const Options options_;
  const FrameHandler on_frame_;
  const ConsoleHandler on_console_;
  const FencedHandler on_fenced_;
  const uint64_t instance_;
  HubTrouble trouble_;
  zmq::context_t context_{1};
  ftlog::WakeEvent wake_;
  std::atomic<bool> stopping_{false}, connected_{false}, accepted_{false};
  std::atomic<uint64_t> delivered_{0};

  // For the connection's socket, too: it passes from thread to thread, so that who sends wakes nobody else.
  mutable std::mutex mutex_;
  HubConnection* usable_ = nullptr;   // the present connection, while something can be sent over it
  std::condition_variable progress_;  // for flush()
  std::condition_variable stop_;
  std::optional<Announcement> announcement_;
  bool fenced_ = false;
  std::deque<std::vector<uint8_t>> frames_;
  hub::FrameBatch batch_;  // of those, to send
  RecentFrames sent_{kMaxAgain};
  ConsoleOutbox output_;
  uint64_t taken_ = 0, taken_sent_ = 0;
  std::deque<uint8_t> input_;  // console input that found no room yet
  uint64_t input_next_ = 0;    // the number of the byte after those in `input_`
  uint64_t input_turn_ = 0;    // changes when `input_` is thrown away
  struct DiskOut {
    std::string disk;
    emu::BlockRequest request;
    bool sent = false;  // since the last acceptance
  };
  std::deque<DiskOut> disk_requests_;  // in the order in which they came
  Counts counts_;

  std::unique_ptr<HubConnection> first_;  // made by the constructor, taken by the thread
  std::thread thread_;
};

}  // namespace understudy::primary
