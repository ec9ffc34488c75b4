"""A headless Chromium that a test drives over a pipe, and enough of PNG to see that its picture shows something."""
import base64
import json
import os
import shutil
import struct
import subprocess
import tempfile
import time
import zlib


def find():
    return next((path for path in map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome')) if path), None)


class Browser:
    def __init__(self, width=1400, height=700):
        self.profile = tempfile.TemporaryDirectory()
        commands, self.to_browser = os.pipe()
        from_browser, answers = os.pipe()
        # --remote-debugging-pipe: messages that end with a zero byte, on descriptors 3 and 4.
        self.process = subprocess.Popen(
            ['bash', '-c', f'exec "$@" 3<&{commands} 4>&{answers}', 'bash', find(), '--headless=new', '--no-sandbox',
             '--disable-gpu', '--remote-debugging-pipe', f'--window-size={width},{height}',
             f'--user-data-dir={self.profile.name}', 'about:blank'],
            pass_fds=(commands, answers), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(answers)
        self.answers = os.fdopen(from_browser, 'rb', 0)
        self.unread = b''
        self.count = 0
        self.session = {}
        pages = [target for target in self.call('Target.getTargets')['targetInfos'] if target['type'] == 'page']
        attached = self.call('Target.attachToTarget', targetId=pages[0]['targetId'], flatten=True)
        self.session = {'sessionId': attached['sessionId']}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.to_browser)
        self.answers.close()
        # Its children may still be writing there.
        self.profile._finalizer.detach()
        shutil.rmtree(self.profile.name, ignore_errors=True)

    def call(self, method, **parameters):
        self.count += 1
        message = {'id': self.count, 'method': method, 'params': parameters, **self.session}
        os.write(self.to_browser, json.dumps(message).encode() + b'\0')
        while True:
            while b'\0' not in self.unread:
                chunk = self.answers.read(1 << 20)
                if not chunk:
                    raise RuntimeError('the browser has ended')
                self.unread += chunk
            one, self.unread = self.unread.split(b'\0', 1)
            answer = json.loads(one)
            if answer.get('id') == self.count:
                if 'error' in answer:
                    raise RuntimeError(f'{method}: {answer["error"]}')
                return answer['result']

    def evaluate(self, expression):
        return self.call('Runtime.evaluate', expression=expression, returnByValue=True)['result'].get('value')

    def wait_for(self, what, seconds=60):
        """Until `what` of the page's text is true; returns that text."""
        deadline = time.monotonic() + seconds
        while True:
            text = self.evaluate('document.body ? document.body.innerText : ""') or ''
            if what(text):
                return text
            if time.monotonic() > deadline:
                raise RuntimeError(f'the page still says: {text[:500]}')
            time.sleep(0.05)

    def press(self, key):
        for kind in ('keyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=key, text=key if kind == 'keyDown' else '')

    def picture(self):
        return base64.b64decode(self.call('Page.captureScreenshot')['data'])


def pixels(png):
    """Rows of (r, g, b) of an 8-bit PNG that is not interlaced."""
    at, data, width, height, channels = 8, b'', 0, 0, 0
    while at < len(png):
        length, kind = struct.unpack_from('>I4s', png, at)
        body = png[at + 8:at + 8 + length]
        if kind == b'IHDR':
            width, height, depth, color, _, _, interlaced = struct.unpack('>IIBBBBB', body)
            if depth != 8 or color not in (2, 6) or interlaced:
                raise RuntimeError('not a PNG of the kind that a screenshot is')
            channels = 3 if color == 2 else 4
        elif kind == b'IDAT':
            data += body
        at += 12 + length
    raw, rows, above = zlib.decompress(data), [], bytearray(width * channels)
    for y in range(height):
        start = y * (width * channels + 1)
        method, line = raw[start], bytearray(raw[start + 1:start + 1 + width * channels])
        for i in range(len(line)):
            left = line[i - channels] if i >= channels else 0
            up = above[i]
            corner = above[i - channels] if i >= channels else 0
            if method == 1:
                line[i] = (line[i] + left) & 255
            elif method == 2:
                line[i] = (line[i] + up) & 255
            elif method == 3:
                line[i] = (line[i] + (left + up) // 2) & 255
            elif method == 4:
                guess = left + up - corner
                nearest = min((left, up, corner), key=lambda one, guess=guess: abs(guess - one))
                line[i] = (line[i] + nearest) & 255
        rows.append([tuple(line[i:i + 3]) for i in range(0, len(line), channels)])
        above = line
    return rows
