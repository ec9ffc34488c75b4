#include "ftlog/reign_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <vector>

#include "ftlog/descriptor.h"

namespace understudy::ftlog {

namespace {

constexpr std::string_view kMagic = "understudy-reign 1 ";
constexpr std::string_view kRecordPrefix = "reign-";
constexpr std::string_view kDraftPrefix = ".claim-";
constexpr size_t kMostEntries = 100'000;
constexpr size_t kMostRecordBytes = 512;
constexpr int64_t kDraftSeconds = 3600;

std::string reason() { return std::strerror(errno); }

// The number of a record's name; 0 if it is none.
uint64_t number_of(std::string_view name) {
  if (!name.starts_with(kRecordPrefix)) return 0;
  uint64_t number = 0;
  const auto digits = name.substr(kRecordPrefix.size());
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return reign_name(number) == name ? number : 0;
}

std::string printable(std::string_view name) {
  std::string text(name.substr(0, 100));
  for (char& c : text)
    if (c < ' ' || c > '~') c = '?';
  return text;
}

}  // namespace

std::string reign_name(uint64_t number) { return fmt::format("{}{:08}", kRecordPrefix, number); }

std::string encode_reign(uint64_t number, const Reign& reign) {
  std::string line = fmt::format("{}{} {} {} ", kMagic, number, reign.epoch, reign.node);
  return line + fmt::format("{:016x}\n", XXH3_64bits(line.data(), line.size()));
}

std::optional<Reign> decode_reign(uint64_t number, std::string_view record) {
  const std::string head = fmt::format("{}{} ", kMagic, number);
  if (!record.starts_with(head)) return std::nullopt;
  const std::string_view rest = record.substr(head.size());
  Reign reign;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), reign.epoch);
  if (error != std::errc() || reign.epoch == 0) return std::nullopt;
  const std::string_view node = rest.substr(static_cast<size_t>(end - rest.data()));
  const size_t blank = node.find(' ', 1);
  if (blank == std::string_view::npos) return std::nullopt;
  reign.node = node.substr(1, blank - 1);
  if (!is_node_name(reign.node) || encode_reign(number, reign) != record) return std::nullopt;
  return reign;
}

ReignDirectory::ReignDirectory(const std::string& path) : path_(path) {
  while (path_.size() > 1 && path_.ends_with('/')) path_.pop_back();
  open();
}

ReignDirectory::~ReignDirectory() {
  if (fd_ >= 0) ::close(fd_);
}

void ReignDirectory::fail(const std::string& what) const {
  throw ArbiterError(fmt::format("arbiter {}: {}", path_, what));
}

void ReignDirectory::open() {
  fd_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ >= 0) return;
  if (errno != ENOENT) fail(reason());
  const auto parent = std::filesystem::path(path_).parent_path();
  if (::access(parent.empty() ? "." : parent.c_str(), F_OK) != 0) fail("the directory above it: " + reason());
}

void ReignDirectory::create() {
  if (fd_ >= 0) return;
  if (::mkdir(path_.c_str(), 0777) != 0 && errno != EEXIST) fail("cannot create it: " + reason());
  const auto parent = std::filesystem::path(path_).parent_path();
  const Descriptor above(::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (above.get() < 0 || ::fsync(above.get()) != 0) fail("cannot sync the directory above it: " + reason());
  open();
  if (fd_ < 0) fail("created, and gone again");
}

std::optional<ReignDirectory::Record> ReignDirectory::last() {
  if (fd_ < 0) return std::nullopt;
  const int listed = ::openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(listed < 0 ? nullptr : ::fdopendir(listed), ::closedir);
  if (directory == nullptr) fail(reason());
  std::vector<bool> there;
  for (size_t entries = 0;; ++entries) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) break;
    if (entries >= kMostEntries) fail(fmt::format("it has more than {} files", kMostEntries));
    const std::string_view name = entry->d_name;
    // Hidden files are drafts, or what an NFS client keeps of a removed file.
    if (name.starts_with('.') || name == "lost+found") continue;
    const uint64_t number = number_of(name);
    if (number == 0 || number > kMostEntries)
      fail(fmt::format("'{}' in it is not the arbiter's, which needs a directory of its own", printable(name)));
    if (there.size() < number) there.resize(number);
    there[number - 1] = true;
  }
  if (errno != 0) fail("cannot list it: " + reason());
  // A listing may miss what came while it was made, or what another client made: what counts is what can be opened.
  for (size_t i = 0; i < there.size(); ++i)
    if (!there[i] && !read(i + 1)) fail(reign_name(i + 1) + " is missing: somebody removed it");
  std::optional<Record> newest;
  uint64_t number = there.empty() ? 1 : there.size();
  for (auto reign = read(number); reign; reign = read(++number)) newest = Record{number, *reign};
  if (!newest && !there.empty()) fail(reign_name(number) + " has vanished");
  return newest;
}

std::optional<Reign> ReignDirectory::read(uint64_t number) {
  const std::string name = reign_name(number);
  const Descriptor file(::openat(fd_, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (file.get() < 0 && errno == ENOENT) return std::nullopt;
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) fail(fmt::format("{}: {}", name, reason()));
  if (!S_ISREG(status.st_mode)) fail(name + " is not a plain file");
  char bytes[kMostRecordBytes];
  const ssize_t size = ::read(file.get(), bytes, sizeof bytes);
  if (size < 0) fail(fmt::format("{}: {}", name, reason()));
  auto reign = decode_reign(number, {bytes, static_cast<size_t>(size)});
  if (!reign) fail(name + " is damaged, or not an arbiter's");
  return reign;
}

void ReignDirectory::sync() {
  if (::fsync(fd_) != 0) fail("cannot sync it: " + reason());
}

ReignDirectory::Draft::Draft(ReignDirectory& directory, const Record& record)
    : directory_(directory), number_(record.number) {
  if (number_ > kMostEntries) directory.fail(fmt::format("it is full: {} reigns", kMostEntries));
  std::random_device random;
  name_ = fmt::format("{}{:08x}{:08x}", kDraftPrefix, random(), random());
  const Descriptor file(::openat(directory.fd_, name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (file.get() < 0) directory.fail("cannot write in it: " + reason());
  const std::string bytes = encode_reign(record.number, record.reign);
  errno = EIO;  // of a write that is short
  if (::write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) ||
      ::fsync(file.get()) != 0) {
    const std::string why = reason();
    ::unlinkat(directory.fd_, name_.c_str(), 0);
    directory.fail("cannot write in it: " + why);
  }
  struct stat status {};
  // By the file system's own clock.
  if (::fstat(file.get(), &status) == 0) directory.remove_drafts_older_than(status.st_mtime - kDraftSeconds);
}

ReignDirectory::Draft::~Draft() { ::unlinkat(directory_.fd_, name_.c_str(), 0); }

void ReignDirectory::Draft::publish() const {
  const std::string name = reign_name(number_);
  if (::linkat(directory_.fd_, name_.c_str(), directory_.fd_, name.c_str(), 0) == 0) return;
  const int error = errno;
  // A network file system repeats a request whose reply was lost, and then says that the name was taken: by us.
  // Whatever it says, the record that is there counts.
  if (directory_.read(number_)) return;
  if (error == EPERM || error == EOPNOTSUPP || error == ENOSYS)
    directory_.fail("its file system has no hard links, which an arbiter needs");
  directory_.fail(fmt::format("cannot add {}: {}", name, std::strerror(error)));
}

void ReignDirectory::remove_drafts_older_than(int64_t seconds) {
  const int listed = ::openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(listed < 0 ? nullptr : ::fdopendir(listed), ::closedir);
  if (directory == nullptr) return;
  for (size_t entries = 0; entries < kMostEntries; ++entries) {
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) return;
    struct stat status {};
    if (std::string_view(entry->d_name).starts_with(kDraftPrefix) &&
        ::fstatat(fd_, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_mtime < seconds)
      ::unlinkat(fd_, entry->d_name, 0);
  }
}

}  // namespace understudy::ftlog
