#include "emu/snapshot_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "emu/snapshot_sections.h"
#include "emu/state_archive.h"

namespace understudy::emu {

using namespace snapshot;

namespace {

constexpr uint64_t kPage = PagedStore::kPageBytes;
constexpr size_t kMapBytes = kPagesPerSection / 8;
constexpr size_t kMaxName = 255;

struct PagesHead {
  uint64_t first;
  uint8_t meant[kMapBytes];
  uint8_t data[kMapBytes];
  uint64_t name_bytes;
};

bool bit(const uint8_t* map, uint64_t i) { return map[i / 8] >> i % 8 & 1; }
void set_bit(uint8_t* map, uint64_t i) { map[i / 8] = static_cast<uint8_t>(map[i / 8] | 1u << i % 8); }

// Gathers the changed pages of one store, section by section.
class PagesWriter {
 public:
  PagesWriter(SectionWriter& sections, PagedStore& store, bool with_base_pages)
      : sections_(sections), store_(store), with_base_pages_(with_base_pages) {}
  void add(uint64_t page) {
    const uint64_t first = page / kPagesPerSection * kPagesPerSection;
    if (first != head_.first) flush();
    head_.first = first;
    const bool base = store_.is_base(page);
    if (base && !with_base_pages_) return;
    set_bit(head_.meant, page - first);
    any_ = true;
    if (base) return;
    set_bit(head_.data, page - first);
    data_.resize(data_.size() + kPage);
    store_.read_page(page, std::span<uint8_t, kPage>(data_.data() + data_.size() - kPage, kPage));
  }
  void flush() {
    if (any_) {
      const std::string_view name = store_.store_name();
      head_.name_bytes = name.size();
      std::vector<uint8_t> body(sizeof head_);
      std::memcpy(body.data(), &head_, sizeof head_);
      body.insert(body.end(), name.begin(), name.end());
      if (!data_.empty()) {
        const std::vector<uint8_t> packed = compress(data_);
        body.insert(body.end(), packed.begin(), packed.end());
      }
      sections_.write(kPages, body);
    }
    head_ = {};
    data_.clear();
    any_ = false;
  }

 private:
  SectionWriter& sections_;
  PagedStore& store_;
  bool with_base_pages_;
  PagesHead head_{};
  std::vector<uint8_t> data_;
  bool any_ = false;
};

// A pages section, taken apart and checked against the machine's stores.
struct Pages {
  PagedStore* store;
  PagesHead head;
  std::vector<uint8_t> data;
};

Pages parse_pages(Machine& machine, const Section& section, const std::string& path) {
  Pages pages{};
  auto bad = [&](const char* what) { fail(path, fmt::format("the pages at offset {} {}", section.offset, what)); };
  std::span<const uint8_t> rest = section.body;
  if (rest.size() < sizeof pages.head) bad("are too short");
  std::memcpy(&pages.head, rest.data(), sizeof pages.head);
  rest = rest.subspan(sizeof pages.head);
  if (pages.head.name_bytes > kMaxName || pages.head.name_bytes > rest.size()) bad("have a bad name");
  const std::string_view name(reinterpret_cast<const char*>(rest.data()), pages.head.name_bytes);
  rest = rest.subspan(pages.head.name_bytes);
  for (PagedStore* store : machine.stores())
    if (store->store_name() == name) pages.store = store;
  if (pages.store == nullptr) bad("are of a part that this machine does not have");
  const uint64_t there = pages.store->store_pages();
  size_t count = 0;
  for (uint64_t i = 0; i < kPagesPerSection; ++i) {
    if (bit(pages.head.data, i)) ++count;
    if (!bit(pages.head.meant, i) && bit(pages.head.data, i)) bad("have bad maps");
    if (bit(pages.head.meant, i) && (pages.head.first >= there || i >= there - pages.head.first))
      bad("are beyond the machine's");
  }
  pages.data.resize(count * kPage);
  if (!decompress(rest, pages.data)) bad("do not unpack");
  return pages;
}

void apply(const Pages& pages) {
  const uint8_t* from = pages.data.data();
  for (uint64_t i = 0; i < kPagesPerSection; ++i) {
    if (!bit(pages.head.meant, i)) continue;
    if (bit(pages.head.data, i)) {
      pages.store->write_page(pages.head.first + i, std::span<const uint8_t, kPage>(from, kPage));
      from += kPage;
    } else {
      pages.store->make_base(pages.head.first + i);
    }
  }
}

struct Checked {
  std::string path;
  uint64_t identity = 0;
  std::vector<uint8_t> archive;
  std::optional<uint64_t> parent_identity;
  std::string parent_path;
};

// Everything that can be known without touching the machine.
Checked check(Machine& machine, const MachineDescription& description, const std::string& path) {
  Checked checked;
  checked.path = path;
  bool described = false;
  auto section = [&](const Section& s) {
    if ((s.kind == kDescription) == described || (s.kind == kParent && checked.parent_identity))
      fail(path, fmt::format("section {} at offset {} is out of place", static_cast<unsigned>(s.kind), s.offset));
    switch (s.kind) {
      case kDescription: {
        described = true;
        MachineDescription of_file;
        try {
          of_file = MachineDescription::from_text({reinterpret_cast<const char*>(s.body.data()), s.body.size()});
        } catch (const std::runtime_error& error) {
          fail(path, error.what());
        }
        const std::string differences = of_file.differences(description, "the snapshot", "this machine");
        if (!differences.empty()) fail(path, "is of another machine: " + differences);
        break;
      }
      case kParent: {
        uint64_t identity = 0;
        if (s.body.size() <= sizeof identity || s.body.size() > sizeof identity + kMaxName)
          fail(path, "its parent has a bad name");
        std::memcpy(&identity, s.body.data(), sizeof identity);
        const std::string name(s.body.begin() + sizeof identity, s.body.end());
        if (name.find('/') != std::string::npos || name.find('\0') != std::string::npos)
          fail(path, "its parent has a bad name");
        checked.parent_identity = identity;
        checked.parent_path = (std::filesystem::path(path).parent_path() / name).string();
        break;
      }
      case kArchive:
        if (!checked.archive.empty()) fail(path, "has two state sections");
        if (!decompress_at_most(s.body, kMaxArchive, checked.archive) || checked.archive.empty())
          fail(path, "the state section does not unpack");
        break;
      default:
        parse_pages(machine, s, path);
    }
  };
  checked.identity = read_sections(path, section);
  if (checked.archive.empty()) fail(path, "has no state section");
  return checked;
}

void restore(Machine& machine, const std::vector<Checked>& chain) {
  const Checked& newest = chain.front();
  try {
    for (PagedStore* store : machine.stores()) store->make_all_base();
    for (auto file = chain.rbegin(); file != chain.rend(); ++file) {
      const uint64_t identity = read_sections(file->path, [&](const Section& section) {
        if (section.kind == kPages) apply(parse_pages(machine, section, file->path));
      });
      if (identity != file->identity) fail(file->path, "changed while it was read");
    }
    StateReader reader(newest.archive);
    machine.visit_state(reader);
    reader.finish();
  } catch (const std::exception& error) {
    for (PagedStore* store : machine.stores()) store->make_all_base();
    machine.reset();
    if (dynamic_cast<const SnapshotError*>(&error) != nullptr) throw;
    fail(newest.path, error.what());
  }
}

std::vector<ChangeMap::Mark> mark_all(Machine& machine) {
  std::vector<ChangeMap::Mark> marks;
  for (PagedStore* store : machine.stores()) marks.push_back(store->mark());
  return marks;
}

}  // namespace

SavedSnapshot save_snapshot(Machine& machine, const MachineDescription& description, const std::string& path,
                            const SavedSnapshot* parent) {
  const std::string temporary = path + ".partial";
  SavedSnapshot saved{path, 0, {}};
  try {
    File file(temporary, O_WRONLY | O_CREAT | O_TRUNC, path);
    SectionWriter sections(file);
    const std::string text = description.to_text();
    sections.write(kDescription, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
    if (parent != nullptr) {
      const std::filesystem::path file_of_parent(parent->path);
      if (file_of_parent.parent_path() != std::filesystem::path(path).parent_path() ||
          parent->marks.size() != machine.stores().size())
        throw std::logic_error("snapshot: a parent of another machine or in another folder");
      const std::string name = file_of_parent.filename().string();
      std::vector<uint8_t> body(sizeof parent->identity);
      std::memcpy(body.data(), &parent->identity, sizeof parent->identity);
      body.insert(body.end(), name.begin(), name.end());
      sections.write(kParent, body);
    }
    StateWriter writer;
    machine.visit_state(writer);
    sections.write(kArchive, compress(writer.finish()));
    for (size_t i = 0; i < machine.stores().size(); ++i) {
      PagedStore& store = *machine.stores()[i];
      PagesWriter pages(sections, store, parent != nullptr);
      store.for_each_changed(parent != nullptr ? parent->marks[i] : ChangeMap::kBeginning,
                             [&pages](uint64_t page) { pages.add(page); });
      pages.flush();
    }
    saved.identity = sections.end();
    file.sync();
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) fail(path, std::strerror(errno));
  saved.marks = mark_all(machine);
  return saved;
}

SavedSnapshot load_snapshot(Machine& machine, const MachineDescription& description, const std::string& path) {
  std::vector<Checked> chain{check(machine, description, path)};
  while (chain.back().parent_identity) {
    if (chain.size() > kMaxSnapshotParents) fail(path, "has more parents than any snapshot may have");
    const Checked& child = chain.back();
    Checked parent = check(machine, description, child.parent_path);
    if (parent.identity != *child.parent_identity)
      fail(child.path, fmt::format("its parent {} is not the one it was made from", child.parent_path));
    parent.archive = {};
    parent.archive.shrink_to_fit();
    chain.push_back(std::move(parent));
  }
  restore(machine, chain);
  return {path, chain.front().identity, mark_all(machine)};
}

}  // namespace understudy::emu
