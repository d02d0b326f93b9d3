"""Sessions that outlive their connection (in memory), what waits in them, and when they end."""
import random
import threading
import time
import unittest

import wire
from broker import Broker, BrokerCase, main, until
from clients import Sub, publish, run_sub


class Sessions(BrokerCase):
    """-c -i with mosquitto's clients, and the bits by hand."""

    options = {"shards": 4}

    def subscribe_and_leave(self, client_id, topic, *args):
        """A session that stays behind."""
        done = run_sub(self.broker.port, "-c", "-i", client_id, "-q", "2", "-t", topic, "-E", *args)
        self.assertEqual(done.returncode, 0, done)

    def collect(self, client_id, topic, count, *args):
        """Comes back for so many messages."""
        done = run_sub(self.broker.port, "-c", "-i", client_id, "-q", "2", "-t", topic, "-C", str(count),
                       "-F", "%p", *args)
        self.assertEqual(done.returncode, 0, done)
        return done.stdout.split()

    def test_messages_wait_in_order(self):
        """All versions: QoS 1 and 2 published while away come in order, each among its own
        (mosquitto_sub prints QoS 2 at PUBREL); QoS 0 does not wait."""
        for version in ("mqttv31", "mqttv311", "5"):
            with self.subTest(version=version):
                topic, name = f"s1/{version}", f"s1-{version}"
                self.subscribe_and_leave(name, topic, "-V", version)
                for i in range(12):
                    publish(self.broker.port, "-t", topic, "-q", str(i % 3), "-m", str(i))
                found = self.collect(name, topic, 8, "-V", version)
                for qos in (1, 2):
                    own = [i for i in map(int, found) if i % 3 == qos]
                    self.assertEqual(own, list(range(qos, 12, 3)))

    def test_nothing_waits_without_c(self):
        """A clean session ends with its connection."""
        done = run_sub(self.broker.port, "-i", "s2", "-q", "1", "-t", "s2", "-E")
        self.assertEqual(done.returncode, 0)
        publish(self.broker.port, "-q", "1", "-t", "s2", "-m", "lost")
        with wire.Raw(self.broker.port) as raw:
            self.assertFalse(raw.connect("s2", clean=False).present)

    def test_session_present(self):
        """[MQTT-3.2.2-2], [MQTT-3.2.2-3], and not for 3.1, whose CONNACK has no such bit."""
        for version, back in ((wire.V31, False), (wire.V311, True)):
            name = f"s3-{version}"
            wire.Raw(self.broker.port).connected(name, version=version, clean=False).disconnect()
            with wire.Raw(self.broker.port) as raw:
                self.assertEqual(raw.connect(name, version=version, clean=False).present, back)
        forever = wire.session_expiry(0xFFFFFFFF)
        wire.Raw(self.broker.port).connected("s3-5", props=forever).disconnect()
        with wire.Raw(self.broker.port) as raw:
            self.assertTrue(raw.connect("s3-5", clean=False, props=forever).present)
        with wire.Raw(self.broker.port) as raw:
            self.assertFalse(raw.connect("s3-5", clean=True).present)

    def test_clean_start_throws_the_old_session_away(self):
        """[MQTT-3.1.2-4]: its messages too."""
        self.subscribe_and_leave("s4", "s4")
        publish(self.broker.port, "-q", "1", "-t", "s4", "-m", "old")
        with wire.Raw(self.broker.port) as raw:
            raw.connected("s4", clean=True)
            raw.subscribe(("s4", 1))
            raw.publish("s4", b"new")
            self.assertEqual(raw.message().payload, b"new")

    def test_session_expiry(self):
        """-x 1: two seconds later nothing is left; -x 1000: all is."""
        self.subscribe_and_leave("s5-short", "s5", "-V", "5", "-x", "1")
        self.subscribe_and_leave("s5-long", "s5", "-V", "5", "-x", "1000")
        started = time.monotonic()
        publish(self.broker.port, "-q", "1", "-t", "s5", "-m", "hello")
        until(lambda: time.monotonic() > started + 2.1, "two seconds")
        with wire.Raw(self.broker.port) as raw:
            self.assertFalse(raw.connect("s5-short", clean=False).present)
        self.assertEqual(self.collect("s5-long", "s5", 1, "-V", "5", "-x", "1000"), ["hello"])

    def test_session_expiry_changed_by_disconnect(self):
        """DISCONNECT may shorten it, not begin one (3.14.2.2.2)."""
        shorter = wire.packet(0xE0, b"\x00" + wire.properties(wire.session_expiry(0)))
        raw = wire.Raw(self.broker.port).connected("s6", props=wire.session_expiry(1000))
        raw.send(shorter)
        raw.expect_closed()
        with wire.Raw(self.broker.port) as raw:
            self.assertFalse(raw.connect("s6", clean=False).present)
            raw.send(wire.packet(0xE0, b"\x00" + wire.properties(wire.session_expiry(5))))
            raw.expect_disconnect(0x82)

    def test_message_expiry_in_a_queue(self):
        """What expired while the client was away is not sent; what is left of the rest is told."""
        self.subscribe_and_leave("s7", "s7", "-V", "5")
        started = time.monotonic()
        for seconds in ("1", "500"):
            publish(self.broker.port, "-V", "5", "-q", "1", "-t", "s7", "-m", f"for-{seconds}", "-D",
                    "publish", "message-expiry-interval", seconds)
        publish(self.broker.port, "-q", "1", "-t", "s7", "-m", "for-ever")
        until(lambda: time.monotonic() > started + 2.1, "two seconds")
        done = run_sub(self.broker.port, "-V", "5", "-c", "-i", "s7", "-q", "2", "-t", "s7", "-C", "2", "-F",
                       "%p %E")
        self.assertRegex(done.stdout, r"\Afor-500 49[0-8]\nfor-ever \n\Z")

    def test_what_was_in_flight_is_sent_again(self):
        """[MQTT-4.4.0-1]: same packet id, DUP 1, before what waited; then all of it is acknowledged."""
        forever = wire.session_expiry(0xFFFFFFFF)
        raw = wire.Raw(self.broker.port).connected("s8", props=forever + wire.u16_property(0x21, 2))
        raw.subscribe(("s8", 2))
        for i in range(4):
            publish(self.broker.port, "-q", str(1 + i % 2), "-t", "s8", "-m", str(i))
        first, second = raw.message(), raw.message()
        self.assertEqual([(m.payload, m.qos, m.dup) for m in (first, second)],
                         [(b"0", 1, False), (b"1", 2, False)])
        raw.ping()
        raw.close()
        raw = wire.Raw(self.broker.port)
        self.assertTrue(raw.connect("s8", clean=False, props=forever).present)
        again = [raw.acked() for _ in range(4)]
        self.assertEqual([(m.payload, m.dup) for m in again],
                         [(b"0", True), (b"1", True), (b"2", False), (b"3", False)])
        self.assertEqual([m.packet_id for m in again[:2]], [first.packet_id, second.packet_id])
        raw.ping()
        raw.disconnect()

    def test_pubrel_is_sent_again(self):
        """[MQTT-4.4.0-1]: after PUBREC only PUBREL is repeated, never the message."""
        forever = wire.session_expiry(1000)
        raw = wire.Raw(self.broker.port).connected("s9", props=forever)
        raw.subscribe(("s9", 2))
        publish(self.broker.port, "-q", "2", "-t", "s9", "-m", "once")
        found = raw.message()
        raw.send(wire.ack(wire.PUBREC, found.packet_id))
        raw.expect(wire.PUBREL)
        raw.close()
        raw = wire.Raw(self.broker.port)
        raw.connect("s9", clean=False, props=forever)
        again = raw.expect(wire.PUBREL)
        self.assertEqual(int.from_bytes(again.body[:2], "big"), found.packet_id)
        raw.send(wire.ack(wire.PUBCOMP, found.packet_id))
        raw.ping()
        raw.disconnect()

    def test_a_qos_2_publisher_comes_back(self):
        """[MQTT-4.3.3-10]: PUBLISH sent again with DUP after a reconnect is delivered once."""
        forever = wire.session_expiry(1000)
        with Sub(self.broker.port, "-q", "2", "-t", "s10", form="%p") as sub:
            raw = wire.Raw(self.broker.port).connected("s10", props=forever)
            raw.publish("s10", b"exactly once", qos=2, packet_id=77)
            raw.expect(wire.PUBREC)
            raw.close()
            raw = wire.Raw(self.broker.port)
            self.assertTrue(raw.connect("s10", clean=False, props=forever).present)
            raw.publish("s10", b"exactly once", qos=2, packet_id=77, dup=True)
            raw.expect(wire.PUBREC)
            raw.send(wire.ack(wire.PUBREL, 77))
            raw.expect(wire.PUBCOMP)
            raw.publish("s10", b"end", qos=2, packet_id=78)  # QoS 2 as well: mosquitto_sub prints at PUBREL
            raw.expect(wire.PUBREC)
            raw.send(wire.ack(wire.PUBREL, 78))
            raw.expect(wire.PUBCOMP)
            self.assertEqual(sub.wait_messages(2), ["exactly once", "end"])
            raw.disconnect()

    def test_taken_over(self):
        """[MQTT-3.1.4-3]: one connection a client id, on whichever shard it arrives; the session stays."""
        forever = wire.session_expiry(1000)
        old = wire.Raw(self.broker.port).connected("s11", props=forever)
        old.subscribe("s11")
        for _ in range(20):
            new = wire.Raw(self.broker.port)
            self.assertTrue(new.connect("s11", clean=False, props=forever).present)
            old.expect_disconnect(0x8E)
            old = new
        wire.round_trip(old, "s11")
        old.disconnect()

    def test_flow_control(self):
        """[MQTT-4.9.0-2]: Receive Maximum 3 holds the fourth back until one is acknowledged."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("s12", props=wire.u16_property(0x21, 3))
            raw.subscribe(("s12", 1))
            for i in range(5):
                publish(self.broker.port, "-q", "1", "-t", "s12", "-m", str(i))
            first = [raw.message() for _ in range(3)]
            raw.ping()  # nothing else comes before the answer
            raw.send(wire.ack(wire.PUBACK, first[0].packet_id))
            self.assertEqual(raw.message().payload, b"3")
            raw.ping()


class ExactlyOnce(unittest.TestCase):
    """QoS 2 while both connections break again and again, at moments chosen by a fixed seed."""

    COUNT = 200
    KEEP = wire.session_expiry(1000)

    @staticmethod
    def chance(seed):
        """A function that says whether the connection ends here."""
        source = random.Random(seed)
        return lambda: source.random() < 0.08

    def again(self, raw, client_id):
        """A new connection for the same session."""
        raw.close()
        raw = wire.Raw(self.broker.port)
        self.assertTrue(raw.connect(client_id, clean=False, props=self.KEEP).present)
        return raw

    def publish_all(self):
        """The sender of 4.3.3: PUBLISH again until PUBREC, PUBREL again until PUBCOMP."""
        breaks = self.chance(1)
        raw = wire.Raw(self.broker.port).connected("sender", props=self.KEEP)
        for number in range(self.COUNT):
            packet_id, released, tries = number + 1, False, 0
            while True:
                if released:
                    raw.send(wire.ack(wire.PUBREL, packet_id))
                else:
                    raw.publish("once", str(number).encode(), qos=2, packet_id=packet_id, dup=tries > 0)
                tries += 1
                if breaks():
                    raw = self.again(raw, "sender")
                    continue
                found = raw.expect(wire.PUBCOMP if released else wire.PUBREC)
                self.assertEqual(int.from_bytes(found.body[:2], "big"), packet_id)
                if breaks():
                    raw = self.again(raw, "sender")
                if released:
                    break
                released = True
        raw.disconnect()

    def receive_all(self, raw):
        """The receiver of 4.3.3: an id is new until its PUBREL; returns what it takes as new."""
        taken, pending, breaks = [], set(), self.chance(2)
        while len(taken) < self.COUNT or pending:
            found = raw.read()
            packet_id = int.from_bytes(found.body[:2], "big")
            if found.type == wire.PUBLISH:
                message = wire.parse_publish(found.flags, found.body, wire.V5)
                packet_id = message.packet_id
                if packet_id not in pending:
                    taken.append(int(message.payload))
                pending.add(packet_id)
            else:
                self.assertEqual(found.type, wire.PUBREL)
                pending.discard(packet_id)
            if breaks():
                raw = self.again(raw, "receiver")
                continue
            raw.send(wire.ack(wire.PUBREC if found.type == wire.PUBLISH else wire.PUBCOMP, packet_id))
            if breaks():
                raw = self.again(raw, "receiver")
        raw.ping_until_pong()  # a PUBREL may come again, a PUBLISH may not
        self.assertEqual({found.type for found in raw.later} - {wire.PUBREL}, set())
        raw.close()
        return taken

    def test_the_receiver_breaks_with_a_full_window(self):
        """All of it waits before the receiver comes."""
        for shards in (1, 4):
            with Broker(shards=shards) as self.broker:
                receiver = wire.Raw(self.broker.port).connected("receiver", props=self.KEEP)
                receiver.subscribe(("once", 2))
                receiver.disconnect()
                self.publish_all()
                self.assertEqual(self.receive_all(self.again(receiver, "receiver")), list(range(self.COUNT)))

    def test_both_sides_break(self):
        """Nothing lost, nothing twice, in order."""
        for shards in (1, 4):
            with Broker(shards=shards) as self.broker:
                receiver = wire.Raw(self.broker.port).connected("receiver", props=self.KEEP)
                receiver.subscribe(("once", 2))
                sender = threading.Thread(target=self.publish_all, daemon=True)
                sender.start()
                self.assertEqual(self.receive_all(receiver), list(range(self.COUNT)))
                sender.join(20)
                self.assertFalse(sender.is_alive())


class SessionLimits(unittest.TestCase):
    """Directives about sessions."""

    def away(self, broker, client_id, topic):
        """A session that stays behind."""
        done = run_sub(broker.port, "-c", "-i", client_id, "-q", "1", "-t", topic, "-E")
        self.assertEqual(done.returncode, 0, done)

    def test_max_queued_messages(self):
        """The queue keeps the oldest; what comes when it is full is dropped, counted, logged once."""
        with Broker(extra="max_queued_messages 5\n") as broker:
            self.away(broker, "full", "q")
            for i in range(8):
                publish(broker.port, "-q", "1", "-t", "q", "-m", str(i))
            done = run_sub(broker.port, "-c", "-i", "full", "-q", "1", "-t", "q", "-C", "5", "-F", "%p")
            self.assertEqual(done.stdout.split(), ["0", "1", "2", "3", "4"])
            broker.wait_log(r"^\d+: Outgoing messages are being dropped for client full\.$")
            self.assertEqual(broker.log().count("are being dropped for client full"), 1)

    def test_queue_qos0_messages(self):
        """true: QoS 0 waits too."""
        with Broker(extra="queue_qos0_messages true\n") as broker:
            self.away(broker, "zero", "z")
            publish(broker.port, "-q", "0", "-t", "z", "-m", "kept")
            done = run_sub(broker.port, "-c", "-i", "zero", "-q", "1", "-t", "z", "-C", "1", "-F", "%p %q")
            self.assertEqual(done.stdout, "kept 0\n")

    def test_persistent_client_expiration(self):
        """Sessions without an end of their own end after it: 3.1.1's, and 5's with 0xFFFFFFFF."""
        with Broker(extra="persistent_client_expiration 1s\n") as broker:
            self.away(broker, "old", "x")
            forever = wire.session_expiry(0xFFFFFFFF)
            wire.Raw(broker.port).connected("new", props=forever).disconnect()
            wire.Raw(broker.port).connected("own", props=wire.session_expiry(1000)).disconnect()
            started = time.monotonic()
            until(lambda: time.monotonic() > started + 2.1, "two seconds")
            for name, version, present in (("old", wire.V311, False), ("new", wire.V5, False),
                                           ("own", wire.V5, True)):
                with wire.Raw(broker.port) as raw:
                    self.assertEqual(raw.connect(name, version=version, clean=False).present, present, name)

    def test_retry_interval(self):
        """3.1.1: what is not acknowledged comes again with DUP, on the same connection; 5 never does
        [MQTT-4.4.0-1]."""
        with Broker(extra="retry_interval 500ms\n") as broker:
            old, new = wire.Raw(broker.port), wire.Raw(broker.port)
            old.connected("old", version=wire.V311)
            new.connected("new")
            for raw in (old, new):
                raw.subscribe(("r", 1))
            publish(broker.port, "-q", "1", "-t", "r", "-m", "x")
            first, second, third = (old.message() for _ in range(3))
            self.assertEqual([m.dup for m in (first, second, third)], [False, True, True])
            self.assertEqual({m.packet_id for m in (first, second, third)}, {first.packet_id})
            self.assertFalse(new.message().dup)
            new.ping()
            old.send(wire.ack(wire.PUBACK, first.packet_id))
            old.ping()
            for raw in (old, new):
                raw.close()

    def test_ack_timeout(self):
        """An MQTT 5 client whose oldest delivery is not acknowledged is disconnected, and gets it again
        when it is back."""
        with Broker(extra="ack_timeout 500ms\n") as broker:
            keep = wire.session_expiry(100)
            raw = wire.Raw(broker.port).connected("late", props=keep)
            raw.subscribe(("r", 1))
            publish(broker.port, "-q", "1", "-t", "r", "-m", "x")
            self.assertFalse(raw.message().dup)
            raw.expect_disconnect(0x80)
            with wire.Raw(broker.port) as raw:
                self.assertTrue(raw.connect("late", clean=False, props=keep).present)
                self.assertTrue(raw.acked().dup)

    def test_upgrade_outgoing_qos(self):
        """Delivered with the subscription's QoS."""
        with Broker(extra="upgrade_outgoing_qos true\n") as broker:
            with Sub(broker.port, "-q", "2", "-t", "u", form="%q") as sub:
                publish(broker.port, "-q", "0", "-t", "u", "-m", "x")
                self.assertEqual(sub.wait_messages(1), ["2"])

    def test_max_inflight_messages(self):
        """The window to a client that names none, and Receive Maximum towards publishers."""
        with Broker(extra="max_inflight_messages 3\n") as broker:
            with wire.Raw(broker.port) as raw:
                self.assertIn(wire.u16_property(0x21, 3), raw.connect("five").properties)
            with wire.Raw(broker.port) as raw:
                raw.connected("old", version=wire.V311)
                raw.subscribe(("m", 1))
                for i in range(5):
                    publish(broker.port, "-q", "1", "-t", "m", "-m", str(i))
                self.assertEqual([raw.message().payload for _ in range(3)], [b"0", b"1", b"2"])
                raw.ping()

    def test_global_max_clients(self):
        """Sessions, connected or not: one more is refused with 3 / 0x97; a known one comes back."""
        with Broker(extra="global_max_clients 2\n") as broker:
            self.away(broker, "one", "x")
            with wire.Raw(broker.port) as two, wire.Raw(broker.port) as three, \
                    wire.Raw(broker.port) as four, wire.Raw(broker.port) as back:
                two.connected("two")
                self.assertEqual(three.connect("three").code, 0x97)
                three.expect_closed()
                self.assertEqual(four.connect("four", version=wire.V311).code, 3)
                four.expect_closed()
                self.assertTrue(back.connect("one", version=wire.V311, clean=False).present)

    def test_max_keepalive(self):
        """[MQTT-3.2.2-21]: Server Keep Alive tells an MQTT 5 client; without a wish it gets the same."""
        with Broker(extra="max_keepalive 30\n") as broker:
            for wish, told in ((20, False), (60, True), (0, True)):
                with wire.Raw(broker.port) as raw:
                    answer = raw.connect(keep_alive=wish)
                    self.assertEqual(wire.u16_property(0x13, 30) in answer.properties, told, wish)

    def test_client_ids(self):
        """Assigned ones have the prefix; without them 2 / 0x85; clientid_prefixes refuses others."""
        with Broker(extra="auto_id_prefix door-\nclientid_prefixes door-\n") as broker:
            with wire.Raw(broker.port) as raw:
                self.assertRegex(raw.connect("").properties, rb"\x12\x00.door-[0-9A-Z]+")
            for name, version, code in (("door-1", wire.V5, 0), ("window", wire.V5, 0x87),
                                        ("window", wire.V311, 5)):
                with wire.Raw(broker.port) as raw:
                    self.assertEqual(raw.connect(name, version=version).code, code)
        with Broker(extra="allow_zero_length_clientid false\n") as broker:
            for version, code in ((wire.V5, 0x85), (wire.V311, 2)):
                with wire.Raw(broker.port) as raw:
                    self.assertEqual(raw.connect("", version=version).code, code)


if __name__ == "__main__":
    main()
