#!/bin/bash
# Every guest of ours, the BIOS floppy boot and the first part of Linux boots: stopped on the way, saved, and carried on
# by a new process, each must end where the uninterrupted run ends: same count, time, digests, console and exit code.
# tests/scenario_snapshot_long.sh runs this with whole Linux boots.
set -euo pipefail
: "${UNDERSTUDY:?the understudy command}" "${UNDERSTUDY_FIRMWARE:?the folder of built guests}" "${UNDERSTUDY_IMAGES:?}"
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mode=${1:-short}

failed=0
complain() {
  echo "scenario: $*" >&2
  failed=1
}
# run NAME OPTION...: console in NAME.txt, result in NAME.json, exit code in `code`.
run() {
  local name=$1
  shift
  code=0
  rm -f "$scratch/$name.json"
  timeout -s KILL 600 "$UNDERSTUDY" run --unpaced --serial "file:$scratch/$name.txt" --json "$scratch/$name.json" "$@" \
    </dev/null 2>"$scratch/$name.err" || code=$?
}
state() { grep -E '"(icount|virtual_ns|exit|exit_code|cpu|ram|devices|all)"' "$1"; }
icount() { sed -n 's/.*"icount": \([0-9]*\).*/\1/p' "$1"; }

# whole_and_resumed WHAT "PERCENT..." END OPTION...: the state and console of a whole run, to count END unless that is 0,
# against those of runs stopped at percentages of it.
whole_and_resumed() {
  local what=$1 percents=$2 percent at total whole_code until=()
  [[ $3 == 0 ]] || until=(--stop-at "$3")
  shift 3
  run whole "$@" "${until[@]}"
  whole_code=$code
  [[ -s $scratch/whole.json ]] || {
    complain "$what: no result: $(cat "$scratch/whole.err")"
    return
  }
  total=$(icount "$scratch/whole.json")
  for percent in $percents; do
    at=$((total * percent / 100 + 1))
    run first "$@" --stop-at "$at" --save "$scratch/snapshot"
    [[ $code == 0 ]] || complain "$what: exit code $code at $at: $(cat "$scratch/first.err")"
    run second "$@" "${until[@]}" --from-snapshot "$scratch/snapshot"
    [[ $code == "$whole_code" ]] || complain "$what: exit code $code from $at on, not $whole_code"
    diff <(state "$scratch/whole.json") <(state "$scratch/second.json") || complain "$what ends in another state from $at on"
    cmp "$scratch/whole.txt" <(cat "$scratch/first.txt" "$scratch/second.txt") ||
      complain "$what says something else from $at on"
  done
}

linux=("$UNDERSTUDY_IMAGES/vmlinuz-amd64" "$UNDERSTUDY_IMAGES/vmlinuz-686")
if [[ $mode == long ]]; then
  for kernel in "${linux[@]}"; do
    [[ -f $kernel ]] || exit 77
    arch=${kernel##*-}
    whole_and_resumed "Linux $arch" "7 35 80" 0 "$kernel" --initrd "$UNDERSTUDY_IMAGES/initramfs-$arch.img" \
      --append "console=ttyS0 ${UNDERSTUDY_LINUX_APPEND:-}" --memory 256 --until-serial '[$#] $'
  done
else
  truncate -s 8M "$scratch/disk.img"
  while read -r guest _ disk _; do
    [[ -n $guest && $guest != \#* ]] || continue
    # mmio_fuzz and the benchmarks run for long; their first part will do.
    options=("$UNDERSTUDY_FIRMWARE/$guest.elf" --memory 64)
    end=0
    case $guest in
      mmio_fuzz | cpu_bench* | irq_bench | flags_long | flags) end=20000000 ;;
    esac
    [[ $disk == 0 ]] || options+=(--disk "$scratch/disk.img" --disk-mode snapshot)
    whole_and_resumed "$guest" "37 83" "$end" "${options[@]}"
  done <firmware/guests.txt
  if [[ -f $UNDERSTUDY_IMAGES/floppy.img ]]; then
    whole_and_resumed "the floppy" "20 60" 6000000 --floppy "$UNDERSTUDY_IMAGES/floppy.img"
  fi
  for kernel in "${linux[@]}"; do
    [[ -f $kernel ]] || continue
    arch=${kernel##*-}
    whole_and_resumed "Linux $arch" "60" 600000000 "$kernel" --initrd "$UNDERSTUDY_IMAGES/initramfs-$arch.img" \
      --append console=ttyS0 --memory 256
  done
fi
[[ $failed == 0 ]] && echo "scenario: every resumed run ends where the uninterrupted one does"
exit "$failed"
