#include "tools/hub_disks.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdio>

#include "tools/serial_backend.h"

namespace understudy::tools {

namespace {

namespace hub = primary::hub;

void report(const std::string& line) { fmt::print(stderr, "understudy: warning: {}\n", line); }

std::string uri_of(const std::string& where) {
  struct stat info {};
  return ::stat(where.c_str(), &info) == 0 && S_ISSOCK(info.st_mode) ? devices::nbd_uri_of_socket(where) : where;
}

}  // namespace

HubDisks::HubDisks(const std::vector<std::string>& disks) {
  for (const std::string& text : disks) {
    const size_t equals = text.find('=');
    const std::string name = text.substr(0, equals);
    if (equals == std::string::npos || !hub::is_disk_name(name))
      throw UsageError(
          fmt::format("--disk {}: want NAME=URI, with a name of 1 to {} letters, digits, '.', '_', '-', and the disk "
                      "server's URI or "
                      "Unix socket",
                      text, hub::kMaxDiskName));
    if (workers_.contains(name)) throw UsageError(fmt::format("--disk {}: there is a disk {} already", text, name));
    const std::string uri = uri_of(text.substr(equals + 1));
    if (!devices::is_nbd_uri(uri))
      throw UsageError(
          fmt::format("--disk {}: neither a disk server's URI (nbd://HOST/EXPORT, "
                      "nbd+unix:///EXPORT?socket=PATH) nor its Unix socket",
                      text));
    workers_[name] = std::make_unique<DiskWorker>(
        name, uri,
        [this, name](uint64_t epoch, emu::BlockAnswer answer) {
          {
            const std::lock_guard lock(mutex_);
            answers_.push_back({name, epoch, std::move(answer)});
          }
          wake_.notify();
        },
        report);
  }
}

hub::DiskShape HubDisks::shape_of(std::string_view disk) const {
  const auto worker = workers_.find(disk);
  if (worker == workers_.end()) return {false, false, 0, disk};
  const devices::HostNbd::Shape shape = worker->second->shape();
  return {true, shape.read_only, shape.bytes, disk};
}

bool HubDisks::ask(const hub::DiskRequest& request) {
  const auto worker = workers_.find(request.disk);
  size_t unsent = 0;
  {
    const std::lock_guard lock(mutex_);
    unsent = answers_.size();
  }
  if (worker != workers_.end() && unsent < 2 * hub::kMaxDiskRequests &&
      worker->second->ask({request.epoch, request.durable, request.request}))
    return true;
  if (refused_++ == 0)
    report(worker == workers_.end()
               ? fmt::format("disk {}: asked for, but this hub has none of that name: the guest waits "
                             "until a hub has it",
                             request.disk)
               : fmt::format("disk {}: more requests at once than a replica may have", request.disk));
  return false;
}

void HubDisks::fence(uint64_t epoch) {
  for (const auto& [name, worker] : workers_) worker->fence(epoch);
}

bool HubDisks::answers(uint64_t epoch, const std::function<bool(const hub::DiskAnswer&)>& send) {
  wake_.clear();
  const std::lock_guard lock(mutex_);
  while (!answers_.empty()) {
    Answer& first = answers_.front();
    if (first.epoch == epoch && !send({first.epoch, first.disk, first.answer})) return true;
    answers_.pop_front();
  }
  return false;
}

nlohmann::ordered_json HubDisks::status() const {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const auto& [name, worker] : workers_) {
    const DiskWorker::Counts counts = worker->counts();
    all.push_back({{"disk", name},
                   {"server", worker->uri()},
                   {"bytes", worker->shape().bytes},
                   {"read_only", worker->shape().read_only},
                   {"connected", counts.connected},
                   {"waiting", counts.waiting},
                   {"reads", counts.reads},
                   {"writes", counts.writes},
                   {"flushes", counts.flushes},
                   {"bytes_read", counts.bytes_read},
                   {"bytes_written", counts.bytes_written},
                   {"failed", counts.failed},
                   {"superseded", counts.superseded},
                   {"reconnects", counts.reconnects},
                   {"error", counts.error}});
  }
  return all;
}

}  // namespace understudy::tools
