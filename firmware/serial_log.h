// Lines on COM1 from a guest that must not wait for them: they go into a ring, and from there into the UART's FIFO when
// that is empty. A line for which there is no room is lost whole.
#pragma once
#include "runtime.h"

void log_text(const char* text);
void log_number(uint32_t value);
void log_address(uint32_t ip);  // host byte order
void log_end(void);             // the line, and a newline
void log_poll(void);            // at every tick
