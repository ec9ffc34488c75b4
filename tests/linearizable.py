#!/usr/bin/env python3
"""Checks a history of what clients saw of a key-value store: is there an order of the operations, each taking effect at
one moment between its invocation and its return, in which one store would have answered so?

  tests/linearizable.py HISTORY [--json FILE]

It knows nothing of how the store is made. A history has one JSON object a line, in any order:

  {"client": 3, "op": "set", "key": "k1", "args": ["v"], "invoke": 17, "return": 20, "result": "OK"}

  op     args          result, as kv_server's protocol words it
  set    value         OK
  get                  VALUE value | NONE
  cas    old, new      OK | DIFFERS value | NONE
  incr                 VALUE number | ERR ...

Times are numbers on one clock. An operation without an answer has null as its return and result: it may have taken
effect at any moment after its invocation, or never. Keys start out absent and are checked one by one, because an order
for each gives an order for all (Herlihy and Wing, 1990).

The method is just-in-time linearization (Lowe, "Testing for linearizability", 2017): events in the order of their times,
and with them all configurations that explain the answers so far, each a state and the set of operations that have taken
effect although they have not returned. At a return those remain in which the operation has taken effect, or can now,
after others that are pending. What keeps them few: equal configurations are one; of two that differ only in operations
without an answer, the one that has used fewer can do all that the other can; and equal operations without an answer are
as good as each other, so they are only counted.

Exit code 0: linearizable; 1: not; 2: no history.
"""
import argparse
import collections
import json
import sys
import time

INFINITY = float('inf')
ABSENT = None


class BadHistory(Exception):
    """What is no history."""


class Violation(Exception):
    """Answers that no order explains."""


class Operation:
    __slots__ = ('client', 'op', 'key', 'args', 'invoke', 'end', 'result')

    def __init__(self, record):
        try:
            self.client, self.op, self.key = record['client'], record['op'], record['key']
            self.args = tuple(record.get('args', ()))
            self.invoke, self.end, self.result = record['invoke'], record['return'], record['result']
        except (KeyError, TypeError) as error:
            raise BadHistory(f'an operation without {error}: {record!r}') from None
        if self.op not in ARGUMENTS or len(self.args) != ARGUMENTS[self.op]:
            raise BadHistory(f'an operation that is none, or has the wrong arguments: {record!r}')
        if self.end is None:
            self.result = None
        elif not isinstance(self.result, str) or self.end < self.invoke:
            raise BadHistory(f'an operation with an impossible return: {record!r}')

    def what(self):
        return (self.op, self.args)

    def __str__(self):
        words = ' '.join([self.op.upper(), self.key, *self.args])
        if self.end is None:
            return f'client {self.client}: {words} at {self.invoke}: no answer'
        return f'client {self.client}: {words} from {self.invoke} to {self.end}: {self.result}'


ARGUMENTS = {'set': 1, 'get': 0, 'cas': 2, 'incr': 0}


def apply(op, args, value):
    """One step of the store: what it answers, and the value after it."""
    if op == 'get':
        return ('NONE' if value is ABSENT else 'VALUE ' + value), value
    if op == 'set':
        return 'OK', args[0]
    if op == 'cas':
        if value is ABSENT:
            return 'NONE', value
        if value != args[0]:
            return 'DIFFERS ' + value, value
        return 'OK', args[1]
    if value is not ABSENT and not value.isdecimal():
        return 'ERR', value
    number = str(int(value or '0') + 1)
    return 'VALUE ' + number, number


def agrees(answer, result):
    return answer == result or (answer == 'ERR' and result.startswith('ERR'))


class Pending:
    """What has been invoked and has not returned, at some moment."""

    def __init__(self):
        self.answered = set()  # operations that will return
        self.lost = collections.Counter()  # what() of those that will not


def steps(configuration, pending):
    """The configurations that one more pending operation makes of this one, with that operation; None for a lost one."""
    value, done, used = configuration
    for operation in pending.answered:
        if operation in done:
            continue
        answer, after = apply(operation.op, operation.args, value)
        if agrees(answer, operation.result):
            yield (after, done | {operation}, used), operation
    counts = dict(used)
    for what, count in pending.lost.items():
        if counts.get(what, 0) == count:
            continue
        _, after = apply(*what, value)
        if after != value:
            yield (after, done, frozenset({**counts, what: counts.get(what, 0) + 1}.items())), None


def uses_no_more(used, other):
    counts = dict(other)
    return all(counts.get(what, 0) >= count for what, count in used)


class Frontier:
    """Configurations of which none can do all that another one can."""

    def __init__(self):
        self._used = {}  # by (value, done)

    def add(self, configuration):
        """False if it adds nothing."""
        value, done, used = configuration
        others = self._used.setdefault((value, done), [])
        if any(uses_no_more(other, used) for other in others):
            return False
        others[:] = [other for other in others if not uses_no_more(used, other)]
        others.append(used)
        return True

    def __iter__(self):
        return ((value, done, used) for (value, done), all_used in self._used.items() for used in all_used)


def after_return(frontier, operation, pending):
    """The configurations in which the operation has taken effect, without it, as it is pending no more."""
    result, seen, waiting = Frontier(), Frontier(), []
    for configuration in frontier:
        value, done, used = configuration
        if operation in done:
            result.add((value, done - {operation}, used))
        elif seen.add(configuration):
            waiting.append(configuration)
    while waiting:
        for (value, done, used), last in steps(waiting.pop(), pending):
            if last is operation:
                result.add((value, done - {operation}, used))
            elif seen.add((value, done, used)):
                waiting.append((value, done, used))
    return result


def check_key(operations):
    """Raises Violation unless the operations on one key can be put in order."""
    # At equal times invocations come first: those operations overlap.
    events = sorted([(o.invoke, 0, i) for i, o in enumerate(operations)] +
                    [(o.end, 1, i) for i, o in enumerate(operations) if o.end is not None])
    pending = Pending()
    frontier = Frontier()
    frontier.add((ABSENT, frozenset(), frozenset()))
    for at, is_return, index in events:
        operation = operations[index]
        if not is_return:
            if operation.end is not None:
                pending.answered.add(operation)
            elif operation.op != 'get':
                pending.lost[operation.what()] += 1
            continue
        following = after_return(frontier, operation, pending)
        if not any(True for _ in following):
            raise Violation(explain(operations, operation, frontier, pending))
        pending.answered.discard(operation)
        frontier = following


def explain(operations, operation, frontier, pending):
    values = sorted({'absent' if value is ABSENT else repr(value) for value, _, _ in frontier})
    before = sorted((o for o in operations if o.end is not None and o.end < operation.end), key=lambda o: o.end)[-10:]
    beside = sorted((o for o in pending.answered if o is not operation), key=lambda o: o.invoke)
    lines = [f'key {operation.key}: nothing explains', f'  {operation}', f'before it the value was {" or ".join(values[:8])}',
             'what returned before:', *(f'  {o}' for o in before)]
    if beside:
        lines += ['what was going on beside it:', *(f'  {o}' for o in beside)]
    if pending.lost:
        lines += ['and without an answer:', *(f'  {" ".join([op.upper(), *args])}, {count} times'
                                              for (op, args), count in list(pending.lost.items())[-10:])]
    return '\n'.join(lines)


def check(records):
    """Raises Violation or BadHistory; otherwise how many keys and operations were checked, and how many unanswered."""
    keys = collections.defaultdict(list)
    for record in records:
        operation = Operation(record)
        keys[operation.key].append(operation)
    for operations in keys.values():
        check_key(operations)
    return {'keys': len(keys), 'operations': sum(map(len, keys.values())),
            'unanswered': sum(o.end is None for operations in keys.values() for o in operations)}


def read(path):
    try:
        with open(path) as file:
            return [json.loads(line) for line in file if line.strip()]
    except (OSError, ValueError) as error:
        raise BadHistory(f'{path}: {error}') from None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('history', metavar='HISTORY')
    parser.add_argument('--json', metavar='FILE', help='the verdict as one JSON object')
    options = parser.parse_args()
    started = time.monotonic()
    try:
        verdict = {'linearizable': True, **check(read(options.history))}
    except BadHistory as error:
        print(f'linearizable: {error}', file=sys.stderr)
        return 2
    except Violation as violation:
        verdict = {'linearizable': False, 'violation': str(violation)}
    if verdict['linearizable']:
        print(f'linearizable: {verdict["operations"]} operations on {verdict["keys"]} keys, '
              f'{verdict["unanswered"]} of them without an answer ({time.monotonic() - started:.1f} s)')
    else:
        print('NOT linearizable: ' + verdict['violation'])
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(verdict, file)
    return 0 if verdict['linearizable'] else 1


if __name__ == '__main__':
    sys.exit(main())
