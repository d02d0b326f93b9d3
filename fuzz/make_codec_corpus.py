#!/usr/bin/env python3
"""Writes the seeds of fuzz_codec to fuzz/corpus/codec: a file for each packet type and version.
Running it again changes nothing."""
import os

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "codec")
VERSIONS = {"31": 0, "311": 1, "5": 2}  # the first byte of an input


def text(s):
    data = s.encode()
    return len(data).to_bytes(2, "big") + data


def varint(n):
    out = b""
    while n >= 128:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def props(*parts):
    block = b"".join(parts)
    return varint(len(block)) + block


def packet(first, *parts):
    body = b"".join(parts)
    return bytes([first]) + varint(len(body)) + body


USER = b"\x26" + text("key") + text("value")
REASON = b"\x1f" + text("because")
PID = b"\x01\x02"

SEEDS = {
    "31": {
        "connect": packet(0x10, text("MQIsdp"), b"\x03\xc6\x00\x3c", text("id"), text("will"),
                          text("bye"), text("user"), text("pass")),
    },
    "311": {
        "connect": packet(0x10, text("MQTT"), b"\x04\xee\x00\x3c", text("id"), text("will"),
                          text("bye"), text("user"), text("pass")),
        "connack": packet(0x20, b"\x01\x00"),
        "publish": packet(0x3B, text("a/b"), PID, b"payload"),
        "puback": packet(0x40, PID),
        "pubrec": packet(0x50, PID),
        "pubrel": packet(0x62, PID),
        "pubcomp": packet(0x70, PID),
        "subscribe": packet(0x82, PID, text("a/+/#"), b"\x01", text("$share/g/x"), b"\x02"),
        "suback": packet(0x90, PID, b"\x00\x01\x02\x80"),
        "unsubscribe": packet(0xA2, PID, text("a/b"), text("#")),
        "unsuback": packet(0xB0, PID),
        "ping": packet(0xC0) + packet(0xD0),
        "disconnect": packet(0xE0),
    },
    "5": {
        "connect": packet(
            0x10, text("MQTT"), b"\x05\xee\x00\x3c",
            props(b"\x11\x00\x00\x00\x0a", b"\x21\x00\x14", b"\x27\x00\x01\x00\x00", b"\x22\x00\x0a",
                  b"\x19\x01", b"\x17\x00", USER, b"\x15" + text("method"), b"\x16" + text("data")),
            text("id"),
            props(b"\x18\x00\x00\x00\x05", b"\x01\x01", b"\x02\x00\x00\x00\x07", b"\x03" + text("text"),
                  b"\x08" + text("re/ply"), b"\x09" + text("corr"), USER),
            text("will"), text("bye"), text("user"), text("pass")),
        "connack": packet(
            0x20, b"\x00\x00",
            props(b"\x11\x00\x00\x00\x0a", b"\x21\x00\x14", b"\x24\x01", b"\x25\x01",
                  b"\x27\x00\x01\x00\x00", b"\x12" + text("id"), b"\x22\x00\x0a", REASON, USER,
                  b"\x28\x01", b"\x29\x01", b"\x2a\x01", b"\x13\x00\x3c", b"\x1a" + text("info"),
                  b"\x1c" + text("other"))),
        "publish": packet(
            0x3D, text("a/b"), PID,
            props(b"\x01\x01", b"\x02\x00\x00\x00\x07", b"\x23\x00\x01", b"\x08" + text("re/ply"),
                  b"\x09" + text("corr"), USER, USER, b"\x0b\x01", b"\x0b\x80\x01",
                  b"\x03" + text("text")), b"payload"),
        "puback": packet(0x40, PID, b"\x10", props(REASON, USER)),
        "pubrec": packet(0x50, PID, b"\x97"),
        "pubrel": packet(0x62, PID, b"\x92", props()),
        "pubcomp": packet(0x70, PID),
        "subscribe": packet(0x82, PID, props(b"\x0b\x07", USER), text("a/+/#"), b"\x2e",
                            text("$share/g/x"), b"\x19"),
        "suback": packet(0x90, PID, props(REASON), b"\x00\x01\x02\x87"),
        "unsubscribe": packet(0xA2, PID, props(USER), text("a/b"), text("#")),
        "unsuback": packet(0xB0, PID, props(REASON), b"\x00\x11"),
        "ping": packet(0xC0) + packet(0xD0),
        "disconnect": packet(0xE0, b"\x04", props(b"\x11\x00\x00\x00\x0a", REASON, USER)),
        "auth": packet(0xF0, b"\x18", props(b"\x15" + text("method"), b"\x16" + text("data"))),
    },
}


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for version, seeds in SEEDS.items():
        everything = b""
        for name, data in seeds.items():
            everything += data
            with open(os.path.join(FOLDER, f"v{version}-{name}"), "wb") as file:
                file.write(bytes([VERSIONS[version]]) + data)
        with open(os.path.join(FOLDER, f"v{version}-stream"), "wb") as file:
            file.write(bytes([VERSIONS[version]]) + everything)


if __name__ == "__main__":
    main()
