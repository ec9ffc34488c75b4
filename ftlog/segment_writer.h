// Writes one segment file of a log: its header, then whole blocks, each with a single write to the system. A block is
// on the file completely, or not at all as far as a reader is concerned.
#pragma once

#include <cstdint>
#include <string>

#include "ftlog/codec.h"
#include "ftlog/file.h"
#include "ftlog/segment_format.h"

namespace understudy::ftlog {

class SegmentWriter {
 public:
  // The file must not exist. Throws LogError, and leaves no file behind, if the header cannot be written.
  SegmentWriter(const std::string& directory, const SegmentHead& head);

  // What the encoder has gathered since its block began. Throws LogError; the file then still ends with a whole block
  // if the system lets it.
  void write_block(const Encoder& encoder, uint32_t flags);
  const File& file() const { return file_; }

  uint64_t bytes() const { return bytes_; }
  uint32_t number() const { return number_; }
  // What the next block, or the next segment, names.
  uint64_t link() const { return link_; }

 private:
  File file_;
  Bytes buffer_;
  uint32_t number_;
  uint64_t bytes_ = 0;
  uint64_t link_ = 0;
};

}  // namespace understudy::ftlog
