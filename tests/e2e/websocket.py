"""A WebSocket by hand: its handshake, its frames as told, and MQTT in them.

    with Ws(port) as raw:         # all that wire.Raw can
        raw.connected("x")
        raw.socket.send_frame(TEXT, b"...")
"""
import base64
import hashlib
import os
import struct

import wire

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode, payload=b"", final=True, mask=b"\x12\x34\x56\x78", reserved=0, says=None):
    """A client's frame; says: another length than it has."""
    size = len(payload) if says is None else says
    out = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    bit = 0x80 if mask else 0
    if size < 126:
        out += bytes([bit | size])
    elif size < 65536:
        out += struct.pack(">BH", bit | 126, size)
    else:
        out += struct.pack(">BQ", bit | 127, size)
    if not mask:
        return out + payload
    key = (mask * (len(payload) // 4 + 1))[:len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return out + mask + masked.to_bytes(len(payload), "big")


def request(path="/mqtt", key=None, protocols="mqtt", more=""):
    """A client's opening handshake."""
    key = key or base64.b64encode(os.urandom(16)).decode()
    offered = f"Sec-WebSocket-Protocol: {protocols}\r\n" if protocols else ""
    return (f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{offered}{more}\r\n").encode()


def read_head(sock):
    """An answer's status, its header fields by small names, and what has come of the rest."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        more = sock.recv(65536)
        assert more, f"closed within the answer: {raw!r}"
        raw += more
    head, rest = raw.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) if line[:3] not in ("Sec", "Loc")
                  else (line.split(": ", 1)[0].lower(), line.split(": ", 1)[1]) for line in lines[1:])
    return int(lines[0].split()[1]), fields, rest


class Frames:
    """A socket whose bytes are the payload of binary frames."""

    def __init__(self, plain, path="/mqtt", protocols="mqtt", more="", step=None):
        self.plain, self.step, self.raw, self.data = plain, step, b"", b""
        self.pongs, self.frames, self.largest, self.close_code = [], 0, 0, None
        key = base64.b64encode(os.urandom(16)).decode()
        self.push(request(path, key, protocols, more))
        status, fields, self.raw = read_head(plain)
        assert status == 101, (status, fields, self.raw)
        self.protocol = fields["sec-websocket-protocol"]
        wanted = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
        assert fields["sec-websocket-accept"] == wanted, fields
        assert fields["upgrade"] == "websocket" and fields["connection"] == "upgrade", fields

    def push(self, data):
        """Bytes as they are, or in pieces of `step`."""
        step = self.step or len(data) or 1
        for at in range(0, len(data), step):
            self.plain.sendall(data[at:at + step])

    def send_frame(self, opcode, payload=b"", **options):
        """One frame."""
        self.push(frame(opcode, payload, **options))

    def sendall(self, data):
        """As one frame."""
        self.send_frame(BINARY, data)

    def _take(self):
        """One whole frame off self.raw; whether there was one."""
        raw = self.raw
        if len(raw) < 2:
            return False
        size, at = raw[1], 2
        assert size < 0x80, "the broker's frame is masked"
        if size == 126:
            size, at = int.from_bytes(raw[2:4], "big"), 4
        elif size == 127:
            size, at = int.from_bytes(raw[2:10], "big"), 10
        if len(raw) < at or len(raw) < at + size:
            return False
        payload, self.raw = raw[at:at + size], raw[at + size:]
        assert self.close_code is None, "a frame after the close frame"
        assert raw[0] & 0xF0 == 0x80, f"first byte {raw[0]:#x}"
        kind = raw[0] & 15
        if kind == BINARY:
            self.data += payload
            self.frames, self.largest = self.frames + 1, max(self.largest, size)
        elif kind == PONG:
            self.pongs.append(payload)
        else:
            assert kind == CLOSE, kind
            self.close_code = int.from_bytes(payload[:2], "big") if payload else 0
        return True

    def step_in(self):
        """Reads what comes next; False at the end."""
        more = self.plain.recv(65536)
        self.raw += more
        while self._take():
            pass
        return bool(more)

    def recv(self, size):
        """Some payload; b"" at the end."""
        while self._take():
            pass
        while not self.data:
            if not self.step_in():
                assert not self.raw, "closed within a frame"
                return b""
        found, self.data = self.data[:size], self.data[size:]
        return found

    def wait_pong(self, payload):
        """Reads until the pong is there; data that comes before it stays."""
        while payload not in self.pongs:
            assert self.step_in(), "closed"

    def wait_close(self):
        """Reads to the end of the connection; the broker's close code."""
        try:
            while self.step_in():
                pass
        except ConnectionResetError:
            pass
        return self.close_code

    def settimeout(self, seconds):
        """The socket's."""
        self.plain.settimeout(seconds)

    def getsockname(self):
        """The socket's."""
        return self.plain.getsockname()

    def fileno(self):
        """The socket's, for select."""
        return self.plain.fileno()

    def close(self):
        """Without a word."""
        self.plain.close()


class Ws(wire.Raw):
    """wire.Raw over WebSockets; context: over TLS."""

    def __init__(self, port, context=None, path="/mqtt", protocols="mqtt", more="", step=None, before=b"", **options):
        super().__init__(port, **options)
        if before:
            self.socket.sendall(before)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.socket = Frames(self.socket, path, protocols, more, step)

    def expect_close(self, code):
        """The broker closes with this code, and then the connection."""
        found = self.socket.wait_close()
        assert found == code, f"close code {found}, {code} wanted"
