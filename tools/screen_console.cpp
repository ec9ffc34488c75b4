#include "tools/screen_console.h"

#include "devices/keymap.h"
#include "devices/vga_text.h"

namespace understudy::tools {

namespace {

constexpr auto kRefresh = std::chrono::milliseconds(50);
// One key, with its escape sequence, at a time.
constexpr size_t kKeyBytes = 8;

}  // namespace

ScreenConsole::ScreenConsole(devices::Pc& pc, Wakeup& wakeup) : pc_(pc), terminal_(wakeup) {}

ScreenConsole::~ScreenConsole() {
  const std::string bytes = devices::leave_text(shown_);
  terminal_.write({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

void ScreenConsole::show() {
  devices::TextScreen wanted = pc_.screen();
  if (wanted == shown_) return;
  const std::string bytes = devices::render_text(shown_, wanted);
  terminal_.write({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  shown_ = std::move(wanted);
}

void ScreenConsole::show_sometimes() {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + kRefresh;
  show();
}

void ScreenConsole::type_waiting_keys() {
  const std::vector<uint8_t> typed = terminal_.take(kKeyBytes);
  if (typed.empty()) return;
  const std::vector<uint8_t> scancodes =
      devices::scancodes_for_text({reinterpret_cast<const char*>(typed.data()), typed.size()});
  emu::World& world = pc_.machine().world();
  if (!scancodes.empty()) world.post(world.channel("keyboard"), scancodes);
}

}  // namespace understudy::tools
