// The floppy controller, an 82077AA wired as in a PC/AT, with one drive (number 0) that may be empty. Seeks and sectors
// complete by events a fixed, short virtual time after they were asked for; a drive without a disk and the missing
// drives 1-3 answer with an error just as fast.
//
// Intel 82077AA datasheet (290166): section 2 "Registers", 4 "Controller phases", 5 "Command set", 6 "Status
// registers". Simplifications, all in a guest's favour: motors and the DOR's drive select do not gate a command (the
// command names its drive), the head keeps its cylinder and its count over a software reset, a sector that is read or
// written by program never overruns, deleted data marks are not kept (an image has nowhere to put them), formatting
// takes standard IDs only, and power-down has no effect.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>

#include "devices/floppy_media.h"
#include "devices/i8237.h"
#include "emu/bus.h"
#include "emu/clock.h"
#include "emu/device.h"
#include "emu/event_queue.h"
#include "emu/irq_line.h"

namespace understudy::devices {

class I82077 : public emu::Device, public emu::PortDevice {
 public:
  static constexpr uint16_t kBase = 0x3f0;
  static constexpr unsigned kDmaChannel = 2;
  static constexpr unsigned kIrq = 6;
  // How long things take, in virtual nanoseconds.
  static constexpr uint64_t kResetNs = 20'000;
  static constexpr uint64_t kSeekNs = 200'000;
  static constexpr uint64_t kSectorNs = 100'000;

  // `media` may be null: an empty drive. It must outlive the controller.
  I82077(const emu::Clock& clock, emu::EventQueue& events, I8237& dma, emu::IrqLine irq, BlockBackend* media);
  // Claims 3f0-3f5 and 3f7; 3f6 is the IDE controller's.
  void attach(emu::PortBus& ports);

  // Changes the disk (null takes it out). An input: the caller sees to it that it is logged.
  void insert(BlockBackend* media);
  // What CMOS byte 0x10 has to say about drive 0, in its high nibble.
  uint8_t cmos_drive_type() const { return media_.geometry().cmos_drive_type; }

  std::string_view name() const override { return "floppy"; }
  void reset() override;
  void visit_state(emu::StateVisitor& visitor) override;
  void state_loaded() override;

  uint32_t port_read(uint16_t port, unsigned size) override;
  void port_write(uint16_t port, unsigned size, uint32_t value) override;

 private:
  static constexpr unsigned kDrives = 4;

  enum class Phase : uint8_t { kIdle, kCommand, kExecution, kResult };
  // Where a command that moves sectors stands: on its way to one, waiting for the host to move the bytes (non-DMA
  // mode), or about to finish one that the host has moved.
  enum class Step : uint8_t { kFind, kHost, kDone };

  struct DataCommand {
    uint8_t opcode = 0;  // without MT, MFM and SK
    bool multi_track = false;
    bool mfm = false;
    bool skip = false;
    uint8_t drive = 0;
    uint8_t head = 0;  // the physical one
    // The ID that is looked for.
    uint8_t c = 0;
    uint8_t h = 0;
    uint8_t r = 0;
    uint8_t n = 0;
    uint8_t last_sector = 0;  // EOT
    uint8_t dtl = 0;          // data length, scan step or count of sectors
    uint8_t filler = 0;       // what FORMAT fills sectors with
    uint8_t remaining = 0;    // sectors to format or verify
    bool counted = false;     // VERIFY with EC
    Step step = Step::kFind;
    uint16_t position = 0;  // next byte of the buffer for the host
  };

  struct State {
    uint8_t dor = 0;
    uint8_t tdr = 0;
    uint8_t data_rate = 2;
    Phase phase = Phase::kIdle;
    std::array<uint8_t, 16> fifo{};  // the bytes of a command, then of its result
    uint8_t fifo_length = 0;
    uint8_t fifo_position = 0;
    bool interrupt = false;    // INT, before the DOR's gate
    uint8_t reset_senses = 0;  // drives still to be reported after a reset
    uint8_t seeking = 0;       // drives that seek, or whose seek was not sensed yet (MSR bits 0-3)
    uint8_t seek_done = 0;     // of these, the ones that have arrived
    std::array<uint8_t, kDrives> seek_status{};
    std::array<uint8_t, kDrives> cylinder{};
    std::array<uint8_t, 2> specify{};
    uint8_t configure = 0x20;     // EIS, EFIFO, POLL, FIFOTHR
    uint8_t precompensation = 0;  // PRETRK
    uint8_t perpendicular = 0;
    bool lock = false;
    uint8_t last_eot = 0;  // for DUMPREG
    bool disk_changed = true;
    DataCommand data;
    std::array<uint8_t, FloppyMedia::kSectorSize> buffer{};
  };

  struct Command {
    uint8_t mask;
    uint8_t value;
    uint8_t parameters;
    void (I82077::*start)();
  };
  static const Command kCommands[];

  // --- registers (i82077.cpp)
  uint8_t main_status() const;
  uint8_t digital_input() const;
  void write_dor(uint8_t value);
  void write_dsr(uint8_t value);
  uint8_t read_fifo();
  void write_fifo(uint8_t value);
  void software_reset();
  void set_interrupt(bool level);
  void update_irq() const;
  bool in_reset() const;
  bool non_dma() const { return (state_.specify[1] & 1) != 0; }
  const Command& decode(uint8_t opcode) const;
  void result(std::initializer_list<uint8_t> bytes);
  void idle();

  // --- commands without data (i82077.cpp)
  void specify();
  void sense_drive();
  void recalibrate();
  void sense_interrupt();
  void seek();
  void relative_seek();
  void configure();
  void dump_registers();
  void lock();
  void perpendicular();
  void version();
  void invalid();
  void move_head(uint8_t drive, uint8_t cylinder);
  void begin_seek(uint8_t drive, uint8_t cylinder, uint8_t status);
  void reset_done();
  void seek_arrived();

  // --- commands that wait for the disk (i82077_data.cpp)
  struct Fault {
    uint8_t st0 = 0;
    uint8_t st1 = 0;
    uint8_t st2 = 0;
    bool any() const { return (st0 | st1 | st2) != 0; }
  };
  void begin_data();
  void begin_format();
  void begin_read_id();
  void begin_execution();
  void next_sector(uint64_t from_ns);
  void finish(Fault fault);
  bool track_is_readable() const;
  Fault find_sector() const;
  size_t host_bytes() const;
  bool host_reads() const;
  void ask_host();
  void host_done();
  void data_due(uint64_t due_ns);
  void read_id(uint64_t due_ns);
  void verify_sector(uint64_t due_ns);
  void read_sector(uint64_t due_ns);
  void write_sector(uint64_t due_ns);
  void format_sector(uint64_t due_ns);
  void scan_sector(uint64_t due_ns, bool terminal_count);
  void sector_moved(uint64_t due_ns, bool terminal_count);
  bool advance(unsigned step);

  const emu::Clock& clock_;
  emu::EventQueue& events_;
  I8237& dma_;
  emu::IrqLine irq_;
  FloppyMedia media_;
  emu::EventQueue::Id reset_event_;
  emu::EventQueue::Id seek_event_;
  emu::EventQueue::Id data_event_;
  State state_;
};

}  // namespace understudy::devices
