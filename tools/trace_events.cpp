#include "tools/trace_events.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

namespace understudy::tools {

namespace {

std::string quoted(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

std::string microseconds(uint64_t ns) { return fmt::format("{}.{:03}", ns / 1000, ns % 1000); }

}  // namespace

TraceEventWriter::TraceEventWriter(OutputStream& out) : out_(out) {
  out_.text() += R"({"displayTimeUnit":"ns","traceEvents":[)";
  begin('M', "process_name");
  finish(R"("name":"guest")");
}

void TraceEventWriter::begin(char phase, std::string_view name) {
  fmt::format_to(std::back_inserter(out_.text()), "{}\n{{\"ph\":\"{}\",\"pid\":1,\"name\":{}",
                 events_++ == 0 ? "" : ",", phase, quoted(name));
}

void TraceEventWriter::finish(std::string_view arguments) {
  if (!arguments.empty()) fmt::format_to(std::back_inserter(out_.text()), ",\"args\":{{{}}}", arguments);
  out_.text() += '}';
  out_.settle();
}

void TraceEventWriter::track(unsigned number, std::string_view name) {
  begin('M', "thread_name");
  out_.text() += fmt::format(R"(,"tid":{})", number);
  finish(fmt::format(R"("name":{})", quoted(name)));
  begin('M', "thread_sort_index");
  out_.text() += fmt::format(R"(,"tid":{})", number);
  finish(fmt::format(R"("sort_index":{})", number));
}

void TraceEventWriter::span(unsigned track, std::string_view name, uint64_t begin_ns, uint64_t end_ns,
                            std::string_view arguments) {
  begin('X', name);
  out_.text() +=
      fmt::format(R"(,"tid":{},"ts":{},"dur":{})", track, microseconds(begin_ns), microseconds(end_ns - begin_ns));
  finish(arguments);
}

void TraceEventWriter::instant(unsigned track, std::string_view name, uint64_t ns, std::string_view arguments) {
  begin('i', name);
  out_.text() += fmt::format(R"(,"tid":{},"s":"t","ts":{})", track, microseconds(ns));
  finish(arguments);
}

void TraceEventWriter::counter(std::string_view name, uint64_t ns, std::string_view values) {
  begin('C', name);
  out_.text() += fmt::format(R"(,"ts":{})", microseconds(ns));
  finish(values);
}

void TraceEventWriter::end() {
  out_.text() += "\n]}\n";
  out_.flush();
}

MergedTrack::MergedTrack(TraceEventWriter& writer, unsigned number, const std::string& name, uint64_t resolution_ns)
    : writer_(writer), number_(number), resolution_ns_(resolution_ns) {
  writer_.track(number, name);
}

void MergedTrack::add(uint64_t begin_ns, uint64_t end_ns, std::string_view label, uint64_t bytes) {
  if (count_ != 0 && begin_ns - end_ns_ > resolution_ns_) flush();
  if (count_ == 0) {
    begin_ns_ = begin_ns;
    label_ = label;
  }
  ++count_;
  busy_ns_ += end_ns - begin_ns;
  bytes_ += bytes;
  end_ns_ = end_ns;
}

void MergedTrack::flush() {
  if (count_ == 0) return;
  std::string arguments = fmt::format(R"("count":{},"busy_us":{})", count_, microseconds(busy_ns_));
  if (bytes_ != 0) arguments += fmt::format(R"(,"bytes":{})", bytes_);
  if (begin_ns_ == end_ns_)
    writer_.instant(number_, label_, begin_ns_, arguments);
  else
    writer_.span(number_, label_, begin_ns_, end_ns_, arguments);
  count_ = busy_ns_ = bytes_ = 0;
}

}  // namespace understudy::tools
