// Keeps a journal on a disk, and proves that it gets back what it wrote: numbered records with checksums go into slots
// one after the other and round again; with each, a record from before is read and verified; a write and a read of the
// same sectors race, and the read must have one of the two records, whole. At the end every slot is read. What it says
// is true of the disk when it is said: `safe N` that every record up to N was flushed, so whoever looks at the image
// from outside later must find them, or newer ones in their slots. The multiboot command line may have:
//
//   disk=ide|virtio   which disk (the IDE disk, or the virtio one where there is none)
//   records=N         how many records (150)
//   every=N           records between two lines (50)
//   pause=N           hundredths of a second before each record (0)
//
// A record is 4096 bytes, little-endian: the magic "JRNL", its number, a seed, the CRC of number, seed and body, and
// the body: x = x * 1664525 + 1013904223 from the seed on. Record N is in slot (N - 1) % slots, at sector 8 * (1 +
// slot); racing records are in slot number `slots`.
#include "block.h"
#include "options.h"

enum { kMagic = 0x4c4e524a, kBodyWords = 1020, kRecordSectors = 8, kMaxSlots = 256 };
enum { kFlushEvery = 10, kRaceEvery = 5, kPitDivisor = 11932 };

struct Record {
  uint32_t magic, number, seed, crc, body[kBodyWords];
};

static const struct Block* disk;
static struct Record out, in, raced_in, raced_out;
static uint32_t slots, digest, old_races, new_races;
static volatile uint32_t ticks;

static void on_tick(struct Frame* f) {
  ++ticks;
  pic_eoi(0);
}

static void sleep(uint32_t pause) {
  for (const uint32_t begin = ticks; ticks - begin < pause;) sleep_for_interrupt();
}

static uint32_t crc_of(const struct Record* r) { return crc32(crc32(0, &r->number, 8), r->body, sizeof r->body); }

static void fill(struct Record* r, uint32_t number, uint32_t salt) {
  r->magic = kMagic;
  r->number = number;
  r->seed = number * 2654435761u + salt;
  uint32_t x = r->seed;
  for (int i = 0; i < kBodyWords; ++i) r->body[i] = x = x * 1664525 + 1013904223;
  r->crc = crc_of(r);
}

static bool is_record(const struct Record* r, uint32_t number) {
  return r->magic == kMagic && r->number == number && r->crc == crc_of(r);
}

static uint32_t sector_of(uint32_t number) { return kRecordSectors * (1 + (number - 1) % slots); }

static void give_up(const char* what, uint32_t number) {
  say("record %u: %s\n", number, what);
  check(false, "journal");
  finish();
}

// The record goes out while an older one, in another slot, comes in.
static void append(uint32_t number) {
  fill(&out, number, 0);
  const uint32_t back = number * 7 % (slots - 1);
  const uint32_t other = number > back + 1 && back > 0 ? number - back : 0;
  disk->start(0, kBlockWrite, sector_of(number), kRecordSectors, &out);
  if (other) disk->start(1, kBlockRead, sector_of(other), kRecordSectors, &in);
  if (!disk->wait(0)) give_up("cannot be written", number);
  if (!other) return;
  if (!disk->wait(1)) give_up("cannot be read", other);
  if (!is_record(&in, other)) give_up("is not what was written", other);
  digest = crc32(digest, &in.crc, 4);
}

static void race(uint32_t number, uint32_t before) {
  const uint32_t at = kRecordSectors * (1 + slots);
  fill(&raced_out, number, 1);
  disk->start(2, kBlockWrite, at, kRecordSectors, &raced_out);
  disk->start(3, kBlockRead, at, kRecordSectors, &raced_in);
  if (!disk->wait(2) || !disk->wait(3)) give_up("the race fails", number);
  const bool is_new = is_record(&raced_in, number);
  if (!is_new && before && !is_record(&raced_in, before)) give_up("a race has neither record", number);
  ++*(is_new ? &new_races : &old_races);
}

static void read_back(uint32_t records) {
  const uint32_t first = records > slots ? records - slots + 1 : 1;
  for (uint32_t number = first; number <= records; ++number) {
    disk->start(0, kBlockRead, sector_of(number), kRecordSectors, &in);
    if (!disk->wait(0)) give_up("cannot be read", number);
    if (!is_record(&in, number)) give_up("is not there at the end", number);
    digest = crc32(digest, &in.crc, 4);
  }
  say("records %u to %u are there, read %08x\n", first, records, digest);
}

static bool read_options(uint32_t* records, uint32_t* every, uint32_t* pause, const char** kind) {
  const char* at = option("records=");
  if (at && (!option_number(&at, 100000000, ' ', records) || !*records)) return false;
  at = option("every=");
  if (at && (!option_number(&at, 100000000, ' ', every) || !*every)) return false;
  at = option("pause=");
  if (at && !option_number(&at, 1000, ' ', pause)) return false;
  *kind = option("disk=");
  return !*kind || option_is(*kind, "ide") || option_is(*kind, "virtio");
}

int main(void) {
  uint32_t records = 150, every = 50, pause = 0;
  const char* kind;
  if (!read_options(&records, &every, &pause, &kind)) {
    say("disk_journal: takes records=N, every=N, pause=N and disk=ide or disk=virtio\n");
    leave(0x11);
  }
  if (!kind || option_is(kind, "ide")) disk = block_ide_start();
  if (!disk && (!kind || option_is(kind, "virtio"))) disk = block_virtio_start();
  if (!disk || disk->sectors < 4 * kRecordSectors) {
    say("disk_journal: no disk of 16 KiB or more\n");
    leave(0x11);
  }
  slots = disk->sectors / kRecordSectors - 2;
  if (slots > kMaxSlots) slots = kMaxSlots;
  say("journal on %s, %u slots\n", disk->name, slots);
  if (pause) {
    trap_handlers[0x20] = on_tick;
    pit_set(0, 2, kPitDivisor);
    pic_unmask(0);
  }
  for (uint32_t number = 1, raced = 0; number <= records; ++number) {
    sleep(pause);
    append(number);
    if (number % kRaceEvery == 0) {
      race(number, raced);
      raced = number;
    }
    if (number % kFlushEvery == 0) {
      disk->start(0, kBlockFlush, 0, 0, NULL);
      if (!disk->wait(0)) give_up("the flush fails", number);
    }
    if (number % every == 0) say("safe %u\n", number / kFlushEvery * kFlushEvery);
  }
  read_back(records);
  say("races: %u\n", old_races + new_races);
  check(old_races + new_races == records / kRaceEvery, "journal");
  return 0;
}
