"""What other brokers of this field have fallen over, class by class, over raw sockets.  After each test
the broker still serves, ends with 0, and no sanitizer has anything to say."""
import os
import random
import signal
import time
import unittest

import wire
from broker import Broker, BrokerCase, main, until
from clients import publish

MIB = 1024  # KiB


class Case(BrokerCase):
    """Every test is followed by a well-behaved client."""

    def tearDown(self):
        with wire.Raw(self.broker.port) as raw:
            raw.connected("well-behaved")
            raw.subscribe(("fine", 1))
            wire.round_trip(raw, "fine")

    def closed_after(self, *parts, connected=True):
        """Sends bytes; the broker must close, with or without a last packet, and not wait for more."""
        with wire.Raw(self.broker.port) as raw:
            if connected:
                raw.connected("")
            raw.send(*parts)
            while raw.read() is not None:
                pass


class Class1LengthAndBounds(Case):
    """Lengths that lie."""

    options = {"shards": 2, "asan": "quarantine_size_mb=8"}

    def test_claimed_length_in_the_first_bytes(self):
        """82 ff ff ff 7f: 256 MB announced before CONNECT.  Closed at once, a thousand times over, and no
        memory is set aside for it."""
        self.closed_after(bytes.fromhex("82ffffff7f"), connected=False)
        before = self.broker.resident_kib()
        for _ in range(500):
            self.closed_after(bytes.fromhex("82ffffff7f"), connected=False)
        for _ in range(500):
            self.closed_after(bytes.fromhex("10ffffff7f") + wire.text("MQTT"), connected=False)
        self.assertLess(self.broker.resident_kib() - before, 16 * MIB)

    def test_connect_larger_than_its_limit(self):
        """More than 64 KiB before CONNECT is accepted."""
        self.closed_after(wire.connect("x" * 60000, user="u" * 10000)[:1000], connected=False)

    def test_a_connect_of_almost_64_kib_is_accepted(self):
        """The limit does not bite too early: a will with a large payload."""
        with wire.Raw(self.broker.port) as raw:
            self.assertEqual(raw.connect("big", will=("w", "x" * 65000)).code, 0)
            raw.disconnect()

    def test_a_large_packet_that_never_comes(self):
        """Two hundred clients announce 2 MB each and send 1 KiB: memory grows with what came."""
        raws = [wire.Raw(self.broker.port).connected("") for _ in range(200)]
        raws[0].ping()
        before = self.broker.resident_kib()
        for raw in raws:
            raw.send(b"\x30" + wire.varint(1999000) + wire.text("t") + b"x" * 1024)
        publish(self.broker.port, "-q", "1", "-t", "a", "-m", "b")
        time_limit = time.monotonic() + 1
        until(lambda: time.monotonic() > time_limit, "a second")
        self.assertLess(self.broker.resident_kib() - before, 32 * MIB)
        for raw in raws:
            raw.close()

    def test_fields_that_reach_past_their_packet(self):
        """Strings, properties, options: cut at every place, none may be read beyond."""
        whole = [
            wire.connect("client", will=("w", "x"), user="u", password="p", props=wire.session_expiry(5)),
        ]
        for packet in whole:
            body = packet[2:]
            for cut in range(len(body)):
                self.closed_after(wire.packet(packet[0], body[:cut]), connected=False)
        for packet in (wire.subscribe(("a/b", 1), props=b"\x0b\x01"), wire.publish("a/b", b"", qos=1),
                       wire.packet(0xA2, b"\x00\x01\x00" + wire.text("a/b"))):
            body = packet[2:]
            for cut in range(len(body)):
                if not (packet[0] >> 4 == wire.PUBLISH and cut == len(body)):
                    self.closed_after(wire.packet(packet[0], body[:cut]))

    def test_subscribe_cut_before_its_options(self):
        """SUBSCRIBE whose last byte is missing."""
        self.closed_after(bytes.fromhex("8208000100000361") + b"/b")

    def test_property_length_past_the_packet(self):
        """A property block that claims more than there is, up to 256 MB."""
        for claimed in (b"\x10", b"\xff\x7f", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x7f",
                        b"\x80\x80\x80\x80\x01"):
            self.closed_after(wire.packet(0x30, wire.text("t") + claimed + b"x"))
            self.closed_after(wire.packet(0x82, b"\x00\x01" + claimed + wire.text("t") + b"\x00"))

    def test_remaining_length_of_five_bytes(self):
        """[MQTT-1.5.5-1]."""
        self.closed_after(b"\x30\xff\xff\xff\xff\x01")
        self.closed_after(b"\x10\x80\x80\x80\x80\x01", connected=False)

    def test_garbage(self):
        """Bytes of other protocols, and all first bytes."""
        for start in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                      b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00" * 64, b"\xff" * 64):
            self.closed_after(start, connected=False)
        for first in range(256):
            if first >> 4 != wire.CONNECT:
                self.closed_after(bytes([first, 0]), connected=False)

    def test_half_connects_by_the_thousand(self):
        """Three thousand sockets with half a CONNECT that claims 64 KiB: memory grows with the bytes that
        came, and clients get in meanwhile."""
        half = b"\x10" + wire.varint(65000) + wire.text("MQTT") + b"\x05\x02\x00\x3c\x00\xfd\xe8" + b"c" * 200
        before = self.broker.resident_kib()
        raws = []
        for _ in range(3000):
            raw = wire.Raw(self.broker.port)
            raw.send(half)
            raws.append(raw)
        with wire.Raw(self.broker.port) as raw:
            raw.connected("among-thousands")
            raw.subscribe("a")
            wire.round_trip(raw, "a")
        grown = self.broker.resident_kib() - before
        self.assertLess(grown, 64 * MIB)
        for raw in raws:
            raw.close()


class Class1Slowloris(unittest.TestCase):
    """connect_timeout is from the opening to a whole CONNECT."""

    def test_connect_timeout(self):
        """Silent, one byte at a time, and whole but for its last byte: all closed after it, not before."""
        with Broker(extra="connect_timeout 1s\n") as broker:
            packet = wire.connect("slow", user="x" * 100)
            started = time.monotonic()
            silent, drip, almost = (wire.Raw(broker.port) for _ in range(3))
            almost.send(packet[:-1])
            rest = list(packet)

            def over():
                if drip.readable(0.02):
                    return True
                drip.send(bytes([rest.pop(0)]))
                return False

            until(over, "the slow one is closed")
            self.assertGreater(len(rest), 0)
            for raw in (silent, drip, almost):
                self.assertIsNone(raw.read())
                raw.close()
            self.assertTrue(0.9 < time.monotonic() - started < 5, time.monotonic() - started)

    def test_a_slow_but_whole_connect(self):
        """In pieces, within the time: it gets in."""
        with Broker(extra="connect_timeout 20s\n", shards=4) as broker:
            with wire.Raw(broker.port) as raw:
                for byte in wire.connect("patient", user="bob"):
                    raw.send(bytes([byte]))
                self.assertEqual(raw.expect(wire.CONNACK).body[1], 0)
                raw.ping()


class Class2RecursionAndCost(Case):
    """Input that is cheap to send and dear to handle."""

    options = {"shards": 2}

    def test_a_topic_of_65000_slashes(self):
        """Deeper than max_topic_levels: refused, in PUBLISH, SUBSCRIBE and a will."""
        deep = "/" * 65000
        self.closed_after(wire.publish(deep, b"x"))
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.send(wire.subscribe(deep))
            found = raw.read()
            self.assertTrue(found.type == wire.DISCONNECT or found.body[-1] >= 0x80, found)
        with wire.Raw(self.broker.port) as raw:
            self.assertEqual(raw.connect("deep", will=(deep, "x")).code, 0x90)

    def test_200_levels_are_fine(self):
        """The limit itself works, with wildcards at the end."""
        deep = "/".join("abcdefghij"[i % 10] for i in range(200))
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            self.assertEqual(raw.subscribe(deep[:-1] + "+", deep.rsplit("/", 1)[0] + "/#"), [0, 0])
            raw.publish(deep, b"x")
            self.assertEqual(raw.message().topic, deep)

    def test_overlapping_wildcards_by_powers_of_two(self):
        """All 4,096 filters of '+' and 'a' over 12 levels: one publish matches them all; others do not
        wait for seconds."""
        with wire.Raw(self.broker.port) as raw, wire.Raw(self.broker.port) as other:
            raw.connected("powers")
            other.connected("bystander")
            other.subscribe("bystander")
            filters = ["/".join("+a"[n >> i & 1] for i in range(12)) for n in range(4096)]
            for i in range(0, 4096, 512):
                self.assertEqual(raw.subscribe(*filters[i:i + 512]), [0] * 512)
            slowest = 0
            for _ in range(20):
                raw.publish("/".join("a" * 12), b"x")
                started = time.monotonic()
                wire.round_trip(other, "bystander")
                slowest = max(slowest, time.monotonic() - started)
            self.assertEqual([raw.message().payload for _ in range(20)], [b"x"] * 20)
            self.assertLess(slowest, 1)

    def test_thousands_of_user_properties(self):
        """30,000 in one packet are handled in linear time."""
        block = b"".join(wire.user_property("k", "v") for _ in range(30000))
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.subscribe("props")
            started = time.monotonic()
            raw.publish("props", b"x", props=block)
            self.assertEqual(raw.message().properties, block)
            self.assertLess(time.monotonic() - started, 2)

    def test_subscribing_and_leaving_often(self):
        """2,000 filters, again and again."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("often")
            filters = [f"often/{i}/+/x" for i in range(2000)]
            for _ in range(5):
                self.assertEqual(raw.subscribe(*filters), [0] * 2000)
                raw.send(wire.packet(0xA2, b"\x00\x02\x00" + b"".join(wire.text(name) for name in filters)))
                self.assertEqual(set(raw.expect(wire.UNSUBACK).body[3:]), {0})


class Class3Lifetime(Case):
    """Sequences that no client sends."""

    options = {"shards": 4}

    def test_packets_of_a_server(self):
        """CONNACK, SUBACK, UNSUBACK, PINGRESP from a client; a second CONNECT; AUTH nobody asked for."""
        for packet in (b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x00", b"\xb0\x02\x00\x01", b"\xd0\x00",
                       wire.connect("again"), b"\xf0\x00"):
            self.closed_after(packet)

    def test_packets_before_connect(self):
        """Whole and right, but not CONNECT: closed, nothing is done."""
        for packet in (wire.publish("a", b"x"), wire.subscribe("a"), b"\xc0\x00", b"\xe0\x00",
                       wire.ack(wire.PUBREL, 1)):
            self.closed_after(packet, connected=False)

    def test_acknowledgements_for_nothing(self):
        """PUBACK, PUBREC, PUBREL, PUBCOMP of ids that are not under way: answered or ignored, no crash."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            for packet_id in (1, 2, 65535):
                for kind in (wire.PUBACK, wire.PUBCOMP, wire.PUBREC, wire.PUBREL):
                    raw.send(wire.ack(kind, packet_id))
            raw.send(wire.packet(wire.PINGREQ << 4))
            kinds = []
            while (found := raw.read()) is not None and found.type != wire.PINGRESP:
                kinds.append(found.type)
            self.assertLessEqual(set(kinds), {wire.PUBREL, wire.PUBCOMP, wire.DISCONNECT})

    def test_malformed_share_and_dollar_topics(self):
        """Odd names in SUBSCRIBE and UNSUBSCRIBE."""
        for name in ("$share", "$share/", "$share//", "$share/g", "$share/g//", "$", "$$", "/", "//",
                     "$SYS", "$SYS/"):
            with wire.Raw(self.broker.port) as raw:
                raw.connected("")
                raw.send(wire.subscribe(name))
                found = raw.read()
                if found.type == wire.SUBACK:
                    raw.send(wire.packet(0xA2, b"\x00\x02\x00" + wire.text(name)))
                    self.assertIn(raw.read().type, (wire.UNSUBACK, wire.DISCONNECT))

    def test_takeover_races(self):
        """Forty clients fight for one id with a will and a session, with and without clean start."""
        raws = []
        for i in range(200):
            raw = wire.Raw(self.broker.port)
            raw.send(wire.connect("fought-for", clean=i % 3 == 0, props=wire.session_expiry(100 * (i % 2)),
                                  will=("will", "x"), will_props=wire.u32_property(0x18, i % 2)),
                     wire.subscribe(("fought/+", 1)), wire.publish("fought/for", b"x", qos=1))
            raws.append(raw)
            if len(raws) > 40:
                raws.pop(0).close()
        for raw in raws:
            raw.close()

        def peace():
            with wire.Raw(self.broker.port) as raw:
                raw.send(wire.connect("fought-for"), wire.packet(wire.PINGREQ << 4))
                while (found := raw.read()) is not None and found.type != wire.PINGRESP:
                    pass
                return found

        until(peace, "the last one stays")  # a CONNECT sent earlier may be handled later

    def test_will_delay_beyond_the_session(self):
        """The session ends, the will goes, later nothing is left to fire."""
        with wire.Raw(self.broker.port) as watcher:
            watcher.connected("watcher")
            watcher.subscribe("w3")
            for _ in range(5):
                wire.Raw(self.broker.port).connected("dies", props=wire.session_expiry(1), will=("w3", "x"),
                                                     will_props=wire.u32_property(0x18, 1000)).close()
                self.assertEqual(watcher.message().payload, b"x")


class Class4UnboundedState(Case):
    """Everything a client can make grow has an end."""

    options = {"shards": 1,
               "extra": "max_subscriptions 1000\noutput_soft_limit 128k\noutput_hard_limit 256k\n",
               "asan": "quarantine_size_mb=8"}

    def test_pubrec_never_answered(self):
        """QoS 2 ids without PUBREL: more than Receive Maximum is refused with 0x93 [MQTT-3.3.4-7]."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            for i in range(20):
                raw.publish("p", b"x", qos=2, packet_id=i + 1)
                raw.expect(wire.PUBREC)
            raw.publish("p", b"x", qos=2, packet_id=21)
            raw.expect_disconnect(0x93)

    def test_a_queue_that_nobody_empties(self):
        """A client that acknowledges nothing: 20 in flight, 1,000 in its queue, the rest is dropped."""
        with wire.Raw(self.broker.port) as raw, wire.Raw(self.broker.port) as pub:
            raw.connected("lazy")
            raw.subscribe(("lazy", 1))
            pub.connected("busy", version=wire.V311)
            for i in range(1100):
                pub.publish("lazy", str(i).encode(), qos=1, packet_id=i + 1)
                pub.expect(wire.PUBACK)
            self.broker.wait_log("Outgoing messages are being dropped for client lazy")
            found = [int(raw.acked().payload) for _ in range(1020)]
            self.assertEqual(found, list(range(1020)))
            raw.ping()

    def test_max_subscriptions(self):
        """0x97 for what is over it; after UNSUBSCRIBE there is room."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            self.assertEqual(raw.subscribe(*(f"s/{i}" for i in range(1000))), [0] * 1000)
            self.assertEqual(raw.subscribe("one/more", "s/1"), [0x97, 0])
            raw.send(wire.packet(0xA2, b"\x00\x02\x00" + wire.text("s/5")))
            raw.expect(wire.UNSUBACK)
            self.assertEqual(raw.subscribe("one/more"), [0])

    def test_output_that_is_not_read(self):
        """A client asks for what is answered at length and never reads the answers: it is not read any more,
        memory is bounded, and when it does read, every answer is there."""
        before = self.broker.resident_kib()
        ask = wire.publish("$SYS/x", qos=1)
        with wire.Raw(self.broker.port, receive_buffer=65536, seconds=1) as raw:
            raw.connected("deaf")
            sent = 0
            try:
                while sent < 64 * 1024 * 1024:
                    sent += raw.socket.send((ask * 1000)[sent % len(ask):])
            except TimeoutError:
                pass
            self.assertLess(sent, 48 * 1024 * 1024)
            self.assertLess(self.broker.resident_kib() - before, 16 * MIB)
            raw.socket.settimeout(20)
            for _ in range(sent // len(ask)):
                self.assertEqual(raw.expect(wire.PUBACK).body[:3], b"\x00\x01\x90")

    def test_aliases_and_ids_are_bounded(self):
        """A topic alias above the maximum, packet id 0."""
        for packet in (wire.publish("a", b"x", props=wire.u16_property(0x23, 11)),
                       wire.publish("a", b"x", qos=1, packet_id=0), wire.subscribe("a", packet_id=0)):
            self.closed_after(packet)


class Class5AccessControl(unittest.TestCase):
    """Files that are empty or broken let nobody in and allow nothing (what clients try:
    hardening-5-access.wire)."""

    CONFIG = ("per_listener_settings true\nlistener {0} 127.0.0.1\npassword_file {dir}/users\n"
              "listener {1} 127.0.0.1\nallow_anonymous true\nacl_file {dir}/acl\n")

    def broker(self, users, acl):
        """Both files as given."""
        broker = Broker(self.CONFIG, ports=2)
        self.write(broker, "users", users)
        self.write(broker, "acl", acl)
        return broker

    def write(self, broker, name, text):
        """A file, whole at once."""
        with open(broker.path(name + ".new"), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(broker.path(name + ".new"), 0o600)
        os.replace(broker.path(name + ".new"), broker.path(name))

    def test_empty_files(self):
        """No user, no right."""
        with self.broker("", "") as broker:
            broker.wait_log("the file of passwords is empty")
            for user, password in ((None, None), ("", ""), ("bob", ""), ("root", "x"), ("bob", None)):
                with wire.Raw(broker.port) as raw:
                    self.assertEqual(raw.connect("x", user=user, password=password).code, 0x87, user)
            with wire.Raw(broker.ports[1]) as raw:
                raw.connected("y")
                self.assertEqual(raw.subscribe("#"), [0])
                raw.publish("t", b"x", qos=1)
                self.assertEqual(raw.expect(wire.PUBACK).body[2], 0x87)

    def test_files_that_are_gone_or_broken_at_a_reload(self):
        """What was in force stays so."""
        with self.broker("", "topic read t\n") as broker, wire.Raw(broker.ports[1]) as raw:
            raw.connected("y")
            for i, (name, text) in enumerate((("users", "bob\n"), ("acl", "topic all t\n"), ("acl", "topic t\0\n"),
                                              ("users", None), ("acl", None))):
                self.write(broker, name, text or "")
                if text is None:
                    os.unlink(broker.path(name))
                broker.signal(signal.SIGHUP)
                broker.wait_log("the old configuration stays in force", i + 1)
                raw.publish("t", b"x", qos=1)
                self.assertEqual(raw.expect(wire.PUBACK).body[2], 0x87)
                with wire.Raw(broker.port) as other:
                    self.assertEqual(other.connect("x", user="bob", password="x").code, 0x87)
                self.write(broker, name, "" if name == "users" else "topic read t\n")


class Class6ReflectedDamage(Case):
    """What one client sends must not hurt another."""

    options = {"shards": 2}

    def test_bad_text_is_not_passed_on(self):
        """Overlong, surrogate, cut UTF-8, NUL, in topics, user properties, content type, response topic:
        the sender is disconnected, the subscriber of everything sees none of it."""
        bad = (b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82", b"\xff", b"a\x00b", b"\xf4\x90\x80\x80")
        with wire.Raw(self.broker.port) as watcher:
            watcher.connected("watcher")
            watcher.subscribe("#")
            for raw in bad:
                for props in (b"\x26" + wire.text(raw) + wire.text("v"),
                              b"\x26" + wire.text("k") + wire.text(raw),
                              b"\x03" + wire.text(raw), b"\x08" + wire.text(raw)):
                    self.closed_after(wire.publish("t", b"x", props=props))
                self.closed_after(wire.publish(raw, b"x"))
                self.closed_after(wire.connect(raw), connected=False)
                self.closed_after(wire.connect("x", user=raw), connected=False)
            wire.round_trip(watcher, "clean")

    def test_wildcards_in_topic_names(self):
        """[MQTT-3.3.2-2]; a response topic with wildcards too [MQTT-3.3.2-14]."""
        for topic in ("a/#", "+", "a/+/b", "#"):
            self.closed_after(wire.publish(topic, b"x"))
        self.closed_after(wire.publish("t", b"x", props=b"\x08" + wire.text("a/#")))

    def test_properties_that_belong_elsewhere_or_come_twice(self):
        """0x82: a subscriber would close its connection over them."""
        for props in (wire.session_expiry(1), b"\x02\x00\x00\x00\x01" * 2, b"\x01\x02", b"\x0b\x01",
                      b"\x03" + wire.text("a") + b"\x03" + wire.text("b"), b"\x7f", b"\x23\x00\x00"):
            self.closed_after(wire.publish("t", b"x", props=props))

    def test_half_packets_do_not_keep_a_connection_alive(self):
        """Keep Alive 1 s: bytes of a packet that is never whole do not count; 0x8D after 1.5 s."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("half", keep_alive=1)
            started = time.monotonic()
            raw.send(b"\x30" + wire.varint(1000) + wire.text("t"))

            def over():
                if raw.readable(0.1):
                    return True
                raw.send(b"x")
                return False

            until(over, "the keep alive runs out")
            raw.expect_disconnect(0x8D)
            self.assertTrue(1.4 < time.monotonic() - started < 4, time.monotonic() - started)

    def test_whole_packets_do(self):
        """PINGREQ and anything else that is whole; three times the keep alive."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("alive", keep_alive=1)
            ends = time.monotonic() + 3

            def ping():
                raw.publish("alive", b"x")
                return raw.readable(0.5) or time.monotonic() > ends

            until(ping, "three seconds")
            raw.ping()

    def test_keep_alive_of_311_closes(self):
        """No packet tells 3.1.1; a client that is only read from is gone all the same."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("old", version=wire.V311, keep_alive=1)
            started = time.monotonic()
            raw.expect_closed()
            self.assertTrue(1.4 < time.monotonic() - started < 4, time.monotonic() - started)


class Random(unittest.TestCase):
    """Mutations of good packets, from a fixed seed: whatever happens, it is not a crash."""

    def test_mutations(self):
        """Two thousand connections with a bit of damage."""
        chance = random.Random(20240229)
        good = (wire.connect("mutant", will=("w", "x"), props=wire.session_expiry(10)) +
                wire.subscribe(("a/+", 1), ("$share/g/b", 2), props=b"\x0b\x05") +
                wire.publish("a/b", b"payload", qos=2, props=wire.user_property("k", "v")) +
                wire.ack(wire.PUBREL, 1) + wire.packet(0xC0) + wire.packet(0xE0))
        with Broker(shards=4, extra="connect_timeout 1s\nlog_type none\n") as broker:
            for _ in range(2000):
                data = bytearray(good)
                for _ in range(chance.randrange(1, 4)):
                    at = chance.randrange(len(data))
                    data[at] = chance.randrange(256)
                cut = chance.randrange(len(data)) if chance.random() < 0.3 else len(data)
                with wire.Raw(broker.port) as raw:
                    try:
                        raw.send(bytes(data[:cut]))
                    except (BrokenPipeError, ConnectionResetError):
                        pass
            with wire.Raw(broker.port) as raw:
                raw.connected("afterwards")
                raw.subscribe("fine")
                wire.round_trip(raw, "fine")
            self.assertIsNone(broker.process.poll())
            os.kill(broker.pid, signal.SIGTERM)
            broker.wait_end()


if __name__ == "__main__":
    main()
