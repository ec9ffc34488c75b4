// A 16550A serial port (National Semiconductor PC16550D datasheet): two 16-byte FIFOs, a divisor latch, modem lines,
// loopback. Bytes written leave for the world at once, so the transmitter is always empty again; the baud rate decides
// only when the receiver's character timeout comes, in virtual nanoseconds. Bytes from the world wait in a bounded
// backlog (as if still on the wire) until the receiver has room; beyond that they are lost and counted as overruns.
//
// As on other virtual machines, and unlike on a PC's card, OUT2 does not gate the interrupt line: small kernels rely
// on that. The word length is not applied to data, and a break has nowhere to go except round the loop.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "emu/bus.h"
#include "emu/clock.h"
#include "emu/device.h"
#include "emu/event_queue.h"
#include "emu/irq_line.h"
#include "emu/world.h"

namespace understudy::devices {

class Uart16550 : public emu::Device, public emu::PortDevice {
 public:
  static constexpr unsigned kFifoBytes = 16;
  static constexpr size_t kBacklogBytes = 4096;
  static constexpr uint64_t kInputHz = 1'843'200;

  // `name` is "uart0" and so on; `channel` names the door to the world, "serial0" and so on.
  Uart16550(std::string name, uint16_t base, const std::string& channel, const emu::Clock& clock,
            emu::EventQueue& events, emu::IrqLine irq, emu::World& world);
  void attach(emu::PortBus& bus) { bus.attach(base_, base_ + 7, *this); }

  // Bytes from the world that found neither FIFO nor backlog since power-on.
  uint64_t overruns() const { return state_.overruns; }

  std::string_view name() const override { return name_; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;
  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

 private:
  struct State {
    uint8_t interrupt_enable = 0;
    uint8_t fifo_control = 0;
    uint8_t line_control = 0;
    uint8_t modem_control = 0;
    uint8_t modem_status = 0;
    uint8_t scratch = 0;
    uint16_t divisor = 0;
    bool overrun = false;          // LSR bit 1
    bool transmit_empty = false;   // the THRE interrupt waits
    bool receive_timeout = false;  // the character timeout interrupt waits
    uint8_t last_received = 0;     // what RBR reads when nothing is there
    uint8_t receive_count = 0;
    std::array<uint8_t, kFifoBytes> receive_data{};
    std::array<uint8_t, kFifoBytes> receive_errors{};  // LSR bits that came with each byte
    uint64_t overruns = 0;
    std::vector<uint8_t> backlog;
  };

  bool fifo_enabled() const { return (state_.fifo_control & 1) != 0; }
  bool loopback() const { return (state_.modem_control & 0x10) != 0; }
  unsigned capacity() const { return fifo_enabled() ? kFifoBytes : 1; }
  unsigned trigger_level() const;
  uint64_t timeout_ns() const;
  uint8_t interrupt_id() const;
  uint8_t line_status() const;
  void update_irq();
  void update_modem_status();
  void rearm_timeout();
  void clear_receiver();
  void receive_from_loop(uint8_t byte, uint8_t errors);
  void push(uint8_t byte, uint8_t errors);
  void refill();
  void input(std::span<const uint8_t> bytes);
  uint8_t read_received();
  void transmit(uint8_t byte);
  void write_interrupt_enable(uint8_t value);
  void write_fifo_control(uint8_t value);
  void write_line_control(uint8_t value);

  const std::string name_;
  const uint16_t base_;
  const emu::Clock& clock_;
  emu::EventQueue& events_;
  const emu::IrqLine irq_;
  emu::World& world_;
  emu::ChannelId channel_;
  emu::EventQueue::Id timeout_event_;
  State state_;
};

}  // namespace understudy::devices
