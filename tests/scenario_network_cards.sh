#!/bin/bash
# Boots Debian's amd64 kernel with each network card: its driver must find the card, bring the link up and send; and a
# disk on virtio must give back what was written to it.
set -euo pipefail
: "${UNDERSTUDY:?the understudy command}" "${UNDERSTUDY_IMAGES:?the folder of guest images}"
for image in vmlinuz-amd64 initramfs-amd64.img scratch.img; do
  [[ -s $UNDERSTUDY_IMAGES/$image ]] || { echo "scenario: $image is missing: tools/images makes it" >&2 && exit 77; }
done
# An initramfs from before network cards had modules in it.
if [[ $(zcat "$UNDERSTUDY_IMAGES/initramfs-amd64.img" | grep -ac ne2k-pci.ko) == 0 ]]; then
  echo "scenario: initramfs-amd64.img has no network modules: tools/images makes it anew" >&2
  exit 77
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

failed=0
# boot NAME COMMANDS [OPTION...]: the console in NAME.txt
boot() {
  local name=$1 commands=$2 code=0
  shift 2
  timeout 600 "$UNDERSTUDY" run "$UNDERSTUDY_IMAGES/vmlinuz-amd64" --initrd "$UNDERSTUDY_IMAGES/initramfs-amd64.img" \
    --append "console=ttyS0 quiet understudy.run=\"$commands\"" --serial "file:$scratch/$name.txt" "$@" </dev/null ||
    code=$?
  [[ $code == 0 ]] || { echo "scenario: $name ended with exit code $code" >&2 && failed=1; }
}
# said NAME TEXT
said() {
  grep -qF "$2" "$scratch/$1.txt" && return
  echo "scenario: $1 does not say '$2':" >&2
  tail -20 "$scratch/$1.txt" >&2
  failed=1
}

# Without a back end nobody answers: the ping's ARP requests go out, and that is what is counted.
# shellcheck disable=SC2016 # the $(...) are the guest's
card='cd /sys/class/net/eth0; echo driver=$(basename $(readlink -f device/driver)) mac=$(cat address);
  ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0; ping -c 1 -W 1 10.0.2.2;
  [ $(cat statistics/tx_packets) -gt 0 ] && echo frames=sent carrier=$(cat carrier)'
# shellcheck disable=SC2016
disk='cat /sys/block/vda/serial; echo; mount -t ext2 /dev/vda /mnt; dd if=/dev/urandom of=/mnt/x bs=64k count=40;
  set -- $(md5sum /mnt/x); umount /mnt; mount -t ext2 /dev/vda /mnt; set -- $1 $(md5sum /mnt/x);
  [ $1 = $2 ] && echo disk=same'
card=${card//$'\n'/} disk=${disk//$'\n'/}

boot ne2k "$card" --nic ne2k --mac 52:54:00:ab:cd:ef
said ne2k 'driver=ne2k-pci mac=52:54:00:ab:cd:ef'
said ne2k 'frames=sent carrier=1'
boot virtio "$card; $disk" --nic virtio --virtio-disk "$UNDERSTUDY_IMAGES/scratch.img"
said virtio 'driver=virtio_net mac=52:54:00:12:34:56'
said virtio 'frames=sent carrier=1'
said virtio 'UV1000'
said virtio 'disk=same'
[[ $failed == 0 ]] && echo 'scenario: both network cards and a virtio disk under Debian'
exit "$failed"
