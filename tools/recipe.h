// How to build a recording's machine again: the options that say what it is made of, as a JSON text that travels in the
// log's first entry. Ends on the host, and how a run is shown or stopped, are not part of it.
#pragma once

#include <string>

#include "tools/run_options.h"

namespace understudy::tools {

// Paths become absolute.
std::string recipe_of(const RunOptions& options, bool reboots);
// Throws UsageError, naming `where`, for a text that is not a recipe.
RunOptions options_of_recipe(const std::string& text, const std::string& where);

// The machine of one, with the ends and the way of running of the other.
RunOptions with_ends(const RunOptions& machine, const RunOptions& live);

}  // namespace understudy::tools
