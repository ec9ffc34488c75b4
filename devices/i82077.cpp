#include "devices/i82077.h"

#include <algorithm>

namespace understudy::devices {

namespace {
// Registers, as offsets from the base.
constexpr uint16_t kDor = 2;
constexpr uint16_t kTdr = 3;
constexpr uint16_t kMsrDsr = 4;
constexpr uint16_t kFifo = 5;
constexpr uint16_t kDirCcr = 7;

constexpr uint8_t kDorNotReset = 0x04;
constexpr uint8_t kDorDmaGate = 0x08;
constexpr uint8_t kDsrReset = 0x80;

constexpr uint8_t kMsrReady = 0x80;
constexpr uint8_t kMsrToHost = 0x40;
constexpr uint8_t kMsrNonDma = 0x20;
constexpr uint8_t kMsrBusy = 0x10;

constexpr uint8_t kSt0SeekEnd = 0x20;
constexpr uint8_t kSt0Missing = 0x70;  // abnormal end, seek end, equipment check: track 0 was never found
constexpr uint8_t kSt0Invalid = 0x80;
constexpr uint8_t kSt0Polled = 0xc0;

constexpr uint8_t kConfigureFifo = 0x2f;  // EFIFO and FIFOTHR: what LOCK protects
constexpr uint8_t kConfigureDefault = 0x20;
constexpr uint8_t kPerpendicularGapWgate = 0x03;
}  // namespace

// Data and format commands carry MT, MFM and SK in their top bits.
const I82077::Command I82077::kCommands[] = {
    {0x1f, 0x06, 8, &I82077::begin_data},       // READ DATA
    {0x3f, 0x05, 8, &I82077::begin_data},       // WRITE DATA
    {0x1f, 0x0c, 8, &I82077::begin_data},       // READ DELETED DATA
    {0x3f, 0x09, 8, &I82077::begin_data},       // WRITE DELETED DATA
    {0x9f, 0x02, 8, &I82077::begin_data},       // READ TRACK
    {0x1f, 0x16, 8, &I82077::begin_data},       // VERIFY
    {0x1f, 0x11, 8, &I82077::begin_data},       // SCAN EQUAL
    {0x1f, 0x19, 8, &I82077::begin_data},       // SCAN LOW OR EQUAL
    {0x1f, 0x1d, 8, &I82077::begin_data},       // SCAN HIGH OR EQUAL
    {0xbf, 0x0d, 5, &I82077::begin_format},     // FORMAT TRACK
    {0xbf, 0x0a, 1, &I82077::begin_read_id},    // READ ID
    {0xff, 0x03, 2, &I82077::specify},          // SPECIFY
    {0xff, 0x04, 1, &I82077::sense_drive},      // SENSE DRIVE STATUS
    {0xff, 0x07, 1, &I82077::recalibrate},      // RECALIBRATE
    {0xff, 0x08, 0, &I82077::sense_interrupt},  // SENSE INTERRUPT STATUS
    {0xff, 0x0f, 2, &I82077::seek},             // SEEK
    {0xbf, 0x8f, 2, &I82077::relative_seek},    // RELATIVE SEEK
    {0xff, 0x0e, 0, &I82077::dump_registers},   // DUMPREG
    {0xff, 0x10, 0, &I82077::version},          // VERSION
    {0xff, 0x12, 1, &I82077::perpendicular},    // PERPENDICULAR MODE
    {0xff, 0x13, 3, &I82077::configure},        // CONFIGURE
    {0x7f, 0x14, 0, &I82077::lock},             // LOCK, UNLOCK
    {0x00, 0x00, 0, &I82077::invalid},          // everything else, so the table always has an answer
};

I82077::I82077(const emu::Clock& clock, emu::EventQueue& events, I8237& dma, emu::IrqLine irq, BlockBackend* media)
    : clock_(clock),
      events_(events),
      dma_(dma),
      irq_(irq),
      media_(media),
      reset_event_(events.add("floppy.reset", [this](uint64_t) { reset_done(); })),
      seek_event_(events.add("floppy.seek", [this](uint64_t) { seek_arrived(); })),
      data_event_(events.add("floppy.data", [this](uint64_t due_ns) { data_due(due_ns); })) {}

void I82077::attach(emu::PortBus& ports) {
  ports.attach(kBase, kBase + 5, *this);
  ports.attach(kBase + 7, kBase + 7, *this);
}

void I82077::insert(BlockBackend* media) {
  media_ = FloppyMedia(media);
  state_.disk_changed = true;
}

void I82077::reset() {
  events_.cancel(reset_event_);
  events_.cancel(seek_event_);
  events_.cancel(data_event_);
  state_ = {};
  update_irq();
}

void I82077::visit_state(emu::StateVisitor& visitor) {
  State& s = state_;
  visitor.value("dor", s.dor);
  visitor.value("tdr", s.tdr);
  visitor.value("data_rate", s.data_rate);
  visitor.value("phase", s.phase);
  visitor.value("fifo", s.fifo);
  visitor.value("fifo_length", s.fifo_length);
  visitor.value("fifo_position", s.fifo_position);
  visitor.value("interrupt", s.interrupt);
  visitor.value("reset_senses", s.reset_senses);
  visitor.value("seeking", s.seeking);
  visitor.value("seek_done", s.seek_done);
  visitor.value("seek_status", s.seek_status);
  visitor.value("cylinder", s.cylinder);
  visitor.value("specify", s.specify);
  visitor.value("configure", s.configure);
  visitor.value("precompensation", s.precompensation);
  visitor.value("perpendicular", s.perpendicular);
  visitor.value("lock", s.lock);
  visitor.value("last_eot", s.last_eot);
  visitor.value("disk_changed", s.disk_changed);
  visitor.begin("data");
  visitor.value("opcode", s.data.opcode);
  visitor.value("multi_track", s.data.multi_track);
  visitor.value("mfm", s.data.mfm);
  visitor.value("skip", s.data.skip);
  visitor.value("drive", s.data.drive);
  visitor.value("head", s.data.head);
  visitor.value("c", s.data.c);
  visitor.value("h", s.data.h);
  visitor.value("r", s.data.r);
  visitor.value("n", s.data.n);
  visitor.value("last_sector", s.data.last_sector);
  visitor.value("dtl", s.data.dtl);
  visitor.value("filler", s.data.filler);
  visitor.value("remaining", s.data.remaining);
  visitor.value("counted", s.data.counted);
  visitor.value("step", s.data.step);
  visitor.value("position", s.data.position);
  visitor.end();
  visitor.value("buffer", s.buffer);
}

void I82077::state_loaded() {
  // A snapshot is not believed to be one of ours: indices must stay inside their arrays.
  State& s = state_;
  s.fifo_length = std::min<uint8_t>(s.fifo_length, static_cast<uint8_t>(s.fifo.size() - 1));
  s.fifo_position = std::min(s.fifo_position, s.fifo_length);
  s.reset_senses = std::min<uint8_t>(s.reset_senses, kDrives);
  s.seeking &= 0x0f;
  s.seek_done &= 0x0f;
  s.data.drive &= 3;
  s.data.head &= 1;
  s.data.position = std::min<uint16_t>(s.data.position, FloppyMedia::kSectorSize - 1);
}

// --- registers

uint32_t I82077::port_read(uint16_t port, unsigned) {
  switch (port - kBase) {
    case kDor:
      return state_.dor;
    case kTdr:
      return state_.tdr;
    case kMsrDsr:
      return main_status();
    case kFifo:
      return read_fifo();
    case kDirCcr:
      return digital_input();
    default:
      return 0xff;  // status registers A and B are not there in AT mode
  }
}

void I82077::port_write(uint16_t port, unsigned, uint32_t value) {
  const auto byte = static_cast<uint8_t>(value);
  switch (port - kBase) {
    case kDor:
      write_dor(byte);
      break;
    case kTdr:
      state_.tdr = byte & 3;
      break;
    case kMsrDsr:
      write_dsr(byte);
      break;
    case kFifo:
      write_fifo(byte);
      break;
    case kDirCcr:
      state_.data_rate = byte & 3;
      break;
  }
}

bool I82077::in_reset() const { return (state_.dor & kDorNotReset) == 0; }

uint8_t I82077::main_status() const {
  if (in_reset()) return 0;
  uint8_t status = state_.seeking;
  switch (state_.phase) {
    case Phase::kIdle:
      return status | kMsrReady;
    case Phase::kCommand:
      return status | kMsrReady | kMsrBusy;
    case Phase::kResult:
      return status | kMsrReady | kMsrToHost | kMsrBusy;
    case Phase::kExecution:
      break;
  }
  status |= kMsrBusy;
  if (!non_dma()) return status;
  status |= kMsrNonDma;
  if (host_reads()) status |= kMsrToHost;
  if (state_.data.step == Step::kHost) status |= kMsrReady;
  return status;
}

// The disk change line is driven by the selected drive; bits 0-6 belong to the hard disk's side of the port.
uint8_t I82077::digital_input() const {
  if ((state_.dor & 3) != 0) return 0;
  return state_.disk_changed || !media_.present() ? 0x80 : 0x00;
}

void I82077::write_dor(uint8_t value) {
  const bool was_in_reset = in_reset();
  state_.dor = value;
  if (in_reset()) {
    if (!was_in_reset) software_reset();
  } else if (was_in_reset) {
    events_.schedule(reset_event_, clock_.now_ns() + kResetNs);
  }
  update_irq();
}

void I82077::write_dsr(uint8_t value) {
  state_.data_rate = value & 3;
  if ((value & kDsrReset) == 0 || in_reset()) return;
  software_reset();
  events_.schedule(reset_event_, clock_.now_ns() + kResetNs);
}

void I82077::software_reset() {
  events_.cancel(reset_event_);
  events_.cancel(seek_event_);
  events_.cancel(data_event_);
  idle();
  state_.reset_senses = 0;
  state_.seeking = 0;
  state_.seek_done = 0;
  if (state_.lock) {
    state_.configure &= kConfigureFifo;
  } else {
    state_.configure = kConfigureDefault;
    state_.precompensation = 0;
  }
  state_.perpendicular = static_cast<uint8_t>(state_.perpendicular & ~kPerpendicularGapWgate);
  set_interrupt(false);
}

// Polling (section 5.2.5): out of reset, each drive's ready line counts as changed.
void I82077::reset_done() {
  state_.reset_senses = kDrives;
  set_interrupt(true);
}

void I82077::set_interrupt(bool level) {
  state_.interrupt = level;
  update_irq();
}

void I82077::update_irq() const { irq_.set(state_.interrupt && !in_reset() && (state_.dor & kDorDmaGate) != 0); }

const I82077::Command& I82077::decode(uint8_t opcode) const {
  return *std::ranges::find_if(kCommands, [&](const Command& c) { return (opcode & c.mask) == c.value; });
}

void I82077::write_fifo(uint8_t value) {
  if (in_reset()) return;
  State& s = state_;
  if (s.phase == Phase::kExecution) {
    if (!non_dma() || host_reads() || s.data.step != Step::kHost) return;
    s.buffer[s.data.position++] = value;
    if (s.data.position >= host_bytes()) host_done();
    return;
  }
  if (s.phase == Phase::kResult) return;
  if (s.phase == Phase::kIdle) {
    s.phase = Phase::kCommand;
    s.fifo_length = 0;
  }
  s.fifo[s.fifo_length++] = value;
  const Command& command = decode(s.fifo[0]);
  if (s.fifo_length > command.parameters) (this->*command.start)();
}

uint8_t I82077::read_fifo() {
  State& s = state_;
  if (in_reset()) return 0;
  if (s.phase == Phase::kExecution) {
    if (!non_dma() || !host_reads() || s.data.step != Step::kHost) return 0;
    const uint8_t value = s.buffer[s.data.position++];
    if (s.data.position >= host_bytes()) host_done();
    return value;
  }
  if (s.phase != Phase::kResult) return 0;
  // Only a data command's interrupt is answered by its result; a seek's waits for SENSE INTERRUPT STATUS.
  if (s.fifo_position == 0 && s.seek_done == 0 && s.reset_senses == 0) set_interrupt(false);
  const uint8_t value = s.fifo[s.fifo_position++];
  if (s.fifo_position >= s.fifo_length) idle();
  return value;
}

void I82077::idle() {
  state_.phase = Phase::kIdle;
  state_.fifo_length = 0;
  state_.fifo_position = 0;
}

void I82077::result(std::initializer_list<uint8_t> bytes) {
  std::ranges::copy(bytes, state_.fifo.begin());
  state_.fifo_length = static_cast<uint8_t>(bytes.size());
  state_.fifo_position = 0;
  state_.phase = Phase::kResult;
}

// --- commands without data

void I82077::specify() {
  state_.specify = {state_.fifo[1], state_.fifo[2]};
  idle();
}

void I82077::sense_drive() {
  const uint8_t drive = state_.fifo[1] & 3;
  auto st3 = static_cast<uint8_t>(0x28 | (state_.fifo[1] & 7));
  if (drive == 0) {
    if (state_.cylinder[0] == 0) st3 |= 0x10;
    if (media_.write_protected()) st3 |= 0x40;
  }
  result({st3});
}

// A step away from where it was tells the drive that somebody has seen the new disk.
void I82077::move_head(uint8_t drive, uint8_t cylinder) {
  if (drive == 0 && cylinder != state_.cylinder[0] && media_.present()) state_.disk_changed = false;
  state_.cylinder[drive] = cylinder;
}

void I82077::begin_seek(uint8_t drive, uint8_t cylinder, uint8_t status) {
  const auto bit = static_cast<uint8_t>(1 << drive);
  move_head(drive, cylinder);
  state_.reset_senses = 0;
  state_.seeking |= bit;
  state_.seek_done = static_cast<uint8_t>(state_.seek_done & ~bit);
  state_.seek_status[drive] = status;
  if (state_.seek_done == 0) set_interrupt(false);
  events_.schedule(seek_event_, clock_.now_ns() + kSeekNs);
  idle();
}

void I82077::seek_arrived() {
  state_.seek_done = state_.seeking;
  set_interrupt(true);
}

void I82077::recalibrate() {
  const uint8_t drive = state_.fifo[1] & 3;
  begin_seek(drive, 0, static_cast<uint8_t>((drive == 0 ? kSt0SeekEnd : kSt0Missing) | drive));
}

void I82077::seek() {
  begin_seek(state_.fifo[1] & 3, state_.fifo[2], static_cast<uint8_t>(kSt0SeekEnd | (state_.fifo[1] & 7)));
}

void I82077::relative_seek() {
  const uint8_t drive = state_.fifo[1] & 3;
  const int step = (state_.fifo[0] & 0x40) != 0 ? state_.fifo[2] : -state_.fifo[2];
  const int target = std::clamp(state_.cylinder[drive] + step, 0, 255);
  begin_seek(drive, static_cast<uint8_t>(target), static_cast<uint8_t>(kSt0SeekEnd | (state_.fifo[1] & 7)));
}

void I82077::sense_interrupt() {
  State& s = state_;
  for (uint8_t drive = 0; drive < kDrives; ++drive) {
    const auto bit = static_cast<uint8_t>(1 << drive);
    if ((s.seek_done & bit) == 0) continue;
    s.seek_done = static_cast<uint8_t>(s.seek_done & ~bit);
    s.seeking = static_cast<uint8_t>(s.seeking & ~bit);
    set_interrupt(false);
    if (s.seek_done != 0) set_interrupt(true);
    result({s.seek_status[drive], s.cylinder[drive]});
    return;
  }
  if (s.reset_senses == 0) {
    invalid();
    return;
  }
  const auto drive = static_cast<uint8_t>(kDrives - s.reset_senses--);
  set_interrupt(false);
  result({static_cast<uint8_t>(kSt0Polled | drive), s.cylinder[drive]});
}

void I82077::configure() {
  state_.configure = state_.fifo[2] & 0x7f;
  state_.precompensation = state_.fifo[3];
  idle();
}

void I82077::dump_registers() {
  const State& s = state_;
  result({s.cylinder[0], s.cylinder[1], s.cylinder[2], s.cylinder[3], s.specify[0], s.specify[1], s.last_eot,
          static_cast<uint8_t>((s.lock ? 0x80 : 0) | (s.perpendicular & 0x3f)), s.configure, s.precompensation});
}

void I82077::lock() {
  state_.lock = (state_.fifo[0] & 0x80) != 0;
  result({static_cast<uint8_t>(state_.lock ? 0x10 : 0x00)});
}

// The drives' bits only change with OW set (section 5.2.9).
void I82077::perpendicular() {
  const uint8_t value = state_.fifo[1];
  const uint8_t drives = (value & 0x80) != 0 ? value & 0x3c : state_.perpendicular & 0x3c;
  state_.perpendicular = drives | (value & kPerpendicularGapWgate);
  idle();
}

void I82077::version() { result({0x90}); }

void I82077::invalid() { result({kSt0Invalid}); }

}  // namespace understudy::devices
