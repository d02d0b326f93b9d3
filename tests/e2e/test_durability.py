"""What outlives the broker: sessions, queues, handshakes, retained messages, wills; where it lies; and what
happens when that is damaged or full.  What happens under load is test_kill.py's."""
import functools
import mmap
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest

import powerloss
import wire
from broker import ANYBODY, DURABLE, PROGRAMS, SLUICE, WAIT_S, Broker, free_port, main, run_sluice, until

SHIM = os.path.join(PROGRAMS, "unsynced.so")
SLUICECTL = os.environ.get("SLUICECTL", os.path.join(os.path.dirname(SLUICE), "sluicectl"))
FOREVER = wire.session_expiry(0xFFFFFFFF)
NO_LOCAL, AS_PUBLISHED = 4, 8  # options of SUBSCRIBE
NO_LIMITS = "max_queued_messages 0\nmax_queued_bytes 0\n"
MIB = 1 << 20


def restarted(extra=""):
    """The test is a generator: at each yield the broker ends, once by SIGTERM and once by SIGKILL, and comes
    back after so many seconds as it says."""
    def decorate(test):
        @functools.wraps(test)
        def run(self):
            for number in (signal.SIGTERM, signal.SIGKILL):
                with self.subTest(number.name), Broker(config=DURABLE, extra=extra) as broker:
                    for seconds in test(self, broker):
                        broker.die(number)
                        wait_past(time.monotonic() + (seconds or 0))
                        broker.revive()
        return run
    return decorate


def wait_past(moment):
    """Until the clock has passed it."""
    until(lambda: time.monotonic() >= moment, "time passes", 60)


def session(broker, name, *subscriptions, version=wire.V5, expiry=FOREVER, props=b""):
    """A new session and its connection."""
    raw = wire.Raw(broker.port).connected(name, version=version, clean=False,
                                          props=expiry + props if version == wire.V5 else b"")
    if subscriptions:
        raw.subscribe(*subscriptions)
    return raw


def away(broker, name, *subscriptions, **options):
    """A session that stays behind."""
    session(broker, name, *subscriptions, **options).disconnect()


def back(broker, name, present=True, version=wire.V5, props=FOREVER):
    """A connection of a session that must be there, or not."""
    raw = wire.Raw(broker.port)
    answer = raw.connect(name, version=version, clean=False, props=props if version == wire.V5 else b"")
    assert (answer.code, answer.present) == (0, present), f"{name}: {answer}"
    return raw


def feed(broker, topic, *payloads, qos=1, **options):
    """Publishes and waits for each handshake."""
    with wire.Raw(broker.port) as raw:
        raw.connected("")
        for payload in payloads:
            raw.published(topic, payload, qos=qos, **options)
        raw.disconnect()


def settle(broker, *raws):
    """What these connections have sent is on disk, as a message is that came after it."""
    for raw in raws:
        raw.ping_until_pong()
    feed(broker, "settled", b"x", retain=True)


def write(name, content):
    """A file with this content."""
    with open(name, "wb") as file:
        file.write(content)


def packet_id(found):
    """The packet identifier of an acknowledgement."""
    return int.from_bytes(found.body[:2], "big")


def assigned_id(connack):
    """The client id that the broker chose."""
    found = re.search(rb"\x12\x00(.)(auto-.*)", connack.properties, re.S)
    return found[2][:found[1][0]].decode()


class Queues(unittest.TestCase):
    """Messages that wait."""

    def check_order(self, broker, version):
        """One queue, QoS 1 and 2, in the order of publishing; then it is empty."""
        away(broker, "waits", ("q/#", 2), version=version)
        with wire.Raw(broker.port) as raw:
            raw.connected("")
            for i in range(30):
                raw.published(f"q/{i % 4}", str(i).encode(), qos=1 + i % 2)
        yield
        with back(broker, "waits", version=version) as raw:
            found = [raw.acked() for _ in range(30)]
            self.assertEqual([(m.payload, m.topic, m.qos, m.dup, m.retain) for m in found],
                             [(str(i).encode(), f"q/{i % 4}", 1 + i % 2, False, False) for i in range(30)])
            raw.ping()
            settle(broker, raw)
        yield
        with back(broker, "waits", version=version) as raw:
            raw.ping()
            feed(broker, "q/0", b"new")
            self.assertEqual(raw.acked().payload, b"new")

    @restarted()
    def test_in_order_5(self, broker):
        """MQTT 5 with a session that never ends."""
        yield from self.check_order(broker, wire.V5)

    @restarted()
    def test_in_order_311(self, broker):
        """3.1.1 with clean session 0."""
        yield from self.check_order(broker, wire.V311)

    @restarted()
    def test_what_a_message_consists_of(self, broker):
        """Properties, an empty payload, a large one; bytes of all values, without properties."""
        props = (b"\x01\x01" + b"\x03" + wire.text("text/plain") + b"\x08" + wire.text("answers/here")
                 + b"\x09" + wire.text(b"\x00\x01\xff") + wire.user_property("a", "1")
                 + wire.user_property("a", "2"))
        payloads = (b"", "größe".encode(), b"L" * 1_500_000)
        away(broker, "waits", ("q", 1))
        feed(broker, "q", bytes(range(256)))
        feed(broker, "q", *payloads, props=props)
        feed(broker, "q", *payloads, props=props, retain=True)
        yield
        with back(broker, "waits") as raw:
            bare = raw.acked()
            found = [raw.acked() for _ in range(6)]
        self.assertEqual((bare.payload, bare.properties), (bytes(range(256)), b""))
        self.assertEqual([m.payload for m in found], [*payloads] * 2)
        with wire.Raw(broker.port) as raw:
            raw.connected("")
            raw.subscribe("q")
            found.append(raw.message())
        self.assertEqual((found[-1].payload, found[-1].retain), (payloads[-1], True))
        for message in found:
            for part in (b"\x01\x01", b"\x03\x00\x0atext/plain", b"\x08\x00\x0canswers/here",
                         b"\x09\x00\x03\x00\x01\xff",
                         wire.user_property("a", "1") + wire.user_property("a", "2")):
                self.assertIn(part, message.properties)

    @restarted("max_queued_messages 5\n")
    def test_max_queued_messages(self, broker):
        """Those from before the restart count."""
        away(broker, "full", ("q", 1))
        feed(broker, "q", b"0", b"1", b"2")
        yield
        feed(broker, "q", b"3", b"4", b"5", b"6")
        yield
        with back(broker, "full") as raw:
            self.assertEqual([raw.acked().payload for _ in range(5)], [b"0", b"1", b"2", b"3", b"4"])
            raw.ping()

    @restarted()
    def test_a_shared_group(self, broker):
        """What waits for its members, each message to one of them."""
        names = ("member1", "member2")
        for name in names:
            away(broker, name, ("$share/crew/jobs/#", 1))
        feed(broker, "jobs/1", *(str(i).encode() for i in range(20)))
        yield
        found, raws = [], [back(broker, name) for name in names]
        feed(broker, "jobs/2", b"20", b"21")

        def everything():
            for raw in raws:
                while raw.readable(0):
                    found.append(int(raw.acked().payload))
            return len(found) >= 22

        until(everything, "all jobs")
        for raw in raws:
            raw.ping()
            raw.disconnect()
        self.assertEqual(sorted(found), list(range(22)))

    def test_another_number_of_shards(self):
        """Sessions, queues and retained messages are found wherever their home is now."""
        names = [f"client{i}" for i in range(12)]
        with Broker(config=DURABLE, shards=1) as broker:
            for name in names:
                away(broker, name, (f"q/{name}", 1))
            for shards in (4, 2, 3, 1):
                for name in names:
                    feed(broker, f"q/{name}", f"{name} {shards}".encode(), retain=True)
                broker.shards = shards
                broker.restart()
                for name in names:
                    with back(broker, name) as raw:
                        self.assertEqual(raw.acked().payload, f"{name} {shards}".encode())
                        raw.ping()
                        raw.disconnect()
                check_retained(broker, "q/#", {f"q/{name}": f"{name} {shards}".encode() for name in names})


class Sessions(unittest.TestCase):
    """What belongs to a session besides messages."""

    @restarted()
    def test_subscriptions_and_their_options(self, broker):
        """QoS, No Local, Retain As Published, Subscription Identifier."""
        raw = session(broker, "opts")
        raw.subscribe(("nl", 1 | NO_LOCAL), ("rap", 2 | AS_PUBLISHED), "zero", props=b"\x0b\x07")
        raw.subscribe(("plain/+", 1))
        raw.disconnect()
        away(broker, "old", ("plain/+", 2), version=wire.V311)
        yield
        with back(broker, "opts") as raw, back(broker, "old", version=wire.V311) as old:
            raw.published("nl", b"own")
            with wire.Raw(broker.port) as other:
                other.connected("")
                for topic in ("nl", "rap", "zero", "plain/x"):
                    other.published(topic, topic.encode(), qos=2, retain=True)
            found = [raw.acked() for _ in range(4)]
            self.assertEqual([(m.payload, m.qos, m.retain, b"\x0b\x07" in m.properties) for m in found],
                             [(b"nl", 1, False, True), (b"rap", 2, True, True), (b"zero", 0, False, True),
                              (b"plain/x", 1, False, False)])
            message = old.acked()
            self.assertEqual((message.payload, message.qos, message.retain), (b"plain/x", 2, False))
            raw.ping()
            old.ping()

    @restarted()
    def test_what_has_ended_does_not_come_back(self, broker):
        """UNSUBSCRIBE, clean start, DISCONNECT with expiry 0, expiry 0 from the start, clean session 1."""
        raw = session(broker, "unsub", ("keep", 1), ("drop", 1))
        raw.unsubscribe("drop")
        raw.disconnect()
        for name, version in (("clean5", wire.V5), ("clean311", wire.V311)):
            away(broker, name, ("keep", 1), version=version)
            wire.Raw(broker.port).connected(name, version=version, clean=True).disconnect()
        raw = session(broker, "ended", ("keep", 1))
        raw.send(wire.packet(0xE0, b"\x00" + wire.properties(wire.session_expiry(0))))
        raw.expect_closed()
        brief = [session(broker, "brief", ("keep", 1), expiry=b""),
                 wire.Raw(broker.port).connected("brief311", version=wire.V311)]
        brief[1].subscribe(("keep", 1))
        settle(broker, *brief)
        yield
        for raw in brief:
            raw.close()
        feed(broker, "drop", b"not any more")
        feed(broker, "keep", b"kept")
        for name, version in (("clean5", wire.V5), ("clean311", wire.V311), ("ended", wire.V5),
                              ("brief", wire.V5), ("brief311", wire.V311)):
            with back(broker, name, present=False, version=version) as raw:
                raw.ping()
                raw.subscribe(("else", 1))
                raw.disconnect()
        with back(broker, "unsub") as raw:
            self.assertEqual(raw.acked().payload, b"kept")
            raw.ping()
        yield
        for name in ("clean5", "ended", "unsub"):
            with back(broker, name) as raw:
                raw.ping()

    @restarted()
    def test_a_subscription_is_replaced(self, broker):
        """The last SUBSCRIBE to a filter counts."""
        raw = session(broker, "again", ("t", 0))
        raw.subscribe(("t", 2), props=b"\x0b\x01")
        raw.subscribe(("t", 1), props=b"\x0b\x02")
        raw.disconnect()
        yield
        feed(broker, "t", b"x", qos=2)
        with back(broker, "again") as raw:
            message = raw.acked()
            self.assertEqual((message.qos, message.properties), (1, b"\x0b\x02"))
            raw.ping()

    @restarted()
    def test_assigned_client_ids(self, broker):
        """They can be used after the restart, and are not given to others."""
        ids = []
        for _ in range(8):
            raw = wire.Raw(broker.port)
            answer = raw.connect("", props=FOREVER)
            ids.append(assigned_id(answer))
            raw.subscribe((ids[-1], 1))
            raw.disconnect()
        yield
        for _ in range(8):
            raw = wire.Raw(broker.port)
            self.assertNotIn(assigned_id(raw.connect("", props=FOREVER)), ids)
            raw.disconnect()
        for name in ids:
            feed(broker, name, name.encode())
            with back(broker, name) as raw:
                self.assertEqual(raw.acked().payload, name.encode())
                raw.disconnect()

    @restarted()
    def test_clocks_go_on_while_the_broker_is_down(self, broker):
        """Of sessions, of messages in a queue, of retained ones."""
        soon = wire.u32_property(2, 2)
        away(broker, "short", ("x", 1), expiry=wire.session_expiry(2))
        away(broker, "long", ("x", 1), expiry=wire.session_expiry(1000))
        feed(broker, "x", b"soon", props=soon)
        feed(broker, "x", b"late", props=wire.u32_property(2, 500))
        feed(broker, "r/soon", b"soon", props=soon, retain=True)
        feed(broker, "r/late", b"late", props=wire.u32_property(2, 500), retain=True)
        yield 2.2
        back(broker, "short", present=False).disconnect()
        with back(broker, "long") as raw:
            message = raw.acked()
            self.assertEqual((message.payload, message.properties[0]), (b"late", 2))
            self.assertIn(int.from_bytes(message.properties[1:5], "big"), range(480, 499))
            raw.ping()
        check_retained(broker, "r/#", {"r/late": b"late"})

    @restarted()
    def test_clocks_go_on_after_the_restart(self, broker):
        """What had not ended yet ends in time."""
        ends = time.monotonic() + 3.2
        away(broker, "short", ("x", 1), expiry=wire.session_expiry(2))
        away(broker, "long", ("x", 1))
        feed(broker, "x", b"soon", props=wire.u32_property(2, 2))
        yield
        wait_past(ends)
        back(broker, "short", present=False).disconnect()
        with back(broker, "long") as raw:
            raw.ping()


class Handshakes(unittest.TestCase):
    """Each phase of QoS 1 and 2 at the moment of the restart."""

    def check_window(self, broker, version):
        """[MQTT-4.4.0-1]: same packet id, DUP 1, before what waited."""
        raw = session(broker, "sees", ("t", 2), version=version, props=wire.u16_property(0x21, 2))
        for i in range(4):
            feed(broker, "t", str(i).encode(), qos=1 + i % 2)
        first = [raw.message() for _ in range(2)]
        self.assertEqual([(m.payload, m.qos, m.dup) for m in first], [(b"0", 1, False), (b"1", 2, False)])
        settle(broker, raw)
        yield
        raw.close()
        raw = back(broker, "sees", version=version)
        again = [raw.acked() for _ in range(4)]
        self.assertEqual([(m.payload, m.dup) for m in again],
                         [(b"0", True), (b"1", True), (b"2", False), (b"3", False)])
        self.assertEqual([m.packet_id for m in again[:2]], [m.packet_id for m in first])
        settle(broker, raw)
        raw.close()
        yield
        with back(broker, "sees", version=version) as raw:
            raw.ping()

    @restarted()
    def test_in_flight_5(self, broker):
        """Receive Maximum 2."""
        yield from self.check_window(broker, wire.V5)

    @restarted("max_inflight_messages 2\n")
    def test_in_flight_311(self, broker):
        """The same by directive."""
        yield from self.check_window(broker, wire.V311)

    @restarted()
    def test_outgoing_qos_2(self, broker):
        """PUBLISH sent; PUBREC on its way; PUBREL sent; all done."""
        raws, ids = {}, {}
        for name in ("sent", "received", "released", "done"):
            raws[name] = session(broker, name, (name, 2))
            feed(broker, name, name.encode(), qos=2)
            ids[name] = raws[name].message().packet_id
        for name in ("released", "done"):
            raws[name].send(wire.ack(wire.PUBREC, ids[name]))
            raws[name].expect(wire.PUBREL)
        raws["done"].send(wire.ack(wire.PUBCOMP, ids["done"]))
        settle(broker, *raws.values())
        raws["received"].send(wire.ack(wire.PUBREC, ids["received"]))
        yield
        for name, raw in raws.items():
            raw.close()
            raw = raws[name] = back(broker, name)
            if name == "done":
                raw.ping()
                continue
            found = raw.read()
            wanted = {"sent": (wire.PUBLISH,), "released": (wire.PUBREL,)}
            self.assertIn(found.type, wanted.get(name, (wire.PUBLISH, wire.PUBREL)), name)
            if found.type == wire.PUBLISH:
                message = wire.parse_publish(found.flags, found.body, wire.V5)
                self.assertEqual((message.packet_id, message.dup, message.payload),
                                 (ids[name], True, name.encode()))
                raw.send(wire.ack(wire.PUBREC, ids[name]))
                found = raw.expect(wire.PUBREL)
            self.assertEqual(packet_id(found), ids[name])
            raw.send(wire.ack(wire.PUBCOMP, ids[name]))
            raw.ping()
        settle(broker)
        yield
        for name, raw in raws.items():
            raw.close()
            with back(broker, name) as raw:
                raw.ping()
                feed(broker, name, b"next", qos=2)
                self.assertEqual(raw.acked().payload, b"next")

    @restarted()
    def test_incoming_qos_2(self, broker):
        """PUBLISH on its way; PUBREC sent; PUBREL on its way; all done and the identifier used again."""
        names = ("underway", "received", "kept", "released", "done")
        away(broker, "sink", ("t", 2))
        raws = {name: session(broker, name) for name in names}
        for name, raw in raws.items():
            raw.publish("t", name.encode(), qos=2, packet_id=7)
            if name != "underway":
                raw.expect(wire.PUBREC)
        raws["done"].send(wire.ack(wire.PUBREL, 7))
        raws["done"].expect(wire.PUBCOMP)
        settle(broker)
        raws["released"].send(wire.ack(wire.PUBREL, 7))
        yield
        for name in names:
            raws[name].close()
            raw = raws[name] = back(broker, name)
            if name in ("underway", "received"):
                raw.publish("t", name.encode(), qos=2, packet_id=7, dup=True)
                self.assertEqual(packet_id(raw.expect(wire.PUBREC)), 7)
            if name == "done":
                raw.published("t", b"again", qos=2, packet_id=7)
                continue
            raw.send(wire.ack(wire.PUBREL, 7))
            found = raw.expect(wire.PUBCOMP)
            self.assertIn(found.body[2:3], (b"", b"\x00", b"\x92") if name == "released" else (b"", b"\x00"))
        for name in names[:4]:
            raws[name].published("t", b"after " + name.encode(), qos=2, packet_id=7)
            raws[name].disconnect()
        with back(broker, "sink") as raw:
            found = [raw.acked().payload.decode() for _ in range(10)]
            self.assertEqual(sorted(found), sorted([*names, "again", *(f"after {n}" for n in names[:4])]))
            raw.ping()

    @restarted()
    def test_a_publisher_of_qos_1_comes_back(self, broker):
        """What was not acknowledged is sent again: at least once, and the session is there."""
        away(broker, "sink", ("t", 1))
        raw = session(broker, "source")
        raw.published("t", b"0")
        for i in range(1, 10):
            raw.publish("t", str(i).encode(), qos=1, packet_id=i)
        yield
        acked = 1
        while True:
            found = raw.read()
            if found is None or found.type == wire.DISCONNECT:
                break
            acked = packet_id(found) + 1
        raw.close()
        with back(broker, "source") as raw:
            for i in range(acked, 10):
                raw.published("t", str(i).encode(), packet_id=i, dup=True)
        with back(broker, "sink") as raw:
            found = []
            while len(set(found)) < 10:
                found.append(int(raw.acked().payload))
            self.assertEqual(sorted(set(found), key=found.index), list(range(10)))


def check_retained(broker, topic_filter, wanted):
    """What a new subscriber gets, {topic: payload}; those of other shards come when they come."""
    found = {}
    with wire.Raw(broker.port) as raw:
        raw.connected("")
        raw.subscribe((topic_filter, 1))

        def everything():
            while raw.readable(0):
                message = raw.acked()
                assert message.retain, message
                found[message.topic] = message.payload
            return found.keys() >= wanted.keys()

        try:
            until(everything, "the retained messages")
        except AssertionError:
            pass  # the difference says more
        raw.ping_until_pong()
        everything()
    assert found == wanted, f"{found}, not {wanted}"


class RetainedAndWills(unittest.TestCase):
    """Messages of nobody's session."""

    @restarted()
    def test_retained(self, broker):
        """Kept, replaced, removed, of every QoS."""
        wanted = {f"r/{i}": f"first {i}".encode() for i in range(12)}
        with wire.Raw(broker.port) as raw:
            raw.connected("")
            for i, (topic, payload) in enumerate(wanted.items()):
                if i % 3:
                    raw.published(topic, payload, qos=i % 3, retain=True)
                else:
                    raw.publish(topic, payload, retain=True)
            settle(broker, raw)
        yield
        check_retained(broker, "r/#", wanted)
        with wire.Raw(broker.port) as raw:
            raw.connected("")
            for i in range(3):
                for change, payload in ((i, b""), (i + 3, b"second")):
                    topic = f"r/{change}"
                    if i:
                        raw.published(topic, payload, qos=i, retain=True)
                    else:
                        raw.publish(topic, payload, retain=True)
                    wanted[topic] = payload
            settle(broker, raw)
        yield
        wanted = {topic: payload for topic, payload in wanted.items() if payload}
        check_retained(broker, "r/#", wanted)
        yield
        check_retained(broker, "r/#", wanted)

    @restarted()
    def test_a_will_whose_delay_was_running(self, broker):
        """It is sent when it is due, to whom it may concern, and not when its client is back before."""
        away(broker, "watch", ("will/#", 1))
        keep = {"clean": False, "will_qos": 1, "will_props": wire.u32_property(0x18, 2), "props": FOREVER}
        for name in ("lost", "returns"):
            raw = wire.Raw(broker.port).connected(name, will=(f"will/{name}", b"gone"), **keep)
            raw.ping()
            raw.close()
            broker.wait_log(rf"Client {name} closed")
        started = time.monotonic()
        settle(broker)
        yield
        back(broker, "returns").disconnect()
        with back(broker, "watch") as raw:
            message = raw.acked()
            self.assertEqual((message.topic, message.payload), ("will/lost", b"gone"))
            self.assertGreater(time.monotonic() - started, 1.5)
            wait_past(started + 3)
            raw.ping()


class Anchor(unittest.TestCase):
    """Where the state lies (CONTRACT section 1)."""

    MAGIC = b"\x00\xb5\x00mosquitto db"

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="sluice-data-")
        self.addCleanup(folder.cleanup)
        self.data = folder.name

    def path(self, *names):
        """A name in the data folder."""
        return os.path.join(self.data, *names)

    def fill(self, text, **options):
        """A broker's life in which a message is kept."""
        with Broker(config=DURABLE, data=self.data, **options) as broker:
            away(broker, "anchored", ("t", 1))
            feed(broker, "t", text)

    def check(self, text, **options):
        """It is there in another life."""
        with Broker(config=DURABLE, data=self.data, **options) as broker, back(broker, "anchored") as raw:
            self.assertEqual(raw.acked().payload, text)
            raw.disconnect()

    def read(self, name):
        """The bytes of a file."""
        with open(self.path(name), "rb") as file:
            return file.read()

    def test_is_made_and_used_again(self):
        """mosquitto.db with its folder."""
        self.fill(b"one")
        self.assertTrue(os.path.isfile(self.path("mosquitto.db")))
        self.assertTrue(os.path.isdir(self.path("mosquitto.db.d")))
        self.assertFalse(self.read("mosquitto.db").startswith(self.MAGIC))
        before = sorted(os.listdir(self.data))
        self.check(b"one")
        self.assertEqual(sorted(os.listdir(self.data)), before)

    def test_another_name(self):
        """persistence_file."""
        self.fill(b"two", extra="persistence_file other.db\n")
        self.assertTrue(os.path.isfile(self.path("other.db")))
        self.assertTrue(os.path.isdir(self.path("other.db.d")))
        self.assertFalse(os.path.exists(self.path("mosquitto.db")))
        self.check(b"two", extra="persistence_file other.db\n")

    def test_the_working_folder(self):
        """Without persistence_location."""
        with Broker(config=ANYBODY, extra="persistence true\n") as broker:
            broker.wait_log("running")
            self.assertTrue(os.path.isfile(broker.path("mosquitto.db")))

    def test_persistence_false_makes_nothing(self):
        """Nor does it read what is there."""
        self.fill(b"three")
        config = DURABLE.replace("persistence true", "persistence false")
        with Broker(config=config, data=self.data) as broker:
            back(broker, "anchored", present=False).disconnect()
        self.check(b"three")

    def test_anchor_gone(self):
        """The store starts empty, and the old folder is set aside."""
        self.fill(b"precious and old")
        os.unlink(self.path("mosquitto.db"))
        with Broker(config=DURABLE, data=self.data) as broker:
            back(broker, "anchored", present=False).disconnect()
            broker.wait_log(r"mosquitto\.db")
        self.assertTrue(os.path.isfile(self.path("mosquitto.db")))
        others = [name for name in os.listdir(self.data)
                  if os.path.isdir(self.path(name)) and name != "mosquitto.db.d"]
        self.assertEqual([bool(find_bytes(self.path(name), b"precious and old")) for name in others], [True])
        self.assertFalse(find_bytes(self.path("mosquitto.db.d"), b"precious and old"))

    def check_not_overwritten(self):
        """What mosquitto wrote is as it was, and we are at sluice.db."""
        before = self.read("mosquitto.db")
        self.assertTrue(before.startswith(self.MAGIC))
        with Broker(config=DURABLE, data=self.data) as broker:
            broker.wait_log(r"sluice\.db")
            away(broker, "anchored", ("t", 1))
            feed(broker, "t", b"four")
        self.assertTrue(os.path.isfile(self.path("sluice.db")))
        self.assertTrue(os.path.isdir(self.path("sluice.db.d")))
        self.check(b"four")
        self.assertEqual(self.read("mosquitto.db"), before)

    def test_a_file_with_mosquittos_magic(self):
        """Whatever else is in it."""
        write(self.path("mosquitto.db"), self.MAGIC + b"\x00\x00\x00\x00\x06whatever")
        self.check_not_overwritten()

    def test_mosquittos_own(self):
        """Written by the real one."""
        mosquitto = next((path for path in ("/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto")
                          if os.path.exists(path)), None)
        if mosquitto is None:
            self.skipTest("mosquitto is not installed")
        port = free_port()
        name = self.path("mosquitto.conf")
        with open(name, "w", encoding="utf-8") as file:
            file.write(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
                       f"persistence_location {self.data}/\nuser root\n")
        with subprocess.Popen([mosquitto, "-c", name], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            try:
                raw = until(lambda: self.try_connect(port), "mosquitto listens")
                raw.connected("theirs", version=wire.V311, clean=False)
                raw.subscribe(("t", 1))
                raw.published("t", b"theirs", retain=True)
                raw.close()
                process.terminate()
                process.wait(WAIT_S)
            finally:
                process.kill()
        self.check_not_overwritten()

    @staticmethod
    def try_connect(port):
        """A connection, None when nobody listens."""
        try:
            return wire.Raw(port)
        except OSError:
            return None

    def test_two_brokers_on_one_folder(self):
        """The second does not start, and the first goes on."""
        with Broker(config=DURABLE, data=self.data) as broker:
            away(broker, "anchored", ("t", 1))
            name = self.path("second.conf")
            with open(name, "w", encoding="utf-8") as file:
                file.write(DURABLE.format(free_port(), data=self.data))
            done = run_sluice("-c", name, folder=broker.dir)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn(self.data, done.stderr)
            broker.restart()
            feed(broker, "t", b"five")
            with back(broker, "anchored") as raw:
                self.assertEqual(raw.acked().payload, b"five")


def find_bytes(folder, wanted):
    """Every place in the folder's files that holds these bytes: [(path, offset)]."""
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            with open(path, "rb") as file:
                if os.path.getsize(path) == 0:
                    continue
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                    at = view.find(wanted)
                    while at >= 0:
                        found.append((path, at))
                        at = view.find(wanted, at + 1)
    return found


class Damage(unittest.TestCase):
    """Somebody or something has changed the files: the broker starts, says what is lost, has the rest."""

    COUNT, SIZE = 80, MIB  # more than one segment

    def fill(self, broker):
        """A queue of numbered messages, and some other state; then the broker dies."""
        away(broker, "reader", ("d/#", 1))
        away(broker, "other", ("e", 1))
        with wire.Raw(broker.port) as raw:
            raw.connected("")
            raw.published("r", b"retained", retain=True)
            raw.published("e", b"else")
            for i in range(self.COUNT):
                raw.published(f"d/{i}", self.payload(i), packet_id=i + 1)
        broker.die()

    def payload(self, i):
        """With its number at the beginning."""
        return b"<number %d>" % i + b"." * self.SIZE

    def place(self, broker, i):
        """(path, offset) of message i, on disk once."""
        found = find_bytes(broker.data, b"<number %d>" % i)
        self.assertEqual(len(found), 1, found)
        return found[0]

    def check_store(self, broker):
        """sluicectl says that something is damaged, and where."""
        done = subprocess.run([SLUICECTL, "store", "check", os.path.join(broker.data, "mosquitto.db.d")],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WAIT_S,
                              check=False)
        return done.returncode, done.stdout

    def check_rest(self, broker, wanted):
        """These messages are there and nothing else is missing."""
        with back(broker, "reader") as raw:
            found = [re.match(rb"<number (\d+)>", raw.acked().payload) for _ in wanted]
            self.assertEqual([int(match[1]) for match in found], wanted)
            raw.ping()
        with back(broker, "other") as raw:
            self.assertEqual(raw.acked().payload, b"else")
        check_retained(broker, "r", {"r": b"retained"})

    def test_a_bit_in_the_middle(self):
        """One message is lost, and is named by its sequence."""
        with Broker(config=DURABLE, extra=NO_LIMITS) as broker:
            self.fill(broker)
            self.assertEqual(self.check_store(broker)[0], 0)
            path, at = self.place(broker, 10)
            self.assertNotEqual(path, self.place(broker, self.COUNT - 1)[0], "one segment only")
            with open(path, "r+b") as file:
                file.seek(at + self.SIZE // 2)
                file.write(b"/")  # one bit from "."
            code, text = self.check_store(broker)
            self.assertEqual(code, 1, text)
            self.assertRegex(text, rf"(?s){os.path.basename(path)}.*\d|\d.*{os.path.basename(path)}")
            broker.revive()
            self.check_rest(broker, [i for i in range(self.COUNT) if i != 10])
            # At the latest when it was to be sent: what lies before the last checkpoint is not read again.
            broker.wait_log(r"(?i)^\d+: (Warning|Error).*(lost|damaged|unreadable).*\d")

    def test_the_end_is_torn(self):
        """The last message is cut in two: it is lost, and that is all."""
        with Broker(config=DURABLE, extra=NO_LIMITS) as broker:
            self.fill(broker)
            path, at = self.place(broker, self.COUNT - 1)
            os.truncate(path, at + self.SIZE // 2)
            code, text = self.check_store(broker)
            self.assertEqual(code, 1, text)
            self.assertIn(os.path.basename(path), text)
            broker.revive()
            broker.wait_log(r"(?i)(torn|cut|lost|damaged).*\d")
            self.check_rest(broker, list(range(self.COUNT - 1)))
            broker.restart()
            feed(broker, "d/new", b"<number 1000>")
            with back(broker, "reader") as raw:
                until(lambda: raw.acked().payload == b"<number 1000>", "the log goes on")

    def test_check_of_what_is_no_store(self):
        """An empty folder."""
        with tempfile.TemporaryDirectory(prefix="sluice-data-") as folder:
            done = subprocess.run([SLUICECTL, "store", "check", folder], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=WAIT_S, check=False)
            self.assertEqual(done.returncode, 1, done)


def shim(folder):
    """What starts a broker on it whose disk can be full, and how to make it so."""
    watcher = powerloss.Watcher(os.path.join(folder, "data"), os.path.join(folder, "own"))
    environment = watcher.environment(SHIM)
    del environment["UNSYNCED_JOURNAL"]  # no power is lost here
    options = {"config": DURABLE, "extra": NO_LIMITS, "data": watcher.root, "environment": environment,
               "asan": powerloss.ASAN}
    return options, watcher.full


class Full(unittest.TestCase):
    """No space is left for the log."""

    def setUp(self):
        self.answers = {}  # packet identifier: reason code, None while there is none

    def publish(self, raw, number, payload):
        """To the session that keeps it."""
        self.answers[number] = None
        raw.publish("full", payload, qos=1, packet_id=number)

    def read(self, raw, seconds):
        """The PUBACKs that have come, after waiting for the first; returns their codes."""
        codes = set()
        while raw.readable(seconds):
            codes.add(self.answered(raw.expect(wire.PUBACK)))
            seconds = 0
        return codes

    def answered(self, found):
        """One PUBACK; returns its code."""
        self.answers[packet_id(found)] = found.body[2] if len(found.body) > 2 else 0
        return self.answers[packet_id(found)]

    def publish_until_full(self, raw, payload):
        """One after the other until one is refused.  Those that were on their way when the disk was found
        full may have to wait."""
        for i in range(100, 500):
            self.publish(raw, i, payload)
            if 0x97 in self.read(raw, 0.2):
                return
            if list(self.answers.values()).count(None) > 15:
                break
        until(lambda: 0x97 in self.read(raw, 0.2), "a publish is refused with 0x97")

    def publish_until_good(self, raw):
        """Space is back: after a while publishing works.  Then nobody's answer is open."""
        numbers = iter(range(1000, 60000))

        def good():
            number = next(numbers)
            self.publish(raw, number, b"after %d" % number)
            while self.answers[number] is None:
                self.answered(raw.expect(wire.PUBACK))
            return self.answers[number] == 0

        until(good, "publishing works again")
        while None in self.answers.values():
            self.answered(raw.expect(wire.PUBACK))
        self.assertLessEqual(set(self.answers.values()), {0, 0x97})

    def check_live(self, raw):
        """What nobody has to keep goes on, also for newcomers."""
        wire.round_trip(raw, "live")
        with wire.Raw(raw.socket.getpeername()[1]) as other:
            other.connected("")
            other.subscribe("other")
            other.published("nobody", b"x")
            wire.round_trip(other, "other")

    def check_refused(self, raw, old, payload):
        """QoS 2: PUBREC 0x97; 3.1.1: the end of the connection."""
        raw.publish("full", payload, qos=2, packet_id=5)
        found = raw.read()
        while found is not None and found.type == wire.PUBACK:
            self.answered(found)
            found = raw.read()
        self.assertEqual((found.type, found.body[:3]), (wire.PUBREC, b"\x00\x05\x97"))
        old.publish("full", payload, qos=1, packet_id=2)
        old.expect_closed()

    def check_full(self, broker, fill, release, payload):
        """fill(): from now on the disk is full; release(): no more."""
        away(broker, "keeps", ("full", 2))
        with wire.Raw(broker.port) as live, wire.Raw(broker.port) as new, wire.Raw(broker.port) as old:
            live.connected("live")
            live.subscribe("live")
            new.connected("new")
            old.connected("old", version=wire.V311)
            new.published("full", b"before")
            old.published("full", b"before, too")
            fill()
            self.publish_until_full(new, payload)
            self.check_live(live)
            self.check_refused(new, old, payload)
            self.check_live(live)
            broker.wait_log(r"(?i)(full|space)")
            release()
            self.publish_until_good(new)
            self.check_live(live)
        with wire.Raw(broker.port) as old:
            old.connected("old", version=wire.V311)
            old.published("full", b"the last")
        self.check_kept(broker)

    def check_kept(self, broker):
        """Exactly what was acknowledged, also after a restart."""
        broker.restart()
        found = []
        with back(broker, "keeps") as raw:
            until(lambda: found.append(raw.acked().payload) or found[-1] == b"the last", "all of them")
            raw.ping()
        self.assertEqual(found[:2], [b"before", b"before, too"])
        self.assertEqual(len(found), 3 + list(self.answers.values()).count(0))

    def test_enospc(self):
        """No new blocks: what is prepared is used up first."""
        with tempfile.TemporaryDirectory(prefix="sluice-full-") as folder:
            options, full = shim(folder)
            with Broker(**options) as broker:
                self.check_full(broker, lambda: write(full, b""), lambda: os.unlink(full), b"x" * 1000000)

    def test_a_disk_that_fails(self):
        """Where space was prepared, a write fails: nothing is called safe any more, the rest goes on, and after a
        restart all that was acknowledged is there."""
        with tempfile.TemporaryDirectory(prefix="sluice-full-") as folder:
            options, full = shim(folder)
            with Broker(**options) as broker:
                away(broker, "keeps", ("full", 1))
                feed(broker, "full", b"kept")
                with wire.Raw(broker.port) as raw:
                    raw.connected("live")
                    raw.subscribe("live")
                    write(full, b"all")
                    self.publish_until_full(raw, b"x" * 1000)
                    self.assertNotIn(0, self.answers.values())
                    broker.wait_log("must be restarted")
                    self.check_live(raw)
                os.unlink(full)
                broker.die()
                broker.revive()
                feed(broker, "full", b"the last")
                with back(broker, "keeps") as raw:
                    self.assertEqual(raw.acked().payload, b"kept")
                    until(lambda: raw.acked().payload == b"the last", "the last one")

    def test_starting_on_a_full_disk(self):
        """The broker starts and serves whom it can."""
        with tempfile.TemporaryDirectory(prefix="sluice-full-") as folder:
            options, full = shim(folder)
            with Broker(**options) as broker:
                away(broker, "keeps", ("full", 1))
                feed(broker, "full", b"kept")
                broker.die()
                write(full, b"")
                broker.revive()
                with back(broker, "keeps") as raw:
                    self.assertEqual(raw.acked().payload, b"kept")
                with wire.Raw(broker.port) as raw:
                    raw.connected("live")
                    raw.subscribe("live")
                    self.check_live(raw)
                    os.unlink(full)
                    self.publish_until_good(raw)

    def test_a_small_disk(self):
        """A file system of 256 MiB, filled by somebody else but for its last 4."""
        with tempfile.TemporaryDirectory(prefix="sluice-full-") as folder:
            done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "none", folder], check=False,
                                  stderr=subprocess.DEVNULL)
            if done.returncode:
                self.skipTest("mount is not allowed")
            try:
                self.on_small_disk(folder)
            finally:
                subprocess.run(["umount", folder], check=True)

    def on_small_disk(self, folder):
        """Messages of 1 MB until it is full: what the log has for itself already is used first."""
        ballast = os.path.join(folder, "ballast")

        def fill():
            with open(ballast, "wb") as file:
                try:
                    for at in range(0, 256 * MIB, MIB):
                        os.posix_fallocate(file.fileno(), at, MIB)
                except OSError:
                    file.truncate(at - 4 * MIB)

        with Broker(config=DURABLE, extra=NO_LIMITS, data=os.path.join(folder, "data")) as broker:
            self.check_full(broker, fill, lambda: os.unlink(ballast), b"x" * 1_000_000)


if __name__ == "__main__":
    main()
