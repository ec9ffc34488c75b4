#include "emu/world.h"

#include <stdexcept>

namespace understudy::emu {

ChannelId World::add_channel(std::string name, InputHandler handler, ChannelKind kind) {
  for (const Channel& c : channels_)
    if (c.name == name) throw std::logic_error("world: two channels named " + name);
  channels_.push_back({std::move(name), kind, std::move(handler), {}, {}});
  return static_cast<ChannelId>(channels_.size() - 1);
}

ChannelId World::channel(const std::string& name) const {
  if (const auto found = find_channel(name)) return *found;
  throw std::out_of_range("world: no channel named " + name);
}

std::optional<ChannelId> World::find_channel(const std::string& name) const {
  for (size_t i = 0; i < channels_.size(); ++i)
    if (channels_[i].name == name) return static_cast<ChannelId>(i);
  return {};
}

bool World::post(ChannelId channel, std::span<const uint8_t> payload) {
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() >= kMaxQueued) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    queue_.push_back({channel, {payload.begin(), payload.end()}});
    pending_.store(true, std::memory_order_release);
  }
  if (on_post_) on_post_();
  return true;
}

void World::connect(ChannelId channel, OutputSink sink) { channels_.at(channel).sink = std::move(sink); }

void World::observe(ChannelId channel, OutputSink observer) { channels_.at(channel).observer = std::move(observer); }

bool World::take(Input& input) {
  const std::lock_guard lock(mutex_);
  if (queue_.empty()) return false;
  input = std::move(queue_.front());
  queue_.pop_front();
  if (queue_.empty()) pending_.store(false, std::memory_order_release);
  return true;
}

void World::deliver(const Input& input) {
  const Channel& c = channels_.at(input.channel);
  if (c.observer) c.observer(input.payload);
  delivering_ = input.channel;
  if (c.handler) c.handler(input.payload);
  delivering_.reset();
}

void World::emit(ChannelId channel, std::span<const uint8_t> payload) {
  const Channel& c = channels_[channel];
  if (c.observer) c.observer(payload);
  if (output_observer_) output_observer_(channel, payload);
  if (c.sink) c.sink(payload);
}

}  // namespace understudy::emu
