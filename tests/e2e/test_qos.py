"""Every QoS between every pair of protocol versions, on one, two and four shards; order; big and odd
messages, with mosquitto's clients."""
import os
import subprocess
import unittest

import wire
from broker import Broker, BrokerCase, main
from clients import Sub, publish, run_sub

VERSIONS = {"31": "mqttv31", "311": "mqttv311", "5": "mqttv5"}


def expected(sub_qos):
    """What a subscriber of the matrix gets: QoS is the lower one [MQTT-3.8.4-8]."""
    return sorted(f"m/{version}/{qos} hello from {version} {min(qos, sub_qos)} 0"
                  for version in VERSIONS for qos in range(3))


class Matrix(unittest.TestCase):
    """Nine subscribers (version x QoS), nine publishers."""

    def run_matrix(self, shards):
        """All of it on one broker."""
        with Broker(shards=shards) as broker:
            subs = {(version, qos): Sub(broker.port, "-V", full, "-q", str(qos), "-t", "m/#",
                                        form="%t %p %q %r", wait=False)
                    for version, full in VERSIONS.items() for qos in range(3)}
            for sub in subs.values():
                sub.wait_text("received SUBACK")
            for version, full in VERSIONS.items():
                for qos in range(3):
                    publish(broker.port, "-V", full, "-q", str(qos), "-t", f"m/{version}/{qos}",
                            "-m", f"hello from {version}")
            for (version, qos), sub in subs.items():
                with self.subTest(version=version, qos=qos):
                    sub.wait_messages(9)
                    self.assertEqual(sorted(sub.leave()), expected(qos))
                sub.end()

    def test_one_shard(self):
        """All clients on one thread."""
        self.run_matrix(1)

    def test_two_shards(self):
        """Publishers and subscribers on both."""
        self.run_matrix(2)

    def test_four_shards(self):
        """More shards than this machine may have CPUs."""
        self.run_matrix(4)


class Messages(BrokerCase):
    """What goes through must come out as it was."""

    options = {"shards": 4}

    def test_order_of_one_publisher_is_kept(self):
        """[MQTT-4.6.0-5]: 500 messages a QoS, in order, to a subscriber on any shard."""
        for qos in range(3):
            topic = f"order/{qos}"
            wanted = [f"{topic} {i}" for i in range(500)]
            with Sub(self.broker.port, "-q", str(qos), "-t", topic, "-C", "500") as sub:
                feed = "".join(f"{i}\n" for i in range(500))
                self.publish_lines(topic, qos, feed)
                self.assertEqual(sub.wait_end(), 0)
                self.assertEqual(sub.messages(), wanted)

    def publish_lines(self, topic, qos, feed):
        """mosquitto_pub -l: a message a line."""
        done = subprocess.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.broker.port), "-t", topic,
                               "-q", str(qos), "-l"], input=feed, text=True, timeout=30, check=False)
        self.assertEqual(done.returncode, 0)

    def test_topics_in_utf8(self):
        """Levels in several scripts, an empty level, a space."""
        topics = ["übung/größe", "東京/気温", "дом/кухня", "emoji/🚀", "a//b", "with space/x y", "/lead", "trail/"]
        with Sub(self.broker.port, "-t", "#", "-q", "1") as sub:
            for topic in topics:
                publish(self.broker.port, "-q", "1", "-t", topic, "-m", topic[::-1])
            self.assertEqual(sub.wait_messages(len(topics)), [f"{t} {t[::-1]}" for t in topics])

    def test_wildcards_do_not_match_dollar_topics(self):
        """[MQTT-4.7.2-1]: '#' and '+/x' miss what begins with $; an exact filter gets it."""
        with Sub(self.broker.port, "-t", "#", "-t", "+/x") as wild, \
                Sub(self.broker.port, "-t", "$other/x", "-t", "done") as exact:
            publish(self.broker.port, "-t", "$other/x", "-m", "1")
            publish(self.broker.port, "-t", "done", "-m", "2")
            self.assertEqual(exact.wait_messages(2), ["$other/x 1", "done 2"])
            self.assertEqual(wild.wait_messages(1), ["done 2"])

    def test_overlapping_subscriptions_deliver_once(self):
        """[MQTT-3.3.4-2]: two filters of one client match: one copy, at the highest QoS of them."""
        with wire.Raw(self.broker.port) as raw, wire.Raw(self.broker.port) as pub:
            raw.connected("overlap")
            pub.connected("overlap-pub")
            self.assertEqual(raw.subscribe(("over/#", 0), ("over/+", 1)), [0, 1])
            pub.publish("over/a", b"x", qos=1)
            pub.expect(wire.PUBACK)
            pub.publish("over/b/end", b"y")
            found = [raw.acked() for _ in range(2)]
            self.assertEqual([(m.topic, m.qos) for m in found], [("over/a", 1), ("over/b/end", 0)])

    def test_no_local(self):
        """[MQTT-3.8.3-3]: not back to who sent it."""
        with wire.Raw(self.broker.port) as raw, wire.Raw(self.broker.port) as other:
            raw.connected("nolocal")
            other.connected("nolocal-other")
            self.assertEqual(raw.subscribe(("mine", 0x04)), [0])
            raw.publish("mine", b"own")
            raw.ping()
            other.publish("mine", b"others")
            self.assertEqual(raw.message().payload, b"others")

    def test_empty_and_binary_payloads(self):
        """No bytes, and all 256 of them."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("binary")
            raw.subscribe("bin")
            wire.round_trip(raw, "bin", b"")
            wire.round_trip(raw, "bin", bytes(range(256)) * 4)

    def test_subscribing_to_many_filters_at_once(self):
        """SUBACK has a code for each, in order [MQTT-3.9.3-1]."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("many")
            filters = [(f"many/{i}", i % 3) for i in range(100)]
            self.assertEqual(raw.subscribe(*filters), [i % 3 for i in range(100)])

    def test_wait_without_messages_exits_27(self):
        """mosquitto_sub -W: its own exit code for a timeout."""
        done = run_sub(self.broker.port, "-t", "silence", "-W", "1")
        self.assertEqual((done.returncode, done.stdout), (27, ""))

    def test_unsubscribe(self):
        """-U: the broker takes back what a session has."""
        port = self.broker.port
        publish_id = ["-i", "unsub", "-c", "-q", "1"]
        self.assertEqual(run_sub(port, *publish_id, "-t", "un/a", "-t", "un/b", "-E").returncode, 0)
        self.assertEqual(run_sub(port, *publish_id, "-t", "un/b", "-U", "un/a", "-E").returncode, 0)
        publish(port, "-q", "1", "-t", "un/a", "-m", "gone")
        publish(port, "-q", "1", "-t", "un/b", "-m", "kept")
        done = run_sub(port, *publish_id, "-t", "un/b", "-C", "1", "-v")
        self.assertEqual(done.stdout, "un/b kept\n")


class Sizes(unittest.TestCase):
    """max_packet_size is the size of the whole packet."""

    LIMIT = 2000000

    def packet_of(self, size, topic="big"):
        """A QoS 0 PUBLISH of exactly so many bytes, MQTT 5."""
        payload = b"z" * (size - 1 - 4 - 2 - len(topic) - 1)
        if size < 2097152:
            payload += b"z"  # the length takes three bytes
        made = wire.publish(topic, payload)
        self.assertEqual(len(made), size)
        return made, payload

    def test_default_limit_to_the_byte(self):
        """2,000,000 bytes go through, one more is refused with 0x95, and others do not notice."""
        with Broker() as broker, wire.Raw(broker.port) as sub, wire.Raw(broker.port) as pub:
            answer = sub.connect("big-sub")
            self.assertIn(wire.u32_property(0x27, self.LIMIT), answer.properties)
            sub.subscribe("big")
            pub.connected("big-pub")
            whole, payload = self.packet_of(self.LIMIT)
            pub.send(whole)
            self.assertEqual(sub.message().payload, payload)
            pub.send(self.packet_of(self.LIMIT + 1)[0][:100000])
            pub.expect_disconnect(0x95)
            wire.round_trip(sub, "big", b"still here")

    def test_mosquitto_pub_with_a_large_file(self):
        """-f and -s, all QoS, and the file comes out again."""
        with Broker(shards=4) as broker:
            name, content = broker.path("large"), os.urandom(700000).hex()
            with open(name, "w", encoding="ascii") as file:
                file.write(content)
            for qos in "012":
                with Sub(broker.port, "-q", qos, "-t", "file", "-C", "1", form="%l %q %p") as sub:
                    publish(broker.port, "-q", qos, "-t", "file", "-f", name)
                    self.assertEqual(sub.wait_end(), 0)
                    self.assertEqual(sub.messages(), [f"1400000 {qos} {content}"])

    def test_own_limit_closes_31_clients_too(self):
        """max_packet_size 1000: 3.1.1 has no reason to be told, it is closed."""
        with Broker(extra="max_packet_size 1000\n") as broker, wire.Raw(broker.port) as raw:
            raw.connected("small", version=wire.V311)
            raw.subscribe("s")
            wire.round_trip(raw, "s", b"a" * (1000 - 3 - 3))
            raw.publish("s", b"a" * (1000 - 3 - 2))
            raw.expect_closed()

    def test_a_subscriber_is_not_sent_more_than_it_takes(self):
        """[MQTT-3.1.2-24]: the client's Maximum Packet Size; smaller ones still come, also of QoS 1."""
        with Broker() as broker, Sub(broker.port, "-V", "5", "-q", "1", "-t", "t", "-D", "connect",
                                     "maximum-packet-size", "100") as sub:
            for size in (50, 200, 51):
                publish(broker.port, "-q", "1", "-t", "t", "-m", "x" * size)
            self.assertEqual(sub.wait_messages(2), ["t " + "x" * 50, "t " + "x" * 51])

    def test_message_size_limit_refuses_the_message_only(self):
        """A larger payload is refused with 0x97 (PUBACK has no 0x95), the client stays."""
        with Broker(extra="message_size_limit 10\n") as broker, wire.Raw(broker.port) as raw:
            raw.connected("limited")
            raw.subscribe(("l", 1))
            raw.publish("l", b"12345678901", qos=1, packet_id=5)
            self.assertEqual(raw.expect(wire.PUBACK).body[:3], b"\x00\x05\x97")
            raw.publish("l", b"1234567890", qos=0)
            self.assertEqual(raw.message().payload, b"1234567890")


if __name__ == "__main__":
    main()
