// Words of the multiboot command line.
#pragma once
#include "runtime.h"

// What follows `name` on the command line, as a word of its own; null if it is not there.
const char* option(const char* name);
// A decimal number of at most `limit` at `*at`, which `end` follows (a space: or nothing); then `*at` is behind that.
// False if there is none.
bool option_number(const char** at, uint32_t limit, char end, uint32_t* value);
// Whether the text at `at` is this word.
bool option_is(const char* at, const char* word);
