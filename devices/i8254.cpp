#include "devices/i8254.h"

#include <algorithm>
#include <limits>

namespace understudy::devices {

namespace {
using Channel = I8254::Channel;
using Phase = I8254::Phase;

constexpr uint16_t kDataPort = 0x40;
constexpr uint16_t kControlPort = 0x43;
constexpr int64_t kNoTick = std::numeric_limits<int64_t>::max();

bool is_periodic(const Channel& c) { return c.mode == 2 || c.mode == 3; }
bool is_triggered(const Channel& c) { return c.mode == 1 || c.mode == 5; }
int64_t modulus(const Channel& c) { return c.bcd ? 10000 : 65536; }
int64_t high_ticks(uint32_t count) { return (count + 1) / 2; }

uint16_t to_bcd(uint32_t v) {
  return static_cast<uint16_t>(v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12);
}

// The number of ticks that a written count stands for. Zero is the greatest; 1 is not allowed in the periodic modes
// and counts as 2.
uint32_t decode_count(const Channel& c, uint16_t raw) {
  uint32_t n = raw;
  if (c.bcd) n = (raw & 15) + (raw >> 4 & 15) * 10 + (raw >> 8 & 15) * 100 + (raw >> 12) * 1000u;
  if (n == 0) n = static_cast<uint32_t>(modulus(c));
  return is_periodic(c) ? std::max(n, 2u) : n;
}

uint16_t encode_count(const Channel& c, int64_t count) {
  const auto n = static_cast<uint32_t>(count % modulus(c));
  return c.bcd ? to_bcd(n) : static_cast<uint16_t>(n);
}

bool is_loading(const Channel& c, int64_t tick) { return c.phase == Phase::kCounting && tick < c.start; }

// A count written while a periodic mode runs takes over at the end of the cycle (mode 2) or half cycle (mode 3).
void take_pending(Channel& c, int64_t tick) {
  if (!c.pending || !is_periodic(c) || c.phase != Phase::kCounting || tick < c.switch_tick) return;
  const int64_t phase = (c.switch_tick - c.start) % c.count;
  c.count = c.reload;
  c.pending = false;
  c.start = c.switch_tick;
  if (phase != 0) c.start -= high_ticks(c.count);  // mode 3, at the falling edge: on with the new low half
}

bool output_at(const Channel& c, int64_t tick) {
  if (c.phase == Phase::kHeld || is_loading(c, tick)) return c.held_out;
  const int64_t e = c.phase == Phase::kPaused ? c.elapsed : tick - c.start;
  switch (c.mode) {
    case 0:
    case 1:
      return e >= c.count;
    case 2:
      return e % c.count != c.count - 1;
    case 3:
      return e % c.count < high_ticks(c.count);
    default:
      return e != c.count;
  }
}

uint16_t counter_at(const Channel& c, int64_t tick) {
  if (c.phase == Phase::kHeld || is_loading(c, tick)) return c.held_count;
  const int64_t e = c.phase == Phase::kPaused ? c.elapsed : tick - c.start;
  if (c.mode == 2) return encode_count(c, c.count - e % c.count);
  if (c.mode == 3) {  // by twos, from an even number, once for each half
    const int64_t in_cycle = e % c.count;
    const int64_t in_half = in_cycle < high_ticks(c.count) ? in_cycle : in_cycle - high_ticks(c.count);
    return encode_count(c, (c.count & ~1u) - 2 * in_half);
  }
  const int64_t m = modulus(c);
  return encode_count(c, c.count + m - e % m);
}

// The first tick after `tick` at which the output rises, provided that nothing is written and the gate stays.
int64_t next_rise(const Channel& c, int64_t tick) {
  if (c.phase != Phase::kCounting) return kNoTick;
  if (!is_periodic(c)) {
    const int64_t rise = c.start + c.count + (c.mode >= 4 ? 1 : 0);
    return rise > tick ? rise : kNoTick;
  }
  if (tick < c.start) return c.start + c.count;
  if (c.pending) {
    Channel after = c;
    take_pending(after, c.switch_tick);
    return after.start == c.switch_tick ? c.switch_tick : after.start + after.count;
  }
  return c.start + ((tick - c.start) / c.count + 1) * c.count;
}

// The counting element starts over, one clock from now.
void load(Channel& c, int64_t tick, bool out_until_load) {
  c.held_count = counter_at(c, tick);
  c.held_out = out_until_load;
  c.count = c.reload;
  c.pending = false;
  c.phase = Phase::kCounting;
  c.start = tick + 1;
}

void write_count(Channel& c, uint16_t raw, int64_t tick) {
  c.reload = decode_count(c, raw);
  c.programmed = true;
  if (is_triggered(c)) {
    c.pending = true;  // until the next trigger
  } else if (!is_periodic(c)) {
    load(c, tick, c.mode == 4);
    if (!c.gate) {
      c.phase = Phase::kPaused;
      c.elapsed = 0;
    }
  } else if (!c.gate) {
    c.held_count = encode_count(c, c.mode == 3 ? c.reload & ~1u : c.reload);  // the gate's rise loads it again
  } else if (c.phase == Phase::kHeld) {
    load(c, tick, true);
  } else if (is_loading(c, tick)) {
    c.count = c.reload;
  } else if (!c.pending) {
    c.pending = true;
    const int64_t in_cycle = (tick - c.start) % c.count;
    const bool ends_high = c.mode == 3 && in_cycle < high_ticks(c.count);
    c.switch_tick = tick - in_cycle + (ends_high ? high_ticks(c.count) : c.count);
  }
}

void change_gate(Channel& c, bool level, int64_t tick) {
  if (level == c.gate) return;
  c.gate = level;
  if (level) {
    if (c.phase == Phase::kPaused) {
      c.phase = Phase::kCounting;
      c.start = tick - c.elapsed;
    } else if (c.programmed && is_triggered(c)) {
      load(c, tick, c.mode == 5 || output_at(c, tick));
    } else if (c.programmed && is_periodic(c)) {
      load(c, tick, true);
    }
  } else if (c.phase == Phase::kCounting) {
    if (is_periodic(c)) {
      c.held_count = counter_at(c, tick);
      c.held_out = true;
      c.phase = Phase::kHeld;
      c.pending = false;  // the rise loads `reload` in any case
    } else if (!is_triggered(c)) {
      c.elapsed = std::max<int64_t>(0, tick - c.start);
      c.phase = Phase::kPaused;
    }
  }
}

void latch_count(Channel& c, int64_t tick) {
  if (c.latched_bytes != 0) return;  // the first latch stands until it is read
  c.latch = counter_at(c, tick);
  c.latched_bytes = c.access;
}

void latch_status(Channel& c, int64_t tick) {
  if (c.status_latched) return;
  const bool null_count = !c.programmed || c.pending || is_loading(c, tick);
  c.status = static_cast<uint8_t>(output_at(c, tick) << 7 | null_count << 6 | c.access << 4 | c.mode << 1 | c.bcd);
  c.status_latched = true;
}
}  // namespace

I8254::I8254(const emu::Clock& clock, emu::EventQueue& events, emu::IrqLine irq0)
    : clock_(clock), events_(events), irq0_(irq0), rise_(events.add("pit.rise", [this](uint64_t) { on_rise(); })) {}

void I8254::attach(emu::PortBus& bus) { bus.attach(kDataPort, kControlPort, *this); }

void I8254::reset() {
  const int64_t tick = now_tick();
  for (unsigned i = 0; i < kChannels; ++i) {
    Channel fresh;
    fresh.start = tick - fresh.count;
    if (i == 2) {
      fresh.gate = false;
      fresh.phase = Phase::kPaused;
      fresh.elapsed = fresh.count;
    }
    state_.channels[i] = fresh;
  }
  state_.wire = true;
  irq0_.set(true);
  events_.cancel(rise_);
}

void I8254::visit_state(emu::StateVisitor& v) {
  constexpr const char* kNames[kChannels] = {"channel0", "channel1", "channel2"};
  for (unsigned i = 0; i < kChannels; ++i) {
    Channel& c = state_.channels[i];
    v.begin(kNames[i]);
    v.value("mode", c.mode);
    v.value("access", c.access);
    v.value("bcd", c.bcd);
    v.value("gate", c.gate);
    v.value("programmed", c.programmed);
    v.value("write_low", c.write_low);
    v.value("write_high_next", c.write_high_next);
    v.value("read_high_next", c.read_high_next);
    v.value("latch", c.latch);
    v.value("latched_bytes", c.latched_bytes);
    v.value("status", c.status);
    v.value("status_latched", c.status_latched);
    v.value("phase", c.phase);
    v.value("count", c.count);
    v.value("reload", c.reload);
    v.value("pending", c.pending);
    v.value("start", c.start);
    v.value("switch_tick", c.switch_tick);
    v.value("elapsed", c.elapsed);
    v.value("held_count", c.held_count);
    v.value("held_out", c.held_out);
    v.end();
    c.count = std::max(c.count, 1u);  // a damaged snapshot must not become a division by zero
  }
  v.value("wire", state_.wire);
}

uint32_t I8254::port_read(uint16_t port, unsigned) {
  if (port == kControlPort) return 0;
  return read_data(port - kDataPort, now_tick());
}

void I8254::port_write(uint16_t port, unsigned, uint32_t value) {
  const auto byte = static_cast<uint8_t>(value);
  const int64_t tick = now_tick();
  if (port == kControlPort)
    write_control(byte, tick);
  else
    write_data(port - kDataPort, byte, tick);
}

uint8_t I8254::read_data(unsigned index, int64_t tick) {
  Channel& c = state_.channels[index];
  take_pending(c, tick);
  if (c.status_latched) {
    c.status_latched = false;
    return c.status;
  }
  if (c.latched_bytes != 0) {
    const bool low = c.latched_bytes & 1;
    c.latched_bytes &= low ? 2 : 0;
    return static_cast<uint8_t>(low ? c.latch : c.latch >> 8);
  }
  const uint16_t value = counter_at(c, tick);
  bool high = c.access == 2;
  if (c.access == 3) {
    high = c.read_high_next;
    c.read_high_next = !high;
  }
  return static_cast<uint8_t>(high ? value >> 8 : value);
}

void I8254::write_control(uint8_t value, int64_t tick) {
  const unsigned index = value >> 6;
  if (index == 3) return read_back(value, tick);
  Channel& c = state_.channels[index];
  const uint8_t access = value >> 4 & 3;
  if (access == 0) {
    take_pending(c, tick);
    latch_count(c, tick);
    return;
  }
  before_change(index, tick);
  Channel fresh;
  fresh.held_count = counter_at(c, tick);
  fresh.gate = c.gate;
  fresh.count = c.count;
  fresh.reload = c.reload;
  fresh.access = access;
  fresh.mode = value >> 1 & 7;
  if (fresh.mode > 5) fresh.mode -= 4;  // the top bit is not decoded for modes 2 and 3
  fresh.bcd = value & 1;
  fresh.programmed = false;
  fresh.phase = Phase::kHeld;
  fresh.held_out = fresh.mode != 0;
  c = fresh;
  after_change(index, tick);
}

void I8254::read_back(uint8_t value, int64_t tick) {
  for (unsigned i = 0; i < kChannels; ++i) {
    if (!(value & 2u << i)) continue;
    Channel& c = state_.channels[i];
    take_pending(c, tick);
    if (!(value & 0x20)) latch_count(c, tick);
    if (!(value & 0x10)) latch_status(c, tick);
  }
}

void I8254::write_data(unsigned index, uint8_t value, int64_t tick) {
  Channel& c = state_.channels[index];
  if (c.access == 3 && !c.write_high_next) {
    c.write_low = value;
    c.write_high_next = true;
    if (c.mode != 0) return;
    // Mode 0: the first byte stops the counting and lowers the output.
    before_change(index, tick);
    c.held_count = counter_at(c, tick);
    c.held_out = false;
    c.phase = Phase::kHeld;
    c.programmed = false;
    after_change(index, tick);
    return;
  }
  uint16_t raw = value;
  if (c.access == 2) raw = static_cast<uint16_t>(value << 8);
  if (c.access == 3) raw = static_cast<uint16_t>(value << 8 | c.write_low);
  c.write_high_next = false;
  before_change(index, tick);
  write_count(c, raw, tick);
  after_change(index, tick);
}

void I8254::set_gate(unsigned channel, bool level) {
  const int64_t tick = now_tick();
  before_change(channel, tick);
  change_gate(state_.channels[channel], level, tick);
  after_change(channel, tick);
}

bool I8254::output(unsigned channel) {
  const int64_t tick = now_tick();
  take_pending(state_.channels[channel], tick);
  return output_at(state_.channels[channel], tick);
}

void I8254::before_change(unsigned index, int64_t tick) {
  // A rise that is due, but whose event has not run, must not get lost in the change.
  if (index == 0 && events_.due(rise_) <= clock_.now_ns()) on_rise();
  take_pending(state_.channels[index], tick);
  if (index == 0) drive(output_at(state_.channels[0], tick));
}

void I8254::after_change(unsigned index, int64_t tick) {
  if (index != 0) return;
  drive(output_at(state_.channels[0], tick));
  schedule(tick);
}

void I8254::drive(bool level) {
  if (level == state_.wire) return;
  state_.wire = level;
  irq0_.set(level);
}

void I8254::schedule(int64_t tick) {
  const int64_t rise = next_rise(state_.channels[0], tick);
  const uint64_t due = rise == kNoTick ? emu::EventQueue::kNever : pit_tick_ns(static_cast<uint64_t>(rise));
  if (due != events_.due(rise_)) events_.schedule(rise_, due);
}

void I8254::on_rise() {
  const int64_t tick = now_tick();
  take_pending(state_.channels[0], tick);
  drive(false);
  drive(true);
  schedule(tick);
}

}  // namespace understudy::devices
