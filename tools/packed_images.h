// The folder `images/` of a recording that was packed on another machine: copies of the files that its recipe names,
// and `index.json`, which says which copy stands for which path:
//   {"format": 1, "files": [{"path": PATH, "file": NAME, "bytes": N, "xxh3": HEX}, ...]}
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ftlog/recording.h"

namespace understudy::tools {

constexpr const char* kImagesFolder = "images";
constexpr const char* kImagesIndex = "index.json";

struct PackedImage {
  std::string path;  // in the recipe
  std::string file;  // a plain name in images/
  ftlog::FileSum sum;
};

std::string index_of_images(const std::vector<PackedImage>& images);
// Nothing without such a folder. Throws UsageError for an index that is not one.
std::vector<PackedImage> read_packed_images(const std::string& directory);
// For RunOptions::stand_ins.
std::map<std::string, std::string> packed_images(const std::string& directory);

}  // namespace understudy::tools
