// A virtio device on PCI, transitional: the legacy interface in I/O BAR 0 and the modern one in memory BAR 4, found
// through vendor capabilities (Virtual I/O Device 1.2, sections 4.1 and 4.1.4.8, 4.1.4.9 on the PCI_CFG window). Queues
// interrupt through INTx and the ISR register; there is no MSI-X, so every vector field reads NO_VECTOR. A queue that
// does not hold together sets DEVICE_NEEDS_RESET, and the device then touches no memory until the driver resets it.
// Feature bits above 63 do not exist. Subclasses are the device types: their configuration bytes and what their queues
// do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "devices/pci_device.h"
#include "devices/virt_queue.h"

namespace understudy::devices {

class VirtioPci : public PciDevice {
 public:
  std::string_view name() const override { return name_; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;

  static constexpr uint64_t kVersion1 = 1ull << 32;

 protected:
  struct Type {
    uint16_t id;          // section 5: 1 is a network card, 2 a block device
    uint16_t pci_device;  // its transitional PCI device id
    uint32_t class_code;
    uint64_t features;  // offered besides VERSION_1
    std::vector<uint16_t> queue_sizes;
    unsigned config_bytes;  // at most kMaxConfig
  };
  static constexpr unsigned kMaxConfig = 44;  // what BAR 0 leaves

  VirtioPci(std::string name, PciBus& bus, uint8_t devfn, emu::DmaMemory& dma, const Type& type);

  // --- what a device type is
  virtual uint8_t config_byte(unsigned offset) const = 0;
  // Only the legacy interface lets a driver write here.
  virtual void config_byte_written(unsigned /*offset*/, uint8_t /*value*/) {}
  // The driver says that a queue has new chains. Called within a guest's store: schedule, do not touch memory.
  virtual void notified(unsigned queue) = 0;
  // Forget everything in flight: the driver, or the machine, was reset.
  virtual void forget() = 0;

  // --- what it uses
  // Between DRIVER_OK and the next reset, while nothing is broken.
  bool running() const;
  bool negotiated(uint64_t feature) const { return (state_.driver_features & feature) != 0; }
  VirtQueue& queue(unsigned index) { return queues_[index]; }
  // Gives a chain back and interrupts when the driver wants it.
  void use(unsigned queue, uint16_t head, uint32_t written);
  void break_down();

  uint64_t window_read(unsigned index, uint64_t offset, unsigned size) override;
  void window_write(unsigned index, uint64_t offset, unsigned size, uint64_t value) override;
  void config_reading(unsigned offset, unsigned size) override;
  void config_written(unsigned offset, unsigned size) override;

 private:
  void define_capabilities();
  uint8_t legacy_byte(unsigned offset);
  void legacy_write(unsigned offset, unsigned size, uint32_t value);
  uint8_t modern_byte(unsigned offset);
  void modern_write(unsigned offset, unsigned size, uint32_t value);
  uint64_t common_field(unsigned offset, unsigned& start) const;
  void common_write(unsigned offset, unsigned size, uint32_t value);
  uint8_t take_isr();
  void raise(uint8_t cause);
  void write_status(uint8_t value);
  void reset_device();
  void notify(uint32_t queue);
  VirtQueue* selected() { return state_.queue_select < queues_.size() ? &queues_[state_.queue_select] : nullptr; }
  const VirtQueue* selected() const { return const_cast<VirtioPci*>(this)->selected(); }
  bool pci_cfg_window(unsigned& offset, unsigned& length) const;

  struct State {
    uint64_t driver_features = 0;
    uint32_t device_feature_select = 0;
    uint32_t driver_feature_select = 0;
    uint16_t queue_select = 0;
    uint8_t status = 0;
    uint8_t isr = 0;
  };
  State state_;
  const std::string name_;
  const uint64_t features_;
  const unsigned config_bytes_;
  std::vector<VirtQueue> queues_;
};

}  // namespace understudy::devices
