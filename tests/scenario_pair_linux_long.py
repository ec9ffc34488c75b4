#!/usr/bin/env python3
# labels: long
"""scenario_pair_linux.py with the whole file and three kills."""
import os
import sys

os.environ.update(UNDERSTUDY_ROUNDS='3', UNDERSTUDY_BYTES='100000000')
os.execv(sys.executable, [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'scenario_pair_linux.py')])
