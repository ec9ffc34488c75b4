// A VGA in text mode: all its registers, and the text screen they describe. The video memory A0000-BFFFF is plain RAM
// that the memory system owns and the CPU reaches directly: there are no planes, latches or write modes. Text at B8000
// or B0000 is what the guest wrote; a font loaded through plane 2 lands in A0000-AFFFF, where nobody looks; graphics
// modes can be programmed and read back, but what they draw is not a picture (graphics_mode() tells).
//
// IBM PS/2 Hardware Interface Technical Reference, "Video subsystem" (May 1992); register numbers are its indices.
// The guest's retrace follows from virtual time: 449 lines of 31,778 ns, as in the 70 Hz text modes. After reset() the
// adapter is in mode 3 (80 x 25, colour), so that guests that are booted without a video BIOS have a screen.
//
// The Bochs display interface (ports 1ce, 1cf) answers like hardware without it, which makes SeaVGABIOS fall back to
// the standard VGA: its index can be written and read, its data is all ones.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "devices/vga_text.h"
#include "emu/bus.h"
#include "emu/clock.h"
#include "emu/device.h"

namespace understudy::devices {

class Vga : public emu::Device, public emu::PortDevice {
 public:
  static constexpr uint32_t kMemoryBase = 0xa0000;
  static constexpr size_t kMemorySize = 0x20000;

  // `video_memory` is A0000-BFFFF; throws std::logic_error unless it has kMemorySize bytes.
  Vga(const emu::Clock& clock, std::span<const uint8_t> video_memory);
  // Claims 3b0-3bb (3bc is a printer's), 3c0-3df and 1ce-1cf.
  void attach(emu::PortBus& ports);

  // What the adapter would show in text mode. At most kMaxColumns x kMaxRows, whatever the registers say. Blanking,
  // split screens and smooth scrolling are left out.
  TextScreen screen() const;
  std::string to_text() const { return screen().to_text(); }
  // Both the graphics and the attribute controller are set for graphics, as every graphics mode does.
  bool graphics_mode() const;

  static constexpr unsigned kMaxColumns = 256;
  static constexpr unsigned kMaxRows = 128;

  std::string_view name() const override { return "vga"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;
  void state_loaded() override;

  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

 private:
  struct State {
    uint8_t misc_output = 0;
    uint8_t feature_control = 0;
    uint8_t enable = 1;
    uint8_t sequencer_index = 0;
    std::array<uint8_t, 8> sequencer{};
    uint8_t graphics_index = 0;
    std::array<uint8_t, 16> graphics{};
    uint8_t crtc_index = 0;
    std::array<uint8_t, 32> crtc{};
    uint8_t attribute_index = 0;  // with the palette address source in bit 5
    bool attribute_data = false;  // the flip-flop: the next write to 3c0 is data
    std::array<uint8_t, 32> attribute{};
    uint8_t dac_mask = 0xff;
    uint8_t dac_read_index = 0;
    uint8_t dac_write_index = 0;
    uint8_t dac_component = 0;  // red, green, blue: what 3c9 is about next
    bool dac_reading = false;
    std::array<uint8_t, 768> dac{};
    uint16_t vbe_index = 0;
  };

  bool colour() const { return (state_.misc_output & 1) != 0; }
  uint8_t input_status_1() const;
  uint8_t read_dac();
  void write_dac(uint8_t value);
  void write_crtc(uint8_t value);
  void write_attribute(uint8_t value);

  const emu::Clock& clock_;
  std::span<const uint8_t> memory_;
  State state_;
};

}  // namespace understudy::devices
