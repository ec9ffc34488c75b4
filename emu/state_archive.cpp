#include "emu/state_archive.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <stdexcept>

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

namespace understudy::emu {

namespace {
constexpr uint8_t kMagic[4] = {'U', 'S', 'T', 'A'};
constexpr uint16_t kVersion = 1;
constexpr size_t kHeaderSize = 8;
constexpr size_t kChecksumSize = 8;
constexpr uint8_t kEnd = 0;
constexpr uint8_t kBytes = 'b';
constexpr uint8_t kSequence = 's';

void put(std::vector<uint8_t>& out, uint64_t value, size_t width) {
  for (size_t i = 0; i < width; ++i) out.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

uint64_t get(std::span<const uint8_t> in) {
  uint64_t value = 0;
  for (size_t i = 0; i < in.size(); ++i) value |= static_cast<uint64_t>(in[i]) << (8 * i);
  return value;
}

bool is_integer(uint8_t kind) { return kind == 1 || kind == 2 || kind == 4 || kind == 8; }

struct Field {
  uint8_t kind;
  std::string_view name;
  std::span<const uint8_t> data;
};

std::span<const uint8_t> cut(std::span<const uint8_t>& from, size_t size) {
  if (from.size() < size) throw std::runtime_error("state: the archive ends in the middle of a field");
  const auto head = from.first(size);
  from = from.subspan(size);
  return head;
}

// Takes the next field off `rest`; kind kEnd when there is none.
Field next_field(std::span<const uint8_t>& rest) {
  const uint8_t kind = cut(rest, 1)[0];
  if (kind == kEnd) {
    if (!rest.empty()) throw std::runtime_error("state: bytes follow the end mark");
    return {kEnd, {}, {}};
  }
  if (!is_integer(kind) && kind != kBytes && kind != kSequence)
    throw std::runtime_error(fmt::format("state: unknown kind of field {:#x}", kind));
  const auto name = cut(rest, get(cut(rest, 2)));
  const size_t size = is_integer(kind) ? kind : get(cut(rest, 4));
  const auto data = cut(rest, size);
  return {kind, {reinterpret_cast<const char*>(name.data()), name.size()}, data};
}

std::span<const uint8_t> open_archive(std::span<const uint8_t> archive) {
  if (archive.size() < kHeaderSize + 1 + kChecksumSize) throw std::runtime_error("state: the archive is too short");
  if (!std::equal(std::begin(kMagic), std::end(kMagic), archive.begin()))
    throw std::runtime_error("state: this is not a state archive");
  const uint64_t version = get(archive.subspan(4, 2));
  if (version != kVersion || get(archive.subspan(6, 2)) != 0)
    throw std::runtime_error(fmt::format("state: archive version {}, this build reads {}", version, kVersion));
  const auto body = archive.first(archive.size() - kChecksumSize);
  if (XXH3_64bits(body.data(), body.size()) != get(archive.last(kChecksumSize)))
    throw std::runtime_error("state: the archive's checksum is wrong");
  return body.subspan(kHeaderSize);
}

std::string kind_name(uint8_t kind) {
  if (kind == kBytes) return "a block";
  if (kind == kSequence) return "a sequence";
  return fmt::format("an integer of {} bytes", kind);
}

// A name out of an archive, fit for a message.
std::string printable(std::string_view name) {
  std::string text(name.substr(0, 128));
  for (char& c : text)
    if (c < ' ' || c > '~') c = '?';
  return text;
}

std::string print(const Field& field, size_t first_difference) {
  constexpr size_t kShown = 16;
  if (is_integer(field.kind)) return fmt::format("{:#x}", get(field.data));
  std::string text = fmt::format("@+{}:", first_difference);
  const size_t end = std::min(field.data.size(), first_difference + kShown);
  for (size_t i = first_difference; i < end; ++i) text += fmt::format(" {:02x}", field.data[i]);
  if (end < field.data.size()) text += " ...";
  return text + fmt::format(" ({} bytes)", field.data.size());
}
}  // namespace

void NamedStateVisitor::begin(std::string_view group) {
  outer_lengths_.push_back(prefix_length_);
  path_.resize(prefix_length_);
  path_ += group;
  path_ += '.';
  prefix_length_ = path_.size();
}

void NamedStateVisitor::end() {
  if (outer_lengths_.empty()) throw std::logic_error("state: end() without begin()");
  prefix_length_ = outer_lengths_.back();
  outer_lengths_.pop_back();
}

const std::string& NamedStateVisitor::path(std::string_view field) {
  path_.resize(prefix_length_);
  path_ += field;
  return path_;
}

StateWriter::StateWriter() {
  out_.assign(std::begin(kMagic), std::end(kMagic));
  put(out_, kVersion, 2);
  put(out_, 0, 2);
}

void StateWriter::field(uint8_t kind, std::string_view name) {
  const std::string& full = path(name);
  if (full.size() > 0xffff) throw std::logic_error("state: a field's name is too long");
  out_.push_back(kind);
  put(out_, full.size(), 2);
  out_.insert(out_.end(), full.begin(), full.end());
}

void StateWriter::scalar(std::string_view name, uint64_t& value, size_t width) {
  field(static_cast<uint8_t>(width), name);
  put(out_, value, width);
}

void StateWriter::bytes(std::string_view name, void* data, size_t size) {
  if (size > 0xffffffffu) throw std::logic_error("state: a block over 4 GiB: " + path(name));
  field(kBytes, name);
  put(out_, size, 4);
  const auto* p = static_cast<const uint8_t*>(data);
  out_.insert(out_.end(), p, p + size);
}

void StateWriter::sequence(std::string_view name, std::vector<uint8_t>& value, size_t max_size) {
  if (value.size() > max_size || value.size() > 0xffffffffu)
    throw std::logic_error("state: a sequence longer than its bound: " + path(name));
  field(kSequence, name);
  put(out_, value.size(), 4);
  out_.insert(out_.end(), value.begin(), value.end());
}

std::vector<uint8_t> StateWriter::finish() {
  out_.push_back(kEnd);
  return seal_state_archive(std::move(out_));
}

std::vector<uint8_t> seal_state_archive(std::vector<uint8_t> body) {
  put(body, XXH3_64bits(body.data(), body.size()), kChecksumSize);
  return body;
}

StateReader::StateReader(std::span<const uint8_t> archive) : rest_(open_archive(archive)) {}

std::span<const uint8_t> StateReader::take(std::string_view name, uint8_t kind) {
  const std::string& wanted = path(name);
  const Field field = next_field(rest_);
  if (field.kind == kEnd) throw std::runtime_error(fmt::format("state: field {} is missing at the end", wanted));
  if (field.name != wanted)
    throw std::runtime_error(fmt::format("state: expected field {}, found {}", wanted, printable(field.name)));
  if (field.kind != kind)
    throw std::runtime_error(
        fmt::format("state: field {} is {}, expected {}", wanted, kind_name(field.kind), kind_name(kind)));
  return field.data;
}

void StateReader::scalar(std::string_view name, uint64_t& value, size_t width) {
  value = get(take(name, static_cast<uint8_t>(width)));
}

void StateReader::bytes(std::string_view name, void* data, size_t size) {
  const auto from = take(name, kBytes);
  if (from.size() != size)
    throw std::runtime_error(fmt::format("state: field {} has {} bytes, expected {}", path(name), from.size(), size));
  if (size != 0) std::memcpy(data, from.data(), size);
}

void StateReader::sequence(std::string_view name, std::vector<uint8_t>& field, size_t max_size) {
  const auto from = take(name, kSequence);
  if (from.size() > max_size)
    throw std::runtime_error(
        fmt::format("state: field {} has {} bytes, at most {} are allowed", path(name), from.size(), max_size));
  field.assign(from.begin(), from.end());
}

void StateReader::finish() {
  const Field field = next_field(rest_);
  if (field.kind != kEnd)
    throw std::runtime_error(fmt::format("state: field {} is not known here", printable(field.name)));
}

struct StateDigest::Hash {
  XXH3_state_t state;  // over-aligned, which make_unique honours
};

StateDigest::StateDigest() : hash_(std::make_unique<Hash>()) { XXH3_64bits_reset(&hash_->state); }
StateDigest::~StateDigest() = default;

void StateDigest::field(uint8_t kind, std::string_view name, const void* data, size_t size) {
  const std::string& full = path(name);
  std::vector<uint8_t> head;
  head.reserve(full.size() + 13);
  head.push_back(kind);
  put(head, full.size(), 4);
  head.insert(head.end(), full.begin(), full.end());
  put(head, size, 8);
  XXH3_64bits_update(&hash_->state, head.data(), head.size());
  if (size != 0) XXH3_64bits_update(&hash_->state, data, size);
}

void StateDigest::scalar(std::string_view name, uint64_t& value, size_t width) {
  uint8_t raw[8];
  for (size_t i = 0; i < sizeof raw; ++i) raw[i] = static_cast<uint8_t>(value >> (8 * i));
  field(static_cast<uint8_t>(width), name, raw, width);
}

void StateDigest::bytes(std::string_view name, void* data, size_t size) { field(kBytes, name, data, size); }

void StateDigest::sequence(std::string_view name, std::vector<uint8_t>& value, size_t) {
  field(kSequence, name, value.data(), value.size());
}

uint64_t StateDigest::digest() const { return XXH3_64bits_digest(&hash_->state); }

std::vector<StateDifference> state_diff(std::span<const uint8_t> left, std::span<const uint8_t> right) {
  const auto read_all = [](std::span<const uint8_t> archive) {
    auto rest = open_archive(archive);
    std::vector<Field> fields;
    for (Field f = next_field(rest); f.kind != kEnd; f = next_field(rest)) fields.push_back(f);
    return fields;
  };
  const std::vector<Field> on_left = read_all(left);
  const std::vector<Field> on_right = read_all(right);
  std::map<std::string_view, const Field*> left_by_name;
  std::map<std::string_view, const Field*> right_by_name;
  for (const Field& f : on_left) left_by_name[f.name] = &f;
  for (const Field& f : on_right) right_by_name[f.name] = &f;

  std::vector<StateDifference> differences;
  for (const Field& l : on_left) {
    const auto found = right_by_name.find(l.name);
    if (found == right_by_name.end()) {
      differences.push_back({printable(l.name), print(l, 0), "(absent)"});
      continue;
    }
    const Field& r = *found->second;
    if (l.kind == r.kind && std::ranges::equal(l.data, r.data)) continue;
    const auto [at, other] = std::ranges::mismatch(l.data, r.data);
    const auto first = static_cast<size_t>(at - l.data.begin());
    differences.push_back({printable(l.name), print(l, first), print(r, first)});
  }
  for (const Field& r : on_right)
    if (!left_by_name.contains(r.name)) differences.push_back({printable(r.name), "(absent)", print(r, 0)});
  return differences;
}

}  // namespace understudy::emu
