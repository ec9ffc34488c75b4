// Writes the JSON that Chrome's tracing and Perfetto read ("Trace Event Format"): an object with the array
// `traceEvents`, times in microseconds. Events go out as they come; viewers sort them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tools/output_stream.h"

namespace understudy::tools {

class TraceEventWriter {
 public:
  explicit TraceEventWriter(OutputStream& out);

  // A row of its own; rows stand in the order of their numbers.
  void track(unsigned number, std::string_view name);
  // `arguments` is the inside of a JSON object, or empty.
  void span(unsigned track, std::string_view name, uint64_t begin_ns, uint64_t end_ns, std::string_view arguments);
  void instant(unsigned track, std::string_view name, uint64_t ns, std::string_view arguments);
  // A row that is a graph; `values` as `arguments`.
  void counter(std::string_view name, uint64_t ns, std::string_view values);
  // Nothing may follow.
  void end();
  uint64_t events() const { return events_; }

 private:
  void begin(char phase, std::string_view name);
  void finish(std::string_view arguments);
  OutputStream& out_;
  uint64_t events_ = 0;
};

// One track's happenings, of which those that are closer together than a resolution are merged into one span. Its
// arguments say how many they were, how long they took together, and how many bytes they were about.
class MergedTrack {
 public:
  MergedTrack(TraceEventWriter& writer, unsigned number, const std::string& name, uint64_t resolution_ns);

  // Not before the one added last.
  void add(uint64_t begin_ns, uint64_t end_ns, std::string_view label, uint64_t bytes = 0);
  // Writes what is still held back.
  void flush();

 private:
  TraceEventWriter& writer_;
  unsigned number_;
  uint64_t resolution_ns_;
  uint64_t begin_ns_ = 0, end_ns_ = 0, busy_ns_ = 0, count_ = 0, bytes_ = 0;
  std::string label_;
};

}  // namespace understudy::tools
