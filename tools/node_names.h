// Which nodes have kept their log in a folder: the names by which the arbiter knew them, in the folder's file `nodes`,
// one a line, the newest last. A node writes its name there before it claims anything, so that recovery can tell
// whether the last reign was of one of these.
#pragma once

#include <string>

namespace understudy::tools {

// Makes the folder if need be; the name is there for good afterwards. Throws ftlog::RecordingError, ftlog::LogError.
void note_node(const std::string& folder, const std::string& node);
// Throws ftlog::LogError.
bool has_node(const std::string& folder, const std::string& node);

}  // namespace understudy::tools
