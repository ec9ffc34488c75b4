// The `understudy` command as a test runs it.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/wait.h>

#include <cstdio>
#include <string>

#include "tests/built.h"

namespace understudy::test {

struct Ran {
  int code = -1;
  std::string said;
};

// What it says on standard output, and on standard error unless that is redirected elsewhere.
inline Ran understudy_command(const std::string& arguments, const char* redirection = "2>&1") {
  Ran ran;
  std::FILE* pipe = popen(fmt::format("{} {} {} </dev/null", built::kCommand, arguments, redirection).c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  for (size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) ran.said.append(buffer, got);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) ran.code = WEXITSTATUS(status);
  return ran;
}

}  // namespace understudy::test
