#include "emu/snapshot_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "emu/page_section.h"
#include "emu/snapshot_sections.h"
#include "emu/state_archive.h"

namespace understudy::emu {

using namespace snapshot;

namespace {

constexpr size_t kMaxName = 255;

PageSection parse_pages(Machine& machine, const Section& section, const std::string& path) {
  try {
    return PageSection(machine, section.body);
  } catch (const PageSectionError& error) {
    fail(path, fmt::format("the pages at offset {} {}", section.offset, error.what()));
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
        if (section.kind == kPages) parse_pages(machine, section, file->path).apply();
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
      PageSectionWriter pages(store, parent != nullptr,
                              [&sections](std::vector<uint8_t>&& body) { sections.write(kPages, body); });
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
