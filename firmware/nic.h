// A network card as the IP stack sees it: frames in, frames out, from the Ethernet header to the end of the data. It
// interrupts only while its user sleeps.
#pragma once
#include "runtime.h"

enum { kFrameLimit = 1514, kMacBytes = 6 };

struct Nic {
  const char* name;
  uint8_t mac[kMacBytes];
  int irq;
  uint32_t room;              // bytes that can arrive in a burst without a loss, more or less
  void (*acknowledge)(void);  // in the interrupt's handler
  // With interrupts off, before sleeping: whatever happens now interrupts. False if something has arrived already.
  bool (*listen)(void);
  void (*quiet)(void);  // with interrupts off, after sleeping
  // The next frame, which is there until the next call; null if there is none.
  const uint8_t* (*receive)(size_t* length);
  // Where to write a frame of up to kFrameLimit bytes; null while the card is full: it interrupts when that ends.
  uint8_t* (*frame)(void);
  void (*transmit)(size_t length);  // what was written there
  void (*flush)(void);              // after the last of several frames
};

// The first card of that kind, ready to receive; null if there is none.
const struct Nic* virtio_net_start(void);
const struct Nic* ne2k_start(void);
