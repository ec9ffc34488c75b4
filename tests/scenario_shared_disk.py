#!/usr/bin/env python3
"""A machine on its own whose disk is a server's: what it writes is there, its recording replays without the server to the
same digests, and a server that fails or goes away is seen by the guest and by the user."""
import json
import os
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nbd_rig import DiskServer, missing_records, until  # noqa: E402

COMMAND = os.environ['UNDERSTUDY']
GUEST = os.path.join(os.environ['UNDERSTUDY_FIRMWARE'], 'disk_journal.elf')
PASSED = 33


def require(condition, text):
    if not condition:
        raise AssertionError(text)


def journal(folder, words, *options, name='run', command=('run',)):
    said = os.path.join(folder, name + '.txt')
    done = subprocess.run([COMMAND, *command, GUEST, '--append', words, '--memory', '16', '--serial', f'file:{said}', '--json',
                           os.path.join(folder, name + '.json'), *options], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True, timeout=300)
    with open(said, errors='replace') as file:
        return done, file.read()


def recorded(kind, option, pacing):
    def test(folder):
        with DiskServer(folder).start_file() as server:
            recording = os.path.join(folder, 'rec')
            words = f'disk={kind} records=300'
            done, said = journal(folder, words, option, server.socket, pacing, command=('record', recording))
            require(done.returncode == PASSED, f'{done.returncode}: {said} {done.stderr}')
            require(missing_records(server.image, 1, 300) == [], 'records are missing in the image')
        with open(os.path.join(folder, 'run.json')) as file:
            result = json.load(file)
        # The server is gone, and the image is another's.
        os.unlink(server.image)
        replayed = os.path.join(folder, 'replay.json')
        again = subprocess.run([COMMAND, 'replay', recording, '--verify', '--json', replayed], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
        require(again.returncode in (0, PASSED), f'replay: {again.returncode}: {again.stderr}')
        with open(replayed) as file:
            require(json.load(file)['digest'] == result['digest'], 'other digests in the replay')
        log = subprocess.run([COMMAND, 'log', recording, '--json', '--grep', 'block_done'], check=True, stdout=subprocess.PIPE,
                             text=True).stdout
        answers = [json.loads(line) for line in log.splitlines()]
        reads = [answer for answer in answers if answer['bytes']]
        require(len(answers) > 600 and len(reads) > 300, f'{len(answers)} answers in the log, {len(reads)} of reads')
        resumed = subprocess.run([COMMAND, 'resume', recording, '--at', '1000'], stderr=subprocess.PIPE, text=True)
        require(resumed.returncode == 2 and 'outside of the machine' in resumed.stderr, f'resumed: {resumed.stderr}')
        return f'{len(answers)} answers'
    test.__name__ = f'recorded_{kind}{pacing.replace("--", "_")}'
    return test


def failing(folder):
    """An error of the server's reaches the guest as one of the device."""
    with DiskServer(folder).start('--filter=error', 'memory', '2M', 'error-pwrite-rate=1', 'error=ENOSPC') as server:
        done, said = journal(folder, 'disk=ide', '--disk', server.uri)
        require('record 1: cannot be written' in said, f'the guest said {said!r}')
        require('a device error' in done.stderr and 'No space left' in done.stderr, f'the user heard {done.stderr!r}')


def away(folder):
    """Requests wait for a server that goes away and comes back, and the user is told."""
    with DiskServer(folder).start_file() as server:
        said = os.path.join(folder, 'said')
        errors = os.path.join(folder, 'errors')
        with open(errors, 'w') as error:
            run = subprocess.Popen([COMMAND, 'run', GUEST, '--append', 'disk=virtio records=2000 every=10', '--memory', '16',
                                    '--serial', f'file:{said}', '--virtio-disk', server.socket], stdin=subprocess.DEVNULL,
                                   stderr=error)
        for _ in range(2):
            before = os.path.getsize(said) if os.path.exists(said) else 0
            until('the guest writes', lambda: os.path.exists(said) and os.path.getsize(said) > before + 50)
            was_back = open(errors).read().count('is back')
            server.kill()
            until('the user is told', lambda: open(errors).read().count('is gone') > was_back)
            server.start_file()
            until('it is back', lambda: open(errors).read().count('is back') > was_back)
        require(run.wait(120) == PASSED, f'{run.returncode}: {open(said).read()[-300:]} {open(errors).read()}')
        require(missing_records(server.image, 1, 2000) == [], 'records are missing in the image')


def stopped(folder):
    """A server that answers no more keeps nobody from leaving."""
    with DiskServer(folder).start_file() as server:
        said = os.path.join(folder, 'said')
        run = subprocess.Popen([COMMAND, 'run', GUEST, '--append', 'records=1000000 every=10', '--memory', '16', '--serial',
                                f'file:{said}', '--disk', server.socket], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               text=True)
        until('the guest writes', lambda: os.path.exists(said) and 'safe' in open(said).read())
        server.process.send_signal(signal.SIGSTOP)
        run.terminate()
        _, errors = run.communicate(timeout=60)
        require(run.returncode == 130, f'{run.returncode}: {errors}')


def refused(folder):
    """What cannot be used is said in one line."""
    def refusal(*options):
        done = subprocess.run([COMMAND, 'run', GUEST, *options], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
        require(done.returncode == 2 and done.stderr.count('\n') == 1, f'{options}: {done.returncode} {done.stderr!r}')
        return done.stderr
    require('start the disk' in refusal('--disk', f'nbd+unix:///?socket={folder}/nobody'), 'nobody there')
    require('for the nodes of a pair' in refusal('--disk', 'hub:data'), 'a hub\'s disk')
    with DiskServer(folder).start('memory', '100') as server:
        require('not even one sector' in refusal('--disk', server.uri), 'a tiny disk')


if __name__ == '__main__':
    failed = 0
    for test in (recorded('ide', '--disk', '--unpaced'), recorded('virtio', '--virtio-disk', '--unpaced'),
                 recorded('virtio', '--virtio-disk', '--paced'), failing, away, stopped, refused):
        with tempfile.TemporaryDirectory(prefix='understudy-disk-') as scratch:
            try:
                note = test(scratch)
                print(f'ok   {test.__name__}{": " + note if note else ""}', flush=True)
            except AssertionError as error:
                failed += 1
                print(f'FAIL {test.__name__}: {error}', flush=True)
    sys.exit(1 if failed else 0)
