#!/bin/bash
# Whole Linux boots through snapshots in the middle.
# labels: long
exec "$(dirname "$0")/scenario_snapshot.sh" long
