#include "ftlog/recording.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "ftlog/segment_format.h"

namespace understudy::ftlog {

namespace {

constexpr const char* kLockName = "lock";
constexpr std::string_view kFinished = "finished\n";

bool take_lock(const File& lock, int how) {
  int result = 0;
  do result = ::flock(lock.fd(), how | LOCK_NB);
  while (result != 0 && errno == EINTR);
  return result == 0;
}

[[noreturn]] void refuse(const std::string& directory, const std::string& why) {
  throw RecordingError(fmt::format("recording {}: {}", directory, why));
}

// Anything but the lock.
bool holds_files(const std::string& directory) {
  std::error_code error;
  std::filesystem::directory_iterator files(directory, error);
  for (; !error && files != std::filesystem::directory_iterator(); files.increment(error))
    if (files->path().filename() != kLockName) return true;
  if (error) refuse(directory, fmt::format("cannot list it: {}", error.message()));
  return false;
}

}  // namespace

Recording Recording::create(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
    refuse(directory, fmt::format("cannot make it: {}", std::strerror(errno)));
  if (holds_files(directory)) {
    if (is_being_recorded(directory)) refuse(directory, "another process is recording there");
    refuse(directory, "is not empty: choose a new directory, or remove this one first");
  }
  try {
    File lock(directory + "/" + kLockName, O_RDWR | O_CREAT);
    if (!take_lock(lock, LOCK_EX)) refuse(directory, "another process is recording there");
    // One that was faster may have come and gone since.
    if (holds_files(directory)) refuse(directory, "is not empty: choose a new directory, or remove this one first");
    return Recording(directory, std::move(lock));
  } catch (const LogError& error) {
    refuse(directory, error.what());
  }
}

void Recording::finish() { lock_.append({reinterpret_cast<const uint8_t*>(kFinished.data()), kFinished.size()}, 0); }

void require_recording(const std::string& directory) {
  if (::access(segment_path(directory, 1).c_str(), F_OK) == 0) return;
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) refuse(directory, "no such directory");
  refuse(directory, "there is no recording in it");
}

bool is_being_recorded(const std::string& directory) {
  try {
    const File lock(directory + "/" + kLockName, O_RDONLY);
    return !take_lock(lock, LOCK_SH);
  } catch (const LogError&) {
    return false;  // there is no lock, or none for us to see
  }
}

bool was_finished(const std::string& directory) {
  try {
    std::array<uint8_t, kFinished.size()> bytes{};
    const File lock(directory + "/" + kLockName, O_RDONLY);
    return lock.read_at(bytes, 0) == bytes.size() && std::ranges::equal(bytes, kFinished);
  } catch (const LogError&) {
    return false;
  }
}

LogError cut_off(const TornTail& tail) {
  return {tail.segment, tail.offset,
          fmt::format("the log was finished, and is cut off or damaged here: {}", tail.reason)};
}

std::string snapshot_name(uint64_t icount) { return fmt::format("snap-{}.snap", icount); }

std::string snapshot_path(const std::string& directory, uint64_t icount) {
  return directory + "/" + snapshot_name(icount);
}

FileSum sum_file(const std::string& path) {
  const File file(path, O_RDONLY);
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  std::vector<uint8_t> buffer(1u << 20);
  FileSum sum;
  for (;;) {
    const size_t got = file.read_at(buffer, sum.bytes);
    if (got == 0) break;
    XXH3_64bits_update(state.get(), buffer.data(), got);
    sum.bytes += got;
  }
  sum.checksum = XXH3_64bits_digest(state.get());
  return sum;
}

}  // namespace understudy::ftlog
