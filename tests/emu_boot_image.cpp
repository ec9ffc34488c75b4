#include <doctest/doctest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "emu/boot_image.h"
#include "tests/boot_images.h"

using namespace understudy;
using namespace understudy::tests;
using emu::ImageKind;

namespace {
ImageKind kind_of(const Image& image) { return emu::recognise_image(image, image, image.size()); }

Image with_boot_signature(size_t size) {
  Image image(size);
  put(image, 510, 0xaa55, 2);
  return image;
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const Image& bytes) {
    path_ = (std::filesystem::temp_directory_path() / "understudy_boot_image_XXXXXX").string();
    const int fd = mkstemp(path_.data());
    REQUIRE(fd >= 0);
    close_fd(fd);
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  static void close_fd(int fd) { std::fclose(fdopen(fd, "r")); }
  std::string path_;
};
}  // namespace

TEST_CASE("boot image: each kind is recognised from its own mark") {
  CHECK(kind_of(small_bzimage()) == ImageKind::linux_kernel);
  CHECK(kind_of(small_multiboot()) == ImageKind::multiboot);
  CHECK(kind_of(multiboot_kludge()) == ImageKind::multiboot);
  CHECK(kind_of(with_boot_signature(1440 << 10)) == ImageKind::floppy);
  CHECK(kind_of(with_boot_signature(160 << 10)) == ImageKind::floppy);
  CHECK(kind_of(with_boot_signature(2880 << 10)) == ImageKind::floppy);
  CHECK(kind_of(with_boot_signature(10 << 20)) == ImageKind::disk);
  CHECK(kind_of(with_boot_signature(512)) == ImageKind::disk);

  Image cd(64 << 10);
  const std::string mark = "CD001";
  std::copy(mark.begin(), mark.end(), cd.begin() + 0x8001);
  CHECK(kind_of(cd) == ImageKind::cdrom);
  put(cd, 510, 0xaa55, 2);  // a hybrid ISO is still a CD
  CHECK(kind_of(cd) == ImageKind::cdrom);

  Image grub = with_boot_signature(10 << 20);  // GRUB behind the boot sector has a multiboot header
  put(grub, 0x208, 0x1badb002, 4);
  put(grub, 0x210, 0u - 0x1badb002u, 4);
  CHECK(kind_of(grub) == ImageKind::disk);
  grub.resize(1440 << 10);
  CHECK(kind_of(grub) == ImageKind::floppy);

  Image rom(128 << 10);
  CHECK(kind_of(rom) == ImageKind::unknown);
  rom[rom.size() - 16] = 0xea;
  CHECK(kind_of(rom) == ImageKind::rom);
  rom.push_back(0);
  CHECK(kind_of(rom) == ImageKind::unknown);
}

TEST_CASE("boot image: near misses are not recognised") {
  Image kernel = small_bzimage();
  put(kernel, 0x202, 0x53726449, 4);
  CHECK(kind_of(kernel) != ImageKind::linux_kernel);
  kernel = small_bzimage();
  put(kernel, 0x1fe, 0, 2);
  CHECK(kind_of(kernel) == ImageKind::unknown);

  // A multiboot header counts only when its sum is zero, it is 4-aligned, and it lies within 8 KiB.
  Image header(20000);
  const auto place = [&](size_t at) {
    std::fill(header.begin(), header.end(), uint8_t{0});
    put(header, at, 0x1badb002, 4);
    put(header, at + 8, 0u - 0x1badb002u, 4);
    return emu::find_multiboot_header(header);
  };
  CHECK(place(0) == 0);
  CHECK(place(8180) == 8180);
  CHECK(place(8184) == -1);
  CHECK(place(6) == -1);
  place(64);
  put(header, 68, 1, 4);
  CHECK(emu::find_multiboot_header(header) == -1);

  Image truncated_disk = with_boot_signature((10 << 20) - 1);
  CHECK(kind_of(truncated_disk) == ImageKind::unknown);
  CHECK(kind_of({}) == ImageKind::unknown);
}

TEST_CASE("boot image: a file is recognised, and a wrong one gets a hint") {
  const TemporaryFile kernel(small_bzimage());
  CHECK(emu::recognise_file(kernel.path()) == ImageKind::linux_kernel);
  CHECK(emu::read_image(kernel.path(), 1 << 20) == small_bzimage());
  check_refused([&] { emu::read_image(kernel.path(), 1000); }, kernel.path(), "larger");
  CHECK(emu::recognise_file(TemporaryFile({'Q', 'F', 'I', 0xfb, 0, 0}).path()) == ImageKind::disk);

  const auto refused = [](const Image& bytes, const std::string& words) {
    const TemporaryFile file(bytes);
    check_refused([&] { emu::recognise_file(file.path()); }, file.path(), words);
  };
  refused({}, "empty");
  refused({0x1f, 0x8b, 8, 0, 0, 0}, "compressed");
  refused({'v', 'h', 'd', 'x', 'f', 'i', 'l', 'e'}, "qemu-img convert");
  refused({0x7f, 'E', 'L', 'F', 1, 1}, "Multiboot");
  refused({'M', 'Z', 0, 0}, "EFI");
  refused({'0', '7', '0', '7', '0', '1'}, "--initrd");
  refused({1, 2, 3}, "too short");
  refused(with_boot_signature(1000), "truncated");
  refused(Image(1024), "recognised");

  check_refused([] { emu::recognise_file("/nonexistent/kernel"); }, "/nonexistent/kernel", "no such file");
  const std::string folder = std::filesystem::temp_directory_path().string();
  check_refused([&] { emu::recognise_file(folder); }, folder, "not a regular file");
  check_refused([] { emu::read_image("/dev/zero", 1000); }, "/dev/zero", "not a regular file");
}

TEST_CASE("boot image: a file name cannot break the message's line") {
  const emu::BootError error("a\nb\x1b[2J", "bad");
  CHECK(std::string(error.what()) == "a?b?[2J: bad");
}

TEST_CASE("boot image: recognition survives mutations") {
  std::mt19937 random(1);
  const Image originals[] = {small_bzimage(), small_multiboot(), multiboot_kludge()};
  unsigned still = 0;
  for (unsigned i = 0; i < 600; ++i) {
    const Image image = mutated(originals[i % 3], random, 0x268);
    if (kind_of(image) != ImageKind::unknown) ++still;
    for (size_t length : {size_t{0}, size_t{5}, size_t{511}, image.size() / 2}) {
      const Image cut(image.begin(), image.begin() + static_cast<ptrdiff_t>(std::min(length, image.size())));
      kind_of(cut);
    }
  }
  CHECK(still > 50);
  CHECK(still < 600);
}
