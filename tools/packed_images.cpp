#include "tools/packed_images.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "ftlog/entry.h"
#include "tools/serial_backend.h"

namespace understudy::tools {

namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxIndex = 1u << 20;

uint64_t hexadecimal(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size()) throw std::runtime_error("a checksum is malformed");
  return value;
}

std::vector<PackedImage> parse(const std::string& text) {
  const Json json = Json::parse(text);
  if (json.at("format").get<int>() != 1) throw std::runtime_error("its format is not 1");
  std::vector<PackedImage> images;
  for (const Json& entry : json.at("files")) {
    PackedImage image{entry.at("path").get<std::string>(), entry.at("file").get<std::string>(), {}};
    image.sum.bytes = entry.at("bytes").get<uint64_t>();
    image.sum.checksum = hexadecimal(entry.at("xxh3").get<std::string>());
    if (!ftlog::is_snapshot_name(image.file)) throw std::runtime_error("it names a file that is not beside it");
    images.push_back(std::move(image));
  }
  return images;
}

}  // namespace

std::string index_of_images(const std::vector<PackedImage>& images) {
  Json files = Json::array();
  for (const PackedImage& image : images)
    files.push_back({{"path", image.path},
                     {"file", image.file},
                     {"bytes", image.sum.bytes},
                     {"xxh3", fmt::format("{:016x}", image.sum.checksum)}});
  return Json{{"format", 1}, {"files", files}}.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::vector<PackedImage> read_packed_images(const std::string& directory) {
  const std::string path = fmt::format("{}/{}/{}", directory, kImagesFolder, kImagesIndex);
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return {};
  try {
    const ftlog::File file(path, O_RDONLY);
    if (file.size() > kMaxIndex) throw std::runtime_error("it is too long");
    std::string text(file.size(), '\0');
    text.resize(file.read_at({reinterpret_cast<uint8_t*>(text.data()), text.size()}, 0));
    return parse(text);
  } catch (const std::exception& problem) {
    throw UsageError(fmt::format("{}: not an index of images: {}", path, problem.what()));
  }
}

std::map<std::string, std::string> packed_images(const std::string& directory) {
  std::map<std::string, std::string> stand_ins;
  for (const PackedImage& image : read_packed_images(directory))
    stand_ins[image.path] = fmt::format("{}/{}/{}", directory, kImagesFolder, image.file);
  return stand_ins;
}

}  // namespace understudy::tools
