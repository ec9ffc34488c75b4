#include "tools/node_names.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <sstream>
#include <vector>

#include "ftlog/file.h"
#include "ftlog/recording.h"

namespace understudy::tools {

namespace {

// Only the last reign is ever asked for.
constexpr size_t kMostNames = 256;
constexpr size_t kMostBytes = kMostNames * 256;

std::string path_in(const std::string& folder) { return folder + "/nodes"; }

std::deque<std::string> names_in(const std::string& folder) {
  std::deque<std::string> names;
  if (!std::filesystem::exists(path_in(folder))) return names;
  std::vector<uint8_t> bytes(kMostBytes);
  const ftlog::File file(path_in(folder), O_RDONLY);
  bytes.resize(file.read_at(bytes, 0));
  std::istringstream lines(std::string(bytes.begin(), bytes.end()));
  for (std::string line; std::getline(lines, line);) names.push_back(line);
  return names;
}

}  // namespace

void note_node(const std::string& folder, const std::string& node) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw ftlog::RecordingError(fmt::format("{}: {}", folder, error.message()));
  std::deque<std::string> names = names_in(folder);
  names.push_back(node);
  while (names.size() > kMostNames) names.pop_front();
  std::string text;
  for (const std::string& name : names) text += name + '\n';
  ftlog::File file(path_in(folder) + ".partial", O_WRONLY | O_CREAT | O_TRUNC);
  file.append({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, 0);
  file.sync();
  file.rename(path_in(folder));
  ftlog::sync_directory(folder);
}

bool has_node(const std::string& folder, const std::string& node) {
  const std::deque<std::string> names = names_in(folder);
  return std::find(names.begin(), names.end(), node) != names.end();
}

}  // namespace understudy::tools
