// A key-value server on TCP, for what a client sees of a fault-tolerant pair: kv_session.h has the protocol. One loop
// serves the card, the connections and their timers, and sleeps in HLT when there is nothing to do; a tick of the PIT
// every 10 ms keeps time. Runs until it is switched off. The multiboot command line may have:
//
//   ip=A.B.C.D    its address (10.0.2.15)
//   port=N        where it listens (7000)
#include "ip.h"
#include "kv_session.h"
#include "options.h"
#include "serial_log.h"
#include "tcp.h"

enum { kPitDivisor = 11932, kDefaultIp = 0x0a00020f, kDefaultPort = 7000 };
enum { kBatch = 32 };  // frames in, before answers go out

static const struct Nic* nic;
static volatile uint32_t ticks;
static volatile bool awake;

static void on_tick(struct Frame* f) {
  ++ticks;
  awake = true;
  pic_eoi(0);
}

static void on_nic(struct Frame* f) {
  nic->acknowledge();
  awake = true;
  pic_eoi(nic->irq);
}

static bool read_options(uint32_t* ip, uint32_t* port) {
  const char* at = option("port=");
  if (at && (!option_number(&at, 65535, ' ', port) || !*port)) {
    say("kv_server: port= takes a number from 1 to 65535\n");
    return false;
  }
  at = option("ip=");
  for (int i = 0; at && i < 4; ++i) {
    uint32_t byte;
    if (!option_number(&at, 255, i < 3 ? '.' : ' ', &byte)) {
      say("kv_server: ip= takes an address such as 10.0.2.15\n");
      return false;
    }
    *ip = *ip << 8 | byte;
  }
  return true;
}

int main(void) {
  uint32_t ip = kDefaultIp, port = kDefaultPort;
  if (!read_options(&ip, &port)) leave(0x11);
  nic = virtio_net_start();
  if (!nic) nic = ne2k_start();
  if (!nic) {
    say("kv_server: no network card that it knows: give it --nic virtio or --nic ne2k\n");
    leave(0x11);
  }
  tcp_start((uint16_t)port, nic->room, &kv_application);
  ip_start(nic, ip);
  log_text("kv_server ready on ");
  log_address(ip);
  log_text(":");
  log_number(port);
  log_text(", ");
  log_text(nic->name);
  log_end();

  trap_handlers[0x20] = on_tick;
  trap_handlers[0x20 + nic->irq] = on_nic;
  pit_set(0, 2, kPitDivisor);
  pic_unmask(0);
  pic_unmask(nic->irq);
  for (uint32_t ticked = 0;;) {
    nic->quiet();
    awake = false;
    sti();
    const uint8_t* frame = NULL;
    size_t length;
    for (int i = 0; i < kBatch && (frame = nic->receive(&length)); ++i) ip_input(frame, length);
    for (; ticked != ticks; ++ticked) {
      tcp_tick(ticked + 1);
      log_poll();
    }
    tcp_run();
    nic->flush();
    cli();
    if (!awake && !frame && nic->listen()) sleep_for_interrupt();
  }
}
