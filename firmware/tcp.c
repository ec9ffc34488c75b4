// Connections and what comes in.
#include "tcp.h"

enum { kTimeWaitTicks = 30 * kTicksPerSecond, kSynTicks = 20 * kTicksPerSecond, kFinishTicks = 60 * kTicksPerSecond };
enum { kProbeAfter = 60 * kTicksPerSecond, kProbeEvery = 10 * kTicksPerSecond, kGiveUp = 120 * kTicksPerSecond };
enum { kDefaultMss = 536, kOldestAck = 0x10000 };

struct Segment {
  uint32_t seq, ack;
  uint8_t flags;
  uint16_t port, window, mss;
  const uint8_t* data;
  uint32_t length;
};

uint32_t tcp_now;
uint16_t tcp_port;
static const struct TcpApplication* application;
static struct Tcp connections[kConnections];
static uint8_t receive_rings[kConnections][kReceiveRing] __attribute__((aligned(16)));
static uint8_t send_rings[kConnections][kSendRing] __attribute__((aligned(16)));
static uint32_t receive_bytes;

static unsigned index_of(const struct Tcp* c) { return (unsigned)(c - connections); }

static void forget(struct Tcp* c, const char* how) {
  if (c->state == kOpen) application->closed(index_of(c), c, how);
  c->state = kClosed;
}

static struct Tcp* find(const struct Peer* peer, uint16_t port) {
  for (struct Tcp* c = connections; c < connections + kConnections; ++c)
    if (c->state != kClosed && c->peer.ip == peer->ip && c->peer_port == port) return c;
  return NULL;
}

// A free place, or that of the oldest connection that is over or has not begun.
static struct Tcp* find_place(void) {
  struct Tcp* oldest = NULL;
  for (struct Tcp* c = connections; c < connections + kConnections; ++c) {
    if (c->state == kClosed) return c;
    if (c->state == kOpen) continue;
    const bool over = c->state == kTimeWait;
    if (!oldest || (over && oldest->state != kTimeWait) ||
        (c->state == oldest->state && seq_diff(c->state_since, oldest->state_since) < 0))
      oldest = c;
  }
  return oldest;
}

static uint32_t initial_sequence(const struct Peer* peer, uint16_t port) {
  uint32_t hash = 2166136261u;
  hash = (hash ^ peer->ip) * 16777619u;
  hash = (hash ^ port) * 16777619u;
  return hash + tcp_now * 2500;  // RFC 9293, section 3.4.1: a clock of 4 us
}

static void open(const struct Peer* from, const struct Segment* s) {
  struct Tcp* c = find_place();
  if (!c) return tcp_reset(from, tcp_port, s->port, 0, s->seq + 1, kAck);
  memset(c, 0, sizeof *c);
  c->state = kSynReceived;
  c->state_since = c->heard = tcp_now;
  c->peer = *from;
  c->peer_port = s->port;
  c->in = (struct Ring){.bytes = receive_rings[index_of(c)], .size = receive_bytes};
  c->out = (struct Ring){.bytes = send_rings[index_of(c)], .size = kSendRing};
  c->rcv = c->edge = s->seq + 1;
  c->una = c->nxt = c->max = c->recover = initial_sequence(from, s->port);
  c->window = s->window;
  c->window_seq = s->seq;
  c->mss = s->mss;
  tcp_start_sending(c);
  tcp_output(c);
}

// ---- data and FIN ----
// Joins a range that came early with those it touches. When all places are taken it is as if it had never come.
static void hold(struct Tcp* c, uint32_t from, uint32_t to) {
  struct TcpRange* place = NULL;
  for (struct TcpRange* h = c->held; h < c->held + kHeldRanges; ++h) {
    if (h->from != h->to && seq_diff(h->from, to) <= 0 && seq_diff(from, h->to) <= 0) {
      if (seq_diff(h->from, from) < 0) from = h->from;
      if (seq_diff(h->to, to) > 0) to = h->to;
      h->from = h->to;
    }
    if (h->from == h->to) place = h;
  }
  if (place) *place = (struct TcpRange){from, to};
}

static void advance(struct Tcp* c, uint32_t to) {
  c->in.used += to - c->rcv;
  c->rcv = to;
}

static void take_held(struct Tcp* c) {
  for (struct TcpRange* h = c->held; h < c->held + kHeldRanges; ++h) {
    if (h->from == h->to || seq_diff(h->from, c->rcv) > 0) continue;
    const uint32_t to = h->to;
    h->from = h->to;
    if (seq_diff(to, c->rcv) <= 0) continue;
    advance(c, to);
    h = c->held - 1;  // once more: it may have reached another
  }
}

static void take_data(struct Tcp* c, const struct Segment* s) {
  uint32_t seq = s->seq, length = s->length;
  const uint8_t* data = s->data;
  bool fin = s->flags & kFin;
  if (length || fin) c->acknowledge = true;
  if (seq_diff(seq, c->rcv) < 0) {
    const uint32_t old = c->rcv - seq;
    if (old > length) return;
    data += old;
    length -= old;
    seq += old;
  }
  const uint32_t ahead = seq - c->rcv, room = ring_free(&c->in);
  if (ahead > room) return;
  if (length > room - ahead) {
    length = room - ahead;
    fin = false;
  }
  const uint32_t end = seq + length;
  if (c->fin_known && seq_diff(end, c->fin_seq) > 0) return;  // nothing comes after a FIN
  ring_put_at(&c->in, c->in.used + ahead, data, length);
  if (ahead == 0) {
    advance(c, end);
    take_held(c);
  } else if (length) {
    hold(c, seq, end);
  }
  if (fin && !c->fin_known) {
    c->fin_known = true;
    c->fin_seq = end;
  }
  if (c->fin_known && !c->fin_in && c->rcv == c->fin_seq) {
    c->fin_in = true;
    ++c->rcv;
  }
}

// ---- acknowledgements ----
// False if the segment is to be looked at no further.
static bool take_ack(struct Tcp* c, const struct Segment* s) {
  const int32_t news = seq_diff(s->ack, c->una);
  if (seq_diff(s->ack, c->max) > 0 || news < -kOldestAck) {
    c->acknowledge = true;
    return false;
  }
  const bool window_moved = s->window != c->window;
  if (news >= 0 &&
      (seq_diff(c->window_seq, s->seq) < 0 || (c->window_seq == s->seq && seq_diff(c->window_ack, s->ack) <= 0))) {
    c->window = s->window;
    c->window_seq = s->seq;
    c->window_ack = s->ack;
  }
  if (news > 0) {
    uint32_t bytes = (uint32_t)news;
    if (bytes > c->out.used) {
      c->fin_acked = c->fin_sent;
      bytes = c->out.used;
    }
    ring_drop(&c->out, bytes);
    c->una = s->ack;
    if (seq_diff(c->nxt, c->una) < 0) c->nxt = c->una;
    tcp_acknowledged(c, bytes);
  } else if (news == 0 && c->una != c->max && s->length == 0 && !(s->flags & kFin) && !window_moved && c->window != 0) {
    tcp_duplicate_ack(c);
  }
  return true;
}

// ---- segments ----
// RFC 9293, section 3.10.7.4: whether any of it lies in the window.
static bool acceptable(const struct Tcp* c, const struct Segment* s) {
  const uint32_t room = ring_free(&c->in);
  const uint32_t length = s->length + !!(s->flags & kSyn) + !!(s->flags & kFin);
  const int32_t ahead = seq_diff(s->seq, c->rcv);
  if (room == 0) return ahead == 0 && length == 0;
  if (length == 0) return ahead >= 0 && (uint32_t)ahead < room;
  return seq_diff(s->seq + length, c->rcv) > 0 && (ahead < 0 || (uint32_t)ahead < room);
}

static void close_if_over(struct Tcp* c) {
  if (!c->fin_in || !c->fin_acked) return;
  if (!c->fin_first) return forget(c, "closed");
  application->closed(index_of(c), c, "closed");
  c->state = kTimeWait;
  c->state_since = tcp_now;
  c->timer = 0;
}

static void synchronized(struct Tcp* c, const struct Peer* from, const struct Segment* s) {
  if (c->state == kSynReceived && (s->flags & (kSyn | kAck | kRst)) == kSyn && s->seq + 1 == c->rcv) {
    c->nxt = c->una;  // their SYN again: ours was lost
    return;
  }
  const bool in_window = acceptable(c, s);
  if (s->flags & kRst) {
    if (s->seq == c->rcv && c->state != kTimeWait) return forget(c, "reset by its peer");
    c->acknowledge |= in_window;
    return;
  }
  if (s->flags & kSyn) {
    c->acknowledge = true;
    return;
  }
  if (!in_window) c->acknowledge = true;
  // With a closed window acknowledgements count nevertheless.
  if (!(s->flags & kAck) || (!in_window && s->seq != c->rcv)) return;
  if (c->state == kSynReceived) {
    if (s->ack != c->una + 1) return tcp_reset(from, tcp_port, s->port, s->ack, 0, 0);
    c->state = kOpen;
    c->una = c->nxt = s->ack;
    c->timer = 0;
    c->timeout = kTicksPerSecond;
    application->opened(index_of(c), c);
  }
  if (c->state == kTimeWait || !take_ack(c, s)) return;
  c->heard = tcp_now;
  c->peer = *from;  // its hardware address may have changed
  if (!c->fin_in && in_window) take_data(c, s);
  close_if_over(c);
}

static uint16_t mss_option(const uint8_t* option, const uint8_t* end) {
  while (option < end && *option != 0) {
    if (*option == 1) {
      ++option;
      continue;
    }
    if (end - option < 2 || option[1] < 2 || option[1] > end - option) break;
    if (option[0] == 2 && option[1] == 4) return load16(option + 2);
    option += option[1];
  }
  return kDefaultMss;
}

void tcp_input(const struct Peer* from, const uint8_t* t, size_t count) {
  if (count < 20) return;
  const size_t header = 4u * (t[12] >> 4);
  if (header < 20 || header > count || ip_tcp_checksum(from->ip, ip_address, t, count) != 0) return;
  struct Segment s = {.seq = load32(t + 4),
                      .ack = load32(t + 8),
                      .flags = t[13],
                      .port = load16(t),
                      .window = load16(t + 14),
                      .data = t + header,
                      .length = (uint32_t)(count - header)};
  if (s.port == 0) return;
  const uint16_t tried = load16(t + 2);
  struct Tcp* c = tried == tcp_port ? find(from, s.port) : NULL;
  const bool fresh_syn = (s.flags & (kSyn | kAck | kRst | kFin)) == kSyn && tried == tcp_port;
  if (c && !(c->state == kTimeWait && fresh_syn && seq_diff(s.seq, c->rcv) > 0)) return synchronized(c, from, &s);
  if (fresh_syn) {
    if (c) forget(c, NULL);
    s.mss = mss_option(t + 20, t + header);
    return open(from, &s);
  }
  if (s.flags & kRst) return;
  if (s.flags & kAck)
    tcp_reset(from, tried, s.port, s.ack, 0, 0);
  else
    tcp_reset(from, tried, s.port, 0, s.seq + s.length + !!(s.flags & kSyn) + !!(s.flags & kFin), kAck);
}

// ---- time ----
static void tick(struct Tcp* c) {
  const int32_t silent = seq_diff(tcp_now, c->heard), since = seq_diff(tcp_now, c->state_since);
  if (c->state == kTimeWait) {
    if (since >= kTimeWaitTicks) forget(c, NULL);
    return;
  }
  if (c->state == kSynReceived && since >= kSynTicks) return forget(c, NULL);
  if (!c->finish) c->state_since = c->state == kOpen ? tcp_now : c->state_since;
  if (silent >= kGiveUp || (c->finish && since >= kFinishTicks)) {
    tcp_reset(&c->peer, tcp_port, c->peer_port, c->max, c->rcv, kAck);
    return forget(c, "timed out");
  }
  // A byte that it has had already: it will answer, if it is there.
  if (c->state == kOpen && silent >= kProbeAfter && (silent - kProbeAfter) % kProbeEvery == 0)
    tcp_transmit(c, c->una - 1, 0, 0);
  if (c->timer && seq_diff(tcp_now, c->timer) >= 0) tcp_timer_expired(c);
}

void tcp_tick(uint32_t now) {
  tcp_now = now;
  for (struct Tcp* c = connections; c < connections + kConnections; ++c)
    if (c->state != kClosed) tick(c);
}

void tcp_run(void) {
  for (struct Tcp* c = connections; c < connections + kConnections; ++c) {
    if (c->state == kClosed) continue;
    if (c->state == kOpen) application->serve(index_of(c), c);
    tcp_output(c);
  }
}

void tcp_start(uint16_t port, uint32_t receive_window, const struct TcpApplication* app) {
  tcp_port = port;
  receive_bytes = receive_window < kReceiveRing ? receive_window : kReceiveRing;
  application = app;
}
