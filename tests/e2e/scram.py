"""The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), for MQTT 5's enhanced authentication."""
import base64
import hashlib
import hmac
import os

import wire

AUTH = 15
METHOD, DATA = 0x15, 0x16
SUCCESS, GO_ON, AGAIN = 0, 0x18, 0x19


def method_property(name="SCRAM-SHA-256"):
    """The Authentication Method."""
    return bytes([METHOD]) + wire.text(name)


def data_property(data):
    """The Authentication Data."""
    return bytes([DATA]) + wire.text(data)


def auth(reason, data=None, method="SCRAM-SHA-256"):
    """An AUTH packet."""
    props = method_property(method) + (data_property(data) if data is not None else b"")
    return wire.packet(AUTH << 4, bytes([reason]) + wire.properties(props))


def read_properties(block):
    """Authentication Method and Data of a property block with its length; others than these and those of
    CONNACK are not known."""
    size, used = wire.read_varint(block)
    block, found = block[used:used + size], {}
    sizes = {0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1, 0x27: 4}
    while block:
        kind, block = block[0], block[1:]
        if kind in sizes:
            block = block[sizes[kind]:]
            continue
        size = int.from_bytes(block[:2], "big")
        found[kind], block = block[2:2 + size], block[2 + size:]
    return found


class Exchange:
    """One exchange: first(), then last(), then check()."""

    def __init__(self, user, password, header=b"n,,"):
        self.user, self.password, self.header = user, password.encode(), header
        self.nonce = base64.b64encode(os.urandom(18))
        self.bare = b"n=" + user.replace("=", "=3D").replace(",", "=2C").encode() + b",r=" + self.nonce
        self.server_first, self.auth_message, self.salted = b"", b"", b""

    def first(self):
        """client-first-message."""
        return self.header + self.bare

    def fields(self):
        """Of server-first-message."""
        return dict(part.split(b"=", 1) for part in self.server_first.split(b","))

    def last(self, server_first):
        """client-final-message."""
        self.server_first = server_first
        found = self.fields()
        assert found[b"r"].startswith(self.nonce) and found[b"r"] != self.nonce
        self.salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(found[b"s"]),
                                          int(found[b"i"]))
        key = hmac.digest(self.salted, b"Client Key", "sha256")
        bare = b"c=" + base64.b64encode(self.header) + b",r=" + found[b"r"]
        self.auth_message = b",".join((self.bare, server_first, bare))
        signature = hmac.digest(hashlib.sha256(key).digest(), self.auth_message, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature))
        return bare + b",p=" + base64.b64encode(proof)

    def check(self, server_final):
        """That the server knows the keys as well."""
        key = hmac.digest(self.salted, b"Server Key", "sha256")
        wanted = b"v=" + base64.b64encode(hmac.digest(key, self.auth_message, "sha256"))
        assert server_final == wanted, server_final


def expect_auth(raw, reason):
    """AUTH with the reason and our method; returns its data."""
    body = raw.expect(AUTH).body
    assert body[0] == reason, body
    found = read_properties(body[1:])
    assert found[METHOD] == b"SCRAM-SHA-256", found
    return found.get(DATA, b"")


def log_in(raw, client_id, user, password, **options):
    """CONNECT by SCRAM; returns CONNACK's code.  A success is checked to be the server's."""
    exchange = Exchange(user, password, options.pop("header", b"n,,"))
    props = method_property() + data_property(exchange.first())
    raw.send(wire.connect(client_id, props=props, **options))
    raw.send(auth(GO_ON, exchange.last(expect_auth(raw, GO_ON))))
    body = raw.expect(wire.CONNACK).body
    if body[1] == 0:
        found = read_properties(body[2:])
        assert found[METHOD] == b"SCRAM-SHA-256", found
        exchange.check(found[DATA])
    return body[1]


def log_in_again(raw, user, password):
    """Re-authentication; returns whether it succeeded, else DISCONNECT's reason is next."""
    exchange = Exchange(user, password)
    raw.send(auth(AGAIN, exchange.first()))
    raw.send(auth(GO_ON, exchange.last(expect_auth(raw, GO_ON))))
    found = raw.read()
    if found.type != AUTH:
        raw.later.insert(0, found)
        return False
    assert found.body[0] == SUCCESS, found
    exchange.check(read_properties(found.body[1:])[DATA])
    return True
