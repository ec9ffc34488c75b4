"""A TCP relay that does to a connection what networks do: delays, stalls, throttles, resets, damages it, or forgets that
it ever was."""
import random
import select
import socket
import struct
import threading
import time


class Relay:
    """Connections to `address` go to `target`, a (host, port). The attributes may be set at any time; `to` is the way
    from who connected to the target, `back` the other one."""

    def __init__(self, target):
        self.target = target
        self.delay = {'to': 0.0, 'back': 0.0}          # seconds
        self.stalled = {'to': False, 'back': False}    # what comes is not read any more
        self.rate = {'to': None, 'back': None}         # bytes a second
        self.damage = {'to': 0.0, 'back': 0.0}         # how likely a byte of a piece that passes is another one
        self.deaf = False                              # nobody is let in, and nobody is told
        self.chance = random.Random(1)
        self.connections = self.damaged = 0
        self._pairs = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        self.address = f'tcp://127.0.0.1:{self.port}'
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.deaf:
                with self._lock:
                    self._pairs.append((near, None))
                continue
            try:
                far = socket.create_connection(self.target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((near, far))
                self.connections += 1
            for way, source, sink in (('to', near, far), ('back', far, near)):
                threading.Thread(target=self._pass, args=(way, source, sink), daemon=True).start()

    def _pass(self, way, source, sink):
        waiting = []  # (when, piece)
        try:
            while True:
                now = time.monotonic()
                while waiting and waiting[0][0] <= now:
                    self._emit(way, sink, waiting.pop(0)[1])
                if self.stalled[way]:
                    time.sleep(0.01)
                    continue
                patience = min(0.02, waiting[0][0] - now) if waiting else 0.02
                if not select.select([source], [], [], max(patience, 0))[0]:
                    continue
                piece = source.recv(1 << 16 if self.rate[way] is None else 4096)
                if not piece:
                    break
                if self.delay[way] or waiting:
                    waiting.append((time.monotonic() + self.delay[way], piece))
                else:
                    self._emit(way, sink, piece)
            sink.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):
            self._close((source, sink))

    def _emit(self, way, sink, piece):
        if self.damage[way] and self.chance.random() < self.damage[way]:
            piece = bytearray(piece)
            piece[self.chance.randrange(len(piece))] ^= 1 << self.chance.randrange(8)
            self.damaged += 1
        sink.sendall(piece)
        if self.rate[way] is not None:
            time.sleep(len(piece) / self.rate[way])

    @staticmethod
    def _close(pair):
        for end in pair:
            if end is not None:
                end.close()

    def reset(self):
        """Every connection ends as if its other side had crashed."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                if end is not None:
                    try:
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                        end.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass
            self._close(pair)

    def forget(self):
        """The target's side is closed, who connected never hears of it: a half-open connection; nobody gets in again."""
        self.deaf = True
        with self._lock:
            pairs, self._pairs = self._pairs, [(near, None) for near, _ in self._pairs]
        self.stalled = {'to': True, 'back': True}
        for _, far in pairs:
            if far is not None:
                far.close()

    def recover(self):
        """Everything passes again; what was forgotten is reset."""
        self.deaf = False
        self.delay = {'to': 0.0, 'back': 0.0}
        self.rate = {'to': None, 'back': None}
        self.damage = {'to': 0.0, 'back': 0.0}
        self.stalled = {'to': False, 'back': False}
        self.reset_half_open()

    def reset_half_open(self):
        with self._lock:
            half = [pair for pair in self._pairs if pair[1] is None]
            self._pairs = [pair for pair in self._pairs if pair[1] is not None]
        for pair in half:
            self._close(pair)

    def close(self):
        self._listener.close()
        self.reset()
