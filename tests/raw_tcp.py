"""A TCP client made of frames, for tests of a guest's TCP: over a wire that may lose, double and reorder them, and with
every field there to be set wrong. The wire is `--net socket:connect=...`: each frame after its length in four bytes.

Times here are host seconds; the guest should be paced.
"""

import random
import select
import socket
import struct
import time

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
GUEST_MAC, OUR_MAC = bytes.fromhex("525400123456"), bytes.fromhex("525400aabbcc")
GUEST_IP, OUR_IP = socket.inet_aton("10.0.2.15"), socket.inet_aton("10.0.2.77")
MOD = 1 << 32


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ip_frame(protocol, payload, *, source=OUR_IP, target=GUEST_IP, fragment=0, mac=GUEST_MAC, version=0x45, total=None):
    header = struct.pack("!BBHHHBBH4s4s", version, 0, 20 + len(payload) if total is None else total, 7, fragment, 64,
                         protocol, 0, source, target)
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return mac + OUR_MAC + b"\x08\x00" + header + payload


def tcp_frame(port, seq, ack, flags, data=b"", *, window=65535, options=b"", source=OUR_IP, to_port=7000, **ip):
    offset = (20 + len(options)) // 4
    segment = struct.pack("!HHIIBBHHH", port, to_port, seq % MOD, ack % MOD, offset << 4, flags, window, 0, 0) + options + data
    pseudo = source + GUEST_IP + struct.pack("!BBH", 0, 6, len(segment))
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    return ip_frame(6, segment, source=source, **ip)


class Segment:
    """A TCP segment of the guest's, checked: None of parse() if it is no such thing."""

    @staticmethod
    def parse(frame):
        if len(frame) < 54 or frame[12:14] != b"\x08\x00" or frame[23] != 6:
            return None
        ip = frame[14 : 14 + struct.unpack("!H", frame[16:18])[0]]
        if checksum(ip[:20]):
            raise AssertionError("the guest sent a wrong IP checksum")
        tcp = ip[20:]
        if checksum(ip[12:20] + struct.pack("!BBH", 0, 6, len(tcp)) + tcp):
            raise AssertionError("the guest sent a wrong TCP checksum")
        s = Segment()
        s.from_port, s.port, s.seq, s.ack, offset, s.flags, s.window = struct.unpack("!HHIIBBH", tcp[:16])
        s.data = tcp[offset >> 4 << 2 :]
        return s


class Wire:
    """Frames to and from the guest. Until calm() each may be lost, come twice, or come after its follower."""

    def __init__(self, listener, seed=0, trouble=0.0):
        self.socket, _ = listener.accept()
        self._buffer = b""
        self._chance = random.Random(seed)
        self._trouble = trouble
        self._late = {"in": [], "out": []}

    def calm(self):
        self._trouble = 0

    def _troubled(self, way, frame):
        frames, self._late[way] = self._late[way], []
        what = self._chance.random() / self._trouble if self._trouble else 9
        if what < 0.6:
            return frames
        if what < 0.8:
            return [frame, frame] + frames
        if what < 1:
            self._late[way] = [frame]
            return frames
        return [frame] + frames

    def send(self, frame):
        for each in self._troubled("out", frame):
            self.socket.sendall(struct.pack("!I", len(each)) + each)

    def receive(self, seconds):
        """The frames that came within that time; at once when there are some."""
        if not select.select([self.socket], [], [], max(seconds, 0))[0]:
            frames, self._late["in"] = self._late["in"], []
            return frames
        data = self.socket.recv(1 << 18)
        if not data:
            raise AssertionError("the guest's end of the wire closed")
        self._buffer += data
        frames = []
        while len(self._buffer) >= 4 and len(self._buffer) >= 4 + struct.unpack("!I", self._buffer[:4])[0]:
            length = struct.unpack("!I", self._buffer[:4])[0]
            frames += self._troubled("in", self._buffer[4 : 4 + length])
            self._buffer = self._buffer[4 + length :]
        return frames


class Client:
    """One connection over a wire, which it has to itself: go-back-N out, in-order only in."""

    RETRY = 0.15

    def __init__(self, wire, port, *, seconds=60, window=65535):
        self.wire, self.port, self.seconds, self.window = wire, port, seconds, window
        self.una = self.nxt = 0xFFFFFF00 + port % 64  # soon wraps
        self.out = b""  # from una on
        self.incoming = b""
        self.rcv = None
        self.closed = self.reset = self.finished = False
        self.peer_window = 0
        self.seen = []  # every segment of this connection
        self._resend_at = 0
        self._open()

    def _open(self):
        self._pump(lambda: self.rcv is not None or self.reset, "the connection to open")

    def _frame(self, seq, flags, data=b""):
        options = b"\x02\x04\x05\xb4" if flags & SYN else b""
        return tcp_frame(self.port, seq, self.rcv or 0, flags, data, window=self.window, options=options)

    def _take(self, segment):
        if segment.port != self.port:
            return
        self.seen.append(segment)
        if segment.flags & RST:
            self.reset = True
            return
        if self.rcv is None:
            if segment.flags & SYN and segment.ack == (self.una + 1) % MOD:
                self.rcv = (segment.seq + 1) % MOD
                self.una = self.nxt = segment.ack
                self.peer_window = segment.window
                self.wire.send(self._frame(self.nxt, ACK))
            return
        news = (segment.ack - self.una) % MOD
        if 0 < news <= len(self.out) + self.finished:
            self.out = self.out[news:]
            self.una = segment.ack
            if (self.nxt - self.una) % MOD > MOD // 2:
                self.nxt = self.una
            self._resend_at = time.monotonic() + self.RETRY
        self.peer_window = segment.window
        if segment.seq == self.rcv and not self.closed:
            self.incoming += segment.data
            self.rcv = (self.rcv + len(segment.data) + (segment.flags & FIN)) % MOD
            self.closed = bool(segment.flags & FIN)
        if segment.data or segment.flags & (FIN | SYN):
            self.wire.send(self._frame(self.nxt, ACK))

    def _transmit(self):
        now = time.monotonic()
        if self.rcv is None:
            if now >= self._resend_at:
                self.wire.send(self._frame(self.una, SYN))
                self._resend_at = now + self.RETRY
            return
        if now >= self._resend_at:
            self.nxt = self.una
            self._resend_at = now + self.RETRY
        while True:
            sent = (self.nxt - self.una) % MOD
            piece = self.out[sent : sent + min(1460, max(self.peer_window - sent, 0))]
            fin = self.finished and sent + len(piece) == len(self.out)
            if not piece and not (fin and sent == len(self.out)):
                return
            self.wire.send(self._frame(self.nxt, ACK | PSH | (FIN if fin else 0), piece))
            self.nxt = (self.nxt + len(piece) + fin) % MOD

    def _pump(self, done, what):
        until = time.monotonic() + self.seconds
        while not done():
            if time.monotonic() > until:
                raise AssertionError(f"waited {self.seconds} s for {what}; it said {self.incoming[-100:]!r}")
            self._transmit()
            for frame in self.wire.receive(0.02):
                segment = Segment.parse(frame)
                if segment:
                    self._take(segment)

    def send(self, data):
        self.out += data

    def read(self, count):
        self._pump(lambda: len(self.incoming) >= count or self.closed or self.reset, f"{count} bytes")
        data, self.incoming = self.incoming[:count], self.incoming[count:]
        return data

    def ask(self, line):
        self.send(line + b"\n")
        self._pump(lambda: b"\n" in self.incoming or self.closed or self.reset, f"the answer to {line[:40]!r}")
        answer, _, self.incoming = self.incoming.partition(b"\n")
        return answer

    def finish(self):
        """Says goodbye, and waits for theirs."""
        self.finished = True
        self._pump(lambda: (self.closed and not self.out) or self.reset, "the connection to close")

    def wait(self, done, what):
        self._pump(done, what)
