// What a machine does over virtual time, as tracks of trace events: user, kernel and idle time; interrupts and
// exceptions, a track for each vector; system calls; inputs and outputs, a track for each channel; what the console
// says; and the shares of time and the speed (million instructions a virtual second) as graphs.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "emu/cpu_observer.h"
#include "emu/machine.h"
#include "tools/trace_events.h"

namespace understudy::tools {

struct ActivityOptions {
  uint64_t resolution_ns = 0;  // what is closer together is merged
  uint64_t graph_ns = 0;       // a point of a graph stands for so much time; not 0
};

class MachineActivity : public emu::CpuObserver {
 public:
  // Watches the machine from now on, until it is destroyed. Both must outlive it. Takes the sinks of all its channels.
  MachineActivity(emu::Machine& machine, TraceEventWriter& writer, const ActivityOptions& options);
  ~MachineActivity() override;
  MachineActivity(const MachineActivity&) = delete;
  MachineActivity& operator=(const MachineActivity&) = delete;

  void event(const emu::Event& event, uint64_t address) override;
  void privilege(unsigned level) override;
  void instruction(const emu::BlockRecord&) override {}

  // An input has been handed to a channel; the board has been reset.
  void input(emu::ChannelId channel, size_t bytes);
  void reset();
  // Between two runs: takes note of how far the machine is.
  void look() { pass_to(machine_.now_ns()); }
  // Writes all that is still held back.
  void finish();

 private:
  enum Mode : uint8_t { kUser, kKernel, kIdle, kModes };
  void pass_to(uint64_t ns);
  void enter(Mode mode);
  void write_graphs();
  void console(std::span<const uint8_t> bytes);
  MergedTrack& track(unsigned number, const std::string& name);

  emu::Machine& machine_;
  TraceEventWriter& writer_;
  ActivityOptions options_;
  std::map<unsigned, MergedTrack> tracks_;

  Mode mode_ = kKernel;
  uint64_t mode_since_ns_ = 0;
  uint64_t now_ns_ = 0, now_icount_ = 0;
  bool entered_by_event_ = false;
  uint64_t entered_icount_ = 0;

  struct Graphs {
    std::array<uint64_t, kModes> ns{};
    uint64_t instructions = 0;
    bool operator==(const Graphs&) const = default;
  };
  uint64_t graphs_begin_ns_ = 0;
  Graphs graphs_, written_;
  bool any_written_ = false;
  std::string line_;
};

}  // namespace understudy::tools
