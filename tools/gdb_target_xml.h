// Target descriptions for GDB (GDB manual, appendix G): which registers there are, of which size and type. The features
// org.gnu.gdb.i386.core, .sse and .segments are those that GDB 13 knows; org.understudy.system is ours, and GDB shows
// its registers by what the description says of them.
#pragma once

#include <string>

#include "tools/gdb_registers.h"

namespace understudy::tools {

// The whole document, for the annex target.xml.
const std::string& target_xml(GdbWidth width);

}  // namespace understudy::tools
