#!/usr/bin/env python3
"""Writes the seeds of fuzz_core to fuzz/corpus/core: a small program (see fuzz_core.c) for each
feature of the core.  Running it again changes nothing; reproducers of bugs lie there as well."""
import os

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "core")
V31, V311, V5 = 0, 1, 2
CLEAN, WILL, USER, WILL_RETAIN, WILL_DELAY = 4, 8, 16, 32, 64
A, A_B, A_B_C, B_B, D_X, WILL_T, R_1, R_2, SYS, EMPTY = range(10)  # topics
F_A, F_AB, F_APLUS, F_PLUSB, F_ALL, F_A_ALL, F_D, F_R, F_SG, F_SGALL, F_SH = range(11)  # filters
RUN, ANSWER, READ = 25, 17, 18


def op(conn, what, *args):
    return bytes([conn << 5 | what, *args])


def connect(conn, client, flags=V5, numbers=0, will=WILL_T):
    return op(conn, 0, flags, client | will << 4, numbers) + op(0, RUN)


def subscribe(conn, *filters, subid=0, pid=1):
    entries = b"".join(bytes([options, at]) for options, at in filters)
    return op(conn, 3, len(filters) - 1, pid, subid) + entries + op(0, RUN)


def unsubscribe(conn, at):
    return op(conn, 5, 2, at) + op(0, RUN)


def publish(conn, topic, qos=0, retain=0, dup=0, pid=1, length=3, more=0):
    return op(conn, 6, qos << 1 | retain | dup << 3 | more, topic, pid, length)


def ack(conn, kind, pid, reason=0):
    return op(conn, 10, kind, pid, reason)


def drop(conn):
    return op(conn, 2)


def small(conn, kind):
    return op(conn, 12, kind)


def raw(conn, data):
    return op(conn, 13, len(data)) + data


def framed(conn, first, body):
    return op(conn, 14, first, len(body)) + body


def time(value, shift):
    return op(0, 15, value | shift << 4)


def settings(what, value):
    return op(0, 21, what, value)


def answers(*conns):
    return b"".join(op(0, RUN) + op(c, ANSWER) for c in conns) + op(0, RUN)


ONE, TWO, THREE, SHUFFLED = 0, 1, 2, 4
PERSISTENT = 2  # numbers: expiry 30 s
pair = connect(0, 0) + connect(1, 1, V311)
levels = b"".join(publish(1, A_B, qos, pid=qos + 1) for qos in range(3))

SEEDS = {
    "pair": pair + subscribe(0, (2, F_AB), (1, F_ALL), subid=5) + levels + answers(0, 1, 0, 1),
    "versions": b"".join(connect(v, v, v) + subscribe(v, (v, F_ALL)) for v in range(3)) + levels,
    "overlap": pair + subscribe(0, (0, F_A_ALL), (2, F_APLUS), (1, F_PLUSB), subid=1)
    + subscribe(0, (1, F_AB), subid=2, pid=2) + levels + answers(0, 0),
    "resume": connect(0, 0, V5, PERSISTENT) + connect(1, 1) + subscribe(0, (2, F_A_ALL)) + levels
    + op(0, RUN) + drop(0) + levels + op(0, RUN) + connect(0, 0, V5, PERSISTENT) + answers(0, 0, 1),
    "resume-3": connect(0, 0, V311) + connect(1, 1) + subscribe(0, (2, F_A_ALL)) + levels
    + op(0, RUN) + drop(0) + levels + connect(0, 0, V311) + answers(0, 0, 1),
    "resend-publish": connect(0, 0, V311) + publish(0, A, 2) + publish(0, A, 1, pid=2) + op(0, RUN)
    + drop(0) + connect(0, 0, V311) + publish(0, A, 2, dup=1) + publish(0, A, 1, dup=1, pid=2)
    + answers(0, 0),
    "takeover": pair + connect(2, 0) + connect(3, 0, V5 | CLEAN) + levels + op(0, RUN),
    "takeover-will": connect(0, 0, V5 | WILL) + connect(1, 1) + subscribe(1, (1, 14))
    + connect(2, 0, V5 | WILL | CLEAN) + drop(2) + op(0, RUN) + answers(1),
    "will-delay": connect(0, 0, V5 | WILL | WILL_DELAY, PERSISTENT) + connect(1, 1, V311)
    + subscribe(1, (2, 14)) + drop(0) + time(15, 6) + time(15, 7) + answers(1),
    "will-retain": connect(0, 0, V311 | WILL | WILL_RETAIN | CLEAN) + drop(0) + connect(1, 1)
    + subscribe(1, (1, F_ALL)) + answers(1),
    "expiry": connect(0, 0, V5, PERSISTENT) + subscribe(0, (1, F_A_ALL)) + connect(1, 1) + drop(0)
    + levels + time(15, 11) + time(15, 11) + connect(0, 0, V5, PERSISTENT) + answers(0),
    "retained": pair + publish(1, R_1, 1, 1) + publish(1, R_2, 2, 1, pid=3) + publish(1, A_B, 0, 1)
    + op(0, RUN) + subscribe(0, (0, F_R), (2, F_ALL), (0x20 | 1, F_AB)) + answers(0, 1)
    + publish(1, R_1, 0, 1, length=0) + op(0, RUN) + subscribe(0, (8, F_R), pid=9) + answers(0),
    "retained-expires": settings(6, 1) + pair + publish(1, R_1, 1, 1, more=128 | 32)
    + publish(1, A, 0, 1) + time(15, 8) + subscribe(0, (1, F_ALL)) + answers(0),
    "retained-limit": settings(8, 2) + pair
    + b"".join(publish(1, t, 0, 1) for t in range(6)) + subscribe(0, (1, F_ALL)) + answers(0),
    "share": pair + connect(2, 2) + subscribe(0, (1, F_SG)) + subscribe(2, (2, F_SG), subid=3)
    + levels + levels + op(0, RUN) + drop(0) + answers(2, 1) + unsubscribe(2, F_SG) + levels,
    "share-away": connect(0, 0, V5, PERSISTENT) + connect(1, 1) + connect(2, 2, V311)
    + subscribe(0, (2, F_SGALL)) + subscribe(2, (1, F_SGALL)) + levels + op(0, RUN) + drop(0)
    + drop(2) + levels + op(0, RUN) + connect(0, 0, V5, PERSISTENT) + answers(0, 1, 0),
    "share-two": pair + subscribe(0, (1, F_SG), (1, F_SH)) + subscribe(1, (1, F_SGALL)) + levels
    + answers(0, 1) + drop(0) + answers(1),
    "window": connect(0, 0, V5, 4) + connect(1, 1) + subscribe(0, (2, F_A_ALL)) + levels * 3
    + op(0, RUN) + ack(0, 0, 1) + ack(0, 1, 2) + ack(0, 3, 2) + answers(0, 0, 1),
    "queue-full": settings(1, 2) + connect(0, 0, V311) + connect(1, 1) + subscribe(0, (2, F_A_ALL))
    + drop(0) + levels * 3 + connect(0, 0, V311) + answers(0),
    "queue-qos0": settings(4, 1) + connect(0, 0, V311) + connect(1, 1) + subscribe(0, (0, F_A_ALL))
    + drop(0) + levels + connect(0, 0, V311) + levels + answers(0),
    "slow": settings(2, 0) + settings(3, 0) + pair + subscribe(0, (0, F_ALL)) + op(0, 19, 1)
    + publish(1, A, length=128) * 4 + op(0, RUN) + time(15, 7) + publish(1, A, length=128) * 4
    + op(0, RUN) + op(0, 20) + answers(0, 1),
    "slow-qos1": settings(2, 0) + pair + subscribe(0, (1, F_ALL)) + op(0, 19, 1)
    + publish(1, A, 1, length=128) * 4 + op(0, RUN) + drop(0) + answers(1),
    "small-packets": connect(0, 0, V5, 32) + connect(1, 1) + subscribe(0, (2, F_ALL))
    + publish(1, A_B_C, 1, length=128) + publish(1, A, 1, length=1) + answers(0, 1),
    "alias": connect(0, 0, V5, 16) + connect(1, 1) + subscribe(0, (1, F_ALL))
    + b"".join(publish(1, t | 1 << 4, 1, more=64) for t in (A, A_B, EMPTY)) * 2 + answers(0),
    "expiry-message": connect(0, 0, V311) + connect(1, 1) + subscribe(0, (1, F_ALL)) + drop(0)
    + publish(1, A, 1, more=128 | 32) + publish(1, A_B, 2, more=128) + time(15, 8)
    + connect(0, 0, V311) + answers(0),
    "properties": pair + subscribe(0, (1, F_ALL)) + publish(0, A, 1, length=64 | 32 | 5)
    + publish(1, A, 1, length=64) + answers(0, 1),
    "disconnect": connect(0, 0, V5 | WILL, PERSISTENT) + small(0, 2) + op(0, RUN)
    + connect(0, 0, V5 | WILL) + small(0, 2 | 4) + op(0, RUN) + connect(0, 0) + small(0, 2 | 8 | 16)
    + op(0, RUN) + connect(0, 0, V5, PERSISTENT) + small(0, 2 | 8) + op(0, RUN),
    "ping-auth": pair + small(0, 0) + small(1, 0) + small(0, 3) + small(1, 3) + op(0, RUN),
    "keepalive": connect(0, 0, V5, 128) + connect(1, 1, V311, 128) + time(15, 7) + small(0, 0)
    + time(15, 7) + time(15, 8),
    "retry": connect(0, 0, V311) + connect(1, 1) + subscribe(0, (2, F_ALL)) + levels + op(0, RUN)
    + time(15, 11) + time(15, 12) + time(15, 13) + answers(0, 0),
    "wrong-acks": pair + subscribe(0, (2, F_ALL)) + levels + op(0, RUN) + ack(0, 0, 2)
    + ack(0, 1, 1) + op(0, RUN) + connect(0, 0) + b"".join(ack(0, k, p) for k in range(4)
                                                           for p in (1, 9, 255)) + op(0, RUN),
    "nack": pair + subscribe(0, (2, F_SG), (2, F_AB)) + levels + op(0, RUN)
    + b"".join(ack(0, k, p, 4) for k in range(2) for p in range(1, 5)) + op(0, RUN),
    "wrong-topics": pair + b"".join(publish(0, t, 1, pid=t) + publish(1, t, 2, pid=t) + op(0, RUN)
                                    + connect(0, 0) + connect(1, 1) for t in range(8, 14)),
    "wrong-filters": pair + b"".join(subscribe(c, (1, f), pid=f) for f in range(10, 21)
                                     for c in range(2)) + b"".join(unsubscribe(0, f)
                                                                   for f in range(21)),
    "empty-id": connect(0, 5) + connect(1, 5, V311 | CLEAN) + connect(2, 5, V311) + connect(3, 5, V31)
    + subscribe(0, (1, F_ALL)) + publish(1, A, 1) + answers(0, 1),
    "user": connect(0, 0, V5 | USER) + connect(1, 1, V311 | USER) + publish(0, A) + op(0, RUN),
    "connect-twice": connect(0, 0) + framed(0, 0x10, b"\0\4MQTT\5\2\0\0\0\0\0") + op(0, RUN),
    "raw-connect": framed(0, 0x10, b"\0\4MQTT\4\2\0\0\0\1x") + op(0, RUN)
    + framed(0, 0x82, b"\0\1\0\1#\1") + framed(0, 0x32, b"\0\1a\0\1x") + op(0, RUN),
    "not-connect": framed(0, 0x30, b"\0\1ax") + raw(1, b"GET / HTTP/1.1\r\n\r\n") + op(0, RUN)
    + raw(2, b"\x10\xff\xff\xff\x7f") + raw(3, b"\x10\xff\xff\xff\xff") + raw(4, b"\x10\x80\x01")
    + time(15, 11),
    "bit-by-bit": b"".join(raw(0, bytes([b])) + op(0, RUN)
                           for b in b"\x10\x0d\0\4MQTT\4\2\0\0\0\1x\xc0\0\x30\5\0\1ayz"),
    "wrong-flags": pair + framed(0, 0x80, b"\0\1\0\0\1#\1") + framed(1, 0x36, b"\0\1a\0\1x")
    + op(0, RUN),
    "wrong-lengths": pair + framed(0, 0x82, b"\0\1\0\xff\xff#\1") + framed(1, 0x30, b"\xff\xff")
    + op(0, RUN),
    "pubrel-flood": pair + b"".join(publish(0, A, 2, pid=p) for p in range(12)) + op(0, RUN)
    + b"".join(ack(0, 2, p) for p in range(12)) + op(0, RUN),
    "same-pid": pair + subscribe(1, (2, F_ALL)) + publish(0, A, 2, pid=3) * 3 + publish(0, A, 1, pid=3)
    + answers(0, 1, 1) + publish(0, A, 2, dup=1, pid=3) + answers(0),
    "no-local": pair + subscribe(0, (4 | 1, F_ALL), (1, F_AB)) + publish(0, A_B, 1) + publish(1, A, 1)
    + answers(0, 1),
    "limits": settings(7, 2) + settings(5, 50) + pair + subscribe(0, (1, F_A), (1, F_AB), (1, F_ALL))
    + publish(1, A, length=128) + op(0, RUN) + publish(0, A, length=128) + op(0, RUN),
    "own": pair + subscribe(0, (1, F_ALL)) + op(0, 22, 0) + op(0, 22, 2 | 8 << 2) + op(0, 22, 129)
    + op(0, 22, 1 | 5 << 2) + answers(0),
    "upgrade": settings(9, 1) + pair + subscribe(0, (2, F_ALL)) + levels + answers(0, 0),
    "shutdown": connect(0, 0, V5 | WILL) + connect(1, 1, V311) + subscribe(0, (1, F_ALL)) + levels
    + op(0, 23) + op(0, RUN) + connect(2, 2) + op(0, RUN),
    "pipelined": op(0, 0, V5, 0, 0) + op(0, 3, 0, 1, 0, 2, F_ALL) + publish(0, A, 2) + ack(0, 2, 1)
    + publish(0, A_B, 1) + small(0, 0) + small(0, 2) + op(0, RUN),
    "steps": op(0, 0, V5, 0, 0) + op(0, 16, 3) + op(1, 0, V311, 1, 0) + op(0, 16, 5)
    + op(0, 3, 0, 1, 0, 2, F_ALL) + op(0, 16, 2) + levels + op(0, 16, 1) + drop(1) + op(0, 16, 9),
}
METHOD = b"\x15\0\3SIM\x16\0"
USERS, LATE = 1 << 6, 1 << 7  # names are checked; and that takes time


def exchange(conn, reason, name, word):
    begin = framed(conn, 0x10, b"\0\4MQTT\5\2\0\0" + auth_props(name) + b"\0\1x") if reason is None \
        else framed(conn, 0xf0, bytes([reason]) + auth_props(name))
    return begin + op(0, RUN) + time(15, 4) + framed(conn, 0xf0, b"\x18" + auth_props(word)) \
        + op(0, RUN) + time(15, 4)


def auth_props(data):
    block = METHOD + bytes([len(data)]) + data
    return bytes([len(block)]) + block


# With a setup of their own.
MORE = {
    "exchange": (ONE | USERS, exchange(0, None, b"user", b"secret") + exchange(0, 0x19, b"user", b"secret")
                 + exchange(0, 0x19, b"user", b"wrong")),
    "exchange-late": (THREE | USERS | LATE, exchange(0, None, b"user", b"secret")
                      + exchange(0, 0x19, b"user", b"secret") + time(15, 11)),
    "exchange-wrong": (TWO | USERS | SHUFFLED, exchange(0, None, b"eve", b"secret")
                       + framed(1, 0x10, b"\0\4MQTT\5\2\0\0" + auth_props(b"user") + b"\0\1y")
                       + publish(1, A) + op(0, RUN)),
    "login-ends": (ONE | USERS, connect(0, 0, V5 | USER) + connect(1, 1, V311 | USER) + time(15, 9)),
}


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for i, (name, program) in enumerate(sorted(SEEDS.items())):
        setup = (i % 3) | (i // 3 % 2) * SHUFFLED | (i % 7) << 3
        with open(os.path.join(FOLDER, name), "wb") as file:
            file.write(bytes([setup]) + program)
    for name, (setup, program) in MORE.items():
        with open(os.path.join(FOLDER, name), "wb") as file:
            file.write(bytes([setup]) + program)
    print(f"{len(SEEDS) + len(MORE)} seeds")


main()
