#include "devices/ps2_keyboard.h"

#include "devices/scancode.h"

namespace understudy::devices {

namespace {
constexpr uint8_t kAck = 0xfa;
constexpr uint8_t kResend = 0xfe;
constexpr uint8_t kSelfTestPassed = 0xaa;

enum Command : uint8_t {
  kSetLeds = 0xed,
  kEcho = 0xee,
  kScanSet = 0xf0,
  kIdentify = 0xf2,
  kSetTypematic = 0xf3,
  kEnable = 0xf4,
  kDisable = 0xf5,
  kSetDefaults = 0xf6,
  kFirstSet3 = 0xf7,     // F7..FA: set 3 behaviour of all keys
  kLastSet3 = 0xfa,      //
  kFirstSet3Key = 0xfb,  // FB..FD: of one key, named by a parameter
  kLastSet3Key = 0xfd,   //
  kResendLast = 0xfe,
  kReset = 0xff,
};
}  // namespace

void Ps2Keyboard::reset() { state_ = {}; }

void Ps2Keyboard::set_defaults() {
  state_.keys.clear();
  state_.scan_set = 2;
  state_.typematic = 0x2b;
}

void Ps2Keyboard::reply(uint8_t byte) {
  if (state_.replies.size() < kReplyBytes) state_.replies.push_back(byte);
}

void Ps2Keyboard::command(uint8_t byte) {
  const uint8_t waiting = state_.parameter_of;
  state_.parameter_of = 0;
  // No parameter has its top bit set: such a byte is a new command, and the old one is forgotten.
  if (waiting != 0 && byte < 0x80) return parameter(waiting, byte);
  if ((byte >= kFirstSet3 && byte <= kLastSet3)) return reply(kAck);
  if (byte >= kFirstSet3Key && byte <= kLastSet3Key) byte = kFirstSet3Key;
  switch (byte) {
    case kSetLeds:
    case kScanSet:
    case kSetTypematic:
    case kFirstSet3Key:
      state_.parameter_of = byte;
      return reply(kAck);
    case kEcho:
      return reply(kEcho);
    case kIdentify:
      reply(kAck);
      reply(0xab);
      return reply(0x83);
    case kEnable:
      state_.keys.clear();
      state_.scanning = true;
      return reply(kAck);
    case kDisable:
      set_defaults();
      state_.scanning = false;
      return reply(kAck);
    case kSetDefaults:
      set_defaults();
      return reply(kAck);
    case kResendLast:
      return reply(state_.last_sent);
    case kReset:
      reset();
      reply(kAck);
      return reply(kSelfTestPassed);
    default:
      return reply(kResend);
  }
}

void Ps2Keyboard::parameter(uint8_t command, uint8_t byte) {
  switch (command) {
    case kSetLeds:
      state_.leds = byte & 7;
      break;
    case kSetTypematic:
      state_.typematic = byte;
      break;
    case kScanSet:
      if (byte > 2) return reply(kResend);
      reply(kAck);
      if (byte == 0) return reply(state_.scan_set);
      state_.keys.clear();
      state_.scan_set = byte;
      return;
    default:
      break;
  }
  reply(kAck);
}

void Ps2Keyboard::press(std::span<const uint8_t> set2) {
  if (!state_.scanning || set2.size() > kKeyBytes - state_.keys.size()) return;
  if (state_.scan_set == 2) {
    state_.keys.insert(state_.keys.end(), set2.begin(), set2.end());
    return;
  }
  bool release = false;
  for (const uint8_t byte : set2)
    if (const auto code = translate_to_set1(byte, release)) state_.keys.push_back(*code);
}

uint8_t Ps2Keyboard::take_reply() {
  state_.last_sent = state_.replies.front();
  state_.replies.erase(state_.replies.begin());
  return state_.last_sent;
}

uint8_t Ps2Keyboard::take_key() {
  state_.last_sent = state_.keys.front();
  state_.keys.erase(state_.keys.begin());
  return state_.last_sent;
}

void Ps2Keyboard::visit_state(emu::StateVisitor& visitor) {
  visitor.begin("keyboard");
  visitor.value("parameter_of", state_.parameter_of);
  visitor.value("leds", state_.leds);
  visitor.value("scan_set", state_.scan_set);
  visitor.value("typematic", state_.typematic);
  visitor.value("scanning", state_.scanning);
  visitor.value("last_sent", state_.last_sent);
  visitor.sequence("replies", state_.replies, kReplyBytes);
  visitor.sequence("keys", state_.keys, kKeyBytes);
  visitor.end();
}

}  // namespace understudy::devices
