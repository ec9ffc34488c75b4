#include "tools/pair_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "emu/snapshot_file.h"

namespace understudy::tools {

namespace {

namespace fs = std::filesystem;

// A snapshot that stands on more parents than this would be slow to load: the next one is whole.
constexpr unsigned kMaxChain = 32;

bool is_stint(const std::string& name) {
  return name.size() == 6 && std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<unsigned> newest_number(const std::string& folder) {
  std::optional<unsigned> newest;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (is_stint(name)) newest = std::max(newest.value_or(0), static_cast<unsigned>(std::stoul(name)));
  }
  return newest;
}

std::string new_stint(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw ftlog::RecordingError(fmt::format("{}: {}", folder, error.message()));
  return fmt::format("{}/{:06}", folder, newest_number(folder).value_or(0) + 1);
}

}  // namespace

std::optional<std::string> newest_stint(const std::string& folder) {
  const auto number = newest_number(folder);
  if (!number) return std::nullopt;
  return fmt::format("{}/{:06}", folder, *number);
}

StintLog::StintLog(const std::string& folder, MachineSetup& setup, bool durable)
    : setup_(setup), recording_(ftlog::Recording::create(new_stint(folder))) {
  ftlog::LogOptions options;
  options.sync = durable ? ftlog::SyncPolicy::output : ftlog::SyncPolicy::interval;
  writer_ = std::make_unique<ftlog::LogWriter>(recording_.directory(), setup.description().to_text(), options);
}

void StintLog::begin(const ftlog::Start& start, const primary::OutputSums& sums) {
  emu::Machine& machine = setup_.pc->machine();
  const auto append = [&](const ftlog::Payload& payload) {
    writer_->append(machine.icount(), machine.now_ns(), payload);
  };
  append(start);
  append(ftlog::ClockChange{machine.time().ps_per_instruction()});
  for (size_t i = 0; i < sums.size(); ++i)
    if (sums[i].bytes != 0) append(ftlog::OutputMark{static_cast<uint16_t>(i), sums[i].bytes, sums[i].digest});
  append(take_snapshot());
  writer_->sync();
}

ftlog::Snapshot StintLog::take_snapshot() {
  emu::Machine& machine = setup_.pc->machine();
  const std::string path = ftlog::snapshot_path(recording_.directory(), machine.icount());
  last_ = emu::save_snapshot(machine, setup_.description(), path, chain_ < kMaxChain && last_ ? &*last_ : nullptr);
  chain_ = chain_ < kMaxChain ? chain_ + 1 : 0;
  const ftlog::FileSum sum = ftlog::sum_file(path);
  return {ftlog::snapshot_name(machine.icount()), sum.checksum, sum.bytes};
}

}  // namespace understudy::tools
