"""Retained messages and wills, with mosquitto's clients."""
import time
import unittest

import wire
from broker import Broker, BrokerCase, main, until
from clients import Sub, publish, run_sub


class Retained(BrokerCase):
    """Set, replace, delete, and who is told.  Each test has topics of its own."""

    options = {"shards": 4}

    def read(self, *args, seconds="1"):
        """What a new subscriber gets until nothing came for a second."""
        done = run_sub(self.broker.port, "-W", seconds, *args)
        self.assertEqual(done.returncode, 27, done)
        return done.stdout.splitlines()

    def set(self, topic, value, *args):
        """A retained message."""
        publish(self.broker.port, "-r", "-q", "1", "-t", topic, "-m", value, *args)

    def test_set_replace_delete(self):
        """The last one stays; an empty one deletes it and is itself not kept [MQTT-3.3.1-6]."""
        port = self.broker.port
        self.set("r1/a", "one")
        self.assertEqual(run_sub(port, "-C", "1", "-t", "r1/a", "-F", "%p %r").stdout, "one 1\n")
        self.set("r1/a", "two")
        self.assertEqual(run_sub(port, "-C", "1", "-t", "r1/#", "-F", "%p %r").stdout, "two 1\n")
        with Sub(port, "-t", "r1/a", form="%p|%r") as sub:
            sub.wait_messages(1)
            publish(port, "-r", "-n", "-q", "1", "-t", "r1/a")
            self.assertEqual(sub.wait_messages(2), ["two|1", "|0"])
        self.assertEqual(self.read("-t", "r1/a"), [])

    def test_wildcards_find_all_of_them_on_every_shard(self):
        """200 topics are spread over 4 shards; '#', '+' and an exact filter."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("setter")
            for i in range(200):
                raw.publish(f"r2/{i % 10}/{i}", str(i).encode(), retain=True)
            raw.ping()
        done = run_sub(self.broker.port, "-t", "r2/#", "-C", "200", "-F", "%t %p %r")
        self.assertEqual(sorted(done.stdout.splitlines()),
                         sorted(f"r2/{i % 10}/{i} {i} 1" for i in range(200)))
        done = run_sub(self.broker.port, "-t", "r2/3/+", "-C", "20", "-F", "%p")
        self.assertEqual(sorted(map(int, done.stdout.split())), list(range(3, 200, 10)))

    def test_qos_is_the_lower_one(self):
        """Retained with QoS 2, subscribed with 0, 1, 2."""
        publish(self.broker.port, "-r", "-q", "2", "-t", "r3", "-m", "x")
        found = [run_sub(self.broker.port, "-t", "r3", "-q", qos, "-C", "1", "-F", "%q").stdout
                 for qos in "012"]
        self.assertEqual(found, ["0\n", "1\n", "2\n"])

    def test_not_again_for_live_messages(self):
        """RETAIN is 0 on what comes while subscribed [MQTT-3.3.1-12], 1 with retain-as-published."""
        port = self.broker.port
        with Sub(port, "-t", "r4", "-V", "5", form="%p %r") as plain, \
                Sub(port, "-t", "r4", "-V", "5", "--retain-as-published", form="%p %r") as kept, \
                Sub(port, "-t", "r4", "-V", "mqttv311", form="%p %r") as old:
            self.set("r4", "live")
            publish(port, "-t", "r4", "-m", "plain")
            self.assertEqual(plain.wait_messages(2), ["live 0", "plain 0"])
            self.assertEqual(kept.wait_messages(2), ["live 1", "plain 0"])
            self.assertEqual(old.wait_messages(2), ["live 0", "plain 0"])

    def test_option_R(self):
        """-R: MQTT 5 asks for none (Retain Handling 2), 3.1.1 gets them and does not print."""
        self.set("r5", "stale")
        for version in ("5", "mqttv311"):
            with Sub(self.broker.port, "-R", "-t", "r5", "-V", version, form="%p") as sub:
                publish(self.broker.port, "-t", "r5", "-m", "fresh")
                self.assertEqual(sub.wait_messages(1), ["fresh"])

    def test_retain_handling_1_only_for_a_new_subscription(self):
        """[MQTT-3.3.1-10]."""
        self.set("r6", "kept")
        with wire.Raw(self.broker.port) as raw:
            raw.connected("handling")
            raw.subscribe(("r6", 0x10))
            self.assertEqual(raw.message().payload, b"kept")
            raw.subscribe(("r6", 0x10))
            raw.ping()
            raw.subscribe(("r6", 0x00))
            self.assertEqual(raw.message().payload, b"kept")

    def test_remove_retained(self):
        """mosquitto_sub --remove-retained cleans a subtree."""
        port = self.broker.port
        for name in ("a", "b", "c/d"):
            self.set(f"r7/{name}", "x")
        self.set("r7-stays", "y")
        done = run_sub(port, "-t", "r7/#", "--remove-retained", "-W", "1", "-F", "%r %t")
        found = sorted(line[2:] for line in done.stdout.splitlines() if line[0] == "1")
        self.assertEqual(found, ["r7/a", "r7/b", "r7/c/d"])
        self.assertEqual(self.read("-t", "r7/#"), [])
        self.assertEqual(run_sub(port, "-t", "r7-stays", "-C", "1").stdout, "y\n")

    def test_a_retained_message_expires(self):
        """[MQTT-3.3.2-5]: nobody gets it after its time; before, the time left is told."""
        port, started = self.broker.port, time.monotonic()
        self.set("r8/short", "x", "-V", "5", "-D", "publish", "message-expiry-interval", "1")
        self.set("r8/long", "y", "-V", "5", "-D", "publish", "message-expiry-interval", "1000")
        until(lambda: time.monotonic() > started + 2.1, "two seconds")
        done = run_sub(port, "-V", "5", "-t", "r8/#", "-W", "1", "-F", "%p %E")
        self.assertRegex(done.stdout, r"\Ay 99[0-8]\n\Z")

    def test_properties_are_kept(self):
        """A retained message has its properties as they were."""
        self.set("r9", "x", "-V", "5", "-D", "publish", "user-property", "k", "v", "-D", "publish",
                 "content-type", "text/plain")
        done = run_sub(self.broker.port, "-V", "5", "-t", "r9", "-C", "1", "-F", "%P %C")
        self.assertEqual(done.stdout, "k:v text/plain\n")

    def test_shared_subscriptions_get_none(self):
        """[MQTT-4.8]: no retained messages for a group."""
        self.set("r10", "old")
        with Sub(self.broker.port, "-V", "5", "-t", "$share/g/r10", form="%p") as sub:
            publish(self.broker.port, "-t", "r10", "-m", "new")
            self.assertEqual(sub.wait_messages(1), ["new"])


class Limits(unittest.TestCase):
    """Directives about retained messages."""

    def test_retain_available_false(self):
        """CONNACK says so, and who sets RETAIN is disconnected with 0x9A."""
        with Broker(extra="retain_available false\n") as broker, wire.Raw(broker.port) as raw:
            self.assertIn(b"\x25\x00", raw.connect("r").properties)
            raw.publish("a", b"x", retain=True)
            raw.expect_disconnect(0x9A)

    def test_max_retained_messages(self):
        """What is over the limit is not kept; what is there can be replaced."""
        with Broker(extra="max_retained_messages 60\nsys_interval 0\n", shards=1) as broker:
            with wire.Raw(broker.port) as raw:
                raw.connected("filler")
                for i in range(80):
                    raw.publish(f"m/{i}", b"x", retain=True)
                raw.publish("m/0", b"new", retain=True)
                raw.ping()
            done = run_sub(broker.port, "-t", "m/#", "-C", "60", "-F", "%p")
            self.assertEqual(sorted(done.stdout.split()), ["new"] + ["x"] * 59)
            self.assertEqual(run_sub(broker.port, "-t", "m/#", "-C", "61", "-W", "1").returncode, 27)


class Wills(BrokerCase):
    """Who leaves without DISCONNECT is missed."""

    options = {"shards": 4}

    def with_will(self, topic, *args):
        """A client that has a will and waits."""
        return Sub(self.broker.port, "--will-topic", topic, "--will-payload", "gone", "-t", "nothing", *args)

    def test_will_of_a_client_that_dies(self):
        """All versions; QoS and RETAIN are the will's own."""
        for version in ("mqttv31", "mqttv311", "5"):
            topic = f"w1/{version}"
            with Sub(self.broker.port, "-t", topic, "-q", "2", form="%p %q %r") as watcher, \
                    self.with_will(topic, "-V", version, "--will-qos", "1", "--will-retain") as client:
                client.kill()
                self.assertEqual(watcher.wait_messages(1), ["gone 1 0"])
            done = run_sub(self.broker.port, "-t", topic, "-C", "1", "-F", "%p %r")
            self.assertEqual(done.stdout, "gone 1\n")

    def test_no_will_after_disconnect(self):
        """[MQTT-3.14.4-3]: it is discarded."""
        with Sub(self.broker.port, "-t", "w2/#", form="%t") as watcher:
            for version in (wire.V31, wire.V311, wire.V5):
                raw = wire.Raw(self.broker.port)
                raw.connected("w2", version=version, will=("w2/will", "gone")).disconnect()
            publish(self.broker.port, "-t", "w2/end", "-m", "x")
            self.assertEqual(watcher.wait_messages(1), ["w2/end"])

    def test_will_on_disconnect_with_reason_4(self):
        """mosquitto_sub -W leaves with 0x04: disconnect with will."""
        with Sub(self.broker.port, "-t", "w3", form="%p") as watcher:
            done = run_sub(self.broker.port, "-V", "5", "-W", "1", "-t", "nothing", "--will-topic", "w3",
                           "--will-payload", "timed out")
            self.assertEqual(done.returncode, 27)
            self.assertEqual(watcher.wait_messages(1), ["timed out"])

    def test_will_delay(self):
        """It comes after its delay, not before."""
        with Sub(self.broker.port, "-t", "w4", form="%p") as watcher, \
                self.with_will("w4", "-V", "5", "-x", "60", "-c", "-i", "w4", "-D", "will",
                               "will-delay-interval", "1") as client:
            client.kill()
            died = time.monotonic()
            watcher.wait_messages(1)
            self.assertGreater(time.monotonic() - died, 0.9)
            self.assertEqual(watcher.messages(), ["gone"])

    def test_will_delay_ends_with_the_session(self):
        """[MQTT-3.1.3-9]: the session ends first (expiry 0): the will comes at once."""
        with Sub(self.broker.port, "-t", "w5", form="%p") as watcher, \
                self.with_will("w5", "-V", "5", "-D", "will", "will-delay-interval", "1000") as client:
            client.kill()
            self.assertEqual(watcher.wait_messages(1), ["gone"])

    def test_will_delay_is_called_off_by_coming_back(self):
        """[MQTT-3.1.3-9]: the same session again within the delay."""
        delay = wire.u32_property(0x18, 1)
        with Sub(self.broker.port, "-t", "w6/#", form="%t") as watcher:
            raw = wire.Raw(self.broker.port).connected("w6", will=("w6/will", "gone"), will_props=delay,
                                                       props=wire.session_expiry(60))
            raw.close()
            back = wire.Raw(self.broker.port)
            self.assertTrue(back.connect("w6", clean=False, props=wire.session_expiry(60)).present)
            started = time.monotonic()
            until(lambda: time.monotonic() > started + 1.5, "the delay is over")
            back.publish("w6/end")
            self.assertEqual(watcher.wait_messages(1), ["w6/end"])
            back.disconnect()

    def test_will_of_a_session_taken_over(self):
        """The old connection gets 0x8E and its will is sent [MQTT-3.1.2-8]."""
        with Sub(self.broker.port, "-t", "w7", form="%p") as watcher, \
                wire.Raw(self.broker.port) as old, wire.Raw(self.broker.port) as new:
            old.connected("w7", will=("w7", "taken"))
            new.connected("w7")
            old.expect_disconnect(0x8E)
            self.assertEqual(watcher.wait_messages(1), ["taken"])

    def test_will_properties(self):
        """User properties and content type of a will."""
        props = wire.user_property("why", "battery") + b"\x03" + wire.text("text/plain")
        with Sub(self.broker.port, "-V", "5", "-t", "w8", form="%p %P %C") as watcher:
            wire.Raw(self.broker.port).connected("w8", will=("w8", "low"), will_props=props).close()
            self.assertEqual(watcher.wait_messages(1), ["low why:battery text/plain"])


if __name__ == "__main__":
    main()
