#pragma once
// Where this build keeps what tests start and boot. One source knows the paths, so that the others compile the same in
// every tree and a compiler cache serves them all.

namespace built {

extern const char* const kImages;    // the directory that tools/images fills
extern const char* const kFirmware;  // the directory of our own guests
extern const char* const kCommand;   // the `understudy` command

}  // namespace built
