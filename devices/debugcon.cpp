#include "devices/debugcon.h"

namespace understudy::devices {

Debugcon::Debugcon(emu::World& world, std::string channel, uint16_t port)
    : world_(world), name_(std::move(channel)), port_(port), channel_(world.add_channel(name_)) {}

void Debugcon::port_write(uint16_t, unsigned, uint32_t value) {
  const uint8_t byte[] = {static_cast<uint8_t>(value)};
  world_.emit(channel_, byte);
}

}  // namespace understudy::devices
