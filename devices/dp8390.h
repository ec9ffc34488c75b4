// The DP8390 network interface controller (National Semiconductor DP8390D/NS32490D, July 1995): registers in four
// pages, a receive ring of 256-byte buffers in the card's own memory, remote DMA between that memory and the data port,
// and a transmitter that takes as long as the bytes need at 10 Mbit/s. Frames come from and go to the card without
// their check sequence, which the chip makes, stores behind received frames, and checks in loopback.
// A packet is fetched whole when its transmission is commanded, and a command that comes during a transmission waits
// for its end: drivers that fill the buffer anew without asking (iPXE's) work, as the chip's head start lets them. Not
// modelled: collisions, alignment errors, the order of bytes in words (BOS), autoinitialised remote DMA.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "emu/clock.h"
#include "emu/event_queue.h"
#include "emu/state_visitor.h"

namespace understudy::devices {

class Dp8390 {
 public:
  // The card around the chip: 64 KiB of local memory, of which some is there, the interrupt pin and the wire.
  class Card {
   public:
    virtual ~Card() = default;
    virtual uint8_t load(uint16_t address) const = 0;
    virtual void store(uint16_t address, uint8_t value) = 0;
    virtual void interrupt(bool level) = 0;
    virtual void transmit(std::span<const uint8_t> frame) = 0;
  };

  Dp8390(const emu::Clock& clock, emu::EventQueue& events, const std::string& event_name, Card& card);
  Dp8390(const Dp8390&) = delete;
  Dp8390& operator=(const Dp8390&) = delete;

  // Power-on: everything zero but what the RESET pin sets.
  void power_on();
  // The RESET pin (datasheet, table 3 of section 10).
  void reset();
  // Register 0..15 of the page that the command register selects. Reads may have effects.
  uint8_t read(unsigned reg);
  void write(unsigned reg, uint8_t value);
  unsigned page() const { return state_.command >> 6; }
  // The data port: one remote DMA transfer for each byte or, with WTS set, for each word of the access.
  uint32_t data_read(unsigned size);
  void data_write(unsigned size, uint32_t value);
  // A frame arrives: 14 to 1514 bytes. A frame that its sender did not pad is padded, as the wire would have had it.
  void receive(std::span<const uint8_t> frame);

  void visit_state(emu::StateVisitor& visitor);

 private:
  uint8_t read_page0(unsigned reg);
  uint8_t read_page2(unsigned reg) const;
  void write_page0(unsigned reg, uint8_t value);
  void write_command(uint8_t value);
  void command_transmission(bool busy);
  void start_remote(unsigned direction);
  void remote_moved();
  void remote_done();
  uint8_t take_counter(unsigned counter);
  void tally(unsigned counter);
  void raise(uint8_t causes);
  void update_interrupt();
  bool loopback() const;
  bool accepts(std::span<const uint8_t> destination) const;
  void missed(uint8_t more_status);
  uint8_t page_after(uint8_t page) const;
  unsigned free_pages() const;
  std::vector<uint8_t> fetch() const;
  void start_sending();
  void transmitted();
  void looped_back(std::span<const uint8_t> fetched);
  uint8_t read_fifo();

  struct State {
    uint8_t command = 0;
    bool started = false;  // by STA, until STP; a command with neither leaves it as it is
    uint8_t page_start = 0;
    uint8_t page_stop = 0;
    uint8_t boundary = 0;
    uint8_t current = 0;
    uint8_t transmit_page = 0;
    uint16_t transmit_count = 0;
    uint8_t transmit_status = 0;
    uint8_t interrupt_status = 0;
    uint8_t interrupt_mask = 0;
    uint8_t receive_config = 0;
    uint8_t receive_status = 0;
    uint8_t transmit_config = 0;
    uint8_t data_config = 0;
    std::array<uint8_t, 6> physical{};
    std::array<uint8_t, 8> multicast{};
    std::array<uint8_t, 3> counters{};
    uint16_t local_address = 0;
    uint16_t remote_start = 0;
    uint16_t remote_count = 0;
    // The remote DMA that is going on.
    uint16_t remote_address = 0;
    uint16_t remote_left = 0;
    uint8_t remote_direction = 0;
    uint8_t remote_next_packet = 0;
    // The transmission that is going on, and one that was commanded meanwhile.
    uint16_t sending_count = 0;
    std::vector<uint8_t> sending;
    bool renewed = false;  // transmit page or count was written since the last command
    bool has_next = false;
    uint16_t next_count = 0;
    std::vector<uint8_t> next;
    std::array<uint8_t, 8> fifo{};
    uint8_t fifo_next = 0;
  };
  State state_;
  const emu::Clock& clock_;
  emu::EventQueue& events_;
  emu::EventQueue::Id sent_event_;
  Card& card_;
};

}  // namespace understudy::devices
