#include "tools/run_options.h"

#include <map>

#include "tools/optional_flag.h"

namespace understudy::tools {

namespace {
// The card that --net brings when --nic names none.
constexpr const char* kDefaultNic = "virtio";
}  // namespace

void add_run_options(CLI::App& command, RunOptions& o) {
  command.footer(
      "IMAGE is recognised by its contents: a Linux bzImage, a multiboot ELF, an ISO 9660 CD, a floppy or hard disk\n"
      "image with a boot sector, or a ROM with a reset vector. Further IMAGEs of a multiboot kernel are its "
      "modules.\n\n"
      "Examples\n"
      "  understudy run vmlinuz --initrd initrd.img --append console=ttyS0\n"
      "  understudy run disk.img --disk-mode write --memory 256\n"
      "  understudy run rescue.iso --screen text\n"
      "  understudy run --nic virtio\n"
      "  understudy run firmware.elf --json result.json\n\n"
      "Exit codes\n"
      "  0  the guest switched off, or --stop-at or --until-serial was reached\n"
      "  N  the guest wrote its verdict V to port f4: N = (V << 1 | 1) & 255, as QEMU's isa-debug-exit\n"
      "  2  bad usage or a bad image\n"
      "  3  the guest halted for ever\n"
      "  4  an internal error\n"
      "  7  the guest asked for a reset and --no-reboot was given, or it was booted without firmware\n"
      "  130  you left with Ctrl-A X or a signal");
  command.add_option("IMAGE", o.images, "What to boot");
  auto* boot = command.add_option_group("What to boot");
  boot->add_option("--kernel", o.kernel, "Linux bzImage or multiboot ELF to start without firmware")->type_name("FILE");
  boot->add_option("--initrd", o.initrd, "Initial RAM disk for a Linux kernel, or a module")->type_name("FILE");
  boot->add_option("--append", o.append, "Kernel command line")->type_name("TEXT");
  boot->add_flag("--entry64", o.linux_64bit_entry, "Enter a Linux kernel by the 64-bit boot protocol");
  boot->add_option("--flat", o.flat, "Raw code loaded at ADDRESS and entered in real mode")->type_name("FILE@ADDRESS");
  boot->add_option("--bios", o.bios, "System firmware [Debian's SeaBIOS]")->type_name("FILE");
  auto* parts = command.add_option_group("The machine");
  parts->add_option("--memory", o.memory_mib, "RAM in MiB")->capture_default_str()->check(CLI::Range(2u, 3072u));
  parts
      ->add_option(
          "--disk", o.disks,
          "Hard disk image, raw or qcow2 (up to three); or a disk server's URI (nbd://HOST/EXPORT, "
          "nbd+unix:///EXPORT?socket=PATH) or Unix socket, which the guest then writes to; the nodes of a pair "
          "reach such a disk as hub:NAME")
      ->type_name("FILE")
      ->allow_extra_args(false);
  parts->add_option("--cdrom", o.cdrom, "CD image")->type_name("FILE");
  parts->add_option("--floppy", o.floppy, "Floppy image")->type_name("FILE");
  parts->add_option("--virtio-disk", o.virtio_disks, "The same, on virtio (up to four)")
      ->type_name("FILE")
      ->allow_extra_args(false);
  const CLI::Option* nic = parts->add_option("--nic", o.nic, "Network card: ne2k (an RTL8029 on PCI), virtio or none")
                               ->check(CLI::IsMember({"ne2k", "virtio", "none"}))
                               ->capture_default_str();
  parts->add_option("--mac", o.mac, "The card's address [52:54:00:12:34:56]")->type_name("MAC");
  parts->add_option("--nic-rom", o.nic_rom, "Its boot ROM, for firmware to run, or none [Debian's iPXE]")
      ->type_name("FILE");
  const std::map<std::string, DiskMode> modes{
      {"write", DiskMode::write}, {"snapshot", DiskMode::snapshot}, {"readonly", DiskMode::readonly}};
  parts->add_option("--disk-mode", o.disk_mode, "write: into the image; snapshot: forgotten at the end; readonly")
      ->transform(CLI::CheckedTransformer(modes, CLI::ignore_case))
      ->type_name("MODE")
      ->default_str("snapshot");
  parts->add_option("--rtc", o.rtc,
                    "The guest's clock at power-on: now, or seconds since 1970 [now if paced, else 1767225600, the "
                    "start of 2026]");
  auto* start = command.add_option_group("How it begins");
  start->add_option("--from-snapshot", o.from_snapshot, "Start from a snapshot of the same machine")->type_name("FILE");
  add_optional_flag(*start, "--reboot,!--no-reboot", o.reboot,
                    "At a reset, start again, or stop [start again if there is firmware to do it]");
  add_live_options(command, o);
  command.parse_complete_callback([&o, nic] {
    if (o.net != "none" && nic->count() == 0) o.nic = kDefaultNic;
  });
}

void add_live_options(CLI::App& command, RunOptions& o) {
  auto* host = command.add_option_group("Its ends on this host");
  host->add_option("--serial", o.serial, "COM1: stdio, file:PATH, unix:PATH, tcp:HOST:PORT or none")
      ->capture_default_str();
  host->add_option("--serial1", o.serial1, "COM2, likewise")->capture_default_str();
  host->add_option("--debugcon", o.debugcon, "Firmware's debug output (port 402h), likewise")->capture_default_str();
  host->add_option("--screen", o.screen, "text: show the VGA text screen here and type on its keyboard; or none")
      ->check(CLI::IsMember({"text", "none"}))
      ->capture_default_str();
  host->add_option("--net", o.net,
                   "The network card's other end: user[,hostfwd=tcp|udp:HOSTADDR:PORT-GUESTADDR:PORT][,tftp=FOLDER]"
                   "[,bootfile=NAME][,restrict=on], tap:NAME, socket:listen=ADDRESS:PORT, socket:connect=ADDRESS:PORT, "
                   "socket:udp=ADDRESS:PORT,local=ADDRESS:PORT, hub:ADDRESS[,epoch=N][,node=NAME][,key=FILE,peer=FILE]"
                   "[,insecure] or none; without --nic it brings a card of its own")
      ->type_name("NET")
      ->capture_default_str();
  host->add_option("--pcap", o.pcap, "Capture the card's frames, with the guest's time")->type_name("FILE");
  auto* run = command.add_option_group("The run");
  add_optional_flag(
      *run, "--paced,!--unpaced", o.paced,
      "Keep the guest's clock at the host's pace, or run as fast as possible and skip idle time [paced when "
      "you are at a terminal, or with --net]");
  run->add_option("--stop-at", o.stop_at, "Stop when this many instructions have run")->type_name("ICOUNT");
  run->add_option("--until-serial", o.until_serial, "Stop when a line on COM1 matches")->type_name("REGEX");
  run->add_option("--save", o.save, "Write a snapshot at the end")->type_name("FILE");
  run->add_option("--digest-every", o.digest_every, "Print a digest of the state every N instructions")->type_name("N");
  run->add_option("--json", o.json, "Write how the run ended and its digests ('-': standard output)")
      ->type_name("FILE");
  run->add_option("--slice", o.slice, "Stop and go on at random counts at most N apart: changes nothing, for tests")
      ->type_name("N");
  run->add_option("--slice-seed", o.slice_seed, "Seed of those counts")->type_name("N");
  run->add_option(
         "--trace", o.trace,
         "What standard error tells beside errors: warnings of what the guest relies on and the CPU does not do; "
         "at info also what the machine is made of, at debug what running it took")
      ->check(CLI::IsMember({"error", "warning", "info", "debug"}))
      ->capture_default_str();
}

}  // namespace understudy::tools
