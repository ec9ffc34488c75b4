// The PC's DMA: two 8237A controllers and the page registers that extend their 16-bit addresses. Channels 0-3 move
// bytes within a 64 KiB page, channels 5-7 move words within a 128 KiB page, channel 4 is where the first controller
// hangs on the second. A transfer takes no time of its own: the device that asks for it paces it.
//
// Intel 8237A datasheet (231466): "Register description", "Software commands"; page registers and decoding:
// Intel 82371SB (PIIX3) datasheet 290550, sections 2.4 "DMA registers" and 3.4 "DMA controller".
//
// As in PIIX3 there is no memory-to-memory transfer. As in QEMU, a masked channel 4 does not stop channels 0-3, so that
// guests booted without a BIOS find working DMA, and a request by software moves nothing by itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "emu/bus.h"
#include "emu/device.h"
#include "emu/dma.h"

namespace understudy::devices {

class I8237 : public emu::Device, public emu::PortDevice {
 public:
  explicit I8237(emu::DmaMemory& memory);
  // Claims 00-0f, 81-8f and c0-df; port 80 is the POST port's.
  void attach(emu::PortBus& ports);

  std::string_view name() const override { return "dma"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;

  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

  // --- the device's side of a channel (0-3 and 5-7)
  struct Transfer {
    size_t bytes = 0;             // how far it got
    bool terminal_count = false;  // the count ran out with the last of these bytes: the TC line
  };
  // The device offers bytes for memory. Ends early at terminal count; moves nothing when the channel is masked, its
  // controller disabled, cascaded, or programmed for the other direction. A verify transfer takes the bytes and drops
  // them. Word channels move whole words only.
  Transfer transfer_to_memory(unsigned channel, std::span<const uint8_t> from);
  // The device wants bytes from memory; a verify transfer gives ones.
  Transfer transfer_from_memory(unsigned channel, std::span<uint8_t> to);
  // The request line, visible in the status register.
  void set_request(unsigned channel, bool level);

 private:
  struct Channel {
    uint16_t base_address = 0;
    uint16_t base_count = 0;  // transfers less one
    uint16_t address = 0;
    uint16_t count = 0;
    uint8_t mode = 0;
  };
  struct Controller {
    std::array<Channel, 4> channels;
    uint8_t command = 0;
    uint8_t mask = 0xf;
    uint8_t terminal_counts = 0;    // status bits 0-3
    uint8_t hardware_requests = 0;  // the DREQ lines
    uint8_t software_requests = 0;
    bool high_byte = false;  // the flip-flop
  };
  struct State {
    std::array<Controller, 2> controllers;
    std::array<uint8_t, 16> pages{};  // by port - 0x80; number 0 is never used
  };

  uint8_t read_register(Controller& controller, unsigned index);
  void write_register(Controller& controller, unsigned index, uint8_t value);
  static void master_clear(Controller& controller);
  template <typename Move>
  Transfer run(unsigned channel, unsigned direction, size_t size, Move move);

  emu::DmaMemory& memory_;
  State state_;
};

}  // namespace understudy::devices
