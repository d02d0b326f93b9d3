"""The $SYS tree: names and values as mosquitto's, retained, QoS 2, sent on change only."""
import re
import time
import unittest

import wire
from broker import ANYBODY, Broker, BrokerCase, main, until
from clients import Sub, publish, run_sub

DECIMAL = r"\d+"
LOADS = ("messages/received", "messages/sent", "publish/received", "publish/sent", "publish/dropped",
         "bytes/received", "bytes/sent", "sockets", "connections")
TOPICS = {
    "version": r"sluice version \d+\.\d+\S* \(mosquitto-compatible\)",
    "uptime": r"\d+ seconds",
    "clients/total": DECIMAL, "clients/maximum": DECIMAL, "clients/disconnected": DECIMAL,
    "clients/inactive": DECIMAL, "clients/connected": DECIMAL, "clients/active": DECIMAL,
    "clients/expired": DECIMAL, "messages/received": DECIMAL, "messages/sent": DECIMAL,
    "messages/stored": DECIMAL, "store/messages/count": DECIMAL, "store/messages/bytes": DECIMAL,
    "subscriptions/count": DECIMAL, "shared_subscriptions/count": DECIMAL, "retained messages/count": DECIMAL,
    "heap/current": DECIMAL, "heap/maximum": DECIMAL, "bytes/received": DECIMAL, "bytes/sent": DECIMAL,
    "publish/bytes/received": DECIMAL, "publish/bytes/sent": DECIMAL, "publish/messages/received": DECIMAL,
    "publish/messages/sent": DECIMAL, "publish/messages/dropped": DECIMAL, "packet/out/count": DECIMAL,
    "packet/out/bytes": DECIMAL, "connections/socket/count": DECIMAL,
    **{f"dead/{name}": DECIMAL for name in ("listed", "attempts", "rejected", "expired", "overflow", "too-large",
                                            "session-expired")},
    **{f"load/{load}/{span}": r"\d+\.\d\d" for load in LOADS for span in ("1min", "5min", "15min")},
}
OURS = {"$SYS/sluice/" + name: DECIMAL for name in (
    "refused/proxy_header", "refused/tls_handshake", "refused/websocket_handshake", "refused/websocket_frame",
    "refused/http_request", "refused/envelopes", "refused/address_connections",
    "refused/address_rate", "refused/pending", "refused/connect_timeout", "slowed/connect_rate", "slowed/logins", "slowed/rate",
    "websockets/opened", "http/served", "logins/ended",
    "filters/matched", "filters/missed", "filters/errors", "filters/json_bad",
    "filters/json_large", "memory/refused", "memory/dropped")}
ALL = {**TOPICS, **OURS}


class Sys(BrokerCase):
    """sys_interval 1."""

    options = {"shards": 2, "config": ANYBODY, "extra": "sys_interval 1\n"}

    def value(self, name):
        """One topic's retained value."""
        done = run_sub(self.broker.port, "-t", f"$SYS/broker/{name}", "-C", "1", "-W", "10", "-F", "%p")
        self.assertEqual(done.returncode, 0, name)
        return done.stdout.strip()

    def test_all_names_and_their_forms(self):
        """Every topic of mosquitto 2.1 that is published and those of ours, and none that is unknown."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.subscribe("$SYS/#")
            found = {}
            until(lambda: self.note(raw, found) and len(found) >= len(ALL), "all topics")
        self.assertEqual(sorted(found), sorted(ALL))
        for name, value in found.items():
            self.assertRegex(value, rf"\A{ALL[name]}\Z", name)

    @staticmethod
    def note(raw, found):
        """Takes one message into found."""
        message = raw.message()
        found[message.topic.removeprefix("$SYS/broker/")] = message.payload.decode()
        return True

    def test_retained_and_qos_2(self):
        """A new subscriber gets the value at once with RETAIN 1, up to QoS 2."""
        done = run_sub(self.broker.port, "-t", "$SYS/broker/version", "-q", "2", "-C", "1", "-F", "%r %q")
        self.assertEqual(done.stdout, "1 2\n")

    def test_on_change_only(self):
        """uptime comes every second, version once."""
        with Sub(self.broker.port, "-t", "$SYS/broker/uptime", "-t", "$SYS/broker/version",
                 form="%t %r") as sub:
            until(lambda: sum("uptime 0" in line for line in sub.messages()) >= 3, "three updates")
            versions = [line for line in sub.messages() if "version" in line]
            self.assertEqual(versions, ["$SYS/broker/version 1"])

    def test_uptime_counts_seconds(self):
        """As a clock would."""
        first, started = int(self.value("uptime").split()[0]), time.monotonic()
        until(lambda: time.monotonic() > started + 2, "two seconds")
        passed = int(self.value("uptime").split()[0]) - first
        self.assertIn(passed, (1, 2, 3, 4))

    def test_hash_does_not_show_it(self):
        """[MQTT-4.7.2-1]."""
        with Sub(self.broker.port, "-t", "#", "-t", "+/broker/uptime", "-t", "$SYS/broker/uptime") as sub:
            until(lambda: len(sub.messages()) >= 3, "three updates")
            self.assertEqual({line.split()[0] for line in sub.messages()}, {"$SYS/broker/uptime"})

    def test_clients_may_not_publish_there(self):
        """0x90; 3.1.1: acknowledged and dropped."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.publish("$SYS/broker/version", b"mine", qos=1, retain=True)
            self.assertEqual(raw.expect(wire.PUBACK).body[2], 0x90)
        publish(self.broker.port, "-V", "mqttv311", "-q", "1", "-r", "-t", "$SYS/broker/version", "-m",
                "mine")
        self.assertRegex(self.value("version"), TOPICS["version"])


class Figures(BrokerCase):
    """On a quiet broker the numbers are exact; tests compare them before and after."""

    options = {"shards": 2, "extra": "sys_interval 1\n"}

    def setUp(self):
        self.watch = wire.Raw(self.broker.port).connected("watch")
        self.addCleanup(self.watch.close)
        self.seen = {}

    def follow(self, *names):
        """Subscribes to the topics and returns their values when all is quiet."""
        self.watch.subscribe(*(f"$SYS/broker/{name}" for name in (*names, "uptime")))
        for _ in range(3):  # the retained one, and two more: what went before is in the numbers
            before = self.seen.get("uptime")
            while self.seen.get("uptime") == before:
                self.note()
        while self.watch.readable(0.3):  # the rest of that update
            self.note()
        return [int(float(self.seen[name])) for name in names]

    def take(self, message):
        """Notes a value."""
        self.seen[message.topic.removeprefix("$SYS/broker/")] = message.payload.decode()

    def note(self):
        """Takes the next message."""
        self.take(self.watch.message())

    def wait(self, wanted):
        """Waits until the figures are these."""
        def right():
            self.note()
            return all(self.seen.get(name) == str(value) for name, value in wanted.items())
        try:
            until(right, "the figures")
        except (AssertionError, TimeoutError) as error:
            raise AssertionError(f"{error}: {self.seen}, wanted {wanted}") from None

    def test_clients(self):
        """connected, disconnected, total, maximum; sockets."""
        names = ("clients/connected", "clients/active", "clients/disconnected", "clients/inactive",
                 "clients/total", "connections/socket/count")
        up, active, down, inactive, total, sockets = self.follow(*names, "clients/maximum")[:6]
        self.assertEqual((up, active, total, sockets), (1, 1, 1 + down, 1))
        others = [wire.Raw(self.broker.port).connected(f"c{i}", version=wire.V311, clean=i > 0)
                  for i in range(9)]
        self.wait(dict(zip(names, (10, 10, down, inactive, down + 10, 10))))
        self.wait({"clients/maximum": 10})
        for other in others[:8]:
            other.disconnect()
        self.wait(dict(zip(names, (2, 2, down + 1, inactive + 1, down + 3, 2))))
        others[8].disconnect()
        self.assertEqual(self.seen["clients/maximum"], "10")

    def test_expired(self):
        """clients/expired counts sessions that ran out."""
        expired, total = self.follow("clients/expired", "clients/total")
        wire.Raw(self.broker.port).connected("short", props=wire.session_expiry(1)).disconnect()
        self.wait({"clients/expired": expired + 1, "clients/total": total})

    def test_messages_and_bytes(self):
        """MQTT packets of any type, PUBLISHes, and payload bytes, to the one."""
        names = ("messages/received", "publish/messages/received", "publish/bytes/received")
        before = self.follow(*names)
        with wire.Raw(self.broker.port) as raw:
            raw.connected("sender")
            for _ in range(10):
                raw.publish("a/b", b"12345")
            raw.ping()
            raw.disconnect()
        self.wait({name: value + added for name, value, added in zip(names, before, (13, 10, 50))})

    def test_subscriptions(self):
        """Plain ones, and shared ones by themselves, as mosquitto counts."""
        names = ("subscriptions/count", "shared_subscriptions/count")
        plain, shared = self.follow(*names)
        with wire.Raw(self.broker.port) as raw:
            raw.connected("subscriber")
            raw.subscribe("a", "b/+", "$share/g/c")
            self.wait(dict(zip(names, (plain + 2, shared + 1))))
        self.wait(dict(zip(names, (plain, shared))))

    def test_retained_and_stored(self):
        """retained messages/count goes up with each topic and down again; store follows."""
        names = ("retained messages/count", "store/messages/count", "messages/stored")
        before = self.follow(*names)[0]
        for topic in ("r/1", "r/2", "r/2", "r/3"):
            publish(self.broker.port, "-r", "-t", topic, "-m", "x")
        self.wait({names[0]: before + 3})
        publish(self.broker.port, "-r", "-n", "-t", "r/1")
        self.wait({names[0]: before + 2})
        self.assertGreaterEqual(int(self.seen["store/messages/count"]), before + 2)

    def test_loads(self):
        """Moving averages: they rise with traffic, shorter spans faster."""
        names = [f"load/publish/received/{span}" for span in ("1min", "5min", "15min")]
        self.follow(*names)
        before = [float(self.seen[name]) for name in names]
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            for _ in range(300):
                raw.publish("l", b"x")
            raw.ping()

        def risen():
            self.note()
            return all(float(self.seen[name]) > old for name, old in zip(names, before))

        until(risen, "the averages rise")
        one, five, fifteen = (float(self.seen[name]) - old for name, old in zip(names, before))
        self.assertGreater(one, five)
        self.assertGreater(five, fifteen)
        # 300 within a second, faded in: 300 * 60 * (1 - e^(-1/60)) = 297.5 a minute, less what decays
        self.assertTrue(150 < one < 400, one)

    def test_dropped(self):
        """publish/messages/dropped counts what a full queue does not take."""
        before = self.follow("publish/messages/dropped")[0]
        done = run_sub(self.broker.port, "-c", "-i", "away", "-q", "1", "-t", "d", "-E")
        self.assertEqual(done.returncode, 0)
        with wire.Raw(self.broker.port) as raw:
            raw.connected("", version=wire.V311)
            for i in range(1003):
                raw.publish("d", b"x", qos=1, packet_id=i + 1)
                raw.expect(wire.PUBACK)
        self.wait({"publish/messages/dropped": before + 3})


class Off(unittest.TestCase):
    """sys_interval 0: there is no tree."""

    def test_no_tree(self):
        """Nothing retained there."""
        with Broker(extra="sys_interval 0\n") as broker:
            self.assertEqual(run_sub(broker.port, "-t", "$SYS/#", "-W", "1").stdout, "")

    def test_version_is_the_commands(self):
        """The version on the first log line and in the tree are the same."""
        with Broker() as broker:
            logged = broker.wait_log(r"sluice version (\S+) starting").group(1)
            found = run_sub(broker.port, "-t", "$SYS/broker/version", "-C", "1", "-F", "%p").stdout
            self.assertTrue(re.match(rf"sluice version {re.escape(logged)} ", found), found)


if __name__ == "__main__":
    main()
