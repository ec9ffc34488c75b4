#include "kv_session.h"

#include "kv_store.h"
#include "serial_log.h"

enum { kLineLimit = 320, kWordLimit = 4, kAnswerLimit = 256, kBlobPiece = 4096 };

struct Session {
  char line[kLineLimit];
  uint32_t length;
  bool too_long;  // the rest of the line is being skipped
  bool dumping;
  uint32_t dump_next;  // entry
  uint32_t blob_at, blob_end;
};
static struct Session sessions[kConnections];

static struct Text text(const char* s) {
  struct Text t = {s, 0};
  while (s[t.length]) ++t.length;
  return t;
}

static void say_words(struct Tcp* c, const char* first, struct Text second, struct Text third) {
  const struct Text words[] = {text(first), second, third};
  for (int i = 0; i < 3; ++i) {
    if (i && words[i].length) ring_add(&c->out, " ", 1);
    ring_add(&c->out, words[i].at, words[i].length);
  }
  ring_add(&c->out, "\n", 1);
}

static const struct Text kNothing;
static void answer(struct Tcp* c, const char* what) { say_words(c, what, kNothing, kNothing); }
static void answer_value(struct Tcp* c, const char* what, struct Text value) { say_words(c, what, value, kNothing); }

static struct Text decimal(uint32_t value, char digits[10]) {
  uint32_t at = 10;
  do digits[--at] = (char)('0' + value % 10);
  while (value /= 10);
  return (struct Text){digits + at, 10 - at};
}

static bool parse_decimal(struct Text t, uint32_t* value) {
  if (t.length == 0 || t.length > 9) return false;
  *value = 0;
  for (uint32_t i = 0; i < t.length; ++i) {
    if (t.at[i] < '0' || t.at[i] > '9') return false;
    *value = *value * 10 + (uint32_t)(t.at[i] - '0');
  }
  return true;
}

// ---- commands: the number of words is right, and keys and values fit ----
static void set(struct Tcp* c, struct Session* s, const struct Text* word) {
  struct Entry* e = store_find(word[1]);
  if (!e) e = store_add(word[1]);
  if (!e) return answer(c, "ERR the store is full");
  entry_set(e, word[2]);
  answer(c, "OK");
}

static void get(struct Tcp* c, struct Session* s, const struct Text* word) {
  const struct Entry* e = store_find(word[1]);
  if (!e) return answer(c, "NONE");
  answer_value(c, "VALUE", entry_value(e));
}

static void cas(struct Tcp* c, struct Session* s, const struct Text* word) {
  struct Entry* e = store_find(word[1]);
  if (!e) return answer(c, "NONE");
  if (!text_equal(entry_value(e), word[2])) return answer_value(c, "DIFFERS", entry_value(e));
  entry_set(e, word[3]);
  answer(c, "OK");
}

static void incr(struct Tcp* c, struct Session* s, const struct Text* word) {
  struct Entry* e = store_find(word[1]);
  if (!e) {
    e = store_add(word[1]);
    if (!e) return answer(c, "ERR the store is full");
    entry_set(e, text("0"));
  }
  if (!entry_increment(e)) return answer(c, "ERR the value is no number, or too large");
  answer_value(c, "VALUE", entry_value(e));
}

static void dump(struct Tcp* c, struct Session* s, const struct Text* word) {
  s->dumping = true;
  s->dump_next = 0;
}

static void blob(struct Tcp* c, struct Session* s, const struct Text* word) {
  if (!parse_decimal(word[1], &s->blob_end)) {
    s->blob_end = 0;
    return answer(c, "ERR BLOB takes a number below 1000000000");
  }
  s->blob_at = 0;
  answer_value(c, "BLOB", word[1]);
}

static void ping(struct Tcp* c, struct Session* s, const struct Text* word) { answer(c, "PONG"); }

static void quit(struct Tcp* c, struct Session* s, const struct Text* word) {
  answer(c, "BYE");
  tcp_finish(c);
}

static const struct Command {
  const char* name;
  uint32_t words;
  void (*run)(struct Tcp* c, struct Session* s, const struct Text* word);
} kCommands[] = {{"SET", 3, set},   {"GET", 2, get},   {"CAS", 4, cas},   {"INCR", 2, incr},
                 {"DUMP", 1, dump}, {"BLOB", 2, blob}, {"PING", 1, ping}, {"QUIT", 1, quit}};

// The words of a line; 0 if they are not single printable ones parted by single spaces, or too many.
static uint32_t split(const char* line, uint32_t length, struct Text word[kWordLimit]) {
  uint32_t words = 0;
  for (uint32_t at = 0;; ++at) {
    if (words == kWordLimit) return 0;
    word[words] = (struct Text){line + at, 0};
    for (; at < length && line[at] != ' '; ++at) {
      if (line[at] < 0x21 || line[at] > 0x7e) return 0;
      ++word[words].length;
    }
    if (word[words++].length == 0) return 0;
    if (at == length) return words;
  }
}

static void run_line(struct Tcp* c, struct Session* s) {
  struct Text word[kWordLimit];
  if (s->length && s->line[s->length - 1] == '\r') --s->length;
  const uint32_t words = split(s->line, s->length, word);
  if (words == 0) return answer(c, "ERR a line is one to four words, single spaces between them");
  for (const struct Command* command = kCommands; command < kCommands + sizeof kCommands / sizeof *kCommands;
       ++command) {
    if (!text_equal(text(command->name), word[0])) continue;
    if (words != command->words) return answer_value(c, "ERR wrong number of words for", text(command->name));
    if (words > 1 && word[1].length > kKeyLimit) return answer(c, "ERR a key has at most 64 characters");
    for (uint32_t i = 2; i < words; ++i)
      if (word[i].length > kValueLimit) return answer(c, "ERR a value has at most 126 characters");
    return command->run(c, s, word);
  }
  answer(c, "ERR no such command: SET, GET, CAS, INCR, DUMP, BLOB, PING or QUIT");
}

// ---- long answers, a piece at a time ----
static bool go_on_dumping(struct Tcp* c, struct Session* s) {
  if (!s->dumping) return false;
  if (s->dump_next < store_count()) {
    const struct Entry* e = store_entry(s->dump_next++);
    say_words(c, "KEY", entry_key(e), entry_value(e));
  } else {
    char digits[10];
    answer_value(c, "END", decimal(s->dump_next, digits));
    s->dumping = false;
  }
  return true;
}

static bool go_on_with_blob(struct Tcp* c, struct Session* s) {
  static uint32_t words[kBlobPiece / 4 + 1];
  uint32_t left = s->blob_end - s->blob_at;
  if (!left) return false;
  const uint32_t shift = s->blob_at % 4;
  if (left > kBlobPiece) left = kBlobPiece;
  if (left > ring_free(&c->out)) left = ring_free(&c->out);
  for (uint32_t i = 0; i < (left + shift + 3) / 4; ++i) words[i] = (s->blob_at / 4 + i) * 2654435761u;
  ring_add(&c->out, (uint8_t*)words + shift, left);
  s->blob_at += left;
  return true;
}

// The next line, if all of it has come.
static bool take_line(struct Tcp* c, struct Session* s) {
  while (c->in.used) {
    char byte;
    ring_get_at(&c->in, 0, &byte, 1);
    ring_drop(&c->in, 1);
    if (byte == '\n') return true;
    if (s->length == kLineLimit)
      s->too_long = true;
    else
      s->line[s->length++] = byte;
  }
  return false;
}

static void serve(unsigned connection, struct Tcp* c) {
  struct Session* s = &sessions[connection];
  while (!c->finish) {
    if (ring_free(&c->out) < kAnswerLimit) return;
    if (go_on_dumping(c, s) || go_on_with_blob(c, s)) continue;
    if (!take_line(c, s)) break;
    if (s->too_long)
      answer(c, "ERR the line is too long");
    else
      run_line(c, s);
    s->length = 0;
    s->too_long = false;
  }
  if (c->finish)
    ring_drop(&c->in, c->in.used);
  else if (c->fin_in)
    tcp_finish(c);
}

static void log_connection(const struct Tcp* c, const char* what) {
  log_text("kv_server: ");
  log_address(c->peer.ip);
  log_text(":");
  log_number(c->peer_port);
  log_text(" ");
  log_text(what);
  log_end();
}

static void opened(unsigned connection, const struct Tcp* c) {
  memset(&sessions[connection], 0, sizeof sessions[connection]);
  log_connection(c, "opened");
}

static void closed(unsigned connection, const struct Tcp* c, const char* how) { log_connection(c, how); }

const struct TcpApplication kv_application = {.opened = opened, .serve = serve, .closed = closed};
