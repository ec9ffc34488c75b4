#include "devices/i8237.h"

#include <algorithm>

namespace understudy::devices {

namespace {
constexpr uint16_t kFirstBase = 0x00;
constexpr uint16_t kPageBase = 0x80;
constexpr uint16_t kSecondBase = 0xc0;

constexpr uint8_t kCommandDisable = 0x04;

// The mode register.
constexpr uint8_t kModeDirection = 0x0c;
constexpr uint8_t kModeVerify = 0x00;
constexpr uint8_t kModeWriteMemory = 0x04;
constexpr uint8_t kModeReadMemory = 0x08;
constexpr uint8_t kModeAutoinit = 0x10;
constexpr uint8_t kModeDecrement = 0x20;
constexpr uint8_t kModeCascade = 0xc0;

// Which page register (port - 0x80) serves which channel.
constexpr uint8_t kPageOfChannel[8] = {0x7, 0x3, 0x1, 0x2, 0xf, 0xb, 0x9, 0xa};
}  // namespace

I8237::I8237(emu::DmaMemory& memory) : memory_(memory) {}

void I8237::attach(emu::PortBus& ports) {
  ports.attach(kFirstBase, kFirstBase + 0x0f, *this);
  ports.attach(kPageBase + 1, kPageBase + 0x0f, *this);
  ports.attach(kSecondBase, kSecondBase + 0x1f, *this);
}

void I8237::reset() { state_ = {}; }

void I8237::visit_state(emu::StateVisitor& visitor) {
  static constexpr std::string_view kControllers[] = {"first", "second"};
  static constexpr std::string_view kChannels[] = {"channel0", "channel1", "channel2", "channel3"};
  for (size_t i = 0; i < state_.controllers.size(); ++i) {
    Controller& c = state_.controllers[i];
    visitor.begin(kControllers[i]);
    for (size_t n = 0; n < c.channels.size(); ++n) {
      Channel& channel = c.channels[n];
      visitor.begin(kChannels[n]);
      visitor.value("base_address", channel.base_address);
      visitor.value("base_count", channel.base_count);
      visitor.value("address", channel.address);
      visitor.value("count", channel.count);
      visitor.value("mode", channel.mode);
      visitor.end();
    }
    visitor.value("command", c.command);
    visitor.value("mask", c.mask);
    visitor.value("terminal_counts", c.terminal_counts);
    visitor.value("hardware_requests", c.hardware_requests);
    visitor.value("software_requests", c.software_requests);
    visitor.value("high_byte", c.high_byte);
    visitor.end();
  }
  visitor.value("pages", state_.pages);
}

uint32_t I8237::port_read(uint16_t port, unsigned) {
  if (port >= kSecondBase) return read_register(state_.controllers[1], (port - kSecondBase) >> 1 & 0xf);
  if (port >= kPageBase) return state_.pages[port & 0xf];
  return read_register(state_.controllers[0], port & 0xf);
}

void I8237::port_write(uint16_t port, unsigned, uint32_t value) {
  const auto byte = static_cast<uint8_t>(value);
  if (port >= kSecondBase)
    write_register(state_.controllers[1], (port - kSecondBase) >> 1 & 0xf, byte);
  else if (port >= kPageBase)
    state_.pages[port & 0xf] = byte;
  else
    write_register(state_.controllers[0], port & 0xf, byte);
}

uint8_t I8237::read_register(Controller& c, unsigned index) {
  if (index < 8) {
    const Channel& channel = c.channels[index >> 1];
    const uint16_t value = (index & 1) != 0 ? channel.count : channel.address;
    const bool high = c.high_byte;
    c.high_byte = !high;
    return static_cast<uint8_t>(high ? value >> 8 : value);
  }
  switch (index) {
    case 0x8: {
      const auto status = static_cast<uint8_t>(c.terminal_counts | (c.hardware_requests | c.software_requests) << 4);
      c.terminal_counts = 0;
      return status;
    }
    case 0xf:
      return c.mask | 0xf0;
    default:
      return 0;  // the temporary register (0xd), only ever filled by memory-to-memory transfers; the rest is write-only
  }
}

void I8237::write_register(Controller& c, unsigned index, uint8_t value) {
  if (index < 8) {
    Channel& channel = c.channels[index >> 1];
    uint16_t& base = (index & 1) != 0 ? channel.base_count : channel.base_address;
    base = static_cast<uint16_t>(c.high_byte ? (base & 0x00ff) | value << 8 : (base & 0xff00) | value);
    ((index & 1) != 0 ? channel.count : channel.address) = base;
    c.high_byte = !c.high_byte;
    return;
  }
  const auto bit = static_cast<uint8_t>(1 << (value & 3));
  const auto set_or_clear = [&](uint8_t& bits) {
    bits = static_cast<uint8_t>((value & 4) != 0 ? bits | bit : bits & ~bit);
  };
  switch (index) {
    case 0x8:
      c.command = value;
      break;
    case 0x9:
      set_or_clear(c.software_requests);
      break;
    case 0xa:
      set_or_clear(c.mask);
      break;
    case 0xb:
      c.channels[value & 3].mode = value & 0xfc;
      break;
    case 0xc:
      c.high_byte = false;
      break;
    case 0xd:
      master_clear(c);
      break;
    case 0xe:
      c.mask = 0;
      break;
    case 0xf:
      c.mask = value & 0xf;
      break;
  }
}

void I8237::master_clear(Controller& c) {
  c.command = 0;
  c.mask = 0xf;
  c.terminal_counts = 0;
  c.software_requests = 0;
  c.high_byte = false;
}

void I8237::set_request(unsigned channel, bool level) {
  Controller& c = state_.controllers[channel >> 2 & 1];
  const auto bit = static_cast<uint8_t>(1 << (channel & 3));
  c.hardware_requests = static_cast<uint8_t>(level ? c.hardware_requests | bit : c.hardware_requests & ~bit);
}

// Calls move(physical address, offset, length) for runs that are contiguous both in memory and in the device's bytes.
template <typename Move>
I8237::Transfer I8237::run(unsigned number, unsigned direction, size_t size, Move move) {
  Transfer done;
  Controller& controller = state_.controllers[number >> 2 & 1];
  Channel& channel = controller.channels[number & 3];
  const auto bit = static_cast<uint8_t>(1 << (number & 3));
  const unsigned programmed = channel.mode & kModeDirection;
  if ((controller.command & kCommandDisable) != 0 || (channel.mode & kModeCascade) == kModeCascade ||
      (programmed != direction && programmed != kModeVerify))
    return done;

  const bool words = number >= 4;
  const unsigned unit = words ? 2 : 1;
  const uint8_t page = state_.pages[kPageOfChannel[number & 7]];
  const uint64_t base = static_cast<uint64_t>(words ? page & 0xfe : page) << 16;
  const bool down = (channel.mode & kModeDecrement) != 0;

  while (size - done.bytes >= unit && (controller.mask & bit) == 0) {
    uint64_t units = std::min<uint64_t>((size - done.bytes) / unit, channel.count + 1u);
    units = down ? 1 : std::min<uint64_t>(units, 0x10000u - channel.address);
    const size_t length = units * unit;
    if (programmed != kModeVerify) move(base + static_cast<uint64_t>(channel.address) * unit, done.bytes, length);
    done.bytes += length;
    channel.address = static_cast<uint16_t>(down ? channel.address - 1 : channel.address + units);
    if (units <= channel.count) {
      channel.count = static_cast<uint16_t>(channel.count - units);
      continue;
    }
    channel.count = 0xffff;
    controller.terminal_counts |= bit;
    controller.software_requests = static_cast<uint8_t>(controller.software_requests & ~bit);
    if ((channel.mode & kModeAutoinit) != 0) {
      channel.address = channel.base_address;
      channel.count = channel.base_count;
    } else {
      controller.mask |= bit;
    }
    done.terminal_count = true;
    break;
  }
  return done;
}

I8237::Transfer I8237::transfer_to_memory(unsigned channel, std::span<const uint8_t> from) {
  return run(channel, kModeWriteMemory, from.size(), [&](uint64_t address, size_t offset, size_t length) {
    memory_.dma_write(address, from.subspan(offset, length));
  });
}

I8237::Transfer I8237::transfer_from_memory(unsigned channel, std::span<uint8_t> to) {
  std::ranges::fill(to, uint8_t{0xff});
  return run(channel, kModeReadMemory, to.size(), [&](uint64_t address, size_t offset, size_t length) {
    memory_.dma_read(address, to.subspan(offset, length));
  });
}

}  // namespace understudy::devices
