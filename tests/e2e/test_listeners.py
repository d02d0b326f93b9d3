"""Listeners: unix sockets, several with options of their own, who may come in, and none at all."""
import os
import signal
import socket
import unittest

import wire
from broker import Broker, BrokerCase, can_connect, has_ipv6, main, run_sluice, until
from clients import Sub, publish, run_sub

SEVERAL = """\
per_listener_settings true
log_type all
listener {0} 127.0.0.1
allow_anonymous true
listener {1} 127.0.0.1
allow_anonymous true
max_qos 1
max_topic_alias 3
listener {2} 127.0.0.1
allow_anonymous true
mount_point site/
listener {3} 127.0.0.1
allow_anonymous true
accept_protocol_versions 4
listener {4} 127.0.0.1
listener 0 {dir}/socket
allow_anonymous true
"""


class Several(BrokerCase):
    """One broker: plain, max_qos 1, mount point, 3.1.1 only, nobody, and a unix socket."""

    options = {"config": SEVERAL, "ports": 5, "shards": 4}

    def setUp(self):
        self.plain, self.qos1, self.mounted, self.old, self.nobody = self.broker.ports

    def test_unix_socket(self):
        """mosquitto_pub --unix and mosquitto_sub --unix, beside TCP."""
        path = self.broker.path("socket")
        with Sub(None, "--unix", path, "-q", "1", "-t", "u/#", form="%t %p") as by_unix, \
                Sub(self.plain, "-q", "1", "-t", "u/#", form="%t %p") as by_tcp:
            publish(None, "--unix", path, "-q", "2", "-t", "u/1", "-m", "from unix")
            publish(self.plain, "-q", "2", "-t", "u/2", "-m", "from tcp")
            wanted = ["u/1 from unix", "u/2 from tcp"]
            self.assertEqual(by_unix.wait_messages(2), wanted)
            self.assertEqual(by_tcp.wait_messages(2), wanted)

    def test_max_qos(self):
        """CONNACK tells [MQTT-3.2.2-9]; SUBACK grants no more, as mosquitto; QoS 2 is refused with 0x9B."""
        with wire.Raw(self.qos1) as raw:
            self.assertIn(b"\x24\x01", raw.connect("").properties)
            self.assertEqual(raw.subscribe(("q", 0), ("r", 1), ("s", 2)), [0, 1, 1])
            raw.publish("x", b"x", qos=2)
            raw.expect_disconnect(0x9B)
        with wire.Raw(self.plain) as raw:
            self.assertNotIn(b"\x24\x01", raw.connect("").properties)

    def test_max_qos_of_a_will(self):
        """[MQTT-3.2.2-12]: a will above it is refused with 0x9B, and the refusal tells the maximum."""
        with wire.Raw(self.qos1) as raw:
            answer = raw.connect("", will=("w", "x"), will_qos=2)
            self.assertEqual((answer.code, answer.properties), (0x9B, b"\x24\x01"))

    def test_max_topic_alias(self):
        """A listener's own maximum."""
        with wire.Raw(self.qos1) as raw:
            self.assertIn(wire.u16_property(0x22, 3), raw.connect("").properties)
            raw.publish("a", b"x", props=wire.u16_property(0x23, 4))
            raw.expect_disconnect(0x94)

    def test_mount_point(self):
        """Put before the topics of the listener's clients, and taken off again; wills and retained too."""
        with Sub(self.plain, "-t", "#", "-q", "1", form="%t %p") as outside, \
                Sub(self.mounted, "-t", "#", "-q", "1", form="%t %p") as inside, \
                wire.Raw(self.mounted) as dies:
            publish(self.mounted, "-q", "1", "-t", "a/b", "-m", "in")
            publish(self.plain, "-q", "1", "-t", "site/c", "-m", "out")
            publish(self.plain, "-q", "1", "-t", "elsewhere", "-m", "not for the site")
            dies.connected("dies", will=("will", "gone"))
            dies.close()
            self.assertEqual(outside.wait_messages(4),
                             ["site/a/b in", "site/c out", "elsewhere not for the site", "site/will gone"])
            self.assertEqual(inside.wait_messages(3), ["a/b in", "c out", "will gone"])
        publish(self.mounted, "-r", "-t", "kept", "-m", "x")
        self.assertEqual(run_sub(self.plain, "-t", "site/kept", "-C", "1", "-v").stdout, "site/kept x\n")
        self.assertEqual(run_sub(self.mounted, "-t", "+", "-C", "1", "-v").stdout, "kept x\n")

    def test_accept_protocol_versions(self):
        """3.1.1 only: others are refused, 5 with 0x84 and 3.1 with 1."""
        for version, code in ((wire.V31, 1), (wire.V311, 0), (wire.V5, 0x84)):
            with wire.Raw(self.old) as raw:
                self.assertEqual(raw.connect("x", version=version).code, code)

    def test_nobody_may_come_in(self):
        """allow_anonymous is false when there is a listener: 5 / 0x87, as mosquitto; its clients say so."""
        for version, code in ((wire.V31, 5), (wire.V311, 5), (wire.V5, 0x87)):
            with wire.Raw(self.nobody) as raw:
                self.assertEqual(raw.connect("x", version=version), (False, code, b""))
                raw.expect_closed()
        done = publish(self.nobody, "-t", "a", "-m", "b", check=False)
        self.assertEqual((done.returncode, done.stdout.splitlines()[0]),
                         (5, "Connection error: Connection Refused: not authorised."))
        done = publish(self.nobody, "-V", "5", "-t", "a", "-m", "b", check=False)
        self.assertEqual((done.returncode, done.stdout.splitlines()[0]),
                         (135, "Connection error: Not authorized"))

    def test_the_log_says_who_may_connect_and_why_not(self):
        """At the start for each listener, and at each refusal."""
        self.broker.wait_log(rf"Listener {self.plain} on 127\.0\.0\.1: anybody who reaches it may connect")
        self.broker.wait_log(rf"Listener {self.nobody} on 127\.0\.0\.1: nobody may connect")
        with wire.Raw(self.nobody) as raw:
            peer = raw.peer_text()
            raw.connect("who")
        self.broker.wait_log(rf"refused {peer}\b.*allow_anonymous false")


class One(unittest.TestCase):
    """One listener at a time."""

    def test_max_connections(self):
        """The third is closed without an answer, as mosquitto does; when one goes there is room again."""
        config = "listener {0} 127.0.0.1\nallow_anonymous true\nmax_connections 2\nlistener {1} 127.0.0.1\n"
        with Broker(config, ports=2, probe=[1]) as broker:
            one, two = (wire.Raw(broker.port).connected(name) for name in ("one", "two"))
            with wire.Raw(broker.port) as third:
                third.expect_closed()
            broker.wait_log(r"Client connection from 127\.0\.0\.1\S* denied: max_connections exceeded\.")
            one.disconnect()

            def room():
                with wire.Raw(broker.port) as raw:
                    raw.send(wire.connect("three"))
                    return raw.read()

            until(room, "a place is free again")
            two.disconnect()

    def test_global_max_connections(self):
        """Over all listeners."""
        config = "listener {0} 127.0.0.1\nlistener {1} 127.0.0.1\nallow_anonymous true\n" \
                 "global_max_connections 1\n"
        with Broker(config, ports=2, probe=[]) as broker:
            until(lambda: can_connect(broker.ports[1]), "it listens")

            def first():
                raw = wire.Raw(broker.port)
                raw.send(wire.connect("one"))
                return raw if raw.read() else raw.close()

            one = until(first, "the only place")
            with wire.Raw(broker.ports[1]) as other:
                other.expect_closed()
            one.disconnect()

    def test_use_username_as_clientid(self):
        """The user name is the id: two with the same take over; none is refused."""
        with Broker(extra="use_username_as_clientid true\n", shards=4) as broker:
            with wire.Raw(broker.port) as first, wire.Raw(broker.port) as second, \
                    wire.Raw(broker.port) as none:
                first.connected("a", user="bob")
                second.connected("b", user="bob")
                first.expect_disconnect(0x8E)
                broker.wait_log(r"New client connected from \S+ as bob \(p5, c1, k\d+, u'bob'\)\.")
                self.assertEqual(none.connect("c").code, 0x87)

    def test_listener_allow_anonymous(self):
        """For one listener alone, over allow_anonymous."""
        config = "allow_anonymous false\nlistener {0} 127.0.0.1\nlistener_allow_anonymous true\n" \
                 "listener {1} 127.0.0.1\n"
        with Broker(config, ports=2) as broker:
            codes = []
            for port in broker.ports:
                with wire.Raw(port) as raw:
                    codes.append(raw.connect("x").code)
            self.assertEqual(codes, [0, 0x87])

    def test_every_address(self):
        """Without an address: IPv4 and IPv6, also a loopback address that is not 127.0.0.1."""
        with Broker("listener {0}\nallow_anonymous true\n") as broker:
            hosts = ["127.0.0.1", "127.0.0.2"] + (["::1"] if has_ipv6() else [])
            for host in hosts:
                with wire.Raw(broker.port, host=host) as raw:
                    self.assertEqual(raw.connect("x").code, 0, host)

    def test_socket_domain(self):
        """ipv4 only."""
        with Broker("listener {0} localhost\nsocket_domain ipv4\nallow_anonymous true\n") as broker:
            self.assertTrue(can_connect(broker.port, "127.0.0.1"))
            self.assertFalse(can_connect(broker.port, "::1"))

    def test_old_form(self):
        """port and bind_address."""
        with Broker("port {0}\nbind_address 127.0.0.1\nallow_anonymous true\n") as broker:
            self.assertFalse(can_connect(broker.port, "127.0.0.2"))
            publish(broker.port, "-t", "a", "-m", "b")

    def test_unix_socket_file(self):
        """A stale one, left by a broker that was killed, is replaced; a clean stop removes it."""
        config = "listener 0 {dir}/s\nallow_anonymous true\nlistener {0} 127.0.0.1\n"
        with Broker(config) as broker:
            path = broker.path("s")
            broker.process.send_signal(signal.SIGKILL)
            broker.process.wait()
            self.assertTrue(os.path.exists(path))
            broker.spawn()
            self.assertTrue(broker.wait_listening(), broker.log())
            publish(None, "--unix", path, "-t", "a", "-m", "b")
            broker.wait_log(r"New connection from \S+ on port 0\.")
            broker.stop()
            self.assertFalse(os.path.exists(path))

    def test_unix_socket_of_another_broker_is_left_alone(self):
        """A path on which somebody listens: exit code 1 and one line with the path."""
        with Broker("listener 0 {dir}/s\nallow_anonymous true\nlistener {0} 127.0.0.1\n") as broker:
            name = broker.path("second.conf")
            with open(name, "w", encoding="utf-8") as file:
                file.write(f"listener 0 {broker.path('s')}\n")
            done = run_sluice("-c", name, folder=broker.dir)
            self.assertEqual(done.returncode, 1)
            errors = [line for line in done.stderr.splitlines() if "Error" in line]
            self.assertEqual(len(errors), 1, done.stderr)
            self.assertIn(broker.path("s"), errors[0])
            publish(None, "--unix", broker.path("s"), "-t", "a", "-m", "b")

    def test_without_a_file(self):
        """127.0.0.1 and ::1 only, on -p's port, anonymous."""
        with Broker(None, args=["-p", "{0}"], shards=None) as broker:
            with Sub(broker.port, "-t", "a", form="%p") as sub:
                publish(broker.port, "-t", "a", "-m", "anybody")
                self.assertEqual(sub.wait_messages(1), ["anybody"])
            if has_ipv6():
                with wire.Raw(broker.port, host="::1") as raw:
                    self.assertEqual(raw.connect("six").code, 0)
            self.assertFalse(can_connect(broker.port, "127.0.0.2"))
            for address in own_addresses():
                self.assertFalse(can_connect(broker.port, address), address)

    def test_a_file_without_a_listener(self):
        """As without a file: loopback, anonymous, -p's port."""
        with Broker("log_type all\n", args=["-p", "{0}"]) as broker:
            publish(broker.port, "-t", "a", "-m", "b")
            self.assertFalse(can_connect(broker.port, "127.0.0.2"))

    def test_port_is_ignored_when_the_file_has_a_listener(self):
        """-p with a listener in the file: only the file's port is open."""
        with Broker(args=["-p", "{1}"], ports=2, probe=[0]) as broker:
            publish(broker.port, "-t", "a", "-m", "b")
            self.assertFalse(can_connect(broker.ports[1]))


def own_addresses():
    """Addresses of this machine's name that are not loopback."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return []
    return [item[4][0] for item in found if not item[4][0].startswith("127.")]


if __name__ == "__main__":
    main()
