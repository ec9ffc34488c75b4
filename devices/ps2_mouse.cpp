#include "devices/ps2_mouse.h"

namespace understudy::devices {

namespace {
constexpr uint8_t kAck = 0xfa;
constexpr uint8_t kResend = 0xfe;
constexpr uint8_t kSelfTestPassed = 0xaa;
constexpr uint8_t kDeviceId = 0x00;
constexpr uint8_t kNoMovement = 0x08;  // first byte of a movement packet: bit 3 is always set

enum Command : uint8_t {
  kScaling1To1 = 0xe6,
  kScaling2To1 = 0xe7,
  kSetResolution = 0xe8,
  kStatusRequest = 0xe9,
  kStreamMode = 0xea,
  kReadData = 0xeb,
  kResetWrapMode = 0xec,
  kWrapMode = 0xee,
  kRemoteMode = 0xf0,
  kIdentify = 0xf2,
  kSetSampleRate = 0xf3,
  kEnable = 0xf4,
  kDisable = 0xf5,
  kSetDefaults = 0xf6,
  kResendLast = 0xfe,
  kReset = 0xff,
};
}  // namespace

void Ps2Mouse::reset() { state_ = {}; }

void Ps2Mouse::set_defaults() {
  State fresh;
  fresh.last_sent = state_.last_sent;
  fresh.replies = state_.replies;
  state_ = fresh;
}

void Ps2Mouse::reply(uint8_t byte) {
  if (state_.replies.size() < kReplyBytes) state_.replies.push_back(byte);
}

void Ps2Mouse::command(uint8_t byte) {
  if (state_.wrap && byte != kReset && byte != kResetWrapMode) return reply(byte);
  const uint8_t waiting = state_.parameter_of;
  state_.parameter_of = 0;
  // Any byte is a parameter, even one that looks like a command: sample rate 200 is C8.
  if (waiting == kSetSampleRate) {
    state_.sample_rate = byte;
    return reply(kAck);
  }
  if (waiting == kSetResolution) {
    if (byte > 3) return reply(kResend);
    state_.resolution = byte;
    return reply(kAck);
  }
  switch (byte) {
    case kScaling1To1:
    case kScaling2To1:
      state_.double_scaling = byte == kScaling2To1;
      return reply(kAck);
    case kSetResolution:
    case kSetSampleRate:
      state_.parameter_of = byte;
      return reply(kAck);
    case kStatusRequest: {
      const unsigned flags =
          (state_.remote ? 0x40u : 0u) | (state_.reporting ? 0x20u : 0u) | (state_.double_scaling ? 0x10u : 0u);
      reply(kAck);
      reply(static_cast<uint8_t>(flags));
      reply(state_.resolution);
      return reply(state_.sample_rate);
    }
    case kStreamMode:
    case kRemoteMode:
      state_.remote = byte == kRemoteMode;
      return reply(kAck);
    case kReadData:
      reply(kAck);
      reply(kNoMovement);
      reply(0);
      return reply(0);
    case kResetWrapMode:
    case kWrapMode:
      state_.wrap = byte == kWrapMode;
      return reply(kAck);
    case kIdentify:
      reply(kAck);
      return reply(kDeviceId);
    case kEnable:
    case kDisable:
      state_.reporting = byte == kEnable;
      return reply(kAck);
    case kSetDefaults:
      set_defaults();
      return reply(kAck);
    case kResendLast:
      return reply(state_.last_sent);
    case kReset:
      reset();
      reply(kAck);
      reply(kSelfTestPassed);
      return reply(kDeviceId);
    default:
      return reply(kResend);
  }
}

uint8_t Ps2Mouse::take_reply() {
  state_.last_sent = state_.replies.front();
  state_.replies.erase(state_.replies.begin());
  return state_.last_sent;
}

void Ps2Mouse::visit_state(emu::StateVisitor& visitor) {
  visitor.begin("mouse");
  visitor.value("parameter_of", state_.parameter_of);
  visitor.value("sample_rate", state_.sample_rate);
  visitor.value("resolution", state_.resolution);
  visitor.value("double_scaling", state_.double_scaling);
  visitor.value("remote", state_.remote);
  visitor.value("wrap", state_.wrap);
  visitor.value("reporting", state_.reporting);
  visitor.value("last_sent", state_.last_sent);
  visitor.sequence("replies", state_.replies, kReplyBytes);
  visitor.end();
}

}  // namespace understudy::devices
