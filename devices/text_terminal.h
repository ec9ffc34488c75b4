// Draws a text screen on an ANSI terminal (ECMA-48 control functions, xterm's bright colours, UTF-8) by sending only
// what changed. Pure functions: the caller remembers which screen the terminal shows.
#pragma once

#include <string>

#include "devices/vga_text.h"

namespace understudy::devices {

// The bytes that turn a terminal showing `shown` into one showing `wanted`. A `shown` of another size (a default
// TextScreen at first) stands for a terminal in any state: it is cleared and drawn whole. Nothing is sent for equal
// screens.
std::string render_text(const TextScreen& shown, const TextScreen& wanted);

// Gives the terminal back: default colours, wrapping, a visible cursor below the screen.
std::string leave_text(const TextScreen& shown);

}  // namespace understudy::devices
