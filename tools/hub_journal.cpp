#include "tools/hub_journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>

#include "tools/serial_backend.h"

namespace understudy::tools {

namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  throw UsageError(fmt::format("--journal {}: {}", path, what));
}

template <typename Clock>
int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

}  // namespace

Json reign_json(const Reign& reign) {
  Json json = {{"epoch", reign.epoch},
               {"node", reign.node},
               {"instance", fmt::format("{:016x}", reign.instance)},
               {"began_ns", reign.began_ns}};
  if (reign.first_output_ns) {
    json["first_output_ns"] = *reign.first_output_ns;
    json["last_output_ns"] = *reign.last_output_ns;
  }
  json["frames"] = reign.frames;
  json["console_bytes"] = reign.console_bytes;
  json["disk_requests"] = reign.disk_requests;
  return json;
}

Json fenced_json(const FencedCounts& counts) {
  Json json = Json::object();
  for (size_t i = 0; i < kFencedKinds; ++i) json[to_string(static_cast<FencedKind>(i))] = counts[i];
  return json;
}

HubJournal::HubJournal(const std::string& path) : path_(path) {
  if (path.empty()) return;
  file_.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644));
  struct stat status {};
  if (!file_ || ::fstat(file_.get(), &status) != 0) refuse(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) refuse(path, "is not a file");
  // Two hubs with one memory would be two worlds.
  struct flock lock {};
  lock.l_type = F_WRLCK;
  if (::fcntl(file_.get(), F_OFD_SETLK, &lock) != 0) refuse(path, "another hub writes it");
  read_back();
  syncer_ = std::thread([this] { sync_when_asked(); });
}

HubJournal::~HubJournal() {
  if (!syncer_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  syncer_.join();
}

void HubJournal::read_back() {
  std::array<char, 16384> chunk{};
  std::string line;
  uint64_t number = 1;
  off_t whole = 0;  // up to the end of the last whole line
  off_t at = 0;
  while (true) {
    const ssize_t got = ::pread(file_.get(), chunk.data(), chunk.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse(path_, std::strerror(errno));
    if (got == 0) break;
    for (ssize_t i = 0; i < got; ++i) {
      if (chunk[static_cast<size_t>(i)] != '\n') {
        line += chunk[static_cast<size_t>(i)];
        if (line.size() > kMaxLine) refuse(path_, fmt::format("line {}: is too long for a journal", number));
        continue;
      }
      read_line(line, number++);
      line.clear();
      whole = at + i + 1;
    }
    at += got;
  }
  // A line that was being written when its hub was killed.
  if (whole != at && ::ftruncate(file_.get(), whole) != 0) refuse(path_, std::strerror(errno));
}

void HubJournal::read_line(const std::string& line, uint64_t number) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("event") || !json["event"].is_string())
    refuse(path_, fmt::format("line {}: is not a hub's", number));
  if (json["event"] != "reign") return;
  Reign reign;
  const auto epoch = json.find("epoch"), node = json.find("node"), instance = json.find("instance");
  const bool fields = epoch != json.end() && epoch->is_number_unsigned() && node != json.end() && node->is_string() &&
                      instance != json.end() && instance->is_string();
  if (!fields) refuse(path_, fmt::format("line {}: a reign lacks its epoch, node or instance", number));
  reign.epoch = epoch->get<uint64_t>();
  reign.node = node->get<std::string>();
  const auto text = instance->get<std::string>();
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), reign.instance, 16);
  if (error != std::errc() || end != text.data() + text.size() || reign.epoch == 0 ||
      !primary::hub::is_node_name(reign.node))
    refuse(path_, fmt::format("line {}: a reign's epoch, node or instance is none", number));
  if (!last_reign_ || reign.epoch > last_reign_->epoch) last_reign_ = std::move(reign);
}

void HubJournal::write(const char* event, const Json& fields) {
  if (!file_ || failed_) return;
  Json json = {{"event", event},
               {"time", static_cast<double>(now_ns<std::chrono::system_clock>()) / 1e9},
               {"mono_ns", now_ns<std::chrono::steady_clock>()}};
  json.update(fields);
  const std::string line = json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  size_t written = 0;
  while (written < line.size()) {
    const ssize_t done = ::write(file_.get(), line.data() + written, line.size() - written);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return complain();
    written += static_cast<size_t>(done);
  }
}

void HubJournal::sync() {
  {
    const std::lock_guard lock(mutex_);
    sync_wanted_ = true;
  }
  wake_.notify_one();
}

void HubJournal::sync_when_asked() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return sync_wanted_ || stopping_; });
    if (!sync_wanted_) return;
    sync_wanted_ = false;
    lock.unlock();
    if (!failed_ && ::fdatasync(file_.get()) != 0) complain();
    lock.lock();
  }
}

void HubJournal::complain() {
  fmt::print(stderr, "understudy: --journal {}: {}; nothing more is written down\n", path_, std::strerror(errno));
  failed_ = true;
}

}  // namespace understudy::tools
