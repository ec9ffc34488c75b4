#include "tools/pair_log.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

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

// The newest first.
std::vector<unsigned> numbers(const std::string& folder) {
  std::vector<unsigned> all;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (is_stint(name)) all.push_back(static_cast<unsigned>(std::stoul(name)));
  }
  std::sort(all.rbegin(), all.rend());
  return all;
}

std::string stint_path(const std::string& folder, unsigned number) { return fmt::format("{}/{:06}", folder, number); }

std::string new_stint(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw ftlog::RecordingError(fmt::format("{}: {}", folder, error.message()));
  const std::vector<unsigned> all = numbers(folder);
  return stint_path(folder, all.empty() ? 1 : all.front() + 1);
}

}  // namespace

std::vector<std::string> stints(const std::string& folder) {
  std::vector<std::string> all;
  for (const unsigned number : numbers(folder)) all.push_back(stint_path(folder, number));
  return all;
}

void remove_stint(const std::string& stint) {
  std::error_code error;
  fs::remove_all(stint, error);
  if (error) spdlog::warn("{}: an old log cannot be removed: {}", stint, error.message());
}

void forget_stints(const std::string& folder, unsigned keep) {
  if (keep == 0) return;
  const std::vector<std::string> all = stints(folder);
  for (size_t i = keep; i < all.size(); ++i)
    if (!ftlog::is_being_recorded(all[i])) remove_stint(all[i]);
}

StintLog::StintLog(const std::string& folder, MachineSetup& setup)
    : setup_(setup),
      recording_(ftlog::Recording::create(new_stint(folder))),
      writer_(std::make_unique<ftlog::LogWriter>(recording_.directory(), setup.description().to_text())) {}

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
  snapshot_bytes_ += sum.bytes;
  return {ftlog::snapshot_name(machine.icount()), sum.checksum, sum.bytes};
}

}  // namespace understudy::tools
