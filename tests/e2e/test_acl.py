"""acl_file with mosquitto's own clients: what it allows, a reload, mistakes in it; and the same list given to
mosquitto itself."""
import os
import random
import shutil
import signal
import subprocess
import tempfile
import unittest

import wire
from broker import ANYBODY, Broker, can_connect, free_port, main, run_sluice, until
from clients import Sub, publish, run_sub

ACL = """# who may do what
topic read public/#

user bob
topic readwrite home/#
topic deny home/safe/#

user admin
topic #
topic read $SYS/#

pattern write dev/%c/up
pattern read dev/%c/down
"""


class AclBroker(Broker):
    """A broker with an access list."""

    def __init__(self, acl=ACL, **more):
        super().__init__(ANYBODY + "acl_file {dir}/acl\n", **more)
        self.write_acl(acl)

    def write_acl(self, acl):
        """Puts another list in its place at once: a reload may just be reading."""
        with open(self.path("acl.new"), "w", encoding="utf-8") as file:
            file.write(acl)
        os.replace(self.path("acl.new"), self.path("acl"))

    def reload(self, acl, wanted):
        """Another list, and what the log says then."""
        count = self.log().count(wanted)
        self.write_acl(acl)
        self.signal(signal.SIGHUP)
        self.wait_log(wanted, count=count + 1)


def put(broker, user, client, topic, text):
    """mosquitto_pub with QoS 1, as 3.1.1: a denied message is acknowledged."""
    who = ["-u", user] if user else []
    publish(broker.port, "-i", client, *who, "-q", "1", "-t", topic, "-m", text, check=False)


class Lists(unittest.TestCase):
    """What a list allows."""

    def test_who_may_publish(self):
        """Own topics, patterns, and the log line for what was denied."""
        with AclBroker(shards=4) as broker:
            with Sub(broker.port, "-i", "watch", "-u", "admin", "-q", "1", "-t", "#") as watch:
                for user, client, topic in (("bob", "1", "home/a"), ("bob", "2", "home/safe/a"), ("bob", "3", "x"),
                                            (None, "4", "public/a"), (None, "d5", "dev/d5/up"),
                                            (None, "d6", "dev/d5/up"), ("joe", "d7", "dev/d7/up"),
                                            ("joe", "d8", "home/a"), ("admin", "9", "end")):
                    put(broker, user, client, topic, client)
                self.assertEqual(watch.wait_messages(4), ["home/a 1", "dev/d5/up d5", "dev/d7/up d7", "end 9"])
            broker.wait_log(r"Denied PUBLISH from 2 \(d0, q1, r0, m1, 'home/safe/a', \.\.\. \(1 bytes\)\)")

    def test_mqtt5_is_told(self):
        """PUBACK 0x87."""
        with AclBroker() as broker:
            done = publish(broker.port, "-V", "5", "-q", "1", "-t", "x", "-m", "m", check=False)
            self.assertIn("Not authorized", done.stdout)

    def test_who_may_read(self):
        """Live and retained messages, by topic."""
        with AclBroker(shards=4) as broker:
            for topic in ("public/1", "home/1", "home/safe/1", "dev/d/down"):
                publish(broker.port, "-u", "admin", "-q", "1", "-r", "-t", topic, "-m", "r")
            for user, client, wanted in ((None, "d", {"public/1 r", "dev/d/down r"}), ("bob", "b", {"home/1 r"}),
                                         ("joe", "j", set())):
                who = ["-u", user] if user else []
                with Sub(broker.port, "-i", client, *who, "-q", "1", "-t", "#") as sub:
                    for topic in ("public/1", "home/1", "home/safe/1", "dev/d/down"):
                        publish(broker.port, "-u", "admin", "-q", "1", "-t", topic, "-m", "l")
                    live = {line[:-1] + "l" for line in wanted}
                    self.assertEqual(set(sub.wait_messages(2 * len(wanted))), wanted | live)
                    self.assertEqual(set(sub.leave()), wanted | live)

    def test_subscribing_to_what_is_denied(self):
        """SUBACK 0x80."""
        with AclBroker() as broker:
            done = run_sub(broker.port, "-u", "bob", "-t", "home/safe/#", "-W", "20")
            self.assertIn("denied", done.stderr)


class Reload(unittest.TestCase):
    """SIGHUP."""

    def test_a_new_list_holds_for_who_is_connected(self):
        """Both for reading and for writing, on every shard."""
        with AclBroker(shards=4) as broker:
            clients = [wire.Raw(broker.port).connected(f"c{i}") for i in range(8)]
            for raw in clients:
                raw.subscribe("public/#")
            put(broker, "admin", "p", "public/1", "one")
            for raw in clients:
                self.assertEqual(raw.message().payload, b"one")
            broker.reload("user admin\ntopic #\n", "Configuration reloaded")
            put(broker, "admin", "p", "public/1", "two")
            broker.reload("topic #\n", "Configuration reloaded")
            for raw in clients:
                wire.round_trip(raw, "public/2")

    def test_a_bad_list_leaves_the_old_one(self):
        """And the log says where the mistake is."""
        with AclBroker() as broker, wire.Raw(broker.port) as raw:
            raw.connected("c")
            raw.subscribe("public/#")
            broker.reload("topic read a\ntopic rw b\n", "the old configuration stays in force")
            broker.wait_log(r"acl:2: 'rw' is no access")
            put(broker, "admin", "p", "public/1", "one")
            self.assertEqual(raw.message().payload, b"one")

    def test_often(self):
        """Fifty new lists while clients work."""
        with AclBroker("topic #\n", shards=4) as broker, wire.Raw(broker.port) as raw:
            raw.connected("busy")
            raw.subscribe("busy")
            for i in range(50):
                broker.write_acl(f"topic x/{i}\ntopic busy\n")
                broker.signal(signal.SIGHUP)
                for j in range(20):
                    wire.round_trip(raw, "busy", f"{i} {j}".encode())

    def test_a_bad_list_at_the_start(self):
        """Exit code 3, with file and line."""
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "acl"), "w", encoding="utf-8") as file:
                file.write("user bob\ntopic a/#/b\n")
            with open(os.path.join(folder, "conf"), "w", encoding="utf-8") as file:
                file.write(f"listener {free_port()} 127.0.0.1\nacl_file acl\n")
            done = run_sluice("-c", "conf", folder=folder)
            self.assertEqual(done.returncode, 3)
            self.assertIn("acl:2: 'a/#/b' is no topic filter", done.stderr)


class Mosquitto:
    """Debian's broker with the same list, or another configuration, which names ports and {dir}."""

    def __init__(self, acl, config="listener {0} 127.0.0.1\nallow_anonymous true\nacl_file {dir}/acl\n", ports=1):
        self.dir = tempfile.mkdtemp(prefix="mosquitto-")
        self.ports = [free_port() for _ in range(ports)]
        self.port = self.ports[0]
        name = os.path.join(self.dir, "conf")
        with open(os.path.join(self.dir, "acl"), "w", encoding="utf-8") as file:
            file.write(acl)
        with open(name, "w", encoding="utf-8") as file:
            file.write("set_tcp_nodelay true\n" + config.format(*self.ports, dir=self.dir))
        os.chmod(self.dir, 0o755)
        self.process = subprocess.Popen([os.environ["MOSQUITTO"], "-c", name],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: can_connect(self.port), "mosquitto listens")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


USERS, IDS = (None, "bob", "eve", "b+", "joe"), ("c1", "c2", "d#", "x-y")
TOPICS = [f"{a}/{b}" for a in "ab$" for b in ("x", "y", "c1", "bob", "x/z", "")] + ["a", "b", "c1/bob", "bob"]


def random_list(rng):
    """A list of mosquitto's grammar over the names above."""
    def topic(pattern):
        own = ["%c", "%u"] if pattern else []
        text = rng.choice(["a", "b", "$", "+"] + own)
        for _ in range(rng.randint(0, 2)):
            text += "/" + rng.choice(["x", "y", "+"] + 2 * own)
        return text + rng.choice(("", "/#"))

    lines = []
    for _ in range(rng.randint(8, 20)):
        kind = rng.choice(("topic", "topic", "pattern", "user"))
        if kind == "user":
            lines.append("user " + rng.choice(("bob", "eve", "b+")))
            continue
        access = rng.choice(("", "", "read ", "read ", "write ", "write ", "readwrite ", "deny "))
        lines.append(f"{kind} {access}{topic(kind == 'pattern')}")
    return "\n".join(lines) + "\n"


def may_write(raw, topic):
    """What the PUBACK says."""
    raw.publish(topic, b"own", qos=1)
    return raw.await_packet(wire.PUBACK).body[2:3] != b"\x87"


def got(raw):
    """The topics that came from the administrator so far."""
    raw.ping_until_pong()
    found = [wire.parse_publish(p.flags, p.body, raw.version) for p in raw.later if p.type == wire.PUBLISH]
    return {message.topic for message in found if message.payload == b"admin"}


def rights(port):
    """What a broker says: (user, client, read or write, topic) for all that may be."""
    may = set()
    with wire.Raw(port) as admin:
        admin.connected("admin", user="admin")
        for user in USERS:
            clients = {client: wire.Raw(port).connected(client, user=user) for client in IDS}
            for client, raw in clients.items():
                raw.subscribe("#", "$/#")
                may |= {(user, client, "write", topic) for topic in TOPICS if may_write(raw, topic)}
            for topic in TOPICS:
                admin.publish(topic, b"admin", qos=1)
                admin.expect(wire.PUBACK)
            for client, raw in clients.items():
                may |= {(user, client, "read", topic) for topic in got(raw)}
                raw.close()
    return may


PER_LISTENER = """per_listener_settings true
listener {0} 127.0.0.1
allow_anonymous true
acl_file {files}/acl-0
listener {1} 127.0.0.1
password_file {files}/users-1
acl_file {files}/acl-1
listener {2} 127.0.0.1
password_file {files}/users-2
allow_anonymous true
"""


class PerListener(unittest.TestCase):
    """per_listener_settings: each listener its own users, list and allow_anonymous, as mosquitto."""

    def setUp(self):
        self.files = tempfile.mkdtemp(prefix="sluice-e2e-")
        self.addCleanup(shutil.rmtree, self.files, True)
        os.chmod(self.files, 0o755)
        self.write("acl-0", "topic read a/#\ntopic write a/1\n")
        self.write("acl-1", "user bob\ntopic b/#\npattern write c/%u\n")
        for users, name in (("users-1", "bob"), ("users-1", "eve"), ("users-2", "joe")):
            first = [] if os.path.exists(self.path(users)) else ["-c"]
            subprocess.run(["mosquitto_passwd", "-b", *first, self.path(users), name, f"is {name}"], check=True,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            os.chmod(self.path(users), 0o644)
        self.config = PER_LISTENER.replace("{files}", self.files)

    def path(self, name):
        """Of a file."""
        return os.path.join(self.files, name)

    def write(self, name, text):
        """A file anew."""
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def enters(self, port, user, password):
        """Whether a login is right."""
        with wire.Raw(port) as raw:
            return raw.connect(f"x-{user}", user=user, password=password).code == 0

    def found(self, ports):
        """Who gets in where, and what they may do there."""
        logins = {(i, user) for i, port in enumerate(ports) for user in (None, "bob", "eve", "joe", "nobody")
                  if self.enters(port, user, user and f"is {user}")}
        may = set()
        with wire.Raw(ports[2]) as admin:
            admin.connected("admin")
            for i, user in sorted(logins, key=str):
                with wire.Raw(ports[i]) as raw:
                    raw.connected(f"client-{i}-{user}", user=user, password=user and f"is {user}")
                    raw.subscribe("#")
                    for topic in ("a/1", "a/2", "b/1", "c/bob", "c/eve", "d"):
                        admin.publish(topic, b"admin", qos=1)
                        admin.expect(wire.PUBACK)
                        may |= {(i, user, "write", topic)} if may_write(raw, topic) else set()
                    may |= {(i, user, "read", topic) for topic in got(raw)}
        return logins, may

    def test_as_mosquitto(self):
        """The same configuration, the same answers."""
        with Broker(self.config, ports=3) as ours:
            logins, may = self.found(ours.ports)
        self.assertEqual(logins, {(0, None), (1, "bob"), (1, "eve"), (2, None), (2, "joe")} |
                         {(0, name) for name in ("bob", "eve", "joe", "nobody")})
        self.assertIn((1, "bob", "read", "b/1"), may)
        self.assertNotIn((0, None, "write", "a/2"), may)
        self.assertIn((2, "joe", "write", "d"), may)
        if "MOSQUITTO" in os.environ:
            with Mosquitto("", self.config, ports=3) as theirs:
                self.assertEqual(self.found(theirs.ports), (logins, may))

    def test_a_reload_changes_one_listener(self):
        """Its list, also for who is connected; then the file drops a listener, which stays open and allows
        nothing any more."""
        with Broker(self.config, ports=3, shards=3) as broker, wire.Raw(broker.port) as a, wire.Raw(broker.ports[2]) as c:
            a.connected("a")
            c.connected("c")
            a.subscribe("#")
            self.write("acl-0", "topic read d\n")
            self.reload(broker, self.config, 1)
            c.published("a/1", b"admin")
            c.published("d", b"admin")
            self.assertEqual(got(a), {"d"})
            without_third = self.config[:self.config.index("listener {2}")]
            self.reload(broker, without_third, 2)
            self.assertFalse(may_write(c, "d"))
            self.reload(broker, self.config, 3)
            self.assertTrue(may_write(c, "d"))
            broker.write_config(self.config.replace("acl-1", "none"))
            broker.signal(signal.SIGHUP)
            broker.wait_log("none: cannot open: No such file or directory")
            self.assertTrue(may_write(c, "d"))

    def reload(self, broker, config, count):
        """SIGHUP, until it is through."""
        broker.write_config(config)
        broker.signal(signal.SIGHUP)
        broker.wait_log(r"Configuration reloaded\.", count)


class AsMosquitto(unittest.TestCase):
    """Debian's broker and ours, asked the same."""

    def test_the_same_rights(self):
        """Random lists over a few users, client ids and topics: 7,000 verdicts."""
        rng, allowed = random.Random(int(os.environ.get("E2E_SEED", "1"))), 0
        for _ in range(8):
            acl = random_list(rng) + "user admin\ntopic #\ntopic $/#\n"
            with AclBroker(acl, shards=1) as ours, Mosquitto(acl) as theirs:
                mine, its = rights(ours.port), rights(theirs.port)
            self.assertEqual((mine - its, its - mine), (set(), set()), acl)
            allowed += len(mine)
        self.assertGreater(allowed, 1000)


if __name__ == "__main__":
    main()
