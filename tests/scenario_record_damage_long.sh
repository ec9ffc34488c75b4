#!/bin/bash
# Damaged and interrupted recordings in full numbers, and every guest of ours.
# labels: long
exec "$(dirname "$0")/scenario_record_damage.py" long
