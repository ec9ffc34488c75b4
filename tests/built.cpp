#include "tests/built.h"

namespace built {

const char* const kImages = UNDERSTUDY_IMAGE_DIR;
const char* const kFirmware = UNDERSTUDY_FIRMWARE_DIR;
const char* const kCommand = UNDERSTUDY_COMMAND;

}  // namespace built
