// A disk as a driver offers it: requests are started and waited for, so that some can be under way together. Interrupts
// are off but while a wait sleeps.
#pragma once
#include "runtime.h"

enum { kSectorBytes = 512, kBlockSlots = 4 };
enum BlockOperation { kBlockRead, kBlockWrite, kBlockFlush };

struct Block {
  const char* name;
  uint32_t sectors;
  // `slot` (below kBlockSlots) names the request until it was waited for; `data` lies where it is until then.
  void (*start)(int slot, enum BlockOperation operation, uint32_t lba, uint32_t sectors, void* data);
  bool (*wait)(int slot);  // false: the disk said that it could not
};

// Null where there is no such disk.
const struct Block* block_ide_start(void);
const struct Block* block_virtio_start(void);
