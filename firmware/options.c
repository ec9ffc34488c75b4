#include "options.h"

// Behind `word`, if `at` begins with it.
static const char* behind(const char* at, const char* word) {
  while (*word && *at == *word) ++at, ++word;
  return *word ? NULL : at;
}

const char* option(const char* name) {
  const char* at = boot_command_line();
  for (bool word_start = true; *at; word_start = *at++ == ' ') {
    const char* value = word_start ? behind(at, name) : NULL;
    if (value) return value;
  }
  return NULL;
}

bool option_number(const char** at, uint32_t limit, char end, uint32_t* value) {
  uint32_t v = 0;
  const char* p = *at;
  for (; *p >= '0' && *p <= '9' && v <= limit; ++p) v = v * 10 + (uint32_t)(*p - '0');
  if (p == *at || v > limit || (*p != end && !(end == ' ' && !*p))) return false;
  *at = p + 1;
  *value = v;
  return true;
}

bool option_is(const char* at, const char* word) {
  at = behind(at, word);
  return at && (*at == ' ' || !*at);
}
