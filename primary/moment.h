// Names for the moments of the protocol at which a crash is most interesting. A test asks for one (`--kill-at`), and
// the process then kills itself there with SIGKILL, as a power failure would; or (`--hang-at`) the thread that gets
// there never goes on. Otherwise a moment costs one load.
#pragma once

#include <atomic>
#include <span>
#include <string>

namespace understudy::primary {

enum class Moment : int {
  input_not_logged = 1,    // an input was taken from the world, its entry not written
  logged_not_sent,         // entries were appended, not sent
  sent_not_acknowledged,   // a block was handed to the network
  acknowledged_not_sent,   // an output's mark is acknowledged, the output is still here
  output_sent,             // an output has left, nobody was told
  disk_request_sent,       // a shared disk's write or flush was handed to the network
  disk_answer_not_logged,  // it is done, the machine has not heard of it
  transfer,                // in the middle of a state transfer
  takeover_won,            // a backup has won the epoch, and is not live yet
  takeover_live,           // it is live, its held outputs have not left
  entry_applied,           // a backup has done what an entry says
};

// Kills this process, or hangs the thread, at the `count`th time of a moment. The last call counts. Throws
// std::invalid_argument for a text that is not NAME[:COUNT]; the names are those above with dashes.
void kill_at(const std::string& text);
void hang_at(const std::string& text);
std::span<const char* const> moment_names();

namespace detail {
extern std::atomic<int> armed;
void reached();
}  // namespace detail

inline void moment(Moment m) {
  if (detail::armed.load(std::memory_order_relaxed) == static_cast<int>(m)) [[unlikely]]
    detail::reached();
}

}  // namespace understudy::primary
