// One function on the PCI bus: 256 bytes of configuration space behind a write mask, and the windows (base address
// registers, or a chip's own base registers) through which it is reached. PCI Local Bus Specification 2.2, chapter 6.
// Invariants: configuration space is the only state; where a window sits is a pure function of all functions'
// configuration spaces (see PciBus::update_windows). Registers that no one declared are read-only zero, as are
// unimplemented BARs: firmware that sizes them finds nothing there.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "emu/bus.h"
#include "emu/device.h"

namespace understudy::devices {

class PciBus;

struct PciIdentity {
  uint16_t vendor = 0xffff;
  uint16_t device = 0xffff;
  uint32_t class_code = 0;  // base class, sub-class, interface: 24 bits
  uint8_t revision = 0;
  uint8_t header_type = 0;    // bit 7: this slot has more than one function
  uint8_t interrupt_pin = 0;  // 0: none, 1..4: INTA#..INTD#
};

class PciDevice : public emu::Device {
 public:
  static constexpr unsigned kBars = 6;

  // Puts itself on the bus. `devfn` is slot << 3 | function and must be free.
  PciDevice(PciBus& bus, uint8_t devfn, const PciIdentity& identity);
  ~PciDevice() override;
  PciDevice(const PciDevice&) = delete;
  PciDevice& operator=(const PciDevice&) = delete;

  // Before the first reset: an expansion ROM behind the base address register at 30h, made to name this function.
  // Throws std::runtime_error when the image is no option ROM.
  void set_rom(std::vector<uint8_t> image);

  uint8_t devfn() const { return devfn_; }
  // `size` is 1, 2 or 4; bytes past offset 255 read as ones and are not written.
  uint32_t config_read(uint8_t offset, unsigned size) const;
  // The same by a guest, which may have effects on the function.
  uint32_t guest_config_read(uint8_t offset, unsigned size);
  void config_write(uint8_t offset, unsigned size, uint32_t value);

  // What the function drives onto its INTx# pin, after the command register's Interrupt Disable bit.
  bool intx_asserted() const;
  uint8_t interrupt_pin() const { return config_[0x3d]; }

  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;
  void state_loaded() override;

 protected:
  // --- construction
  // The value after reset and the bits that the guest may change.
  void define8(uint8_t offset, uint8_t value, uint8_t writable);
  void define32(uint8_t offset, uint32_t value, uint32_t writable);
  // `length` is a power of two: 4..256 for I/O, at least 16 for memory.
  void add_io_bar(unsigned bar, uint32_t length, unsigned max_width);
  void add_memory_bar(unsigned bar, uint32_t length);
  // A window of I/O ports whose base the chip computes itself (window_base); `index` is not that of a BAR.
  void add_io_window(unsigned index, uint32_t length, unsigned max_width);

  // --- behaviour
  // Where the guest wants the window; 0 when it is disabled. The default decodes the BAR and the command register.
  virtual uint64_t window_base(unsigned index) const;
  // `offset + size` never exceeds the window's length.
  virtual uint64_t window_read(unsigned index, uint64_t offset, unsigned size);
  virtual void window_write(unsigned index, uint64_t offset, unsigned size, uint64_t value);
  // Before the guest reads config bytes offset..offset+size-1.
  virtual void config_reading(unsigned /*offset*/, unsigned /*size*/) {}
  // After the guest changed (or wrote) config bytes offset..offset+size-1.
  virtual void config_written(unsigned /*offset*/, unsigned /*size*/) {}
  void set_intx(bool level);

  uint8_t config8(uint8_t offset) const { return config_[offset]; }
  uint32_t config32(uint8_t offset) const { return config_read(offset, 4); }
  void set_config8(uint8_t offset, uint8_t value) { config_[offset] = value; }
  PciBus& bus() const { return bus_; }

 private:
  friend class PciBus;

  class Window : public emu::PortDevice, public emu::MmioDevice {
   public:
    Window(PciDevice& owner, unsigned index, bool io, uint64_t length, unsigned max_width);
    uint32_t port_read(uint16_t port, unsigned size) override;
    void port_write(uint16_t port, unsigned size, uint32_t value) override;
    uint64_t mmio_read(uint64_t offset, unsigned size) override;
    void mmio_write(uint64_t offset, unsigned size, uint64_t value) override;

    PciDevice& owner;
    const unsigned index;
    const bool io;
    const uint64_t length;
    const unsigned max_width;
    // Derived from configuration space by PciBus::update_windows.
    uint64_t wanted = 0;
    bool mapped = false;
  };

  // Where the guest wants a window, the ROM's among them.
  uint64_t base_of(unsigned index) const;
  uint64_t rom_read(uint64_t offset, unsigned size) const;

  PciBus& bus_;
  uint8_t devfn_;
  std::vector<uint8_t> rom_;
  std::array<uint8_t, 256> defaults_{};
  std::array<uint8_t, 256> writable_{};
  std::array<uint8_t, 256> config_{};
  std::vector<std::unique_ptr<Window>> windows_;
};

}  // namespace understudy::devices
