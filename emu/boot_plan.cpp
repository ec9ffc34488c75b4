#include "emu/boot_plan.h"

namespace understudy::emu {

namespace {
// A file name may hold anything; the message must stay one line.
std::string one_line(std::string_view file, std::string_view problem) {
  std::string line = std::string(file) + ": " + std::string(problem);
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return line;
}
}  // namespace

BootError::BootError(std::string_view file, std::string_view problem) : std::runtime_error(one_line(file, problem)) {}

}  // namespace understudy::emu
