#include "tools/gdb_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tools/gdb_target_xml.h"

namespace understudy::tools {

namespace {

constexpr size_t kMaxPayload = GdbPackets::kMaxPayload;
// What a client has to escape of what it writes, and we of what it reads, is at most all of it.
constexpr size_t kMaxBinary = kMaxPayload / 2 - 1;
constexpr size_t kMaxConsoleBytes = 2048;
constexpr size_t kMaxBreakpoints = 4096;
constexpr uint64_t kMaxWatched = 1u << 20;
// Numbers of rbp, rsp, rip and of esp, ebp, eip.
constexpr unsigned kRip = 16, kEip = 8;
constexpr std::array kFrameRegisters64{6u, 7u, kRip}, kFrameRegisters32{4u, 5u, kEip};

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

uint64_t number_before(std::string_view& text, std::string_view separator) {
  const std::optional<uint64_t> value = take_hex_number(text);
  if (!value || !take_prefix(text, separator)) throw GdbRefusal("malformed packet");
  return *value;
}

uint64_t last_number(std::string_view text) {
  const uint64_t value = number_before(text, "");
  if (!text.empty()) throw GdbRefusal("malformed packet");
  return value;
}

// 0: any, -1: all; the CPU is thread 1.
bool names_the_thread(std::string_view id) { return id == "0" || id == "-1" || id == "1"; }

const uint8_t* as_bytes(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

}  // namespace

GdbServer::GdbServer(GdbTarget& target, GdbMonitor* monitor, const Settings& settings, GdbLink& link)
    : target_(target), monitor_(monitor), settings_(settings), link_(link) {
  choose_width();
}

void GdbServer::choose_width() { mentioned_width_ = width_ = settings_.width.value_or(width_of(target_.cpu().cpu)); }

GdbServer::Parting GdbServer::serve() {
  while (!parting_) {
    const auto event = packets_.next();
    if (!event) {
      if (!pump(true)) parting_ = Parting::hung_up;
      continue;
    }
    if (event->kind == GdbPackets::Event::Kind::interrupt) continue;  // nothing runs
    if (event->kind == GdbPackets::Event::Kind::bad) {
      refuse(event->payload);
      continue;
    }
    try {
      carry_out(event->payload);
    } catch (const GdbRefusal& refusal) {
      refuse(refusal.what());
    }
  }
  const std::string rest = packets_.take_output();
  if (!gone_ && !rest.empty()) link_.send(rest);
  remove_breakpoints();
  return *parting_;
}

// Sends what is to be sent and takes what has come. False when the connection is of no further use.
bool GdbServer::pump(bool wait) {
  if (gone_) return false;
  std::vector<uint8_t> bytes;
  const std::string out = packets_.take_output();
  gone_ = (!out.empty() && !link_.send(out)) || !link_.receive(bytes, wait);
  packets_.receive(bytes);
  gone_ = gone_ || !packets_.broken().empty();
  return !gone_;
}

void GdbServer::send(std::string_view payload) { packets_.send(payload); }

bool GdbServer::wants_stop() {
  if (!pump(false)) return true;
  if (packets_.peek() == nullptr || packets_.peek()->kind != GdbPackets::Event::Kind::interrupt) return false;
  packets_.next();
  return true;
}

void GdbServer::say(std::string_view text) {
  for (; !text.empty(); text.remove_prefix(std::min(text.size(), kMaxConsoleBytes)))
    send("O" + to_hex(text.substr(0, kMaxConsoleBytes)));
  pump(false);
}

void GdbServer::carry_out(std::string_view packet) {
  if (packet.empty()) return send("");
  const std::string_view rest = packet.substr(1);
  switch (packet.front()) {
    case '?':
      return send(stop_text());
    case '!':
      return send("OK");
    case 'b':
      if (rest == "s") return resume({GdbResume::Kind::step, true});
      if (rest == "c") return resume({GdbResume::Kind::run, true});
      return send("");
    case 'c':
      return resume_at(rest, GdbResume::Kind::run);
    case 's':
      return resume_at(rest, GdbResume::Kind::step);
    case 'C':  // with a signal, which a machine has no use for
      return resume_at(rest.substr(std::min(rest.find(';'), rest.size())), GdbResume::Kind::run);
    case 'S':
      return resume_at(rest.substr(std::min(rest.find(';'), rest.size())), GdbResume::Kind::step);
    case 'D':
      send("OK");
      parting_ = Parting::detached;
      return;
    case 'k':
      parting_ = Parting::killed;
      return;
    case 'g':
      return read_registers();
    case 'G':
      return write_registers(rest);
    case 'p':
      return read_register(rest);
    case 'P':
      return write_register(rest);
    case 'm':
      return read_memory(rest, false);
    case 'x':
      return read_memory(rest, true);
    case 'M':
      return write_memory(rest, false);
    case 'X':
      return write_memory(rest, true);
    case 'Z':
      return breakpoint(rest, true);
    case 'z':
      return breakpoint(rest, false);
    case 'H':
    case 'T': {
      const std::string_view id = packet.front() == 'H' && !rest.empty() ? rest.substr(1) : rest;
      return names_the_thread(id) ? send("OK") : refuse("there is only thread 1, the CPU");
    }
    case 'q':
      return query(packet);
    case 'Q':
      if (packet != "QStartNoAckMode") return send("");
      send("OK");
      packets_.stop_acknowledging();
      return;
    case 'v':
      return v_packet(rest);
    default:
      return send("");  // what the protocol's "not supported" is
  }
}

void GdbServer::v_packet(std::string_view rest) {
  if (rest == "Cont?") return send("vCont;c;C;s;S;r");
  if (take_prefix(rest, "Cont;")) return continue_threads(rest);
  if (take_prefix(rest, "Attach;")) return send(stop_text());
  if (take_prefix(rest, "Kill;")) {
    send("OK");
    parting_ = Parting::killed;
    return;
  }
  send("");
}

void GdbServer::query(std::string_view packet) {
  if (take_prefix(packet, "qSupported")) return supported(packet);
  if (packet == "qC") return send("QC1");
  if (packet == "qfThreadInfo") return send("m1");
  if (packet == "qsThreadInfo") return send("l");
  if (take_prefix(packet, "qThreadExtraInfo,"))
    return send(to_hex(std::string_view(architecture_name(width_of(target_.cpu().cpu)))));
  if (packet == "qAttached" || packet.starts_with("qAttached:")) return send("1");
  if (packet.starts_with("qSymbol:")) return send("OK");
  if (take_prefix(packet, "qXfer:")) return transfer(packet);
  if (take_prefix(packet, "qRcmd,")) return monitor(packet);
  send("");
}

void GdbServer::supported(std::string_view features) {
  says_breakpoints_ = features.find("swbreak+") != std::string_view::npos;
  send(
      fmt::format("PacketSize={:x};QStartNoAckMode+;qXfer:features:read+;ReverseStep+;ReverseContinue+;swbreak+;"
                  "hwbreak+;vContSupported+;binary-upload+",
                  kMaxPayload));
}

// qXfer:features:read:ANNEX:OFFSET,LENGTH
void GdbServer::transfer(std::string_view request) {
  if (!take_prefix(request, "features:read:")) return send("");
  const size_t colon = request.find(':');
  if (colon == std::string_view::npos) throw GdbRefusal("malformed packet");
  if (request.substr(0, colon) != "target.xml") throw GdbRefusal("there is no such annex");
  request.remove_prefix(colon + 1);
  const uint64_t offset = number_before(request, ","), length = last_number(request);
  if (offset == 0) choose_width();
  const std::string& xml = target_xml(width_);
  if (offset > xml.size()) throw GdbRefusal("past the end");
  const std::string_view part = std::string_view(xml).substr(offset, std::min<uint64_t>(length, kMaxBinary));
  send((offset + part.size() < xml.size() ? "m" : "l") + std::string(part));
}

void GdbServer::monitor(std::string_view hex) {
  const std::optional<std::string> command = from_hex(hex);
  if (!command) throw GdbRefusal("malformed packet");
  if (monitor_ == nullptr) return send("");
  try {
    monitor_->run(*command, *this);
  } catch (const GdbRefusal& refusal) {
    say(fmt::format("{}\n", refusal.what()));
  }
  send("OK");
}

// vCont;ACTION[:THREAD]...: the first action for our only thread.
void GdbServer::continue_threads(std::string_view actions) {
  while (!actions.empty()) {
    const size_t end = std::min(actions.find(';'), actions.size());
    std::string_view action = actions.substr(0, end);
    actions.remove_prefix(std::min(end + 1, actions.size()));
    const size_t colon = action.find(':');
    const bool ours = colon == std::string_view::npos || names_the_thread(action.substr(colon + 1));
    action = action.substr(0, colon);
    if (!ours || action.empty()) continue;
    GdbResume how;
    switch (action.front()) {
      case 'c':
      case 'C':
        return resume(how);
      case 's':
      case 'S':
        how.kind = GdbResume::Kind::step;
        return resume(how);
      case 'r':
        action.remove_prefix(1);
        how.kind = GdbResume::Kind::range;
        how.first = number_before(action, ",");
        how.last = last_number(action);
        return resume(how);
      default:
        throw GdbRefusal("no such action");
    }
  }
  throw GdbRefusal("no action for thread 1");
}

void GdbServer::resume_at(std::string_view address, GdbResume::Kind kind) {
  take_prefix(address, ";");
  if (!address.empty()) {
    const uint64_t wanted = last_number(address);
    const GdbRegister& pc = registers_of(width_)[width_ == GdbWidth::bits64 ? kRip : kEip];
    std::vector<uint8_t> value;
    for (unsigned i = 0; i < pc.bytes(); ++i) value.push_back(static_cast<uint8_t>(wanted >> 8 * i));
    target_.write_register(pc, value);
  }
  resume({kind});
}

void GdbServer::resume(const GdbResume& how) {
  stop_ = target_.resume(how, *this);
  if (gone_) {
    parting_ = Parting::hung_up;
    return;
  }
  mention_width();
  send(stop_text());
  if (stop_.why == GdbStop::Why::ended) parting_ = Parting::ended;
}

// A client cannot be told of another set of registers, but its user can.
void GdbServer::mention_width() {
  const GdbWidth now = width_of(target_.cpu().cpu);
  if (settings_.width || now == mentioned_width_) return;
  mentioned_width_ = now;
  if (now == width_) return;
  say(fmt::format("The CPU's mode is {} now, and gdb shows it as {}. `unset tdesc filename` makes gdb look again.\n",
                  architecture_name(now), architecture_name(width_)));
}

std::string GdbServer::stop_text() {
  if (stop_.why == GdbStop::Why::ended) return fmt::format("W{:02x}", stop_.exit_code & 0xff);
  // SIGINT is what a user expects of Ctrl-C; the rest is SIGTRAP.
  std::string text = stop_.why == GdbStop::Why::interrupted ? "T02" : "T05";
  switch (stop_.why) {
    case GdbStop::Why::breakpoint:
      if (says_breakpoints_) text += stop_.hit.kind == GdbBreakpoint::Kind::software ? "swbreak:;" : "hwbreak:;";
      break;
    case GdbStop::Why::watchpoint: {
      const char* name = stop_.hit.kind == GdbBreakpoint::Kind::write  ? "watch"
                         : stop_.hit.kind == GdbBreakpoint::Kind::read ? "rwatch"
                                                                       : "awatch";
      text += fmt::format("{}:{:x};", name, stop_.hit.address);
      break;
    }
    case GdbStop::Why::log_begin:
      text += "replaylog:begin;";
      break;
    case GdbStop::Why::log_end:
      text += "replaylog:end;";
      break;
    default:
      break;
  }
  text += "thread:1;";
  // What every client asks for next.
  for (const unsigned number : width_ == GdbWidth::bits64 ? kFrameRegisters64 : kFrameRegisters32)
    text += fmt::format("{:x}:{};", number, to_hex(register_bytes(registers_of(width_)[number])));
  return text;
}

std::vector<uint8_t> GdbServer::register_bytes(const GdbRegister& reg) {
  std::vector<uint8_t> bytes(reg.bytes());
  reg.read(target_.cpu(), bytes);
  return bytes;
}

void GdbServer::read_registers() {
  std::string hex;
  for (const GdbRegister& reg : registers_of(width_)) hex += to_hex(register_bytes(reg));
  send(hex);
}

// Registers that change nothing are not written: a client gives back those that nobody may write, too.
void GdbServer::write_registers(std::string_view hex) {
  const std::optional<std::string> all = from_hex(hex);
  if (!all) throw GdbRefusal("malformed packet");
  std::string_view rest = *all;
  for (const GdbRegister& reg : registers_of(width_)) {
    if (rest.size() < reg.bytes()) throw GdbRefusal("registers are missing");
    const std::span value(as_bytes(rest), reg.bytes());
    const std::vector<uint8_t> now = register_bytes(reg);
    if (!std::equal(now.begin(), now.end(), value.begin())) target_.write_register(reg, value);
    rest.remove_prefix(reg.bytes());
  }
  send("OK");
}

const GdbRegister& GdbServer::checked_register(std::string_view& text) {
  const std::vector<GdbRegister>& registers = registers_of(width_);
  const uint64_t number = number_before(text, "");
  if (number >= registers.size()) throw GdbRefusal("there is no such register");
  return registers[number];
}

void GdbServer::read_register(std::string_view number) {
  const GdbRegister& reg = checked_register(number);
  send(to_hex(register_bytes(reg)));
}

void GdbServer::write_register(std::string_view assignment) {
  const GdbRegister& reg = checked_register(assignment);
  if (!take_prefix(assignment, "=")) throw GdbRefusal("malformed packet");
  const std::optional<std::string> value = from_hex(assignment);
  if (!value || value->size() != reg.bytes()) throw GdbRefusal("malformed packet");
  target_.write_register(reg, {as_bytes(*value), value->size()});
  send("OK");
}

void GdbServer::read_memory(std::string_view range, bool binary) {
  const uint64_t address = number_before(range, ","), length = last_number(range);
  if (length == 0) return send(binary ? "b" : "");
  std::vector<uint8_t> bytes(std::min<uint64_t>(length, kMaxBinary));
  try {
    bytes.resize(target_.read_memory(address, bytes));
  } catch (const GdbRefusal&) {
    // A client takes more than a number for bytes. What was wrong, `monitor xp` and `monitor tlb` tell.
    return send("E0e");
  }
  if (binary)
    send("b" + std::string(bytes.begin(), bytes.end()));
  else
    send(to_hex(bytes));
}

void GdbServer::write_memory(std::string_view request, bool binary) {
  const uint64_t address = number_before(request, ","), length = number_before(request, ":");
  const std::optional<std::string> bytes = binary ? std::string(request) : from_hex(request);
  if (!bytes || bytes->size() != length) throw GdbRefusal("malformed packet");
  if (length != 0) target_.write_memory(address, {as_bytes(*bytes), bytes->size()});
  send("OK");
}

// TYPE,ADDRESS,KIND: the kind is an instruction's length, or that of what is watched.
void GdbServer::breakpoint(std::string_view request, bool insert) {
  const uint64_t type = number_before(request, ",");
  if (type > static_cast<uint64_t>(GdbBreakpoint::Kind::access)) return send("");
  GdbBreakpoint wanted{static_cast<GdbBreakpoint::Kind>(type), number_before(request, ","), last_number(request)};
  if (!wanted.is_watchpoint()) wanted.length = 1;
  if (wanted.length == 0 || wanted.length > kMaxWatched) throw GdbRefusal("what is watched is too long");
  if (insert && !breakpoints_.contains(wanted)) {
    if (breakpoints_.size() >= kMaxBreakpoints) throw GdbRefusal("too many breakpoints");
    target_.insert(wanted);
    breakpoints_.insert(wanted);
  } else if (!insert && breakpoints_.erase(wanted) != 0) {
    target_.remove(wanted);
  }
  send("OK");
}

void GdbServer::remove_breakpoints() {
  for (const GdbBreakpoint& breakpoint : breakpoints_) target_.remove(breakpoint);
  breakpoints_.clear();
}

}  // namespace understudy::tools
