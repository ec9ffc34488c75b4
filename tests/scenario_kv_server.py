#!/usr/bin/env python3
"""The guest kv_server, on each network card: what clients get from it over several connections, and that a recording made
under their load replays equal. Then its TCP over a wire that loses, doubles and reorders frames, and under hostile ones."""
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import kv_load
import linearizable
import raw_tcp
from raw_tcp import ACK, FIN, GUEST_IP, PSH, RST, SYN, Client, Segment, Wire, ip_frame, tcp_frame

COMMAND = os.environ['UNDERSTUDY']
GUEST = os.path.join(os.environ['UNDERSTUDY_FIRMWARE'], 'kv_server.elf')
LIMIT = 60  # host seconds for anything that takes less than one


def require(condition, text):
    if not condition:
        raise AssertionError(text)


def blob(count):
    words = (count + 3) // 4
    return struct.pack(f'<{words}I', *((i * 2654435761) & 0xFFFFFFFF for i in range(words)))[:count]


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Server:
    """The guest, running; `how` is run or record DIR."""

    def __init__(self, scratch, nic, net, how=('run',)):
        self.console = os.path.join(scratch, 'console')
        self.json = os.path.join(scratch, 'json')
        open(self.console, 'w').close()
        self.process = subprocess.Popen([COMMAND, *how, GUEST, '--paced', '--memory', '32', '--nic', nic, '--net', net,
                                         '--serial', 'file:' + self.console, '--json', self.json],
                                        stdin=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def said(self):
        with open(self.console) as file:
            return file.read()

    def wait_for(self, text):
        until = time.monotonic() + LIMIT
        while text not in self.said():
            require(self.process.poll() is None, f'understudy ended with {self.process.returncode}')
            require(time.monotonic() < until, f'{text!r} is not on the console: {self.said()!r}')
            time.sleep(0.01)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        require(self.process.wait(LIMIT) == 130, f'exit code {self.process.returncode}')
        with open(self.json) as file:
            return json.load(file)


class Connection:
    """A client over the host's own TCP."""

    def __init__(self, port):
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=LIMIT)
        self.file = self.socket.makefile('rwb')

    def ask(self, *lines):
        self.file.write(b''.join(line.encode() + b'\n' for line in lines))
        self.file.flush()
        return [self.file.readline().decode().rstrip('\n') for _ in lines]

    def close(self):
        self.file.close()
        self.socket.close()


def serves(scratch, nic):
    port = free_port()
    with Server(scratch, nic, f'user,hostfwd=tcp:127.0.0.1:{port}-:7000') as server:
        server.wait_for('kv_server ready on 10.0.2.15:7000, ' + nic)
        clients = [Connection(port) for _ in range(16)]
        first, second = clients[:2]
        dialogue = [('PING', 'PONG'), ('GET a', 'NONE'), ('SET a 9', 'OK'), ('GET a', 'VALUE 9'), ('INCR a', 'VALUE 10'),
                    ('CAS a 10 x', 'OK'), ('CAS a 10 y', 'DIFFERS x'), ('CAS b 1 2', 'NONE'), ('INCR b', 'VALUE 1')]
        for line, answer in dialogue:
            require(first.ask(line) == [answer], line)
        require(second.ask('GET a', 'SET a z') == ['VALUE x', 'OK'] and first.ask('GET a') == ['VALUE z'], 'one store')
        require(first.ask('SET n ' + '9' * 18, 'INCR n')[1].startswith('ERR'), 'a number that grows too large')
        for line in ('', 'bogus', 'SET a', 'GET a b', 'SET  a b', ' GET a', 'GET a\tb', 'SET a \x7f', 'INCR a', 'BLOB x',
                     'BLOB 1000000000', 'SET ' + 'k' * 65 + ' v', 'SET k ' + 'v' * 127, 'x' * 3000):
            require(first.ask(line)[0].startswith('ERR '), line)
        require(first.ask('GET k') == ['NONE'], 'a bad line changes nothing')
        require(first.ask(f'SET {"k" * 64} {"v" * 126}', f'GET {"k" * 64}')[1] == 'VALUE ' + 'v' * 126, 'the longest')
        first.file.write(b'PING\r\nDUMP\n')
        first.file.flush()
        lines = [first.file.readline() for _ in range(6)]
        require(lines == [b'PONG\n', b'KEY a z\n', b'KEY b 1\n', b'KEY n ' + b'9' * 18 + b'\n',
                          b'KEY ' + b'k' * 64 + b' ' + b'v' * 126 + b'\n', b'END 4\n'], lines)
        many = [f'SET p{i} {i}' for i in range(2000)] + [f'GET p{i}' for i in range(2000)]
        require(first.ask(*many) == ['OK'] * 2000 + [f'VALUE {i}' for i in range(2000)], 'pipelined')
        for number, client in enumerate(clients):
            client.file.write(b'INCR shared\n')
            client.file.flush()
        got = sorted(int(client.file.readline().split()[1]) for client in clients)
        require(got == list(range(1, 17)), f'sixteen at the same time: {got}')
        size = 10_000_000 if nic == 'virtio' else 300_000  # the other card is a 10 Mbit/s one
        require(second.ask(f'BLOB {size}') == [f'BLOB {size}'] and second.file.read(size) == blob(size), 'the blob')
        require(second.ask('BLOB 0', 'PING') == ['BLOB 0', 'PONG'], 'an empty blob')
        # Both ways to end: ours, after what was asked has been answered, and theirs.
        second.file.write(b'GET p1\nGET p2')
        second.file.flush()
        second.socket.shutdown(socket.SHUT_WR)
        require(second.file.read() == b'VALUE 1\n', 'a half-closed connection is answered')
        require(first.ask('QUIT') == ['BYE'] and first.file.read() == b'', 'QUIT')
        for client in clients:
            client.close()
        server.wait_for('closed')
        server.stop()
        print(f'{nic}: serves')


def replays(scratch, nic):
    port, folder = free_port(), os.path.join(scratch, 'recording-' + nic)
    net = f'user,hostfwd=tcp:127.0.0.1:{port}-:7000'
    with Server(scratch, nic, net, ('record', folder, '--state-digest', '0.1')) as server:
        server.wait_for('ready')
        load = kv_load.Load(('127.0.0.1', port), clients=4, keys=6, seed=2).start()
        # Beside them one that comes and goes, and takes more.
        chance = random.Random(2)
        for _ in range(10):
            client = Connection(port)
            size = chance.randrange(20_000)
            client.ask('nonsense', f'SET k {size}', f'BLOB {size}')
            require(client.file.read(size) == blob(size), 'a blob under load')
            client.close()
        until = time.monotonic() + LIMIT
        while load.summary()['answered'] < 4000:
            require(time.monotonic() < until, f'the clients do not get on: {load.summary()}')
            time.sleep(0.01)
        summary = load.stop()
        require(summary['unanswered'] == 0 and summary['reconnects'] == 0, f'under load: {summary}')
        want = server.stop()
    linearizable.check(load.history)
    done = subprocess.run([COMMAND, 'replay', folder, '--verify', '--json', server.json], stdout=subprocess.PIPE)
    require(done.returncode == 0, f'{nic}: understudy replay: exit code {done.returncode}')
    with open(server.json) as file:
        got = json.load(file)
    require(all(got[key] == want[key] for key in ('icount', 'virtual_ns', 'digest')), f'{nic}: the replay differs')
    print(f'{nic}: {summary["answered"]} answers; ' + done.stdout.decode().strip().split(': ')[-1])


def wired(scratch, nic, **wire):
    """The guest with its wire in our hand."""
    listener = socket.create_server(('127.0.0.1', 0))
    listener.settimeout(LIMIT)
    server = Server(scratch, nic, f'socket:connect=127.0.0.1:{listener.getsockname()[1]}')
    return server, Wire(listener, **wire)


def survives_a_bad_wire(scratch, nic):
    # Of the frames each way, one in seven is lost, or doubled, or late.
    server, wire = wired(scratch, nic, seed=5, trouble=0.14)
    with server:
        client = Client(wire, 40001)
        lines = [b'INCR n' for _ in range(150)] + [b'SET key%d %s' % (i, b'v' * 100) for i in range(200)]
        client.send(b'\n'.join(lines) + b'\nBLOB 60000\n')
        want = b''.join(b'VALUE %d\n' % (i + 1) for i in range(150)) + b'OK\n' * 200 + b'BLOB 60000\n' + blob(60000)
        got = client.read(len(want))
        require(got == want, f'{nic}: a bad wire changed the stream after {len(os.path.commonprefix([got, want]))} bytes')
        require(client.ask(b'GET n') == b'VALUE 150', 'each INCR once')
        client.send(b'QUIT\n')
        require(client.read(4) == b'BYE\n', 'BYE')
        client.finish()
        wire.calm()
        require(Client(wire, 40002).ask(b'INCR n') == b'VALUE 151', 'a second client')
        server.stop()
        print(f'{nic}: survives a bad wire')


def arp(operation, target):
    return (b'\xff' * 6 + raw_tcp.OUR_MAC + bytes.fromhex('0806000108000604') + struct.pack('!H', operation) + raw_tcp.OUR_MAC +
            raw_tcp.OUR_IP + bytes(6) + target)


def await_frame(wire, wanted, what):
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        for frame in wire.receive(1):
            if wanted(frame):
                return frame
    raise AssertionError(f'no {what} came')


def tcp_rules(wire):
    """Segments that are legal, in orders that are not usual, and some that are not legal."""
    client = Client(wire, 41000)

    def raw(offset, data, flags=ACK | PSH, ack=None):
        wire.send(tcp_frame(41000, client.una + offset, client.rcv if ack is None else ack, flags, data))

    def took(data):
        client.una = client.nxt = (client.una + len(data)) % raw_tcp.MOD

    def fence():
        """Whatever was sent before has been dealt with; the stream has not moved."""
        before = len(client.seen)
        raw(-1, b'')  # not acceptable: answered by an ACK
        client.wait(lambda: len(client.seen) > before, 'an ACK')
        return client.seen[-1]

    # Backwards, in overlapping pieces, the first one last.
    line = b'SET back wards1234567890\n'
    for start in range(len(line) - 5, 0, -2):
        raw(start, line[start : start + 5])
    require(fence().ack == client.una, 'nothing is acknowledged before the first byte')
    raw(0, line[:4])
    took(line)
    require(client.read(3) == b'OK\n' and client.ask(b'GET back') == b'VALUE wards1234567890', 'pieces in reverse')
    # More ranges than it keeps: it asks for the rest again.
    line = b'SET holes ' + b'x' * 100 + b'\n'
    for start in range(2, len(line), 4):
        raw(start, line[start : start + 2])
    client.send(line)
    require(client.read(3) == b'OK\n' and client.ask(b'GET holes') == b'VALUE ' + b'x' * 100, 'many holes')
    # Resets and SYNs that somebody guessed.
    raw(1000, b'', RST)
    raw(-1, b'', RST)
    raw(0, b'', SYN)
    raw(500, b'', SYN | ACK)
    raw(0, b'SET evil 1\n', ack=client.rcv + 100000)  # acknowledges what was never sent
    raw(0, b'SET evil 1\n', ack=client.rcv - 1000000)
    raw(0, b'SET evil 1\n', flags=PSH)  # without ACK
    raw(70000, b'SET evil 1\n')  # behind the window
    require(client.ask(b'GET evil') == b'NONE' and not client.reset, 'guessed segments')
    # A closed window: it waits, asks, and goes on when it opens.
    client.window = 0
    client.send(b'BLOB 20000\n')
    client.wait(lambda: not client.out, 'the command to be taken')
    before = len(client.seen)
    client.wait(lambda: sum(len(s.data) for s in client.seen[before:]) >= 2, 'two probes of the closed window')
    require(all(len(s.data) <= 1 for s in client.seen[before:]), 'no more than a byte goes into a closed window')
    client.window = 65535
    wire.send(tcp_frame(41000, client.nxt, client.rcv, ACK))
    require(client.read(11 + 20000) == b'BLOB 20000\n' + blob(20000), 'after the window opened')
    # A reset at the right place ends it.
    raw(0, b'', RST)
    require(Client(wire, 41001).ask(b'PING') == b'PONG', 'after a reset')


def withstands(scratch, nic):
    server, wire = wired(scratch, nic)
    chance = random.Random(11)
    with server:
        server.wait_for('ready')
        wire.send(arp(1, socket.inet_aton('10.0.2.16')))
        wire.send(arp(1, GUEST_IP))
        reply = await_frame(wire, lambda f: f[12:14] == b'\x08\x06' and f[20:22] == b'\0\2', 'ARP reply')
        require(reply[22:32] == raw_tcp.GUEST_MAC + GUEST_IP, 'the ARP reply')
        echo = bytes([8, 0, 0, 0]) + b'some odd payload.'
        echo = echo[:2] + struct.pack('!H', raw_tcp.checksum(echo)) + echo[4:]
        wire.send(ip_frame(1, echo))
        reply = await_frame(wire, lambda f: f[12:14] == b'\x08\x00' and f[23] == 1, 'echo')
        require(reply[34] == 0 and reply[38 : 34 + len(echo)] == echo[4:], 'the echo')
        tcp_rules(wire)
        client = Client(wire, 42000)
        require(client.ask(b'SET safe 1') == b'OK', 'before the fuzz')
        good = tcp_frame(42000, client.una, client.rcv, ACK | PSH, b'SET safe 2\n')
        wire.send(good[:-1] + b'!')  # its checksum is wrong
        wire.send(ip_frame(6, good[34:], fragment=0x2000))
        wire.send(ip_frame(6, good[34:], fragment=0x0100))
        wire.send(ip_frame(6, good[34:], mac=bytes.fromhex('525400999999')))
        wire.send(ip_frame(6, good[34:], target=socket.inet_aton('10.0.2.16')))
        for _ in range(3000):
            kind = chance.randrange(6)
            if kind == 0:
                frame = raw_tcp.GUEST_MAC + chance.randbytes(chance.randrange(8, 1508))
            elif kind == 1:
                frame = good[: chance.randrange(14, len(good))]
            elif kind == 2:
                frame = ip_frame(chance.choice([1, 6, 17]), chance.randbytes(chance.randrange(60)),
                                 version=chance.choice([0x45, 0x46, 0x4f, 0x44, 0x65]), total=chance.choice([None, 0, 19, 65535]))
            elif kind == 3:
                options = chance.randbytes(4 * chance.randrange(11))
                frame = tcp_frame(chance.randrange(1, 65536), chance.randrange(1 << 32), chance.randrange(1 << 32),
                                  chance.randrange(256), chance.randbytes(chance.randrange(40)), options=options,
                                  window=chance.randrange(65536))
            elif kind == 4:
                # In this very connection, around its window. Its data would be seen, so there is none.
                frame = tcp_frame(42000, client.una + chance.randrange(-3000, 20000), client.rcv + chance.randrange(-3000, 3000),
                                  chance.choice([ACK, SYN, SYN | ACK, ACK | 32, 0, 255 & ~RST & ~FIN]))
            else:
                frame = arp(chance.randrange(4), chance.randbytes(4))
            wire.send(frame)
            wire.receive(0)
        require(client.ask(b'GET safe') == b'VALUE 1', 'after the fuzz')
        # Half-open connections give way, also when they are more than it has places for.
        for port in range(50000, 50100):
            wire.send(tcp_frame(port, 1, 0, SYN))
        clients = [Client(wire, 43000 + i) for i in range(20)]
        for i, each in enumerate(clients):
            require(each.ask(b'SET c%d %d' % (i, i)) == b'OK', f'client {i} beside half-open connections')
        require(client.ask(b'GET c19') == b'VALUE 19', 'the first client is still there')
        # When all places are taken a newcomer is told so, and those who are in stay.
        clients += [Client(wire, 44000 + i) for i in range(16)]
        refused = [each for each in clients if each.reset]
        require(refused and not any(each.reset for each in clients[:20]), 'the late ones are refused')
        require(client.ask(b'GET c19') == b'VALUE 19', 'the first client is still there')
        stray = tcp_frame(45000, 99, 1234, ACK, to_port=81)
        wire.send(stray)
        answer = await_frame(wire, lambda f: (s := Segment.parse(f)) and s.port == 45000, 'reset')
        answer = Segment.parse(answer)
        require(answer.flags & RST and answer.from_port == 81 and answer.seq == 1234, 'a reset for what it does not know')
        server.stop()
        print(f'{nic}: withstands hostile frames')


def main():
    wanted = sys.argv[1:]
    for nic in ('virtio', 'ne2k'):
        for test in (serves, replays, survives_a_bad_wire, withstands):
            if wanted and test.__name__ not in wanted and nic not in wanted:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                started = time.monotonic()
                test(scratch, nic)
                print(f'  {time.monotonic() - started:.1f} s', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
