// A serial line on a listening socket. One client at a time; the next one is taken when it has gone.
#pragma once

#include "tools/serial_backend.h"

namespace understudy::tools {

// Throw UsageError. `address` is HOST:PORT; port 0 lets the system choose, and the choice is printed.
std::unique_ptr<SerialBackend> listen_unix(const std::string& path, Wakeup& wakeup);
std::unique_ptr<SerialBackend> listen_tcp(const std::string& address, Wakeup& wakeup);

// The listening sockets alone.
int open_unix_listener(const std::string& path);
int open_tcp_listener(const std::string& address);

}  // namespace understudy::tools
