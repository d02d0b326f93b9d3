#!/usr/bin/env python3
"""Writes the seeds of fuzz_ws to fuzz/corpus/ws: heads and frames.  Running it again changes nothing."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "corpus", "ws")
sys.path.insert(0, os.path.join(HERE, "../tests/e2e"))

from websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, request  # noqa: E402

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HEADS = {
    "upgrade": request(key=KEY, more="Origin: https://a.example\r\n"),
    "both-names": request(path="/?a=b", key=KEY, protocols="mqttv3.1, mqtt"),
    "no-protocol": request(key=KEY, protocols=None),
    "old-version": request(key=KEY).replace(b": 13", b": 8"),
    "get": b"GET /a%20b?c HTTP/1.1\r\nHost: x\r\n\r\n",
    "old": b"HEAD / HTTP/1.0\r\n\r\n",
    "body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "chunked": b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded": b"GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
    "bare": b"GET / HTTP/1.1\nHost: x\n\n",
    "mqtt": b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00",
}
FRAMES = {
    "frames": frame(BINARY, b"one") + frame(BINARY) + frame(BINARY, b"two"),
    "fragments": frame(BINARY, b"a", final=False) + frame(PING, b"p") + frame(CONTINUATION, b"b", final=False)
    + frame(PONG) + frame(CONTINUATION, b"c"),
    "lengths": frame(BINARY, b"x" * 125) + frame(BINARY, b"x" * 126) + frame(BINARY, b"x" * 300),
    "long": frame(BINARY, b"x" * 3, says=70000),
    "close": frame(BINARY, b"x") + frame(CLOSE, b"\x03\xe8bye") + frame(BINARY, b"y"),
    "close-empty": frame(CLOSE),
    "close-half": frame(CLOSE, b"\x03"),
    "text": frame(BINARY, b"x") + frame(TEXT, b"y"),
    "bare": frame(BINARY, b"x") + frame(BINARY, b"y", mask=b""),
    "reserved": frame(BINARY, b"x", reserved=4),
    "ping-long": frame(PING, b"x" * 126),
    "ping-cut": frame(PING, b"x", final=False),
    "huge": frame(BINARY, b"x", says=1 << 40),
    "negative": frame(BINARY, b"x", says=1 << 63),
}


def main():
    """Writes them."""
    os.makedirs(FOLDER, exist_ok=True)
    for name, data in HEADS.items():
        with open(os.path.join(FOLDER, f"head-{name}"), "wb") as file:
            file.write(b"\0" + data)
    for name, data in FRAMES.items():
        for step in (1, 5):
            with open(os.path.join(FOLDER, f"frames-{name}-{step}"), "wb") as file:
                file.write(bytes([step]) + data)


if __name__ == "__main__":
    main()
