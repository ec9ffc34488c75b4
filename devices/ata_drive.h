// What every drive on an IDE channel shares: the task file, the data port's buffer window, and the handshake (BSY, DRQ,
// INTRQ, DMARQ) of the ATA/ATAPI-6 host protocols (T13/1410D, chapters 7 and 9). Subclasses give the commands.
// Life of a command: execute() -> [BSY: an operation of the BlockPort -> completed()] -> [a window of data()
// is offered to the host -> transferred()] -> ... -> finish() or fail(). At each moment a drive is in one Phase.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "devices/block_port.h"
#include "emu/state_visitor.h"

namespace understudy::devices {

// Registers of the command block, as offsets from its base port (ATA/ATAPI-6, 7.3 to 7.15).
enum AtaRegister : unsigned {
  kAtaData = 0,
  kAtaError = 1,  // written: Features
  kAtaSectorCount = 2,
  kAtaLbaLow = 3,
  kAtaLbaMid = 4,
  kAtaLbaHigh = 5,
  kAtaDevice = 6,
  kAtaStatus = 7,  // written: Command
};
inline constexpr uint8_t kAtaStatusErr = 0x01;
inline constexpr uint8_t kAtaStatusDrq = 0x08;
inline constexpr uint8_t kAtaStatusDsc = 0x10;
inline constexpr uint8_t kAtaStatusDrdy = 0x40;
inline constexpr uint8_t kAtaStatusBsy = 0x80;
inline constexpr uint8_t kAtaErrorAbrt = 0x04;
inline constexpr uint8_t kAtaErrorIdnf = 0x10;
inline constexpr uint8_t kAtaErrorUnc = 0x40;
inline constexpr uint8_t kAtaDeviceLba = 0x40;
inline constexpr uint8_t kAtaDeviceSelect = 0x10;

class AtaDrive {
 public:
  // The cable: how a drive reaches its channel.
  class Cable {
   public:
    virtual ~Cable() = default;
    virtual void interrupt_changed() = 0;
    virtual void dma_requested() = 0;
  };

  AtaDrive(BlockPort& port, Cable& cable);
  virtual ~AtaDrive() = default;
  AtaDrive(const AtaDrive&) = delete;
  AtaDrive& operator=(const AtaDrive&) = delete;

  // --- the task file
  uint8_t status() const;
  uint8_t read_register(unsigned reg, bool high_order) const;
  void write_register(unsigned reg, uint8_t value);
  void write_command(uint8_t command);
  bool interrupt() const { return state_.interrupt; }
  void clear_interrupt();

  // --- the data port, `size` bytes at once
  uint32_t read_data(unsigned size);
  void write_data(unsigned size, uint32_t value);

  // --- DMA: while DMARQ is up, the bus master moves bytes of the window and says how many
  bool wants_dma() const { return state_.phase == Phase::kDmaIn || state_.phase == Phase::kDmaOut; }
  bool dma_to_memory() const { return state_.phase == Phase::kDmaIn; }
  std::span<uint8_t> dma_window();
  void dma_moved(size_t bytes);

  // --- resets
  void power_on();
  void hold_reset();     // SRST set: busy until it is cleared
  void release_reset();  // SRST cleared
  void diagnose(bool interrupt_after);

  void visit_state(emu::StateVisitor& visitor);
  void state_loaded();

 protected:
  enum class Phase : uint8_t { kIdle, kBusy, kPioIn, kPioOut, kDmaIn, kDmaOut };

  virtual void execute(uint8_t command) = 0;
  // The operation that execute() or transferred() submitted is over.
  virtual void completed(bool ok) = 0;
  // The host has taken, or filled, the window.
  virtual void transferred() = 0;
  // Registers after any reset; the drive's own settings, which only power-on resets.
  virtual void put_signature() = 0;
  virtual void reset_settings() = 0;
  virtual void visit_settings(emu::StateVisitor& visitor) = 0;
  // DEVICE RESET (08h), which packet devices obey even when busy.
  virtual bool obeys_device_reset() const { return false; }

  BlockPort& port() { return port_; }
  const BlockPort& port() const { return port_; }
  // BSY; the caller submits an operation next.
  void busy() { state_.phase = Phase::kBusy; }
  // DRQ (or DMARQ) for data()[from, from + length).
  void offer(Phase phase, size_t from, size_t length);
  size_t window_begin() const { return state_.begin; }
  size_t window_end() const { return state_.end; }
  void raise_interrupt();
  // The end of a command: well, or with an error and ERR set. finish_quietly() raises no interrupt.
  void finish();
  void finish_quietly();
  void fail(uint8_t error);
  // The same after the time that a command takes.
  void finish_later();
  void fail_later(uint8_t error);

  // Registers for commands: current, and the previous content that 48-bit commands use.
  uint8_t reg(unsigned index) const { return state_.registers[index]; }
  uint8_t old_reg(unsigned index) const { return state_.previous[index]; }
  void set_reg(unsigned index, uint8_t value) { state_.registers[index] = value; }
  void set_old_reg(unsigned index, uint8_t value) { state_.previous[index] = value; }
  void set_ready_bits(uint8_t bits) { state_.ready_bits = bits; }

 private:
  // What a completion means to the base class before a subclass hears of it.
  enum class Pending : uint8_t { kCommand, kFinish, kFail, kReset, kDiagnose };
  void block_done(bool ok);
  void abandon();
  void end_command();

  struct State {
    std::array<uint8_t, 8> registers{};  // by AtaRegister; [kAtaError] holds Features
    std::array<uint8_t, 8> previous{};
    uint8_t error = 0;
    uint8_t ready_bits = 0;  // DRDY and DSC, as far as they are set when not busy
    bool failed = false;     // ERR
    bool interrupt = false;  // INTRQ, before nIEN and selection
    Phase phase = Phase::kIdle;
    Pending pending = Pending::kCommand;
    uint8_t pending_error = 0;
    // The window of data() that the host may move; `position` is where it stands.
    uint32_t begin = 0;
    uint32_t position = 0;
    uint32_t end = 0;
  };
  State state_;
  BlockPort& port_;
  Cable& cable_;
};

// An IDENTIFY text: space-padded, two characters a word, the first in the high byte.
void put_ata_string(std::span<uint16_t> words, const std::string& text);

}  // namespace understudy::devices
