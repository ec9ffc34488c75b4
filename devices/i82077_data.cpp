// The 82077AA's commands that wait for the disk to turn: everything that reads, compares, writes or formats sectors.
// One sector per event. In DMA mode the event moves the bytes too; in non-DMA mode it hands the buffer to the host and
// a second event follows when the host has moved the last byte.
#include <algorithm>

#include "devices/i82077.h"

namespace understudy::devices {

namespace {
constexpr uint8_t kReadTrack = 0x02;
constexpr uint8_t kWriteData = 0x05;
constexpr uint8_t kReadData = 0x06;
constexpr uint8_t kWriteDeleted = 0x09;
constexpr uint8_t kReadId = 0x0a;
constexpr uint8_t kReadDeleted = 0x0c;
constexpr uint8_t kFormat = 0x0d;
constexpr uint8_t kScanEqual = 0x11;
constexpr uint8_t kVerify = 0x16;
constexpr uint8_t kScanLow = 0x19;
constexpr uint8_t kScanHigh = 0x1d;

constexpr uint8_t kAbnormal = 0x40;          // ST0
constexpr uint8_t kEquipmentCheck = 0x10;    // ST0
constexpr uint8_t kEndOfCylinder = 0x80;     // ST1
constexpr uint8_t kDataError = 0x20;         // ST1
constexpr uint8_t kOverrun = 0x10;           // ST1
constexpr uint8_t kNoData = 0x04;            // ST1
constexpr uint8_t kNotWritable = 0x02;       // ST1
constexpr uint8_t kMissingMark = 0x01;       // ST1
constexpr uint8_t kControlMark = 0x40;       // ST2
constexpr uint8_t kErrorInData = 0x20;       // ST2
constexpr uint8_t kWrongCylinder = 0x10;     // ST2
constexpr uint8_t kScanHit = 0x08;           // ST2
constexpr uint8_t kScanNotSatisfied = 0x04;  // ST2

constexpr bool is_scan(uint8_t opcode) { return opcode == kScanEqual || opcode == kScanLow || opcode == kScanHigh; }
constexpr bool is_read(uint8_t opcode) { return opcode == kReadData || opcode == kReadDeleted || opcode == kReadTrack; }
constexpr bool is_write(uint8_t opcode) { return opcode == kWriteData || opcode == kWriteDeleted; }

constexpr size_t kFormatIdSize = 4;
constexpr uint64_t kRevolutionNs = 200'000'000;
}  // namespace

void I82077::begin_data() {
  State& s = state_;
  DataCommand& d = s.data;
  d = {};
  d.opcode = s.fifo[0] & 0x1f;
  d.multi_track = (s.fifo[0] & 0x80) != 0 && d.opcode != kReadTrack;
  d.mfm = (s.fifo[0] & 0x40) != 0;
  d.skip = (s.fifo[0] & 0x20) != 0;
  d.drive = s.fifo[1] & 3;
  d.head = s.fifo[1] >> 2 & 1;
  d.c = s.fifo[2];
  d.h = s.fifo[3];
  d.r = d.opcode == kReadTrack ? 1 : s.fifo[4];  // a track is read from the index hole on
  d.n = s.fifo[5];
  d.last_sector = s.fifo[6];
  d.dtl = s.fifo[8];
  d.counted = d.opcode == kVerify && (s.fifo[1] & 0x80) != 0;
  d.remaining = d.dtl;
  s.last_eot = s.fifo[6];
  constexpr uint8_t kImpliedSeek = 0x40;
  if ((s.configure & kImpliedSeek) != 0) move_head(d.drive, d.c);
  begin_execution();
}

void I82077::begin_format() {
  State& s = state_;
  DataCommand& d = s.data;
  d = {};
  d.opcode = kFormat;
  d.mfm = (s.fifo[0] & 0x40) != 0;
  d.drive = s.fifo[1] & 3;
  d.head = s.fifo[1] >> 2 & 1;
  d.n = s.fifo[2];
  d.remaining = s.fifo[3];
  d.filler = s.fifo[5];
  s.last_eot = s.fifo[3];
  begin_execution();
}

void I82077::begin_read_id() {
  State& s = state_;
  DataCommand& d = s.data;
  d = {};
  d.opcode = kReadId;
  d.mfm = (s.fifo[0] & 0x40) != 0;
  d.drive = s.fifo[1] & 3;
  d.head = s.fifo[1] >> 2 & 1;
  begin_execution();
}

void I82077::begin_execution() {
  state_.phase = Phase::kExecution;
  state_.reset_senses = 0;
  if (state_.seek_done == 0) set_interrupt(false);
  next_sector(clock_.now_ns());
}

void I82077::next_sector(uint64_t from_ns) {
  state_.data.step = Step::kFind;
  state_.data.position = 0;
  events_.schedule(data_event_, from_ns + kSectorNs);
}

void I82077::finish(Fault fault) {
  const DataCommand& d = state_.data;
  const auto st0 = static_cast<uint8_t>(fault.st0 | d.head << 2 | d.drive);
  result({st0, fault.st1, fault.st2, d.c, d.h, d.r, d.n});
  set_interrupt(true);
}

// Everything that keeps a drive from finding any ID under the head looks the same: no address mark in two turns.
bool I82077::track_is_readable() const {
  const DataCommand& d = state_.data;
  const FloppyGeometry& g = media_.geometry();
  return d.drive == 0 && d.mfm && state_.data_rate == g.data_rate && media_.has_sector(state_.cylinder[0], d.head, 1);
}

I82077::Fault I82077::find_sector() const {
  const DataCommand& d = state_.data;
  if (!track_is_readable()) return {kAbnormal, kMissingMark, 0};
  if (d.c != state_.cylinder[0]) return {kAbnormal, kNoData, kWrongCylinder};
  if (d.h != d.head || d.n != FloppyMedia::kSizeCode || !media_.has_sector(d.c, d.head, d.r))
    return {kAbnormal, kNoData, 0};
  return {};
}

// How the host's bytes travel for the command at hand; commands without any never wait for the host.
size_t I82077::host_bytes() const { return state_.data.opcode == kFormat ? kFormatIdSize : FloppyMedia::kSectorSize; }
bool I82077::host_reads() const { return is_read(state_.data.opcode) || state_.data.opcode == kReadId; }

void I82077::ask_host() {
  state_.data.step = Step::kHost;
  state_.data.position = 0;
  set_interrupt(true);
}

void I82077::host_done() {
  state_.data.step = Step::kDone;
  state_.data.position = 0;
  set_interrupt(false);
  events_.schedule(data_event_, clock_.now_ns() + kSectorNs);
}

void I82077::data_due(uint64_t due_ns) {
  if (state_.phase != Phase::kExecution) return;
  const uint8_t opcode = state_.data.opcode;
  if (opcode == kReadId)
    read_id(due_ns);
  else if (opcode == kVerify)
    verify_sector(due_ns);
  else if (is_read(opcode))
    read_sector(due_ns);
  else
    write_sector(due_ns);
}

// Whichever sector comes by first.
void I82077::read_id(uint64_t due_ns) {
  DataCommand& d = state_.data;
  if (!track_is_readable()) return finish({kAbnormal, kMissingMark, 0});
  d.c = state_.cylinder[0];
  d.h = d.head;
  d.n = FloppyMedia::kSizeCode;
  d.r = static_cast<uint8_t>(1 + emu::scale(due_ns % kRevolutionNs, media_.geometry().sectors, kRevolutionNs));
  finish({});
}

void I82077::verify_sector(uint64_t due_ns) {
  DataCommand& d = state_.data;
  if (const Fault fault = find_sector(); fault.any()) return finish(fault);
  if (!media_.read(d.c, d.head, d.r, state_.buffer)) return finish({kAbnormal, kDataError, kErrorInData});
  const bool more = advance(1);
  if (d.counted && --d.remaining == 0) return finish({});
  if (more) return next_sector(due_ns);
  finish(d.counted ? Fault{kAbnormal, kEndOfCylinder, 0} : Fault{});
}

void I82077::read_sector(uint64_t due_ns) {
  DataCommand& d = state_.data;
  if (d.step == Step::kDone) return sector_moved(due_ns, false);
  if (const Fault fault = find_sector(); fault.any()) return finish(fault);
  // No image holds deleted data, so READ DELETED DATA meets the wrong mark everywhere.
  if (d.opcode == kReadDeleted && d.skip) return sector_moved(due_ns, false);
  if (!media_.read(d.c, d.head, d.r, state_.buffer)) return finish({kAbnormal, kDataError, kErrorInData});
  if (non_dma()) return ask_host();
  const I8237::Transfer moved = dma_.transfer_to_memory(kDmaChannel, state_.buffer);
  if (!moved.terminal_count && moved.bytes < state_.buffer.size()) return finish({kAbnormal, kOverrun, 0});
  sector_moved(due_ns, moved.terminal_count);
}

// WRITE, SCAN and FORMAT: the host's bytes come first.
void I82077::write_sector(uint64_t due_ns) {
  DataCommand& d = state_.data;
  bool terminal_count = false;
  if (d.step != Step::kDone) {
    if (d.opcode == kFormat && d.remaining == 0) return finish({});
    if (!track_is_readable()) return finish({kAbnormal, kMissingMark, 0});
    if (d.opcode != kFormat)
      if (const Fault fault = find_sector(); fault.any()) return finish(fault);
    if (!is_scan(d.opcode) && media_.write_protected()) return finish({kAbnormal, kNotWritable, 0});
    if (non_dma()) return ask_host();
    const auto bytes = std::span(state_.buffer).first(host_bytes());
    const I8237::Transfer moved = dma_.transfer_from_memory(kDmaChannel, bytes);
    if (moved.bytes < bytes.size() && (!moved.terminal_count || d.opcode == kFormat))
      return finish({kAbnormal, kOverrun, 0});
    // Terminal count in the middle of a sector: the controller fills it up with zeros (section 4.2).
    std::ranges::fill(bytes.subspan(moved.bytes), uint8_t{0});
    terminal_count = moved.terminal_count;
  }
  if (d.opcode == kFormat) return format_sector(due_ns);
  if (is_scan(d.opcode)) return scan_sector(due_ns, terminal_count);
  if (!media_.write(d.c, d.head, d.r, state_.buffer)) return finish({kAbnormal | kEquipmentCheck, 0, 0});
  sector_moved(due_ns, terminal_count);
}

// An image only has room for the sectors of its format: other IDs are refused like a drive's fault.
void I82077::format_sector(uint64_t due_ns) {
  DataCommand& d = state_.data;
  d.c = state_.buffer[0];
  d.h = state_.buffer[1];
  d.r = state_.buffer[2];
  d.n = state_.buffer[3];
  if (find_sector().any()) return finish({kAbnormal | kEquipmentCheck, 0, 0});
  state_.buffer.fill(d.filler);
  if (!media_.write(d.c, d.head, d.r, state_.buffer)) return finish({kAbnormal | kEquipmentCheck, 0, 0});
  if (--d.remaining == 0) return finish({});
  next_sector(due_ns);
}

// The first byte that differs decides; 0xff on either side matches anything (section 5.1.8).
void I82077::scan_sector(uint64_t due_ns, bool terminal_count) {
  DataCommand& d = state_.data;
  std::array<uint8_t, FloppyMedia::kSectorSize> on_disk{};
  if (!media_.read(d.c, d.head, d.r, on_disk)) return finish({kAbnormal, kDataError, kErrorInData});
  const auto [disk, host] = std::ranges::mismatch(
      on_disk, state_.buffer, [](uint8_t a, uint8_t b) { return a == b || a == 0xff || b == 0xff; });
  const bool equal = disk == on_disk.end();
  if (equal) return finish({0, 0, kScanHit});
  if ((d.opcode == kScanLow && *disk < *host) || (d.opcode == kScanHigh && *disk > *host)) return finish({});
  if (!advance(d.dtl == 2 ? 2 : 1) || terminal_count) return finish({0, 0, kScanNotSatisfied});
  next_sector(due_ns);
}

void I82077::sector_moved(uint64_t due_ns, bool terminal_count) {
  DataCommand& d = state_.data;
  const uint8_t head = d.head;
  const bool more = advance(1);
  const bool wrong_mark = d.opcode == kReadDeleted && !d.skip;
  if (!terminal_count && !wrong_mark && more) return next_sector(due_ns);
  d.head = head;  // ST0 names the head of the last sector
  if (terminal_count || wrong_mark) return finish({0, 0, wrong_mark ? kControlMark : uint8_t{0}});
  // Reaching EOT without terminal count (always so in non-DMA mode) counts as an abnormal end (section 4.2).
  finish({kAbnormal, kEndOfCylinder, 0});
}

// Sets the ID to what follows the current sector (the datasheet's result phase table); false after the last one.
bool I82077::advance(unsigned step) {
  DataCommand& d = state_.data;
  const bool last = d.r == d.last_sector || (step == 2 && d.r + 1 == d.last_sector);
  if (!last) {
    d.r = static_cast<uint8_t>(d.r + step);
    return true;
  }
  d.r = 1;
  const bool first_side = d.head == 0;
  if (d.multi_track) {
    d.h ^= 1;
    d.head ^= 1;
    if (first_side) return true;
  }
  ++d.c;
  return false;
}

}  // namespace understudy::devices
