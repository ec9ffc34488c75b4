#!/usr/bin/env python3
# labels: long
"""A trace viewer that is not ours shows a timeline: speedscope, from the npm registry, in a headless Chromium. Each track
that has spans is one of its profiles, and is drawn. UNDERSTUDY_PICTURES=FOLDER keeps the pictures."""
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import time

import headless_browser

COMMAND = os.environ['UNDERSTUDY']
FIRMWARE = os.environ['UNDERSTUDY_FIRMWARE']
VIEWER = 'speedscope@1.25.0'


def fetch_viewer(scratch):
    """The viewer's page; nothing without npm or its registry."""
    try:
        subprocess.run(['npm', 'pack', '--silent', VIEWER], cwd=scratch, check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return None
    archive = next(name for name in os.listdir(scratch) if name.endswith('.tgz'))
    subprocess.run(['tar', 'xzf', archive], cwd=scratch, check=True)
    return os.path.join(scratch, 'package/dist/release/index.html')


def tracks_with_spans(timeline):
    """Their names, and which share of the time the spans cover."""
    names, covered, end = {}, {}, 0
    for event in timeline['traceEvents']:
        if event['name'] == 'thread_name':
            names[event['tid']] = event['args']['name']
        if event['ph'] == 'X':
            covered[event['tid']] = covered.get(event['tid'], 0) + event['dur']
            end = max(end, event['ts'] + event['dur'])
    return {names[tid]: time_us / end for tid, time_us in covered.items()}


def coloured(png):
    """How many pixels below the viewer's own bars are neither grey nor white nor black."""
    rows = headless_browser.pixels(png)[30:]
    return sum(max(pixel) - min(pixel) > 20 for row in rows for pixel in row)


def main():
    if headless_browser.find() is None:
        print('scenario: no Chromium here')
        return 77
    with tempfile.TemporaryDirectory() as scratch:
        page = fetch_viewer(scratch)
        if page is None:
            print(f'scenario: npm cannot fetch {VIEWER}')
            return 77
        recording, path = os.path.join(scratch, 'recording'), os.path.join(scratch, 'timeline.json')
        subprocess.run([COMMAND, 'record', recording, f'{FIRMWARE}/timer.elf', '--memory', '16', '--serial', 'none'],
                       stdin=subprocess.DEVNULL, check=False)
        subprocess.run([COMMAND, 'timeline', recording, '-o', path, '--resolution', '700'], check=True)
        with open(path, 'rb') as file:
            content = file.read()
        expected = tracks_with_spans(json.loads(content))
        loader = os.path.join(scratch, 'timeline.js')
        with open(loader, 'w') as file:
            file.write(f'speedscope.loadFileFromBase64("timeline.json", "{base64.b64encode(content).decode()}")')
        shown = set()
        with headless_browser.Browser() as browser:
            browser.call('Page.navigate', url=f'file://{page}#localProfilePath={loader}')
            for number in range(1, len(expected) + 1):
                title = re.compile(rf'guest \(pid 1\), (.*) \(tid \d+\) \({number}/{len(expected)}\)')
                text = browser.wait_for(title.search)
                name = title.search(text).group(1)
                shown.add(name)
                deadline = time.monotonic() + 60
                # What is there for a moment only is thinner than a pixel.
                while coloured(picture := browser.picture()) < 1000 and expected[name] > 0.01:
                    if time.monotonic() > deadline:
                        raise RuntimeError(f'{name}: nothing is drawn')
                folder = os.environ.get('UNDERSTUDY_PICTURES')
                if folder:
                    with open(os.path.join(folder, f'timeline-{re.sub("[^a-z0-9]+", "-", name)}.png'), 'wb') as file:
                        file.write(picture)
                browser.press('n')
        if shown != set(expected) or 'idle' not in shown:
            raise RuntimeError(f'the viewer shows {sorted(shown)}, not {sorted(expected)}')
        print(f'scenario: {VIEWER} shows {", ".join(sorted(shown))}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
