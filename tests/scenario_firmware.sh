#!/bin/bash
# Runs the guests of firmware/guests.txt: each must say on its console what it says on QEMU (firmware/expected), byte for
# byte, end with its own verdict, and end in the same state when the run is chopped into random slices of 1 to 100,000
# instructions; those of few instructions also in slices of 1 to 97. scenario_firmware_long.sh slices the longest, too.
set -euo pipefail
: "${UNDERSTUDY:?the understudy command}" "${UNDERSTUDY_FIRMWARE:?the folder of built guests}"
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

readonly passed=33            # the guests write 10h to port f4
readonly longest_fine=500000  # instructions of a run that is cut finely
readonly seed=${1:-1} longest_sliced=${2:-50000000}

# run GUEST DISK_MIB NAME [OPTION...]: console in NAME.txt, result in NAME.json, exit code in `code`.
run() {
  local guest=$1 disk_mib=$2 name=$3
  shift 3
  if [[ $disk_mib != 0 ]]; then
    rm -f "$scratch/disk.img"
    truncate -s "${disk_mib}M" "$scratch/disk.img"
    set -- --disk "$scratch/disk.img" "$@"
  fi
  code=0
  "$UNDERSTUDY" run "$UNDERSTUDY_FIRMWARE/$guest.elf" --memory 64 --serial "file:$scratch/$name.txt" \
    --json "$scratch/$name.json" "$@" </dev/null || code=$?
}
state() { grep -E '"(icount|virtual_ns|cpu|ram|devices|all)"' "$1"; }
icount() { sed -n 's/.*"icount": *\([0-9]*\).*/\1/p' "$1"; }

failed=0
guests=0
complain() {
  echo "scenario: $*" >&2
  failed=1
}
while read -r guest mode disk_mib _; do
  [[ -n $guest && $guest != \#* ]] || continue
  guests=$((guests + 1))
  run "$guest" "$disk_mib" whole
  [[ $code == "$passed" ]] || complain "$guest ended with exit code $code"
  if [[ $mode == compare ]]; then
    cmp "$scratch/whole.txt" "firmware/expected/$guest.txt" || complain "$guest says something else than on QEMU"
  fi
  (($(icount "$scratch/whole.json") <= longest_sliced)) || continue
  slices=(100000)
  (($(icount "$scratch/whole.json") > longest_fine)) || slices+=(97)
  for slice in "${slices[@]}"; do
    run "$guest" "$disk_mib" sliced --slice "$slice" --slice-seed "$seed"
    diff <(state "$scratch/whole.json") <(state "$scratch/sliced.json") ||
      complain "$guest ends in another state in slices of at most $slice, seed $seed"
  done
done <firmware/guests.txt
[[ $failed == 0 && $guests != 0 ]] && echo "scenario: $guests guests, whole and in slices"
exit "$failed"
