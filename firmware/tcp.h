// A TCP server (RFC 9293) on one port: retransmission by RFC 6298, congestion control by RFC 5681 with RFC 6582's
// recovery, resets and stray SYNs by RFC 5961. Segments that come too early are kept. Not there: window scaling,
// timestamps, selective acknowledgements, urgent data, opening connections. Times are in ticks of 10 ms.
//
// The application reads the ring `in`, adds to the ring `out`, and calls tcp_finish() when it has nothing more to say.
#pragma once
#include "ip.h"
#include "ring.h"

enum { kTicksPerSecond = 100 };
enum { kConnections = 32, kReceiveRing = 16 * 1024, kSendRing = 64 * 1024, kHeldRanges = 8 };

enum TcpState { kClosed, kSynReceived, kOpen, kTimeWait };

struct TcpRange {
  uint32_t from, to;  // sequence numbers; equal: unused
};

struct Tcp {
  enum TcpState state;
  struct Peer peer;
  uint16_t peer_port;
  uint32_t heard;        // when the peer last sent something acceptable
  uint32_t state_since;  // for kTimeWait and kSynReceived; for kOpen, since tcp_finish()

  // The stream out. `out` begins at `una`; RFC 9293, section 3.3.1, has the names.
  struct Ring out;
  uint32_t una, nxt, max;  // max: the highest nxt ever, before a timeout went back
  uint32_t window, window_seq, window_ack, mss;
  bool finish, fin_sent, fin_acked, fin_first;  // fin_first: ours went before theirs came
  bool probe;                                   // send a byte into a closed window

  // Retransmission and congestion.
  uint32_t timer;                           // when it expires; 0: it does not run
  uint32_t timeout, smoothed8, variation4;  // RTO, SRTT * 8, RTTVAR * 4
  bool timing, measured, recovering;
  uint32_t timed_seq, timed_at, recover, congestion, threshold;
  unsigned duplicates;

  // The stream in. `in` ends at `rcv`; held ranges lie behind it in the ring's free part.
  struct Ring in;
  uint32_t rcv, edge;  // edge: the end of the window as the peer knows it
  struct TcpRange held[kHeldRanges];
  bool fin_known, fin_in;  // the peer's FIN, somewhere ahead at fin_seq, or reached
  uint32_t fin_seq;
  bool acknowledge;  // owed
};

struct TcpApplication {
  void (*opened)(unsigned connection, const struct Tcp* c);
  void (*serve)(unsigned connection, struct Tcp* c);
  void (*closed)(unsigned connection, const struct Tcp* c, const char* how);
};

void tcp_start(uint16_t port, uint32_t receive_window, const struct TcpApplication* application);
void tcp_tick(uint32_t now);  // once a tick
void tcp_run(void);           // lets the application work, then sends what there is
static inline void tcp_finish(struct Tcp* c) { c->finish = true; }

// ---- between tcp.c and tcp_output.c ----
static inline int32_t seq_diff(uint32_t a, uint32_t b) { return (int32_t)(a - b); }
extern uint32_t tcp_now;
extern uint16_t tcp_port;
enum { kFin = 1, kSyn = 2, kRst = 4, kPush = 8, kAck = 16 };
bool tcp_transmit(struct Tcp* c, uint32_t seq, uint32_t length, uint8_t flags);
void tcp_reset(const struct Peer* to, uint16_t from_port, uint16_t to_port, uint32_t seq, uint32_t ack, uint8_t flags);
void tcp_output(struct Tcp* c);
void tcp_acknowledged(struct Tcp* c, uint32_t bytes);  // new data, already taken out of `out`
void tcp_duplicate_ack(struct Tcp* c);
void tcp_timer_expired(struct Tcp* c);
void tcp_start_sending(struct Tcp* c);
