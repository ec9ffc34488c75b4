#!/usr/bin/env python3
# labels: long
"""The pair's scenarios in their long versions. UNDERSTUDY_ONLY='relay' picks some."""
import os
import subprocess
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
LONG = {
    'partitions': {'UNDERSTUDY_ONLY': 'all'},
    'relay': {'UNDERSTUDY_ONLY': 'all'},
    'stops': {'UNDERSTUDY_STOPS': '1 10 60'},
}


def main():
    failed = 0
    for name in os.environ.pop('UNDERSTUDY_ONLY', ' '.join(LONG)).split():
        print(f'--- {name}', flush=True)
        code = subprocess.run([os.path.join(FOLDER, f'scenario_pair_{name}.py')], env={**os.environ, **LONG[name]}).returncode
        failed |= code not in (0, 77)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
