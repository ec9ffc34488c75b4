#include "ftlog/segment_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cassert>

namespace understudy::ftlog {

// The header is written under another name first, so that no segment is ever without one.
SegmentWriter::SegmentWriter(const std::string& directory, const SegmentHead& head) : number_(head.number) {
  const std::string path = segment_path(directory, head.number);
  const std::string partial = path + ".partial";
  const Bytes header = encode(head, link_);
  if (::access(path.c_str(), F_OK) == 0) throw LogError(path, 0, "exists already");
  try {
    file_ = File(partial, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
    file_.append(header, 0);
    file_.rename(path);
  } catch (const LogError&) {
    ::unlink(partial.c_str());
    throw;
  }
  bytes_ = header.size();
}

void SegmentWriter::write_block(const Encoder& encoder, uint32_t flags) {
  const auto body = encoder.body();
  assert(encoder.entries() > 0 && body.size() <= kMaxBlockBody);
  BlockHead head;
  head.body_bytes = static_cast<uint32_t>(body.size());
  head.entries = encoder.entries();
  head.flags = flags;
  head.start = encoder.block_start();
  head.previous_link = link_;
  head.body_checksum = checksum(body);
  buffer_.clear();
  encode(head, buffer_);
  buffer_.insert(buffer_.end(), body.begin(), body.end());
  file_.append(buffer_, bytes_);
  bytes_ += buffer_.size();
  link_ = head.link;
}

}  // namespace understudy::ftlog
