#!/bin/bash
# scenario_firmware.sh with other slices, and all guests sliced.
# labels: long
set -euo pipefail
exec "$(dirname "$0")/scenario_firmware.sh" 2 9999999999999
