#include "ftlog/arbiter.h"

#include <fmt/format.h>

#include <algorithm>

#include "ftlog/arbiter_etcd.h"
#include "ftlog/arbiter_file.h"

namespace understudy::ftlog {

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::won:
      return "won";
    case Verdict::lost:
      return "lost";
    case Verdict::unreachable:
      break;
  }
  return "unreachable";
}

bool is_node_name(std::string_view name) {
  constexpr size_t kLongest = 200;
  return !name.empty() && name.size() <= kLongest &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~'; });
}

void check_claim(uint64_t epoch, std::string_view node) {
  if (epoch == 0) throw ArbiterError("arbiter: epochs begin with 1");
  if (!is_node_name(node)) throw ArbiterError("arbiter: a node's name has 1 to 200 printable characters and no blanks");
}

std::unique_ptr<Arbiter> open_arbiter(const std::string& spec, std::chrono::milliseconds timeout) {
  constexpr std::string_view kFile = "file:";
  if (spec.starts_with(kFile) && spec.size() > kFile.size())
    return std::make_unique<FileArbiter>(spec.substr(kFile.size()), timeout);
  constexpr std::string_view kEtcd = "etcd:";
  if (spec.starts_with(kEtcd)) return std::make_unique<EtcdArbiter>(spec.substr(kEtcd.size()), timeout);
  throw ArbiterError(fmt::format(
      "arbiter '{}': expected file:DIRECTORY or etcd:http://HOST:PORT[,http://HOST:PORT...][/PREFIX]", spec));
}

}  // namespace understudy::ftlog
