// What goes out: segments, retransmission, congestion control.
#include "tcp.h"

enum { kHeader = 20, kMssOption = 4, kOurMss = kIpPayloadLimit - kHeader };
enum { kMinTimeout = kTicksPerSecond / 5, kFirstTimeout = kTicksPerSecond, kMaxTimeout = 3 * kTicksPerSecond };
enum { kFirstSegments = 10, kMaxCongestion = 256 * 1024, kDuplicatesForLoss = 3 };

static uint32_t min(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t max(uint32_t a, uint32_t b) { return a > b ? a : b; }

// Into the frame at `t`, whose options and data are there already.
static void send_segment(const struct Peer* to, uint16_t from_port, uint16_t to_port, uint8_t* t, size_t header,
                         size_t data, uint32_t seq, uint32_t ack, uint8_t flags, uint32_t window) {
  store16(t, from_port);
  store16(t + 2, to_port);
  store32(t + 4, seq);
  store32(t + 8, ack);
  t[12] = (uint8_t)(header / 4 << 4);
  t[13] = flags;
  store16(t + 14, (uint16_t)window);
  store32(t + 16, 0);
  store16(t + 16, ip_tcp_checksum(ip_address, to->ip, t, header + data));
  ip_send(to, kProtocolTcp, header + data);
}

void tcp_reset(const struct Peer* to, uint16_t from_port, uint16_t to_port, uint32_t seq, uint32_t ack, uint8_t flags) {
  uint8_t* t = ip_payload();
  if (t) send_segment(to, from_port, to_port, t, kHeader, 0, seq, ack, kRst | flags, 0);
}

bool tcp_transmit(struct Tcp* c, uint32_t seq, uint32_t length, uint8_t flags) {
  uint8_t* t = ip_payload();
  if (!t) return false;
  size_t header = kHeader;
  if (flags & kSyn) {
    t[header] = 2;
    t[header + 1] = kMssOption;
    store16(t + header + 2, kOurMss);
    header += kMssOption;
  }
  if (length) {
    ring_get_at(&c->out, seq - c->una, t + header, length);
    flags |= kPush;
  }
  const uint32_t window = min(ring_free(&c->in), 0xffff);
  send_segment(&c->peer, tcp_port, c->peer_port, t, header, length, seq, c->rcv, flags | kAck, window);
  c->edge = c->rcv + window;
  c->acknowledge = false;
  return true;
}

static void start_timer(struct Tcp* c) { c->timer = (tcp_now + c->timeout) | 1; }

void tcp_start_sending(struct Tcp* c) {
  c->mss = max(min(c->mss, kOurMss), 64);
  c->congestion = kFirstSegments * c->mss;
  c->threshold = kMaxCongestion;
  c->timeout = kFirstTimeout;
}

void tcp_output(struct Tcp* c) {
  if (c->state == kSynReceived) {
    if (c->nxt != c->una || !tcp_transmit(c, c->una, 0, kSyn)) return;
    c->nxt = c->max = c->una + 1;
    return start_timer(c);
  }
  if (c->state == kOpen) {
    const uint32_t window = max(c->window, c->probe ? 1 : 0);
    const uint32_t limit = min(window, c->congestion);
    for (;;) {
      const uint32_t sent = c->nxt - c->una;  // with the FIN, if that was sent
      const uint32_t unsent = sent < c->out.used ? c->out.used - sent : 0;
      const uint32_t length = min(min(unsent, c->mss), sent < limit ? limit - sent : 0);
      const bool last = length == unsent;
      const bool fin = c->finish && !c->fin_acked && last && sent <= c->out.used;
      if (length == 0 && !fin) break;
      // No small segment because of a small window while an acknowledgement will open it.
      if (length < c->mss && !last && sent != 0) break;
      if (!tcp_transmit(c, c->nxt, length, fin ? kFin : 0)) return;
      if (seq_diff(c->nxt, c->max) >= 0 && !c->timing && length) {
        c->timing = true;
        c->timed_seq = c->nxt;
        c->timed_at = tcp_now;
      }
      c->nxt += length + fin;
      if (fin && !c->fin_sent) {
        c->fin_sent = true;
        c->fin_first = !c->fin_in;
      }
      if (seq_diff(c->nxt, c->max) > 0) c->max = c->nxt;
      if (!c->timer) start_timer(c);
    }
    c->probe = false;
    // The window is closed: ask again now and then.
    if (!c->timer && c->out.used) start_timer(c);
    if (seq_diff(c->rcv + ring_free(&c->in), c->edge) >= (int32_t)(c->in.size / 2)) c->acknowledge = true;
  }
  if (c->acknowledge) tcp_transmit(c, c->max, 0, 0);
}

// The oldest segment again, without going back.
static void resend_first(struct Tcp* c) {
  const uint32_t length = min(c->out.used, c->mss);
  c->timing = false;
  tcp_transmit(c, c->una, length, c->fin_sent && length == c->out.used ? kFin : 0);
}

static void halve(struct Tcp* c) { c->threshold = max((c->max - c->una) / 2, 2 * c->mss); }

// RFC 6298, section 2.
static void measure(struct Tcp* c, int32_t ticks) {
  if (!c->measured) {
    c->measured = true;
    c->smoothed8 = (uint32_t)ticks * 8;
    c->variation4 = (uint32_t)ticks * 2;
  } else {
    const int32_t error = ticks - (int32_t)(c->smoothed8 / 8);
    c->smoothed8 = (uint32_t)((int32_t)c->smoothed8 + error);
    c->variation4 = c->variation4 - c->variation4 / 4 + (uint32_t)(error < 0 ? -error : error);
  }
}

void tcp_acknowledged(struct Tcp* c, uint32_t bytes) {
  if (c->timing && seq_diff(c->una, c->timed_seq) > 0) {
    c->timing = false;
    measure(c, (int32_t)(tcp_now - c->timed_at));
  }
  c->timeout = c->measured ? max(c->smoothed8 / 8 + max(c->variation4, 1), kMinTimeout) : kFirstTimeout;
  c->timeout = min(c->timeout, kMaxTimeout);
  c->duplicates = 0;
  if (c->recovering && seq_diff(c->una, c->recover) < 0) {
    resend_first(c);
    c->congestion = max(c->congestion > bytes ? c->congestion - bytes : 0, c->mss) + c->mss;
  } else if (c->recovering) {
    c->recovering = false;
    c->congestion = c->threshold;
  } else if (c->congestion < c->threshold) {
    c->congestion += min(bytes, c->mss);
  } else {
    c->congestion += max(c->mss * c->mss / c->congestion, 1);
  }
  c->congestion = min(c->congestion, kMaxCongestion);
  c->timer = 0;
  if (c->una != c->max) start_timer(c);
}

void tcp_duplicate_ack(struct Tcp* c) {
  ++c->duplicates;
  if (c->recovering) {
    c->congestion = min(c->congestion + c->mss, kMaxCongestion);
  } else if (c->duplicates == kDuplicatesForLoss && seq_diff(c->una, c->recover) >= 0) {
    c->recovering = true;
    c->recover = c->max;
    halve(c);
    resend_first(c);
    c->congestion = c->threshold + kDuplicatesForLoss * c->mss;
  }
}

void tcp_timer_expired(struct Tcp* c) {
  c->timer = 0;
  c->timing = false;
  if (c->window == 0) {
    c->probe = true;
  } else if (c->una != c->max) {
    halve(c);
    c->congestion = c->mss;
    c->recovering = false;
    c->recover = c->max;
    c->duplicates = 0;
  }
  c->nxt = c->una;
  c->timeout = min(c->timeout * 2, kMaxTimeout);
  start_timer(c);
}
