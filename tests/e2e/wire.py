"""MQTT by hand, for what no well-behaved client does, and for looking at single packets."""
import collections
import select
import socket
import struct

V31, V311, V5 = 3, 4, 5
CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, \
    PINGREQ, PINGRESP, DISCONNECT = range(1, 15)

Packet = collections.namedtuple("Packet", "type flags body")
Publish = collections.namedtuple("Publish", "topic payload qos retain dup packet_id properties")
Connack = collections.namedtuple("Connack", "present code properties")


def varint(number):
    """A variable byte integer."""
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def text(value):
    """A string with its length before it."""
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack(">H", len(raw)) + raw


def packet(first, body=b""):
    """A whole packet."""
    return bytes([first]) + varint(len(body)) + body


def properties(*parts):
    """A property block from encoded properties."""
    block = b"".join(parts)
    return varint(len(block)) + block


def user_property(key, value):
    """One user property."""
    return b"\x26" + text(key) + text(value)


def u32_property(number, value):
    """A property with a four byte value."""
    return bytes([number]) + struct.pack(">I", value)


def u16_property(number, value):
    """A property with a two byte value."""
    return bytes([number]) + struct.pack(">H", value)


def reason_string(text_bytes):
    """MQTT 5: 31."""
    return b"\x1f" + text(text_bytes)


def session_expiry(seconds):
    """The Session Expiry Interval."""
    return u32_property(0x11, seconds)


def connect(client_id="", version=V5, clean=True, keep_alive=0, props=b"", will=None, user=None,
            password=None, will_props=b"", will_qos=0):
    """A CONNECT; will is (topic, payload)."""
    flags = 2 if clean else 0
    payload = text(client_id)
    if will:
        flags |= 4 | will_qos << 3
        payload += (properties(will_props) if version == V5 else b"") + text(will[0]) + text(will[1])
    if user is not None:
        flags |= 0x80
        payload += text(user)
    if password is not None:
        flags |= 0x40
        payload += text(password)
    head = text("MQIsdp" if version == V31 else "MQTT") + struct.pack(">BBH", version, flags, keep_alive)
    return packet(0x10, head + (properties(props) if version == V5 else b"") + payload)


def publish(topic, payload=b"", qos=0, packet_id=1, retain=False, dup=False, version=V5, props=b""):
    """A PUBLISH."""
    body = text(topic) + (struct.pack(">H", packet_id) if qos else b"")
    body += properties(props) if version == V5 else b""
    return packet(0x30 | qos << 1 | (1 if retain else 0) | (8 if dup else 0), body + payload)


def subscribe(*filters, packet_id=1, version=V5, props=b""):
    """A SUBSCRIBE; a filter is a string (QoS 0) or (string, options)."""
    body = struct.pack(">H", packet_id) + (properties(props) if version == V5 else b"")
    for item in filters:
        name, options = item if isinstance(item, tuple) else (item, 0)
        body += text(name) + bytes([options])
    return packet(0x82, body)


def unsubscribe(*filters, packet_id=1, version=V5):
    """An UNSUBSCRIBE."""
    body = struct.pack(">H", packet_id) + (properties() if version == V5 else b"")
    return packet(UNSUBSCRIBE << 4 | 2, body + b"".join(map(text, filters)))


def ack(kind, packet_id, reason=None):
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""
    first = kind << 4 | (2 if kind == PUBREL else 0)
    return packet(first, struct.pack(">H", packet_id) + (b"" if reason is None else bytes([reason])))


def parse_publish(flags, body, version):
    """The parts of a PUBLISH."""
    size = struct.unpack(">H", body[:2])[0]
    topic, rest = body[2:2 + size].decode(), body[2 + size:]
    qos, packet_id, props = flags >> 1 & 3, None, b""
    if qos:
        packet_id, rest = struct.unpack(">H", rest[:2])[0], rest[2:]
    if version == V5:
        size, used = read_varint(rest)
        props, rest = rest[used:used + size], rest[used + size:]
    return Publish(topic, rest, qos, bool(flags & 1), bool(flags & 8), packet_id, props)


def read_varint(raw):
    """(value, bytes used); used is 0 while it is not whole."""
    value = 0
    for used, byte in enumerate(raw[:4], 1):
        value |= (byte & 0x7F) << 7 * (used - 1)
        if byte < 0x80:
            return value, used
    return 0, 0


class Raw:
    """A socket that speaks MQTT as told."""

    def __init__(self, port=None, path=None, host="127.0.0.1", seconds=20, receive_buffer=None, source=None):
        family = socket.AF_UNIX if path else socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(seconds)
        if source: # any of 127.0.0.0/8 is ours
            self.socket.bind((source, 0))
        self.socket.connect(path if path else (host, port))
        self.buffer, self.version, self.later = b"", V5, []

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        """Closes without a word."""
        self.socket.close()

    def send(self, *parts):
        """Sends bytes as they are."""
        self.socket.sendall(b"".join(parts))

    def peer_text(self):
        """Our own address as the broker's log shows it."""
        host, port = self.socket.getsockname()[:2]
        return f"{host}:{port}"

    def readable(self, seconds):
        """Whether something comes within the time."""
        if self.later or self.buffer:
            return True
        return bool(select.select([self.socket], [], [], seconds)[0])

    def _fill(self):
        try:
            more = self.socket.recv(65536)
        except ConnectionResetError:
            more = b""
        self.buffer += more
        return bool(more)

    def read(self):
        """The next packet, None when the broker has closed."""
        return self.later.pop(0) if self.later else self._receive()

    def _receive(self):
        while True:
            size, used = read_varint(self.buffer[1:])
            if used and len(self.buffer) >= 1 + used + size:
                break
            if not self._fill():
                assert not self.buffer, f"closed within a packet: {self.buffer[:40].hex()}"
                return None
        first, body = self.buffer[0], self.buffer[1 + used:1 + used + size]
        self.buffer = self.buffer[1 + used + size:]
        return Packet(first >> 4, first & 15, body)

    def await_packet(self, kind):
        """The next packet of this type; what comes before it stays for read()."""
        while True:
            found = self._receive()
            assert found is not None, f"closed, packet type {kind} wanted"
            if found.type == kind:
                return found
            self.later.append(found)

    def expect(self, kind):
        """The next packet, which must be of this type."""
        found = self.read()
        assert found is not None, f"closed, packet type {kind} wanted"
        assert found.type == kind, f"packet type {found.type} ({found.body[:40].hex()}), {kind} wanted"
        return found

    def expect_closed(self):
        """Nothing more comes, and the broker closes."""
        found = self.read()
        assert found is None, f"packet type {found.type} ({found.body[:40].hex()}), the end wanted"

    def expect_disconnect(self, reason):
        """DISCONNECT with the reason, then the end."""
        found = self.expect(DISCONNECT)
        assert found.body[:1] == bytes([reason]), f"reason {found.body[:1].hex()}, {reason:02x} wanted"
        self.expect_closed()

    def connect(self, client_id="", **options):
        """CONNECT; returns the Connack whatever it says."""
        self.version = options.get("version", V5)
        self.send(connect(client_id, **options))
        body = self.expect(CONNACK).body
        props = b""
        if self.version == V5:
            size, used = read_varint(body[2:])
            props = body[2 + used:2 + used + size]
        return Connack(bool(body[0] & 1), body[1], props)

    def connected(self, client_id="", **options):
        """CONNECT that must succeed; returns self."""
        answer = self.connect(client_id, **options)
        assert answer.code == 0, f"refused with {answer.code:#x}"
        return self

    def subscribe(self, *filters, packet_id=1, props=b""):
        """SUBSCRIBE; returns SUBACK's codes.  Messages that come before it stay for read()."""
        self.send(subscribe(*filters, packet_id=packet_id, version=self.version, props=props))
        return list(self.await_packet(SUBACK).body[-len(filters):])

    def publish(self, topic, payload=b"", **options):
        """PUBLISH, without waiting."""
        self.send(publish(topic, payload, version=self.version, **options))

    def unsubscribe(self, *filters, packet_id=1):
        """UNSUBSCRIBE and its answer."""
        self.send(unsubscribe(*filters, packet_id=packet_id, version=self.version))
        self.await_packet(UNSUBACK)

    def published(self, topic, payload=b"", qos=1, packet_id=1, **options):
        """PUBLISH of QoS 1 or 2 and its whole handshake."""
        self.publish(topic, payload, qos=qos, packet_id=packet_id, **options)
        answer = self.await_packet(PUBACK if qos == 1 else PUBREC)
        assert answer.body[:2] == struct.pack(">H", packet_id), answer
        assert answer.body[2:3] in (b"", b"\x00", b"\x10"), f"refused with {answer.body[2:].hex()}"
        if qos == 2:
            self.send(ack(PUBREL, packet_id))
            self.await_packet(PUBCOMP)

    def message(self):
        """The next packet, which must be a PUBLISH, as its parts; not acknowledged."""
        found = self.expect(PUBLISH)
        return parse_publish(found.flags, found.body, self.version)

    def acked(self):
        """The next message, acknowledged as its QoS wants; other packets meanwhile stay for read()."""
        found = self.message()
        if found.qos == 1:
            self.send(ack(PUBACK, found.packet_id))
        elif found.qos == 2:
            self.send(ack(PUBREC, found.packet_id))
            self.await_packet(PUBREL)
            self.send(ack(PUBCOMP, found.packet_id))
        return found

    def ping(self):
        """PINGREQ and its answer: everything before it has been handled."""
        self.send(packet(PINGREQ << 4))
        self.expect(PINGRESP)

    def ping_until_pong(self):
        """PINGREQ, past whatever else comes before its answer."""
        self.send(packet(PINGREQ << 4))
        self.await_packet(PINGRESP)

    def disconnect(self):
        """The polite end."""
        self.send(packet(DISCONNECT << 4))
        self.expect_closed()
        self.close()


def round_trip(raw, topic, payload=b"x"):
    """Publishes to a topic the same client subscribes to, and waits for it."""
    raw.publish(topic, payload)
    found = raw.message()
    assert (found.topic, found.payload) == (topic, payload), found
