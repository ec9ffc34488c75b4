#include "devices/i8259.h"

#include <bit>

namespace understudy::devices {

namespace {
constexpr uint16_t kMasterPort = 0x20;
constexpr uint16_t kSlavePort = 0xa0;
constexpr uint16_t kElcrPort = 0x4d0;
// IRQ 0, 1, 2, 8 and 13 are edge-triggered whatever is written (PIIX3, 2.5.9).
constexpr uint8_t kElcrWritable[2] = {0xf8, 0xde};

// How many places below the top priority the best level of `levels` is; 8 when there is none.
unsigned priority(uint8_t levels, uint8_t top) {
  return static_cast<unsigned>(std::countr_zero(std::rotr(levels, top)));
}
}  // namespace

void I8259::attach(emu::PortBus& bus) {
  bus.attach(kMasterPort, kMasterPort + 1, *this);
  bus.attach(kSlavePort, kSlavePort + 1, *this);
  bus.attach(kElcrPort, kElcrPort + 1, *this);
}

void I8259::reset() {
  const bool was_asserted = state_.intr;
  state_ = State{};
  if (was_asserted) intr_.set(false);
}

void I8259::visit_state(emu::StateVisitor& v) {
  constexpr const char* kNames[2] = {"master", "slave"};
  for (unsigned i = 0; i < 2; ++i) {
    Chip& c = state_.chips[i];
    v.begin(kNames[i]);
    v.value("irr", c.irr);
    v.value("isr", c.isr);
    v.value("imr", c.imr);
    v.value("lines", c.lines);
    v.value("elcr", c.elcr);
    v.value("vector_base", c.vector_base);
    v.value("top", c.top);
    v.value("init_step", c.init_step);
    v.value("needs_icw4", c.needs_icw4);
    v.value("single", c.single);
    v.value("auto_eoi", c.auto_eoi);
    v.value("rotate_on_auto_eoi", c.rotate_on_auto_eoi);
    v.value("special_mask", c.special_mask);
    v.value("special_fully_nested", c.special_fully_nested);
    v.value("read_isr", c.read_isr);
    v.value("poll", c.poll);
    v.end();
    c.top &= 7;  // a damaged snapshot must not become an index out of range
  }
  v.value("intr", state_.intr);
}

void I8259::set_irq(unsigned pin, bool level) {
  if (pin > 15 || pin == kCascade) return;
  Chip& c = state_.chips[pin >> 3];
  const auto bit = static_cast<uint8_t>(1u << (pin & 7));
  const bool was = (c.lines & bit) != 0;
  if (level == was) return;
  c.lines ^= bit;
  if (level)
    c.irr |= bit;
  else if (c.elcr & bit)
    c.irr &= static_cast<uint8_t>(~bit);
  else
    return;  // a falling edge means nothing
  update();
}

int I8259::highest(unsigned chip) const {
  const Chip& c = state_.chips[chip];
  const uint8_t requests = c.irr & static_cast<uint8_t>(~c.imr);
  if (requests == 0) return -1;
  uint8_t in_service = c.isr;
  if (c.special_mask) in_service &= static_cast<uint8_t>(~c.imr);
  const unsigned best = priority(requests, c.top);
  const unsigned busy = priority(in_service, c.top);
  const unsigned level = (best + c.top) & 7;
  if (best < busy) return static_cast<int>(level);
  // Special fully nested mode: a slave in service may interrupt again, with something it finds more urgent.
  if (best == busy && chip == kMaster && level == kCascade && c.special_fully_nested) return kCascade;
  return -1;
}

void I8259::take_into_service(Chip& c, unsigned level) {
  const auto bit = static_cast<uint8_t>(1u << level);
  if (!(c.elcr & bit)) c.irr &= static_cast<uint8_t>(~bit);
  if (!c.auto_eoi)
    c.isr |= bit;
  else if (c.rotate_on_auto_eoi)
    c.top = (level + 1) & 7;
}

uint8_t I8259::acknowledge() {
  Chip& master = state_.chips[kMaster];
  Chip& slave = state_.chips[kSlave];
  const int level = highest(kMaster);
  if (level < 0) return master.vector_base + 7;
  int vector = master.vector_base + level;
  if (level == kCascade) {
    const int slave_level = highest(kSlave);
    if (slave_level >= 0) take_into_service(slave, static_cast<unsigned>(slave_level));
    vector = slave.vector_base + (slave_level >= 0 ? slave_level : 7);
  }
  take_into_service(master, static_cast<unsigned>(level));
  update();
  return static_cast<uint8_t>(vector);
}

uint8_t I8259::poll(unsigned chip) {
  state_.chips[chip].poll = false;
  const int level = highest(chip);
  if (level < 0) return 0;
  take_into_service(state_.chips[chip], static_cast<unsigned>(level));
  update();
  return static_cast<uint8_t>(0x80 | level);
}

uint32_t I8259::port_read(uint16_t port, unsigned) {
  if (port >= kElcrPort) return state_.chips[port - kElcrPort].elcr;
  const unsigned chip = port >= kSlavePort ? kSlave : kMaster;
  const Chip& c = state_.chips[chip];
  if (c.poll) return poll(chip);
  if (port & 1) return c.imr;
  return c.read_isr ? c.isr : c.irr;
}

void I8259::port_write(uint16_t port, unsigned, uint32_t value) {
  const auto byte = static_cast<uint8_t>(value);
  if (port >= kElcrPort) {
    Chip& c = state_.chips[port - kElcrPort];
    c.elcr = byte & kElcrWritable[port - kElcrPort];
    c.irr = (c.irr & static_cast<uint8_t>(~c.elcr)) | (c.lines & c.elcr);
  } else {
    Chip& c = state_.chips[port >= kSlavePort ? kSlave : kMaster];
    if (port & 1) {
      if (c.init_step != 0)
        write_icw(c, byte);
      else
        c.imr = byte;
    } else if (byte & 0x10) {
      begin_init(c, byte);
    } else if (byte & 0x08) {
      write_ocw3(c, byte);
    } else {
      write_ocw2(c, byte);
    }
  }
  update();
}

void I8259::begin_init(Chip& c, uint8_t icw1) {
  // ICW1 forgets latched edges: a line that is high must fall and rise again. Level requests stay.
  Chip fresh;
  fresh.irr = c.irr & c.elcr;
  fresh.imr = 0;
  fresh.lines = c.lines;
  fresh.elcr = c.elcr;
  fresh.init_step = 2;
  fresh.needs_icw4 = icw1 & 0x01;
  fresh.single = icw1 & 0x02;
  c = fresh;
}

void I8259::write_icw(Chip& c, uint8_t value) {
  switch (c.init_step) {
    case 2:
      c.vector_base = value & 0xf8;
      c.init_step = !c.single ? 3 : c.needs_icw4 ? 4 : 0;
      break;
    case 3:  // the cascade's wiring is fixed on the board
      c.init_step = c.needs_icw4 ? 4 : 0;
      break;
    default:
      c.auto_eoi = value & 0x02;
      c.special_fully_nested = value & 0x10;
      c.init_step = 0;
      break;
  }
}

void I8259::write_ocw2(Chip& c, uint8_t value) {
  const bool rotate = value & 0x80;
  const bool specific = value & 0x40;
  const bool eoi = value & 0x20;
  const uint8_t named = value & 7;
  if (!eoi) {
    if (rotate && specific)
      c.top = (named + 1) & 7;
    else if (!specific)
      c.rotate_on_auto_eoi = rotate;
    return;
  }
  unsigned level = named;
  if (!specific) {
    // Special mask mode: a non-specific EOI leaves masked levels in service.
    const uint8_t in_service = c.special_mask ? c.isr & static_cast<uint8_t>(~c.imr) : c.isr;
    if (in_service == 0) return;
    level = (priority(in_service, c.top) + c.top) & 7;
  }
  c.isr &= static_cast<uint8_t>(~(1u << level));
  if (rotate) c.top = (level + 1) & 7;
}

void I8259::write_ocw3(Chip& c, uint8_t value) {
  if (value & 0x40) c.special_mask = value & 0x20;
  c.poll = value & 0x04;
  if (value & 0x02) c.read_isr = value & 0x01;
}

void I8259::update() {
  Chip& master = state_.chips[kMaster];
  constexpr uint8_t kCascadeBit = 1u << kCascade;
  if (highest(kSlave) >= 0)
    master.irr |= kCascadeBit;
  else
    master.irr &= static_cast<uint8_t>(~kCascadeBit);
  const bool level = highest(kMaster) >= 0;
  if (level == state_.intr) return;
  state_.intr = level;
  intr_.set(level);
}

}  // namespace understudy::devices
