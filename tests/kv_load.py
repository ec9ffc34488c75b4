#!/usr/bin/env python3
"""Clients of the guest kv_server that ask without a pause, and write down what they saw.

  tests/kv_load.py HOST:PORT [--clients N] [--seconds S] [--keys K] [--history FILE] [--check]

Each client has a connection of its own and asks one thing at a time: SET, GET, CAS and INCR on a few keys that all share,
every value written being a new one. A connection that is lost is made anew; what was asked on it and not answered is
written down as such. The history is for tests/linearizable.py, which says what it looks like (times are nanoseconds);
--check runs that at the end. The keys' names are new for each run, so they start out absent.

The summary says how long clients had to wait: `longest_wait_s` is the longest from a question to its answer, or to its
connection's loss, and `longest_silence_s` the longest time in which no client got an answer.

Exit code 0; 1 if nothing was answered, or the history is not linearizable; 2 for bad usage.
"""
import argparse
import json
import os
import random
import signal
import socket
import sys
import threading
import time

import linearizable

CONNECT_AGAIN_S = 0.05


class Lost(Exception):
    """The connection, and with it the answer."""


class Connection:
    def __init__(self, address, timeout):
        try:
            self._socket = socket.create_connection(address, timeout=timeout)
        except OSError as error:
            raise Lost(str(error)) from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b''

    def ask(self, line):
        try:
            self._socket.sendall(line.encode() + b'\n')
            while b'\n' not in self._rest:
                data = self._socket.recv(65536)
                if not data:
                    raise Lost('closed by the server')
                self._rest += data
        except OSError as error:
            raise Lost(str(error)) from None
        answer, _, self._rest = self._rest.partition(b'\n')
        return answer.decode('ascii', 'replace')

    def close(self):
        self._socket.close()


class Load:
    """The clients, each in a thread from start() to stop()."""

    def __init__(self, address, clients=4, keys=10, seed=None, timeout=120.0, rate=0.0, history=None):
        """`timeout`: after so many seconds without an answer a connection counts as lost. `rate`: at most so many
        questions a second and client; 0: as many as go. `history`: a file to write to as it goes, open for text."""
        self._address, self._timeout, self._rate, self._file = address, timeout, rate, history
        self._chance = random.Random(seed)
        self._run = f'{self._chance.getrandbits(40):010x}'
        self._registers = [f'r{i}-{self._run}' for i in range(max(keys - keys // 3, 1))]
        self._counters = [f'n{i}-{self._run}' for i in range(keys // 3)]
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._seeds = [self._chance.getrandbits(64) for _ in range(clients)]
        self._threads = [threading.Thread(target=self._client, args=(i,), daemon=True) for i in range(clients)]
        self._connections = [None] * clients
        self._began = self._last_answer = None
        self._longest_silence = self._longest_wait = 0
        self.history = []
        self.reconnects = 0
        self.answered = 0
        self.longest = None  # the operation that waited longest

    def start(self):
        self._began = self._last_answer = time.monotonic_ns()
        for thread in self._threads:
            thread.start()
        return self

    def stop(self, patience=10.0):
        """Waits for what is being asked, but not for ever."""
        self._over.set()
        until = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.01))
        for thread, connection in zip(self._threads, self._connections):
            if thread.is_alive() and connection is not None:
                connection._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(patience)
        with self._lock:
            self._note_silence(time.monotonic_ns())
        return self.summary()

    def summary(self):
        with self._lock:
            seconds = (time.monotonic_ns() - self._began) / 1e9
            return {'clients': len(self._threads), 'seconds': round(seconds, 3), 'answered': self.answered,
                    'answered_per_s': round(self.answered / max(seconds, 1e-9), 1),
                    'unanswered': len(self.history) - self.answered, 'reconnects': self.reconnects,
                    'longest_wait_s': round(self._longest_wait / 1e9, 4),
                    'longest_silence_s': round(self._longest_silence / 1e9, 4)}

    def _note_silence(self, now):
        self._longest_silence = max(self._longest_silence, now - self._last_answer)
        self._last_answer = now

    def _client(self, number):
        chance = random.Random(self._seeds[number])
        seen = {}  # key: a value that it had
        connection, connected, count = None, False, 0
        while not self._over.is_set():
            if connection is None:
                try:
                    connection = Connection(self._address, self._timeout)
                except Lost:
                    self._over.wait(CONNECT_AGAIN_S)
                    continue
                self._connections[number] = connection
                if connected:
                    with self._lock:
                        self.reconnects += 1
                connected = True
            count += 1
            op, key, args = self._choose(chance, seen, f'{self._run}.{number}.{count}')
            invoke = time.monotonic_ns()
            try:
                answer = connection.ask(' '.join([op.upper(), key, *args]))
                end = time.monotonic_ns()
            except Lost:
                answer = end = None
                connection.close()
                connection = None
            self._record(number, op, key, args, invoke, end, answer)
            if answer is not None:
                self._learn(seen, op, key, args, answer)
            if self._rate:
                self._over.wait(max(0.0, 1 / self._rate - (time.monotonic_ns() - invoke) / 1e9))
        if connection is not None:
            connection.close()

    def _choose(self, chance, seen, new):
        if self._counters and chance.random() < 0.3:
            return chance.choice(['incr', 'incr', 'get']), chance.choice(self._counters), []
        key = chance.choice(self._registers)
        op = chance.choice(['set', 'set', 'get', 'get', 'cas'])
        return op, key, {'set': [new], 'get': [], 'cas': [seen.get(key, 'nothing'), new]}[op]

    @staticmethod
    def _learn(seen, op, key, args, answer):
        if answer == 'OK':
            seen[key] = args[-1]
        elif answer.startswith(('VALUE ', 'DIFFERS ')):
            seen[key] = answer.partition(' ')[2]

    def _record(self, number, op, key, args, invoke, end, answer):
        record = {'client': number, 'op': op, 'key': key, 'args': args, 'invoke': invoke - self._began,
                  'return': None if end is None else end - self._began, 'result': answer}
        wait = (end or time.monotonic_ns()) - invoke
        with self._lock:
            self.history.append(record)
            if self._file is not None:
                self._file.write(json.dumps(record) + '\n')
            if wait > self._longest_wait:
                self._longest_wait, self.longest = wait, record
            if end is not None:
                self.answered += 1
                self._note_silence(max(end, self._last_answer))


def parse_address(text):
    host, colon, port = text.rpartition(':')
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f'{text!r} is not HOST:PORT')
    return host or '127.0.0.1', int(port)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('server', type=parse_address, metavar='HOST:PORT')
    parser.add_argument('--clients', type=int, default=4, metavar='N')
    parser.add_argument('--seconds', type=float, default=10, metavar='S', help='0: until a signal comes')
    parser.add_argument('--keys', type=int, default=10, metavar='K', help='a third of them are counters')
    parser.add_argument('--rate', type=float, default=0, metavar='R', help='questions a second and client [no limit]')
    parser.add_argument('--timeout', type=float, default=120, metavar='S', help='a connection silent for so long is lost')
    parser.add_argument('--seed', type=int, help='of the mix of questions')
    parser.add_argument('--history', metavar='FILE', help='where to write what was seen')
    parser.add_argument('--check', action='store_true', help='whether that is linearizable')
    parser.add_argument('--json', metavar='FILE', help="the summary as one JSON object ('-': standard output)")
    options = parser.parse_args()
    if options.clients < 1 or options.keys < 1:
        parser.error('there must be a client and a key')
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    try:
        file = open(options.history or os.devnull, 'w', buffering=1 << 16)
    except OSError as error:
        parser.error(str(error))
    with file:
        load = Load(options.server, options.clients, options.keys, options.seed, options.timeout, options.rate, file).start()
        over.wait(options.seconds or None)
        summary = load.stop()
    if options.json:
        with (os.fdopen(os.dup(1), 'w') if options.json == '-' else open(options.json, 'w')) as out:
            print(json.dumps(summary), file=out)
    else:
        print('kv_load: ' + ', '.join(f'{key} {value}' for key, value in summary.items()))
    if options.check:
        try:
            checked = linearizable.check(load.history)
        except linearizable.Violation as violation:
            print(f'kv_load: NOT linearizable: {violation}')
            return 1
        print(f'kv_load: linearizable: {checked["operations"]} operations on {checked["keys"]} keys')
    return 0 if summary['answered'] else 1


if __name__ == '__main__':
    sys.exit(main())
