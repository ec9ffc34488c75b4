// The least board a device test needs: a clock that the test moves, an event queue, RAM for DMA, lines that remember.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "emu/bus.h"
#include "emu/clock.h"
#include "emu/dma.h"
#include "emu/event_queue.h"
#include "emu/irq_line.h"
#include "emu/state_visitor.h"
#include "emu/world.h"

namespace understudy::tests {

class FakeClock : public emu::Clock {
 public:
  uint64_t now_ns() const override { return now; }
  uint64_t now = 0;
};

// Remembers each pin's level and counts rising edges.
class FakeIrqSink : public emu::IrqSink {
 public:
  void set_irq(unsigned pin, bool level) override {
    if (level && !levels[pin]) ++edges[pin];
    levels[pin] = level;
  }
  std::map<unsigned, bool> levels;
  std::map<unsigned, unsigned> edges;
};

class FakeDma : public emu::DmaMemory {
 public:
  explicit FakeDma(size_t size) : ram(size) {}
  void dma_read(uint64_t address, std::span<uint8_t> to) override {
    for (size_t i = 0; i < to.size(); ++i) to[i] = address + i < ram.size() ? ram[address + i] : 0xff;
  }
  void dma_write(uint64_t address, std::span<const uint8_t> from) override {
    for (size_t i = 0; i < from.size(); ++i)
      if (address + i < ram.size()) ram[address + i] = from[i];
  }
  std::vector<uint8_t> ram;
};

struct FakeBoard {
  FakeClock clock;
  emu::EventQueue events;
  emu::PortBus ports;
  emu::MmioBus mmio;
  emu::World world;
  FakeIrqSink irqs;
  FakeDma dma{1 << 20};

  // Moves time forward, running what falls due on the way at its own due time.
  void advance_to(uint64_t ns) {
    while (events.next_due() <= ns) {
      clock.now = std::max(clock.now, events.next_due());
      events.run_due(clock.now);
    }
    clock.now = ns;
  }
  void advance(uint64_t ns) { advance_to(clock.now + ns); }
};

// Flattens a state to name -> bytes, so that a test can compare two states or check that a field is covered.
class StateDump : public emu::StateVisitor {
 public:
  std::map<std::string, std::vector<uint8_t>> fields;
  void begin(std::string_view group) override { prefix_.push_back(std::string(group)); }
  void end() override { prefix_.pop_back(); }
  void sequence(std::string_view name, std::vector<uint8_t>& field, size_t) override { fields[path(name)] = field; }

 protected:
  void scalar(std::string_view name, uint64_t& value, size_t width) override {
    auto& out = fields[path(name)];
    for (size_t i = 0; i < width; ++i) out.push_back(static_cast<uint8_t>(value >> (8 * i)));
  }
  void bytes(std::string_view name, void* data, size_t size) override {
    const auto* p = static_cast<const uint8_t*>(data);
    fields[path(name)] = {p, p + size};
  }

 private:
  std::string path(std::string_view name) const {
    std::string full;
    for (const auto& p : prefix_) full += p + ".";
    return full + std::string(name);
  }
  std::vector<std::string> prefix_;
};

// Loads what a StateDump took: save, restore into a fresh device, and the two dumps must be equal.
class StateLoad : public emu::StateVisitor {
 public:
  explicit StateLoad(std::map<std::string, std::vector<uint8_t>> fields) : fields_(std::move(fields)) {}
  void begin(std::string_view group) override { prefix_.push_back(std::string(group)); }
  void end() override { prefix_.pop_back(); }
  void sequence(std::string_view name, std::vector<uint8_t>& field, size_t) override { field = fields_.at(path(name)); }

 protected:
  void scalar(std::string_view name, uint64_t& value, size_t width) override {
    const auto& in = fields_.at(path(name));
    value = 0;
    for (size_t i = 0; i < width; ++i) value |= static_cast<uint64_t>(in.at(i)) << (8 * i);
  }
  void bytes(std::string_view name, void* data, size_t size) override {
    const auto& in = fields_.at(path(name));
    std::copy_n(in.begin(), std::min(size, in.size()), static_cast<uint8_t*>(data));
  }

 private:
  std::string path(std::string_view name) const {
    std::string full;
    for (const auto& p : prefix_) full += p + ".";
    return full + std::string(name);
  }
  std::vector<std::string> prefix_;
  std::map<std::string, std::vector<uint8_t>> fields_;
};

}  // namespace understudy::tests
