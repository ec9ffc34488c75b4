// An NE2000-compatible network card for PCI, the RTL8029AS (Realtek, 1997): a DP8390 core with 16 KiB of packet memory
// and the station address PROM, behind 32 I/O ports. The core's registers are at 00h..0Fh, its data port at 10h..17h,
// and a read of 18h..1Fh resets it. Page 3 holds Realtek's own registers, of which only the identity and the guarded
// storage of CONFIG2 and CONFIG3 do anything. Frames pass through the channel "net0". They arrive as a 10 Mbit/s wire
// brings them, one after the other: the world is faster, so some wait on the other side of the wire, as in a switch,
// and are dropped when those are too many.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "devices/dp8390.h"
#include "devices/ethernet.h"
#include "devices/pci_device.h"
#include "devices/waiting_frames.h"
#include "emu/world.h"

namespace understudy::devices {

class Rtl8029 : public PciDevice, private Dp8390::Card {
 public:
  static constexpr unsigned kMaxArriving = 128;  // frames

  Rtl8029(PciBus& pci, uint8_t devfn, const emu::Clock& clock, emu::EventQueue& events, emu::World& world,
          const MacAddress& mac);

  std::string_view name() const override { return "ne2k"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;

 protected:
  uint64_t window_read(unsigned index, uint64_t offset, unsigned size) override;
  void window_write(unsigned index, uint64_t offset, unsigned size, uint64_t value) override;

 private:
  uint8_t load(uint16_t address) const override;
  void store(uint16_t address, uint8_t value) override;
  void interrupt(bool level) override { set_intx(level); }
  void transmit(std::span<const uint8_t> frame) override { world_.emit(channel_, frame); }
  void arrive(std::span<const uint8_t> frame);
  void bring_next();
  void arrived();
  uint8_t read_register(unsigned reg);
  void write_register(unsigned reg, uint8_t value);

  static constexpr unsigned kMemoryBytes = 16 * 1024;
  struct State {
    std::array<uint8_t, kMemoryBytes> memory{};
    uint8_t eeprom_command = 0;
    uint8_t config2 = 0;
    uint8_t config3 = 0;
    uint64_t dropped = 0;
  };
  State state_;
  std::array<uint8_t, 32> prom_{};
  WaitingFrames arriving_{kMaxArriving};
  Dp8390 core_;
  const emu::Clock& clock_;
  emu::EventQueue& events_;
  emu::World& world_;
  emu::EventQueue::Id arrived_event_;
  emu::ChannelId channel_;
};

}  // namespace understudy::devices
