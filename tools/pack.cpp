#include "tools/pack.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <vector>

#include "ftlog/log_reader.h"
#include "ftlog/recording.h"
#include "ftlog/segment_format.h"
#include "tools/log_check.h"
#include "tools/packed_images.h"
#include "tools/replay_session.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

namespace {

namespace fs = std::filesystem;

constexpr size_t kChunk = 1u << 20;
constexpr uint64_t kMaxFiles = 100'000;
constexpr const char* kFinishedName = "finished";  // stands for the lock file's word

[[noreturn]] void fail(const std::string& file, const std::string& what) {
  throw UsageError(fmt::format("{}: {}", file, what));
}

class Packer {
 public:
  explicit Packer(const std::string& file)
      : file_(file), partial_(file + ".partial"), archive_(archive_write_new(), archive_write_free) {
    if (fs::exists(fs::symlink_status(file))) fail(file, "exists already");
    require(archive_write_set_format_pax_restricted(archive_.get()));
    require(archive_write_add_filter_zstd(archive_.get()));
    require(archive_write_open_filename(archive_.get(), partial_.c_str()));
  }
  ~Packer() {
    archive_.reset();
    std::error_code ignored;
    if (!done_) fs::remove(partial_, ignored);
  }

  void add(const std::string& name, const std::string& path) {
    const ftlog::File from(path, O_RDONLY);
    const uint64_t size = from.size();
    begin(name, size);
    std::vector<uint8_t> buffer(kChunk);
    for (uint64_t at = 0; at < size;) {
      const size_t got = from.read_at(std::span(buffer).first(std::min<uint64_t>(kChunk, size - at)), at);
      if (got == 0) fail(path, "became shorter while it was read");
      write(buffer.data(), got);
      at += got;
    }
  }
  void add_text(const std::string& name, const std::string& text) {
    begin(name, text.size());
    write(text.data(), text.size());
  }
  PackSummary finish() {
    require(archive_write_close(archive_.get()));
    if (std::rename(partial_.c_str(), file_.c_str()) != 0) fail(file_, std::strerror(errno));
    done_ = true;
    return summary_;
  }

 private:
  void require(int result) {
    if (result < ARCHIVE_WARN) fail(file_, archive_error_string(archive_.get()));
  }
  void begin(const std::string& name, uint64_t size) {
    const std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(), archive_entry_free);
    archive_entry_set_pathname(entry.get(), name.c_str());
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), 0644);
    archive_entry_set_mtime(entry.get(), 0, 0);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(size));
    require(archive_write_header(archive_.get(), entry.get()));
    ++summary_.files;
    summary_.bytes += size;
  }
  void write(const void* data, size_t size) {
    if (archive_write_data(archive_.get(), data, size) != static_cast<la_ssize_t>(size))
      fail(file_, archive_error_string(archive_.get()));
  }

  std::string file_, partial_;
  std::unique_ptr<archive, int (*)(archive*)> archive_;
  PackSummary summary_;
  bool done_ = false;
};

// A name that PATH can have in images/: its own where that is a plain one.
std::string plain_name(size_t number, const std::string& path) {
  std::string name = fs::path(path).filename().string().substr(0, 100);
  for (char& c : name)
    if (!ftlog::is_snapshot_name(std::string("a") + c)) c = '_';
  return fmt::format("{:02}-{}", number, name);
}

bool is_segment_name(const std::string& name) {
  return name.size() == 16 && name.starts_with("log-") && name.ends_with(".seg") &&
         std::all_of(name.begin() + 4, name.begin() + 12, [](char c) { return c >= '0' && c <= '9'; });
}

// What a packed recording may hold: nothing leads out of the folder, and no name is special to the system.
bool is_known_name(const std::string& name) {
  const std::string images = std::string(kImagesFolder) + "/";
  if (name.starts_with(images)) return ftlog::is_snapshot_name(name.substr(images.size()));
  return name == kFinishedName || is_segment_name(name) || (ftlog::is_snapshot_name(name) && name.ends_with(".snap"));
}

class Unpacker {
 public:
  Unpacker(const std::string& file, const std::string& directory, uint64_t max_bytes)
      : file_(file), directory_(directory), max_bytes_(max_bytes), archive_(archive_read_new(), archive_read_free) {
    archive_read_support_format_tar(archive_.get());
    archive_read_support_filter_zstd(archive_.get());
    if (archive_read_open_filename(archive_.get(), file.c_str(), kChunk) != ARCHIVE_OK)
      fail(file, fmt::format("not a packed recording: {}", error()));
  }

  // Reports each file that it makes before it does.
  template <typename F>
  PackSummary run(F&& making) {
    archive_entry* entry = nullptr;
    for (int result = 0; (result = archive_read_next_header(archive_.get(), &entry)) != ARCHIVE_EOF;) {
      if (result != ARCHIVE_OK) fail(file_, fmt::format("damaged, or not a packed recording: {}", error()));
      const char* const raw = archive_entry_pathname(entry);
      const std::string name = raw == nullptr ? "" : raw;
      check(entry, name);
      if (name == kFinishedName) {
        finished_ = true;
        continue;
      }
      const std::string path = directory_ + "/" + name;
      making(path);
      extract(path);
    }
    return summary_;
  }
  bool finished() const { return finished_; }

 private:
  std::string error() const {
    const char* const text = archive_error_string(archive_.get());
    return text == nullptr ? "the archive cannot be read" : text;
  }

  // The name is not printed where it may hold anything.
  void check(archive_entry* entry, const std::string& name) {
    if (!is_known_name(name))
      fail(file_, fmt::format("entry {} has a name that is no part of a recording", summary_.files + 1));
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) != nullptr ||
        archive_entry_symlink(entry) != nullptr)
      fail(file_, fmt::format("{} is not a plain file in it", name));
    if (!names_.insert(name).second) fail(file_, fmt::format("{} is in it twice", name));
    if (++summary_.files > kMaxFiles) fail(file_, "holds too many files");
    if (!archive_entry_size_is_set(entry) || archive_entry_size(entry) < 0 ||
        static_cast<uint64_t>(archive_entry_size(entry)) > max_bytes_ - summary_.bytes)
      too_large();
    summary_.bytes += static_cast<uint64_t>(archive_entry_size(entry));
    size_ = static_cast<uint64_t>(archive_entry_size(entry));
  }
  [[noreturn]] void too_large() {
    fail(file_, fmt::format("would take more than {} bytes unpacked; --max-mib allows more", max_bytes_));
  }

  void extract(const std::string& path) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) fail(path, std::strerror(errno));
    const std::unique_ptr<const int, void (*)(const int*)> closer(&fd, [](const int* open) { ::close(*open); });
    const void* data = nullptr;
    size_t size = 0;
    la_int64_t offset = 0;
    uint64_t end = 0;
    for (int result = 0; (result = archive_read_data_block(archive_.get(), &data, &size, &offset)) != ARCHIVE_EOF;) {
      if (result != ARCHIVE_OK) fail(file_, fmt::format("damaged: {}", error()));
      const auto at = static_cast<uint64_t>(offset);
      if (offset < 0 || at < end || at > size_ || size > size_ - at) fail(file_, "damaged: an entry is too long");
      end = at + size;
      const auto* const bytes = static_cast<const uint8_t*>(data);
      // Zeros stay holes: disk images have many.
      if (std::all_of(bytes, bytes + size, [](uint8_t byte) { return byte == 0; })) continue;
      for (size_t done = 0; done < size;) {
        const ssize_t wrote = ::pwrite(fd, bytes + done, size - done, static_cast<off_t>(at + done));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) fail(path, std::strerror(errno));
        done += static_cast<size_t>(wrote);
      }
    }
    if (::ftruncate(fd, static_cast<off_t>(size_)) != 0) fail(path, std::strerror(errno));
  }

  std::string file_, directory_;
  uint64_t max_bytes_;
  std::unique_ptr<archive, int (*)(archive*)> archive_;
  std::set<std::string> names_;
  uint64_t size_ = 0;
  PackSummary summary_;
  bool finished_ = false;
};

void check_images(const std::string& file, const std::string& directory) {
  for (const PackedImage& image : read_packed_images(directory)) {
    const std::string path = fmt::format("{}/{}/{}", directory, kImagesFolder, image.file);
    std::error_code error;
    if (!fs::is_regular_file(path, error) || ftlog::sum_file(path) != image.sum)
      fail(file, fmt::format("{}/{} is missing or damaged in it", kImagesFolder, image.file));
  }
}

}  // namespace

PackSummary pack_recording(const std::string& directory, const std::string& file) {
  ftlog::require_recording(directory);
  if (ftlog::is_being_recorded(directory)) fail(directory, "is still being recorded");
  std::vector<std::string> problems;
  const LogSummary summary = summarise_log(directory, &problems);
  if (!problems.empty()) throw UsageError(problems.front());
  // Builds the machine: what is packed is what it was recorded with.
  ReplaySession session(directory);
  const std::map<std::string, std::string>& stand_ins = session.options().stand_ins;
  Packer packer(file);
  for (uint32_t number = 1; number <= summary.segments; ++number) {
    const std::string path = ftlog::segment_path(directory, number);
    packer.add(fs::path(path).filename().string(), path);
  }
  std::set<std::string> snapshots;
  ftlog::LogReader reader(directory);
  for (ftlog::LogEntry entry; reader.next(entry);)
    if (const auto* snapshot = std::get_if<ftlog::Snapshot>(&entry.payload)) snapshots.insert(snapshot->file);
  for (const std::string& name : snapshots) packer.add(name, fmt::format("{}/{}", directory, name));
  std::vector<PackedImage> images;
  for (const std::string& path : session.setup().files) {
    const auto stand_in = stand_ins.find(path);
    const std::string& source = stand_in == stand_ins.end() ? path : stand_in->second;
    images.push_back({path, plain_name(images.size(), path), ftlog::sum_file(source)});
    packer.add(fmt::format("{}/{}", kImagesFolder, images.back().file), source);
  }
  packer.add_text(fmt::format("{}/{}", kImagesFolder, kImagesIndex), index_of_images(images));
  if (ftlog::was_finished(directory)) packer.add_text(kFinishedName, "");
  return packer.finish();
}

PackSummary unpack_recording(const std::string& file, const std::string& directory, uint64_t max_bytes) {
  Unpacker unpacker(file, directory, max_bytes);
  const bool made = !fs::exists(directory);
  std::vector<std::string> files;
  try {
    ftlog::Recording recording = ftlog::Recording::create(directory);
    files.push_back(directory + "/lock");
    const std::string images = fmt::format("{}/{}", directory, kImagesFolder);
    if (::mkdir(images.c_str(), 0755) != 0) fail(images, std::strerror(errno));
    const PackSummary summary = unpacker.run([&files](const std::string& path) { files.push_back(path); });
    if (unpacker.finished()) recording.finish();
    ftlog::require_recording(directory);
    check_images(file, directory);
    std::vector<std::string> problems;
    summarise_log(directory, &problems);
    if (!problems.empty()) fail(file, problems.front());
    return summary;
  } catch (...) {
    // Only what this call has made.
    if (!files.empty()) {
      std::error_code ignored;
      for (const std::string& path : files) fs::remove(path, ignored);
      fs::remove(fmt::format("{}/{}", directory, kImagesFolder), ignored);
      if (made) fs::remove(directory, ignored);
    }
    throw;
  }
}

}  // namespace understudy::tools
