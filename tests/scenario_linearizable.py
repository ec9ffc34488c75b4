#!/usr/bin/env python3
"""tests/linearizable.py against histories of which it is known whether they are linearizable: small ones by hand, random
ones beside a search through all orders, and long ones of a simulated store, as they are and with a fault planted. And
tests/kv_load.py with a server that loses connections: what it writes down must be what happened."""
import itertools
import json
import os
import random
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

import kv_load
import linearizable

ABSENT = linearizable.ABSENT


def require(condition, text):
    if not condition:
        raise AssertionError(text)


def record(op, invoke, end, result, *args, key='k', client=0):
    return {'client': client, 'op': op, 'key': key, 'args': list(args), 'invoke': invoke, 'return': end, 'result': result}


def is_linearizable(history):
    try:
        linearizable.check(history)
        return True
    except linearizable.Violation:
        return False


# What was seen, and whether one store can have answered so.
BY_HAND = {
    'nothing': ([], True),
    'one after the other': ([record('set', 0, 1, 'OK', 'a'), record('get', 2, 3, 'VALUE a')], True),
    'a lost acknowledged write': ([record('set', 0, 1, 'OK', 'a'), record('get', 2, 3, 'NONE')], False),
    'a lost acknowledged write, the older value': (
        [record('set', 0, 1, 'OK', 'a'), record('set', 2, 3, 'OK', 'b'), record('get', 4, 5, 'VALUE a')], False),
    'a read beside a write sees either': (
        [record('set', 0, 1, 'OK', 'a'), record('set', 2, 9, 'OK', 'b'), record('get', 3, 4, 'VALUE a'),
         record('get', 5, 6, 'VALUE b')], True),
    'a stale read: the new value, then the old one again': (
        [record('set', 0, 1, 'OK', 'a'), record('set', 2, 9, 'OK', 'b'), record('get', 3, 4, 'VALUE b'),
         record('get', 5, 6, 'VALUE a')], False),
    'a value that nobody wrote': ([record('set', 0, 1, 'OK', 'a'), record('get', 2, 3, 'VALUE c')], False),
    'a value before it was written': ([record('get', 0, 1, 'VALUE a'), record('set', 2, 3, 'OK', 'a')], False),
    'counting': ([record('incr', 0, 1, 'VALUE 1'), record('incr', 2, 3, 'VALUE 2'), record('get', 4, 5, 'VALUE 2')], True),
    'one INCR took effect twice': (
        [record('incr', 0, 1, 'VALUE 1'), record('incr', 2, 3, 'VALUE 3')], False),
    'an unanswered INCR may have taken effect': (
        [record('incr', 0, 1, 'VALUE 1'), record('incr', 2, None, None), record('incr', 4, 5, 'VALUE 3')], True),
    'or not': (
        [record('incr', 0, 1, 'VALUE 1'), record('incr', 2, None, None), record('incr', 4, 5, 'VALUE 2')], True),
    'or late': (
        [record('incr', 0, None, None), record('incr', 1, 2, 'VALUE 1'), record('get', 3, 4, 'VALUE 1'),
         record('get', 5, 6, 'VALUE 2')], True),
    'but not twice': (
        [record('incr', 0, 1, 'VALUE 1'), record('incr', 2, None, None), record('incr', 4, 5, 'VALUE 4')], False),
    'and not before it was invoked': (
        [record('incr', 0, 1, 'VALUE 2'), record('incr', 2, None, None)], False),
    'two of them, counted': (
        [record('incr', 0, None, None), record('incr', 0, None, None), record('incr', 4, 5, 'VALUE 3'),
         record('incr', 6, 7, 'VALUE 4')], True),
    'an unanswered SET that comes back': (
        [record('set', 0, None, None, 'a'), record('get', 1, 2, 'VALUE a'), record('set', 3, 4, 'OK', 'b'),
         record('get', 5, 6, 'VALUE b'), record('get', 7, 8, 'VALUE a')], False),
    'an unanswered SET that comes late': (
        [record('set', 0, None, None, 'a'), record('set', 3, 4, 'OK', 'b'), record('get', 5, 6, 'VALUE b'),
         record('get', 7, 8, 'VALUE a')], True),
    'CAS': (
        [record('cas', 0, 1, 'NONE', 'a', 'b'), record('set', 2, 3, 'OK', 'a'), record('cas', 4, 5, 'OK', 'a', 'b'),
         record('cas', 6, 7, 'DIFFERS b', 'a', 'c')], True),
    'two CAS win against one value': (
        [record('set', 0, 1, 'OK', 'a'), record('cas', 2, 9, 'OK', 'a', 'b'), record('cas', 2, 9, 'OK', 'a', 'c')], False),
    'INCR of a word': ([record('set', 0, 1, 'OK', 'a'), record('incr', 2, 3, 'ERR the value is no number')], True),
    'INCR of a number fails': ([record('set', 0, 1, 'OK', '1'), record('incr', 2, 3, 'ERR the value is no number')], False),
    'keys know nothing of each other': (
        [record('set', 0, 1, 'OK', 'a', key='x'), record('get', 2, 3, 'NONE', key='y')], True),
    'the same moment overlaps': ([record('set', 0, 5, 'OK', 'a'), record('get', 5, 6, 'NONE')], True),
}


def by_hand():
    for name, (history, right) in BY_HAND.items():
        for order in (history, history[::-1]):
            require(is_linearizable(order) == right, f'by hand: {name}')


def any_order(history):
    """All orders of all choices of what took effect: slow, and obviously right."""
    answered = [r for r in history if r['return'] is not None]
    lost = [r for r in history if r['return'] is None]
    for count in range(len(lost) + 1):
        for chosen in itertools.combinations(lost, count):
            for order in itertools.permutations(answered + list(chosen)):
                if any(b['return'] is not None and b['return'] < a['invoke']
                       for a, b in itertools.combinations(order, 2)):
                    continue
                value = ABSENT
                for r in order:
                    answer, value = linearizable.apply(r['op'], tuple(r['args']), value)
                    if r['return'] is not None and not linearizable.agrees(answer, r['result']):
                        break
                else:
                    return True
    return False


def small_ones():
    chance = random.Random(3)
    verdicts = {True: 0, False: 0}
    for _ in range(1500):
        history = []
        for _ in range(chance.randrange(2, 7)):
            op = chance.choice(['set', 'get', 'get', 'cas', 'incr'])
            args = [chance.choice('12') for _ in range(linearizable.ARGUMENTS[op])]
            invoke = chance.randrange(12)
            result = {'set': 'OK', 'get': chance.choice(['NONE', 'VALUE 1', 'VALUE 2', 'VALUE 3']),
                      'cas': chance.choice(['OK', 'NONE', 'DIFFERS 1', 'DIFFERS 2']),
                      'incr': chance.choice(['VALUE 1', 'VALUE 2', 'VALUE 3'])}[op]
            if chance.random() < 0.25:
                history.append(record(op, invoke, None, None, *args))
            else:
                history.append(record(op, invoke, invoke + chance.randrange(1, 8), result, *args))
        right = any_order(history)
        verdicts[right] += 1
        require(is_linearizable(history) == right, f'not {right}: {history}')
    require(min(verdicts.values()) > 100, f'the random histories are of one kind: {verdicts}')


class Simulation:
    """Clients of a store that is linearizable because it is one dictionary. Some answers are lost, and some of what was
    asked takes effect long after its client gave up, or never."""

    def __init__(self, seed, clients, operations, keys, lost):
        self.chance = random.Random(seed)
        self.history, self.values = [], {}
        self.lost, self.keys = lost, keys
        self.delayed = []  # (when, record)
        self.now = 0
        free_at = [0] * clients
        for number in range(operations):
            client = min(range(clients), key=lambda c: free_at[c])
            free_at[client] = self._operation(client, number, free_at[client])

    def _operation(self, client, number, start):
        invoke = start + self.chance.randrange(1, 20)
        moment = invoke + self.chance.randrange(1, 50)
        end = moment + self.chance.randrange(1, 50)
        if self.chance.random() < 0.3:
            op, key = self.chance.choice(['incr', 'get']), f'n{self.chance.randrange(self.keys)}'
        else:
            op, key = self.chance.choice(['set', 'get', 'cas']), f'r{self.chance.randrange(self.keys)}'
        args = {'set': [f'v{number}'], 'get': [], 'incr': [],
                'cas': [self.values.get(key) or 'nothing', f'v{number}']}[op]
        r = record(op, invoke, end, None, *args, key=key, client=client)
        self.history.append(r)
        if self.chance.random() < self.lost:
            r['return'] = None
            fate = self.chance.random()
            moment = None if fate < 0.3 else moment if fate < 0.7 else moment + self.chance.randrange(100000)
        if moment is not None:
            self.delayed.append((moment, number, r))
        return end

    def settle(self):
        """Lets everything take effect at its moment, and writes the answers down."""
        for _, _, r in sorted(self.delayed):
            answer, self.values[r['key']] = linearizable.apply(r['op'], tuple(r['args']), self.values.get(r['key']))
            if r['return'] is not None:
                r['result'] = answer
        return self.history


def quiet_reads(history):
    """GETs that overlap nothing and no unanswered operation on their key, after at least two values."""
    by_key = {}
    for r in history:
        by_key.setdefault(r['key'], []).append(r)
    for records in by_key.values():
        lost_from = min((r['invoke'] for r in records if r['return'] is None), default=float('inf'))
        for r in records:
            others = [o for o in records if o is not r]
            if (r['op'] == 'get' and r['result'] and r['invoke'] < lost_from and
                    not any(o['return'] is None or (o['invoke'] <= r['return'] and o['return'] >= r['invoke'])
                            for o in others if o['invoke'] < lost_from)):
                yield r, [o for o in others if o['return'] is not None and o['return'] < r['invoke']]


def planted():
    """A fault in a long history that is right: it must be found."""
    found = {'a lost acknowledged write': 0, 'a stale read': 0, 'a double INCR': 0}
    for seed in range(12):
        history = Simulation(seed, 4, 600, 3, 0.01).settle()
        require(is_linearizable(history), f'simulation {seed}')
        reads = list(quiet_reads(history))
        for r, before in reads[:: max(len(reads) // 4, 1)]:
            was = r['result']
            older = {o['result'] for o in before if o['op'] == 'get' and o['result'] != was and o['result'] != 'NONE'}
            if r['key'].startswith('r') and older:
                r['result'] = sorted(older)[0]
                require(not is_linearizable(history), f'simulation {seed}: a stale read was not found')
                r['result'] = 'NONE'
                require(not is_linearizable(history), f'simulation {seed}: a lost write was not found')
                found['a stale read'] += 1
                found['a lost acknowledged write'] += 1
            if r['key'].startswith('n') and was.startswith('VALUE'):
                r['result'] = f'VALUE {int(was.split()[1]) + 1}'
                require(not is_linearizable(history), f'simulation {seed}: a double INCR was not found')
                found['a double INCR'] += 1
            r['result'] = was
    require(min(found.values()) >= 5, f'too few faults to plant: {found}')


def long_ones():
    """As long as a minute of four clients, with answers lost at a failover now and then."""
    history = Simulation(99, 4, 60000, 7, 0.002).settle()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, 'history')
        with open(path, 'w') as file:
            file.writelines(json.dumps(r) + '\n' for r in history)
        command = [os.path.join(os.path.dirname(os.path.abspath(__file__)), 'linearizable.py'), path]
        done = subprocess.run(command, stdout=subprocess.PIPE)
        require(done.returncode == 0, done.stdout.decode())
        print(done.stdout.decode().strip())
        last = next(r for r in reversed(history) if r['op'] == 'incr' and r['return'] is not None)
        last['result'] = 'VALUE 1'
        with open(path, 'w') as file:
            file.writelines(json.dumps(r) + '\n' for r in history)
        done = subprocess.run(command + ['--json', path + '.json'], stdout=subprocess.PIPE)
        require(done.returncode == 1 and b'NOT linearizable: key n' in done.stdout, done.stdout.decode())
        with open(path + '.json') as file:
            require(json.load(file)['linearizable'] is False, 'the JSON verdict')
        for text in ('{', '{"client": 1}', '[1]', json.dumps(record('add', 0, 1, 'OK')), json.dumps(record('get', 2, 1, 'NONE')),
                     json.dumps(record('set', 0, 1, 'OK'))):
            with open(path, 'w') as file:
                file.write(text + '\n')
            done = subprocess.run(command, stderr=subprocess.PIPE)
            require(done.returncode == 2 and done.stderr.count(b'\n') == 1, f'{text}: {done.stderr.decode()}')
    print(f'both in {time.monotonic() - started:.1f} s')


class FakeServer(socketserver.ThreadingTCPServer):
    """kv_server's protocol over a dictionary. Some connections it closes before or after what was asked took effect."""
    daemon_threads = allow_reuse_address = True

    def __init__(self, faulty):
        super().__init__(('127.0.0.1', 0), Session)
        self.faulty, self.values, self.lock, self.chance = faulty, {}, threading.Lock(), random.Random(1)


class Session(socketserver.StreamRequestHandler):
    def handle(self):
        server = self.server
        for line in self.rfile:
            op, key, *args = line.decode().split()
            with server.lock:
                fate = server.chance.random()
                if fate < 0.01:
                    return
                answer, server.values[key] = linearizable.apply(op.lower(), args, server.values.get(key))
                if server.faulty and op == 'INCR' and fate > 0.95:
                    _, server.values[key] = linearizable.apply(op.lower(), args, server.values.get(key))
            if fate < 0.02:
                return
            self.wfile.write(answer.encode() + b'\n')


def clients():
    for faulty in (False, True):
        with FakeServer(faulty) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            load = kv_load.Load(server.server_address, clients=4, keys=6, seed=1).start()
            until = time.monotonic() + 60
            while load.summary()['unanswered'] < 40 or load.summary()['answered'] < 2000:
                require(time.monotonic() < until, f'the clients do not get on: {load.summary()}')
                time.sleep(0.01)
            summary = load.stop()
            server.shutdown()
        require(summary['reconnects'] >= 36, f'a lost connection was not made anew: {summary}')
        require(summary['answered'] + summary['unanswered'] == len(load.history), f'{summary}')
        require(is_linearizable(load.history) != faulty, f'with a server that is {"not " if not faulty else ""}faulty')


def main():
    for test in (by_hand, small_ones, planted, long_ones, clients):
        started = time.monotonic()
        test()
        print(f'{test.__name__}: {time.monotonic() - started:.1f} s', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
