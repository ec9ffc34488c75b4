// One IDE channel of the PIIX3: the task file ports, up to two drives, their shared INTRQ, and the channel's bus
// master. Register writes go to both drives; reads and the data port to the selected one; a drive that is not there
// reads as zeros, so that firmware finds nothing without waiting (ATA/ATAPI-6, 9.16; Programming Interface for Bus
// Master IDE Controller 1.0). Bus master: PRD entries come from guest memory, one at a time, as a drive moves data.
// Each entry moves at least two bytes (a count of 0 means 64 KiB), so a table without an end cannot outlast the drive's
// transfer. The direction is the drive's; the direction bit is storage.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "devices/ata_drive.h"
#include "devices/block_port.h"
#include "emu/bus.h"
#include "emu/clock.h"
#include "emu/dma.h"
#include "emu/event_queue.h"
#include "emu/irq_line.h"

namespace understudy::devices {

class IdeChannel : public emu::PortDevice, public AtaDrive::Cable {
 public:
  // `name` ("ide0") names the two drives' events. `base` is the command block, `base + 206h` the control block.
  IdeChannel(std::string name, uint16_t base, const emu::Clock& clock, emu::EventQueue& events, emu::DmaMemory& dma,
             emu::IrqLine line);

  IdeChannel(const IdeChannel&) = delete;
  IdeChannel& operator=(const IdeChannel&) = delete;

  void attach(emu::PortBus& ports);
  void attach_disk(unsigned unit, BlockBackend& image, std::string serial);
  void attach_cdrom(unsigned unit, BlockBackend* disc, std::string serial);
  void set_delay_ns(uint64_t delay_ns);

  void reset();
  void visit_state(emu::StateVisitor& visitor);
  void state_loaded();

  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

  // The channel's eight bus master registers.
  uint8_t bus_master_read(unsigned offset) const;
  void bus_master_write(unsigned offset, uint8_t value);

  // --- the drives' side
  void interrupt_changed() override;
  void dma_requested() override { pump(); }

 private:
  AtaDrive* selected() const { return drives_[state_.select].get(); }
  void write_control(uint8_t value);
  void write_command(uint8_t command);
  void pump();
  bool next_prd();

  struct State {
    uint8_t select = 0;
    uint8_t control = 0;  // nIEN, SRST, HOB
    bool line = false;    // INTRQ as the interrupt controller sees it
    // Bus master.
    uint8_t bm_command = 0;
    uint8_t bm_status = 0;
    uint32_t bm_table = 0;
    uint32_t bm_next = 0;     // where the next PRD entry is
    uint32_t bm_address = 0;  // the rest of the entry in hand
    uint32_t bm_left = 0;
    bool bm_last = false;
  };
  State state_;
  const std::string name_;
  const uint16_t base_;
  emu::DmaMemory& dma_;
  emu::IrqLine line_;
  std::array<BlockPort, 2> block_ports_;
  std::array<std::unique_ptr<AtaDrive>, 2> drives_;
};

}  // namespace understudy::devices
