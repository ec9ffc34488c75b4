#include "devices/mc146818.h"

#include <algorithm>
#include <stdexcept>

namespace understudy::devices {

namespace {
constexpr uint16_t kIndexPort = 0x70;
constexpr uint16_t kDataPort = 0x71;

enum Register : unsigned {
  kSeconds = 0x00,
  kSecondsAlarm = 0x01,
  kMinutes = 0x02,
  kMinutesAlarm = 0x03,
  kHours = 0x04,
  kHoursAlarm = 0x05,
  kWeekday = 0x06,
  kDay = 0x07,
  kMonth = 0x08,
  kYear = 0x09,
  kA = 0x0a,
  kB = 0x0b,
  kC = 0x0c,
  kD = 0x0d,
  kFirstRam = 0x0e,
  kCentury = 0x32,
};

constexpr uint8_t kUip = 0x80;                                       // A
constexpr uint8_t kSet = 0x80, kUie = 0x10, kSqwe = 0x08;            // B
constexpr uint8_t kBinary = 0x04, k24Hours = 0x02;                   // B
constexpr uint8_t kIrqf = 0x80, kPf = 0x40, kAf = 0x20, kUf = 0x10;  // C; B's enables have the places of C's flags
constexpr uint8_t kFlags = kPf | kAf | kUf;
constexpr uint8_t kValidRam = 0x80;  // D
constexpr uint8_t kPm = 0x80;        // hours, 12-hour format

constexpr uint64_t kNsPerSec = 1000000000;
constexpr uint64_t kDividerHz = 32768;
constexpr int64_t kSecondsPerDay = 86400;
// UIP rises this long before the update: eight periods of the divider's clock.
constexpr uint64_t kUipNs = 8 * kNsPerSec / kDividerHz;

// Alarm bytes that are no time of day.
constexpr int kAny = -1;
constexpr int kNever = -2;

bool is_alarm(unsigned index) { return index == kSecondsAlarm || index == kMinutesAlarm || index == kHoursAlarm; }
bool is_time(unsigned index) { return (index <= kYear && !is_alarm(index)) || index == kCentury; }

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }
int64_t floor_mod(int64_t a, int64_t b) { return a - floor_div(a, b) * b; }

// Periods of the divider's clock within `ns`, and back to the first nanosecond of the n-th.
uint64_t divider_ticks(uint64_t ns) { return ns / kNsPerSec * kDividerHz + ns % kNsPerSec * kDividerHz / kNsPerSec; }
uint64_t divider_tick_ns(uint64_t n) {
  return n / kDividerHz * kNsPerSec + (n % kDividerHz * kNsPerSec + kDividerHz - 1) / kDividerHz;
}

// The proleptic Gregorian calendar in days since 1970-01-01, counted from 1 March so that leap days come last.
struct Date {
  int64_t year;
  unsigned month, day;  // from 1
};

constexpr int64_t kDaysPerEra = 146097;  // 400 years
constexpr int64_t kEpochFromEra = 719468;

// Any month and day: what exceeds a month or a year runs over into the next.
int64_t days_from_date(int64_t year, int64_t month, int64_t day) {
  const int64_t months = year * 12 + (month - 1) - 2;
  const int64_t y = floor_div(months, 12);
  const int64_t m = floor_mod(months, 12);
  const int64_t era = floor_div(y, 400);
  const int64_t in_era = y - era * 400;
  return era * kDaysPerEra + in_era * 365 + in_era / 4 - in_era / 100 + (153 * m + 2) / 5 + day - 1 - kEpochFromEra;
}

Date date_from_days(int64_t days) {
  const int64_t since = days + kEpochFromEra;
  const int64_t era = floor_div(since, kDaysPerEra);
  const int64_t in_era = since - era * kDaysPerEra;
  const int64_t y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
  const int64_t in_year = in_era - (365 * y + y / 4 - y / 100);
  const int64_t m = (5 * in_year + 2) / 153;
  const auto month = static_cast<unsigned>(m < 10 ? m + 3 : m - 9);
  return {era * 400 + y + (month <= 2), month, static_cast<unsigned>(in_year - (153 * m + 2) / 5 + 1)};
}

// 0 is Sunday.
unsigned weekday_from_days(int64_t days) { return static_cast<unsigned>(floor_mod(days + 4, 7)); }
}  // namespace

Mc146818::Mc146818(const emu::Clock& clock, emu::EventQueue& events, emu::IrqLine irq8, int64_t start_seconds)
    : clock_(clock), events_(events), irq8_(irq8), event_(events.add("rtc", [this](uint64_t) {
        const uint64_t now = clock_.now_ns();
        sync(now);
        update_interrupt(now);
      })) {
  state_.base_seconds = start_seconds;
  state_.cmos[kA] = 0x26;  // divider on, 1024 Hz
  state_.cmos[kB] = k24Hours;
  state_.cmos[kD] = kValidRam;
}

void Mc146818::attach(emu::PortBus& bus) { bus.attach(kIndexPort, kDataPort, *this); }

void Mc146818::set_cmos(unsigned index, uint8_t value) {
  if (index < kFirstRam || index >= state_.cmos.size() || index == kCentury)
    throw std::logic_error("rtc: not a byte of the CMOS RAM");
  state_.cmos[index] = value;
}

void Mc146818::reset() {
  const uint64_t now = clock_.now_ns();
  sync(now);
  state_.index = 0;
  state_.cmos[kB] &= static_cast<uint8_t>(~(kFlags | kSqwe));
  state_.cmos[kC] = 0;
  irq8_.set(false);
  events_.cancel(event_);
}

void Mc146818::visit_state(emu::StateVisitor& v) {
  v.value("index", state_.index);
  v.value("cmos", state_.cmos);
  v.value("base_seconds", state_.base_seconds);
  v.value("origin_ns", state_.origin_ns);
  v.value("weekday_shift", state_.weekday_shift);
  v.value("synced_ns", state_.synced_ns);
  state_.index &= 0x7f;  // a damaged snapshot must not become an index out of range
}

uint32_t Mc146818::port_read(uint16_t port, unsigned) {
  return port == kIndexPort ? 0xff : read_register(state_.index, clock_.now_ns());
}

void Mc146818::port_write(uint16_t port, unsigned, uint32_t value) {
  if (port == kIndexPort)
    state_.index = value & 0x7f;
  else
    write_register(state_.index, static_cast<uint8_t>(value), clock_.now_ns());
}

uint8_t Mc146818::read_register(unsigned index, uint64_t now) {
  if (index == kA) {
    const bool updating = updates_run() && divider_ns(now) % kNsPerSec >= kNsPerSec - kUipNs;
    return state_.cmos[kA] | (updating ? kUip : 0);
  }
  if (index == kC) {
    sync(now);
    update_interrupt(now);
    const uint8_t flags = state_.cmos[kC];
    state_.cmos[kC] = 0;
    if (flags & kIrqf) {
      irq8_.set(false);
      schedule(now);
    }
    return flags;
  }
  return is_time(index) && updates_run() ? time_byte(index, now) : state_.cmos[index];
}

void Mc146818::write_register(unsigned index, uint8_t value, uint64_t now) {
  if (index == kC || index == kD) return;
  if (index == kA || index == kB) {
    write_control(index, value, now);
  } else if (is_alarm(index)) {
    sync(now);
    state_.cmos[index] = value;
    update_interrupt(now);
  } else if (is_time(index) && updates_run()) {
    sync(now);
    registers_from_calendar(now);
    state_.cmos[index] = value;
    calendar_from_registers(now);
    update_interrupt(now);
  } else {
    state_.cmos[index] = value;
  }
}

void Mc146818::write_control(unsigned index, uint8_t value, uint64_t now) {
  sync(now);
  const bool divider_ran = divider_runs();
  const bool updates_ran = updates_run();
  if (updates_ran) registers_from_calendar(now);
  if (index == kA) {
    state_.cmos[kA] = value & static_cast<uint8_t>(~kUip);
    // The first update comes half a second after the divider is let go ("Divider control").
    if (divider_runs() && !divider_ran) state_.origin_ns = static_cast<int64_t>(now - kNsPerSec / 2);
  } else {
    if (value & kSet) value &= static_cast<uint8_t>(~kUie);
    // While updates run on, the time changes its format; written under SET, the bytes are the guest's.
    state_.cmos[kB] = value;
  }
  if (updates_run() && !updates_ran) calendar_from_registers(now);
  update_interrupt(now);
}

bool Mc146818::divider_runs() const { return (state_.cmos[kA] & 0x70) <= 0x20; }
bool Mc146818::updates_run() const { return divider_runs() && !(state_.cmos[kB] & kSet); }

unsigned Mc146818::period_shift() const {
  const unsigned rate = state_.cmos[kA] & 0x0f;
  if (rate == 0 || !divider_runs()) return 0;
  // With the 32,768 Hz time base rates 1 and 2 repeat 8 and 9 (table of periodic rates).
  return rate <= 2 ? rate + 6 : rate - 1;
}

int64_t Mc146818::calendar(uint64_t now) const {
  return state_.base_seconds + static_cast<int64_t>(divider_ns(now) / kNsPerSec);
}

uint8_t Mc146818::encode(unsigned value) const {
  return static_cast<uint8_t>(state_.cmos[kB] & kBinary ? value : value / 10 << 4 | value % 10);
}

unsigned Mc146818::decode(uint8_t byte) const {
  return state_.cmos[kB] & kBinary ? byte : (byte >> 4) * 10u + (byte & 15u);
}

uint8_t Mc146818::encode_hour(unsigned hour) const {
  if (state_.cmos[kB] & k24Hours) return encode(hour);
  const unsigned of_twelve = hour % 12 == 0 ? 12 : hour % 12;
  return encode(of_twelve) | (hour >= 12 ? kPm : 0);
}

unsigned Mc146818::decode_hour(uint8_t byte) const {
  if (state_.cmos[kB] & k24Hours) return decode(byte);
  return decode(byte & static_cast<uint8_t>(~kPm)) % 12 + (byte & kPm ? 12 : 0);
}

uint8_t Mc146818::time_byte(unsigned index, uint64_t now) const {
  const int64_t seconds = calendar(now);
  const int64_t days = floor_div(seconds, kSecondsPerDay);
  const auto of_day = static_cast<unsigned>(seconds - days * kSecondsPerDay);
  switch (index) {
    case kSeconds:
      return encode(of_day % 60);
    case kMinutes:
      return encode(of_day / 60 % 60);
    case kHours:
      return encode_hour(of_day / 3600);
    case kWeekday:
      return encode((weekday_from_days(days) + state_.weekday_shift) % 7 + 1);
    case kDay:
      return encode(date_from_days(days).day);
    case kMonth:
      return encode(date_from_days(days).month);
    case kYear:
      return encode(static_cast<unsigned>(floor_mod(date_from_days(days).year, 100)));
    default:
      return encode(static_cast<unsigned>(floor_mod(floor_div(date_from_days(days).year, 100), 100)));
  }
}

void Mc146818::registers_from_calendar(uint64_t now) {
  for (unsigned index : {kSeconds, kMinutes, kHours, kWeekday, kDay, kMonth, kYear, kCentury})
    state_.cmos[index] = time_byte(index, now);
}

void Mc146818::calendar_from_registers(uint64_t now) {
  const auto& r = state_.cmos;
  const int64_t year = decode(r[kCentury]) * 100 + decode(r[kYear]);
  const int64_t days = days_from_date(year, decode(r[kMonth]), decode(r[kDay]));
  const int64_t of_day = decode_hour(r[kHours]) * 3600 + decode(r[kMinutes]) * 60 + decode(r[kSeconds]);
  const int64_t seconds = days * kSecondsPerDay + of_day;
  state_.base_seconds = seconds - static_cast<int64_t>(divider_ns(now) / kNsPerSec);
  const unsigned derived = weekday_from_days(floor_div(seconds, kSecondsPerDay));
  state_.weekday_shift = static_cast<uint8_t>((decode(r[kWeekday]) + 6 + 7 - derived) % 7);
}

uint32_t Mc146818::seconds_to_alarm(int64_t calendar_seconds) const {
  const auto alarm = [&](unsigned index, unsigned limit) {
    const uint8_t byte = state_.cmos[index];
    if ((byte & 0xc0) == 0xc0) return kAny;
    const unsigned value = index == kHoursAlarm ? decode_hour(byte) : decode(byte);
    // A byte that the counter never shows never matches.
    const uint8_t shown = index == kHoursAlarm ? encode_hour(value) : encode(value);
    return value < limit && shown == byte ? static_cast<int>(value) : kNever;
  };
  const int second = alarm(kSecondsAlarm, 60);
  const int minute = alarm(kMinutesAlarm, 60);
  const int hour = alarm(kHoursAlarm, 24);
  if (second == kNever || minute == kNever || hour == kNever) return 0;
  const auto fits = [](int field, uint32_t value) { return field == kAny || field == static_cast<int>(value); };

  const auto now = static_cast<uint32_t>(floor_mod(calendar_seconds, kSecondsPerDay));
  const uint32_t from = now + 1;
  for (uint32_t h = from / 3600; h <= from / 3600 + 24; ++h) {
    if (!fits(hour, h % 24)) continue;
    for (uint32_t m = 0; m < 60; ++m) {
      if (!fits(minute, m)) continue;
      const uint32_t start = h * 3600 + m * 60;
      if (start + 59 < from) continue;
      const uint32_t at = second != kAny ? start + static_cast<uint32_t>(second) : std::max(start, from);
      if (at >= from) return at - now;
    }
  }
  return 0;  // not reached: every time of day comes within 24 hours
}

void Mc146818::sync(uint64_t now) {
  if (now <= state_.synced_ns) return;
  const uint64_t before = divider_ns(state_.synced_ns);
  const uint64_t after = divider_ns(now);
  const uint8_t seen = state_.cmos[kC];
  uint8_t flags = 0;
  const unsigned shift = period_shift();
  if (shift != 0 && !(seen & kPf) && divider_ticks(before) >> shift != divider_ticks(after) >> shift) flags |= kPf;
  if (updates_run()) {
    const uint64_t updates = after / kNsPerSec - before / kNsPerSec;
    if (updates != 0) {
      flags |= kUf;
      if (!(seen & kAf)) {
        const uint32_t alarm = seconds_to_alarm(calendar(state_.synced_ns));
        if (alarm != 0 && alarm <= updates) flags |= kAf;
      }
    }
  }
  state_.cmos[kC] |= flags;
  state_.synced_ns = now;
}

void Mc146818::update_interrupt(uint64_t now) {
  const bool was = state_.cmos[kC] & kIrqf;
  const bool is = state_.cmos[kC] & state_.cmos[kB] & kFlags;
  state_.cmos[kC] = (state_.cmos[kC] & kFlags) | (is ? kIrqf : 0);
  if (was != is) irq8_.set(is);
  schedule(now);
}

void Mc146818::schedule(uint64_t now) {
  uint64_t due = emu::EventQueue::kNever;
  // With the line up nothing more can happen until register C is read; flags are derived then.
  const uint8_t enables = state_.cmos[kC] & kIrqf ? 0 : state_.cmos[kB] & kFlags;
  const auto origin = static_cast<uint64_t>(state_.origin_ns);
  const unsigned shift = period_shift();
  if ((enables & kPf) && shift != 0) {
    const uint64_t next = (divider_ticks(divider_ns(now)) >> shift) + 1;
    due = origin + divider_tick_ns(next << shift);
  }
  if ((enables & (kAf | kUf)) && updates_run()) {
    uint64_t seconds = divider_ns(now) / kNsPerSec;
    const uint32_t alarm = enables & kUf ? 1 : seconds_to_alarm(calendar(now));
    seconds += alarm;
    if (alarm != 0) due = std::min(due, origin + seconds * kNsPerSec);
  }
  if (due != events_.due(event_)) events_.schedule(event_, due);
}

}  // namespace understudy::devices
