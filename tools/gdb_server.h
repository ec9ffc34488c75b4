// The command layer of GDB's remote serial protocol (GDB manual, appendix E): answers one client's packets out of a
// GdbTarget. One thread, all-stop; while the machine runs, the connection is looked at for Ctrl-C. No packet, however
// wrong, does more than get an error. Registers have the width that the CPU's mode had when the client read the target
// description last; a client that wants another after a mode switch reads it again (`unset tdesc filename`).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/gdb_packets.h"
#include "tools/gdb_target.h"

namespace understudy::tools {

// A client's connection.
class GdbLink {
 public:
  virtual ~GdbLink() = default;
  // Appends what has come; waits for at least a byte if there is none, or not. False when the client is gone.
  virtual bool receive(std::vector<uint8_t>& to, bool wait) = 0;
  // False when the client is gone.
  virtual bool send(std::string_view bytes) = 0;
};

class GdbServer : private GdbUser {
 public:
  // What a client may choose; shared by all clients of a session.
  struct Settings {
    std::optional<GdbWidth> width;  // absent: the CPU's mode
  };

  // All outlive the server, which serves one client; `monitor` may be null.
  GdbServer(GdbTarget& target, GdbMonitor* monitor, const Settings& settings, GdbLink& link);

  enum class Parting : uint8_t {
    detached,  // the machine is to go on as if there had been no debugger
    killed,    // the machine is to end
    ended,     // it has ended, and the client knows
    hung_up    // the client is gone without a word, or talks nonsense
  };
  Parting serve();
  // Why a client that hung up was of no further use; may be empty.
  const std::string& complaint() const { return packets_.broken(); }

 private:
  bool wants_stop() override;
  void say(std::string_view text) override;

  bool pump(bool wait);
  void send(std::string_view payload);
  void refuse(std::string_view reason) { send("E." + std::string(reason)); }

  // Both may throw GdbRefusal.
  void carry_out(std::string_view packet);
  void v_packet(std::string_view rest);
  void query(std::string_view packet);

  void supported(std::string_view features);
  void transfer(std::string_view request);
  void monitor(std::string_view hex);
  void continue_threads(std::string_view actions);
  void resume(const GdbResume& how);
  void resume_at(std::string_view address, GdbResume::Kind kind);
  void report_stop();
  std::string stop_text();
  void mention_width();

  void read_registers();
  void write_registers(std::string_view hex);
  void read_register(std::string_view number);
  void write_register(std::string_view assignment);
  std::vector<uint8_t> register_bytes(const GdbRegister& reg);
  const GdbRegister& checked_register(std::string_view& text);
  void read_memory(std::string_view range, bool binary);
  void write_memory(std::string_view request, bool binary);
  void breakpoint(std::string_view request, bool insert);
  void remove_breakpoints();
  void choose_width();

  GdbTarget& target_;
  GdbMonitor* monitor_;
  const Settings& settings_;
  GdbLink& link_;
  GdbPackets packets_;
  GdbWidth width_ = GdbWidth::bits32;
  GdbWidth mentioned_width_ = GdbWidth::bits32;
  bool says_breakpoints_ = false;  // the client knows swbreak and hwbreak
  GdbStop stop_;
  std::set<GdbBreakpoint> breakpoints_;
  std::optional<Parting> parting_;
  bool gone_ = false;
};

}  // namespace understudy::tools
