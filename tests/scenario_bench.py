#!/usr/bin/env python3
"""tools/bench with made-up programs in place of understudy and QEMU, whose CPU time and memory are known: it must measure
these, judge them by the goals, stop at the prompt, and tell a run that failed from one that could not be made."""
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Burns the CPU seconds that $FAKE_SECONDS has for its kind of run, start and memory included (the figures below are far
# enough from the goals that a busy host's slower start does not matter), and ends as the guest should: a guest of ours by exit
# code 33, Linux under QEMU not at all until it is ended, which a recording notes in its file.
FAKE = r'''#!/usr/bin/env python3
import json, os, re, signal, socket, sys, time
arguments = ' '.join(sys.argv[1:])
qemu = 'qemu' in sys.argv[0]
rr = re.search('rr=([a-z]+),rrfile=([^ ,]+)', arguments)
kind = 'qemu' + ('-' + rr[1] if rr else '') if qemu else sys.argv[1]
if arguments == '--help':
    print('Subcommands:\n  run    Boot\n  record Boot and write\n  replay Again\n  log    Show')
    sys.exit(0)
if kind == 'log':
    print(json.dumps({'log_bytes': 123456}))
    sys.exit(0)
if '--nic' in arguments:
    port, body = int(re.search(r':(\d+)/', arguments)[1]), b'nothing'
    if os.environ.get('FAKE_DEAF') != kind:
        with socket.create_connection(('127.0.0.1', port)) as server, server.makefile('rb') as answer:
            server.sendall(b'GET / HTTP/1.0\r\n\r\n')
            head = b''
            while not head.endswith(b'\r\n\r\n'):
                head += answer.readline()
            body = answer.read(int(head.split(b' ')[-1]))
            time.sleep(float(os.environ.get('FAKE_SLOW', '0')) if kind == 'record' else 0)
    with socket.create_connection(('127.0.0.1', port)) as server:
        server.sendall(body)
    print('64 bytes from 10.0.2.2: seq=0 ttl=255 time=0.5 ms\n' * 20)
    sys.exit(0)
if kind == 'debug':
    server = socket.create_server(('127.0.0.1', 0))
    print(f"instructions 0 to 1100000000\ngdb -ex 'target remote :{server.getsockname()[1]}'", flush=True)
    link, got, armed, costs = server.accept()[0], b'', '', json.loads(os.environ['FAKE_SECONDS'])
    while some := link.recv(4096):
        got += some
        while packet := re.search(rb'\$([^#]*)#..', got):
            got = got[packet.end():]
            what = packet[1].decode()
            armed = what[:2] if what[0] == 'Z' else '' if what[0] == 'z' else armed
            what = what + armed if what == 'vCont;c' else what
            what = 'seek' if what.startswith('qRcmd,' + b'seek'.hex()) else what
            until = time.process_time() + costs.get(what, 0)
            while time.process_time() < until:
                pass
            answer = {'p7': '0010000000000000'}.get(what, 'T05replaylog:end;' if 'vCont' in what else 'OK')
            link.sendall(f'${answer}#00'.encode())
    sys.exit(0)
if kind == 'record' and '--stop-at' in arguments:
    sys.exit(0)
if '--paced' in arguments:
    print('understudy:/# ', flush=True)
    os.makedirs(sys.argv[2], exist_ok=True)
    while True:
        with open(sys.argv[2] + '/log-00000001.seg', 'ab') as log:
            log.write(bytes(int(os.environ['FAKE_RATE']) // 8 // 50))
        time.sleep(1 / 50)
ballast = bytearray(80_000_000) if kind == 'record' else b''
while time.process_time() < json.loads(os.environ['FAKE_SECONDS']).get(kind, 0.05):
    pass
if not qemu:
    with open(sys.argv[sys.argv.index('--json') + 1], 'w') as file:
        json.dump({'icount': 1000, 'digest': {'all': os.environ.get('FAKE_DIGEST_' + kind, 'same')}}, file)
linux = '-initrd' in arguments or '--initrd' in arguments or (kind == 'replay' and 'linux' in arguments)
def finish(*_):
    if rr: open(rr[2], 'w').close()
    os._exit(0)
if kind in ('qemu', 'qemu-record'):
    signal.signal(signal.SIGTERM, finish)
print('boot\nunderstudy:/# ' if linux else os.environ.get('FAKE_VERDICT', 'PASS'), flush=True)
if qemu and kind == 'qemu-replay':
    assert os.path.exists(rr[2])
elif qemu and linux:
    signal.pause()
elif rr:
    open(rr[2], 'w').close()
sys.exit(0 if linux or kind == 'replay' else 33)
'''

failed = False


def check(good, what):
    global failed
    if not good:
        print('scenario:', what, file=sys.stderr)
        failed = True


def main():
    with tempfile.TemporaryDirectory() as scratch:
        build, images, path = (os.path.join(scratch, name) for name in ('build', 'images', 'path'))
        os.makedirs(os.path.join(build, 'firmware'))
        os.makedirs(images)
        os.makedirs(path)
        os.symlink(sys.executable, os.path.join(path, 'python3'))
        for program in (os.path.join(build, 'understudy'), os.path.join(path, 'qemu-system-x86_64')):
            with open(program, 'w') as file:
                file.write(FAKE.replace('/usr/bin/env python3', sys.executable))
            os.chmod(program, 0o755)
        for name in ('cpu_bench.elf', 'irq_bench.elf'):
            open(os.path.join(build, 'firmware', name), 'w').close()
        for name in ('vmlinuz-amd64', 'initramfs-amd64.img'):
            open(os.path.join(images, name), 'w').close()

        def bench(only, *arguments, seconds=None, **environment):
            """Exit code, rows by name, what was printed."""
            result = os.path.join(scratch, 'result.json')
            done = subprocess.run([sys.executable, os.path.join(ROOT, 'tools', 'bench'), '--build', build, '--images',
                                   images, '--json', result, '--only', only, *arguments],
                                  env={'PATH': path, 'FAKE_SECONDS': json.dumps(seconds or {}), **environment},
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode == 2:
                return 2, {}, done.stdout
            with open(result) as file:
                rows = {row['row']: row for row in json.load(file)['rows']}
            return done.returncode, rows, done.stdout

        code, rows, text = bench('^cpu_bench/speed', '--rounds', '2', seconds={'run': 0.4, 'qemu': 1.0})
        row = rows['cpu_bench/speed']
        check(code == 0 and row['verdict'] == 'aim met', f'a fast run: {code}, {row}')
        check(2.0 < row['value'] < 3.0 and len(row['ours_all']) == 2, f'1.0 s to 0.4 s: {row}')
        check('aim met' in text, 'the table has no verdict')

        code, rows, _ = bench('^cpu_bench/speed', '--quick', seconds={'run': 0.5, 'qemu': 0.2})
        check(code == 1 and rows['cpu_bench/speed']['verdict'] == 'MISSED', f'a slow run: {code}, {rows}')
        code, rows, _ = bench('^irq_bench/speed', '--quick', seconds={'run': 0.5, 'qemu': 0.2})
        check(code == 0 and rows['irq_bench/speed']['verdict'] == '', f'a slow run without a goal: {code}, {rows}')

        code, rows, text = bench('^linux-amd64/', '--rounds', '1', '--timeout', '60',
                                 seconds={'run': 0.3, 'record': 0.6, 'replay': 0.1, 'qemu': 1.0, 'qemu-record': 2.0,
                                          'qemu-replay': 1.0})
        verdicts = {name.split('/')[1]: row['verdict'] for name, row in rows.items()}
        check(code == 1, f'Linux: exit code {code}')
        check(verdicts.get('speed') == verdicts.get('record-qemu') == 'aim met', f'Linux: {verdicts}\n{text}')
        check(verdicts.get('replay') == verdicts.get('replay-qemu') == 'met', f'Linux: {verdicts}')
        check(verdicts.get('record') == 'MISSED', f'Linux: {verdicts}')
        check(verdicts.get('log') == 'MISSED' and rows['linux-amd64/log']['value'] == 123.456, f'log: {rows}')
        check(verdicts.get('record-memory') == 'MISSED' and 75 < rows['linux-amd64/record-memory']['value'] < 85,
              f'memory: {rows["linux-amd64/record-memory"]}')
        check(verdicts.get('memory') == 'met', f'memory: {rows["linux-amd64/memory"]}')

        code, rows, text = bench('^debug/', '--rounds', '1', seconds={'seek': 0.1, 'bs': 0.002, 'vCont;c': 0.1, 'vCont;cZ1': 0.3, 'vCont;cZ2': 0.2})
        verdicts = {name.split('/')[1]: row['verdict'] for name, row in rows.items()}
        check(code == 1 and verdicts == {'step-back': 'met', 'step-back-worst': 'met', 'seek-cold': 'met', 'breakpoint': 'MISSED',
                                         'write-watch': 'met'}, f'debug: {code}, {verdicts}, {text}')
        check(1 < rows['debug/step-back']['value'] < 50 and 90 < rows['debug/seek-cold']['value'] < 900, f'debug: {rows}')

        code, rows, text = bench('^net-virtio/', '--rounds', '3')
        check(code in (0, 1) and set(rows) == {f'net-virtio/{what}' for what in ('receive', 'send', 'ping', 'cpu')}, f'{code}, {text}')
        check(rows['net-virtio/ping'].get('value') == 0.5, f'ping: {rows}')
        check(len(rows['net-virtio/send'].get('other_all', [])) == 3, f'rounds: {rows}')
        code, rows, text = bench('^net-ne2k/receive', '--rounds', '1', FAKE_SLOW='1')
        check(code == 1 and rows['net-ne2k/receive']['verdict'] == 'MISSED', f'a slow transfer: {code}, {text}')
        code, rows, text = bench('^net-ne2k/', '--rounds', '1', FAKE_DEAF='record')
        check(code == 1 and 'not measured' in text, f'a transfer that is not made: {code}, {text}')
        code, rows, text = bench('^idle/', '--rounds', '1', '--idle', '1', FAKE_RATE='1000')
        check(code == 0 and 0 < rows['idle/log-rate']['value'] < 1.5, f'an idle guest: {code}, {rows}')
        code, rows, text = bench('^idle/', '--rounds', '1', '--idle', '1', FAKE_RATE='20000')
        check(code == 1 and rows['idle/log-rate']['verdict'] == 'MISSED', f'a log that grows: {code}, {rows}')

        code, rows, text = bench('^cpu_bench/speed', '--quick', FAKE_VERDICT='FAIL')
        check(code == 1 and rows['cpu_bench/speed']['verdict'] == 'not measured', f'a guest that fails: {code}, {rows}')
        code, rows, text = bench('^cpu_bench/replay$', '--quick', FAKE_DIGEST_replay='other')
        check(code == 1 and 'another run' in text, f'a replay that ends elsewhere: {code}, {rows}')
        code, rows, text = bench('^cpu_bench64/', '--quick')
        check(code == 0 and 'cpu_bench64.elf is missing' in text, f'a missing guest: {code}, {text}')
        os.remove(os.path.join(path, 'qemu-system-x86_64'))
        code, rows, text = bench('^cpu_bench/(speed|memory)', '--quick')
        check(code == 0 and 'tools/setup --with-qemu' in text, f'no QEMU: {code}, {text}')
        check(rows['cpu_bench/memory']['verdict'] == 'met', f'no QEMU: {rows}')
        code, _, text = bench('nothing', '--quick')
        check(code == 2 and 'no such row' in text, f'--only nothing: {code}, {text}')
    if not failed:
        print('scenario: the benchmark measures and judges')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
