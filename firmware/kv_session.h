// The line protocol of kv_server. A client sends commands, each a line that ends in LF or CR LF, as many at a time as
// it likes; each is answered in turn, after it took effect. Words are printable ASCII and parted by single spaces; keys
// have up to 64 characters, values up to 126.
//
//   SET key value      OK
//   GET key            VALUE value | NONE
//   CAS key old new    OK | DIFFERS value | NONE
//   INCR key           VALUE number, in decimal; a key that is not there counts as 0
//   DUMP               KEY key value, once for each key as it is when its line is sent; then END count
//   BLOB n             BLOB n, then n bytes: 32-bit words, low byte first, word i being i * 2654435761
//   PING               PONG
//   QUIT               BYE, and the connection closes
//
// What is none of these is answered by ERR and the reason, and changes nothing.
#pragma once
#include "tcp.h"

extern const struct TcpApplication kv_application;
