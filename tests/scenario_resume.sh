#!/bin/bash
# Goes on live from points of a recording: a guest without inputs must end as it did when it was recorded, the recording
# of its second life must replay, and a replay that begins at a snapshot must end like one from power-on.
set -euo pipefail
: "${UNDERSTUDY:?the understudy command}" "${UNDERSTUDY_FIRMWARE:?the folder of built guests}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

state() { grep -E '"(icount|virtual_ns|cpu|ram|devices|all)"' "$1"; }
same() {
  diff <(state "$scratch/recorded.json") <(state "$1") || { echo "scenario: $2" >&2; exit 1; }
}

"$UNDERSTUDY" record "$scratch/whole" "$UNDERSTUDY_FIRMWARE/irq_bench.elf" --memory 32 --serial "file:$scratch/whole.txt" \
  --unpaced --snapshot-every 30 --json "$scratch/recorded.json" </dev/null || [[ $? == 33 ]]
end=$(sed -n 's/.*"icount": \([0-9]*\).*/\1/p' "$scratch/recorded.json")
snapshots=$("$UNDERSTUDY" log "$scratch/whole" --grep snapshot --json | wc -l)
((snapshots >= 2)) || { echo "scenario: only $snapshots snapshots in $end instructions" >&2; exit 1; }
"$UNDERSTUDY" log "$scratch/whole" --check >"$scratch/check.txt"

"$UNDERSTUDY" replay "$scratch/whole" --from nearest --json "$scratch/near.json"
same "$scratch/near.json" "the replay from a snapshot ended in another state"

for at in 1 29999999 $((end / 2 + 7)) $((end - 1)); do
  "$UNDERSTUDY" resume "$scratch/whole" --at "$at" --into "$scratch/second" --unpaced --serial none \
    --json "$scratch/second.json" </dev/null || [[ $? == 33 ]]
  same "$scratch/second.json" "resumed at $at, the guest ended in another state"
  "$UNDERSTUDY" replay "$scratch/second" --json "$scratch/again.json"
  same "$scratch/again.json" "resumed at $at, its recording replays to another state"
  rm -r "$scratch/second"
done
code=0
"$UNDERSTUDY" resume "$scratch/whole" --at $((end + 1)) --serial none 2>"$scratch/error.txt" </dev/null || code=$?
if [[ $code != 2 ]] || ! grep -q "ends at instruction $end" "$scratch/error.txt"; then
  echo "scenario: a point after the end: exit code $code" >&2
  exit 1
fi
# A snapshot that is not the recorded one is refused.
snapshot=$(find "$scratch/whole" -name 'snap-*' | sort | tail -n 1)
printf '\x55' | dd of="$snapshot" bs=1 seek=5000 conv=notrunc status=none
code=0
"$UNDERSTUDY" replay "$scratch/whole" --from nearest 2>"$scratch/error.txt" || code=$?
[[ $code == 2 ]] || { echo "scenario: a damaged snapshot: exit code $code" >&2; exit 1; }
echo "scenario: resumed at 4 points of $end instructions, with $snapshots snapshots"
