// Something is wrong with a log: one line, with the segment's file and the byte offset in it.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace understudy::ftlog {

class LogError : public std::runtime_error {
 public:
  LogError(std::string segment, uint64_t offset, const std::string& what);
  const std::string& segment() const { return segment_; }
  uint64_t offset() const { return offset_; }

 private:
  std::string segment_;
  uint64_t offset_;
};

}  // namespace understudy::ftlog
