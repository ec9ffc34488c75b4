// The directory of a FileArbiter (ftlog/arbiter_file.h): its records, and the one way to add one. Blocks as long as the
// file system does. What is not as we make it, or cannot be done, is an ArbiterError with the path and the reason.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ftlog/arbiter.h"

namespace understudy::ftlog {

// A record's line, and what it means: nothing for bytes that encode_reign() does not make.
std::string encode_reign(uint64_t number, const Reign& reign);
std::optional<Reign> decode_reign(uint64_t number, std::string_view record);
std::string reign_name(uint64_t number);

class ReignDirectory {
 public:
  // The directory need not exist, but its parent has to.
  explicit ReignDirectory(const std::string& path);
  ~ReignDirectory();
  ReignDirectory(const ReignDirectory&) = delete;
  ReignDirectory& operator=(const ReignDirectory&) = delete;

  struct Record {
    uint64_t number = 0;
    Reign reign;
  };
  // The one with the highest number.
  std::optional<Record> last();
  // Makes the directory if need be.
  void create();
  // Puts a record at its number unless one is there. Whose it is then, read() tells; for others it is there for good
  // after sync(). `keep_going` is asked immediately before.
  template <typename Predicate>
  void add(const Record& record, Predicate keep_going) {
    const Draft draft(*this, record);
    if (keep_going()) draft.publish();
  }
  std::optional<Reign> read(uint64_t number);
  void sync();

 private:
  // A whole and durable record under a name of its own; gone again with the object.
  class Draft {
   public:
    Draft(ReignDirectory& directory, const Record& record);
    ~Draft();
    Draft(const Draft&) = delete;
    Draft& operator=(const Draft&) = delete;
    void publish() const;

   private:
    ReignDirectory& directory_;
    uint64_t number_;
    std::string name_;
  };
  void open();
  void remove_drafts_older_than(int64_t seconds);
  [[noreturn]] void fail(const std::string& what) const;
  std::string path_;
  int fd_ = -1;  // -1: there is no directory
};

}  // namespace understudy::ftlog
