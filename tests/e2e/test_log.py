"""The log: destinations, types, time stamps, JSON, and the lines that programs read."""
import json
import os
import re
import time
import unittest

import wire
from broker import Broker, main, until
from clients import Sub, publish

BARE = "listener {0} 127.0.0.1\nallow_anonymous true\n"


def read(path):
    """A file's text, "" when there is none."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


class Lines(unittest.TestCase):
    """Lines as mosquitto writes them: fail2ban and Home Assistant read them."""

    def test_connecting(self):
        """p: 1 = 3.1, 2 = 3.1.1, 5; c: clean; k: keep alive; u: the user name, when there is one."""
        with Broker(BARE, shards=4) as broker:
            for version, letter in ((wire.V31, 1), (wire.V311, 2), (wire.V5, 5)):
                with wire.Raw(broker.port) as raw:
                    peer = raw.peer_text()
                    raw.connect(f"id-{letter}", version=version, keep_alive=60, user="bob", password="s3cret")
                broker.wait_log(rf"^\d{{10,}}: New connection from {peer} on port {broker.port}\.$")
                broker.wait_log(
                    rf"^\d{{10,}}: New client connected from {peer} as id-{letter} "
                    rf"\(p{letter}, c1, k60, u'bob'\)\.$")
            with wire.Raw(broker.port) as raw:
                peer = raw.peer_text()
                raw.connect("keeps", clean=False, keep_alive=7)
            broker.wait_log(rf"^\d+: New client connected from {peer} as keeps \(p5, c0, k7\)\.$")
            self.assertNotIn("s3cret", broker.log())

    def test_ipv6_peers(self):
        """[::1]:port."""
        with Broker("listener {0}\nallow_anonymous true\n") as broker:
            try:
                raw = wire.Raw(broker.port, host="::1")
            except OSError:
                self.skipTest("no IPv6 here")
            port = raw.socket.getsockname()[1]
            raw.connect("six")
            broker.wait_log(rf"New client connected from (\[::1\]|::1):{port} as six \(p5, ")
            raw.close()

    def test_leaving(self):
        """Each way to go has mosquitto's words."""
        with Broker(BARE, shards=4) as broker:
            wire.Raw(broker.port).connected("polite").disconnect()
            broker.wait_log(r"^\d+: Client polite disconnected\.$")
            wire.Raw(broker.port).connected("rude").close()
            broker.wait_log(r"^\d+: Client rude closed its connection\.$")
            with wire.Raw(broker.port) as raw:
                raw.connected("wrong")
                raw.send(b"\x30\x03\x00\x01#")
                while raw.read():
                    pass
            broker.wait_log(r"^\d+: Client wrong disconnected due to (malformed packet|protocol error)\.$")
            with wire.Raw(broker.port) as raw, wire.Raw(broker.port) as other:
                raw.connected("twin")
                other.connected("twin")
                broker.wait_log(r"^\d+: Client twin already connected, closing old connection\.$")
            with wire.Raw(broker.port) as raw:
                raw.connected("sleepy", keep_alive=1)
                raw.expect_disconnect(0x8D)
            broker.wait_log(r"^\d+: Client sleepy has exceeded timeout, disconnecting\.$")

    def test_subscribing(self):
        """log_type subscribe and unsubscribe: id, QoS, topic."""
        types = "log_type subscribe\nlog_type unsubscribe\n"
        with Broker(BARE + types) as broker, wire.Raw(broker.port) as raw:
            raw.connected("someone")
            raw.subscribe(("a/#", 2), ("b", 0))
            raw.send(wire.packet(0xA2, b"\x00\x05\x00" + wire.text("a/#")))
            raw.expect(wire.UNSUBACK)
            for line in (r"someone 2 a/#", r"someone 0 b", r"someone a/#"):
                broker.wait_log(rf"^\d+: {line}$")
            self.assertEqual(len(broker.log().splitlines()), 3, broker.log())

    def test_start_and_stop(self):
        """mosquitto's words with our name."""
        with Broker(BARE) as broker:
            broker.wait_log(r"^\d+: sluice version \S+ starting$")
            broker.wait_log(rf"^\d+: Config loaded from {re.escape(broker.config_name)}\.$")
            broker.wait_log(rf"^\d+: Opening ipv4 listen socket on port {broker.port}\.$")
            broker.wait_log(r"^\d+: sluice version \S+ running")
            broker.stop()
            self.assertRegex(broker.log(), r"\n\d+: sluice version \S+ terminating\n")

    def test_connection_messages_false(self):
        """Nothing about who comes and goes; the rest is logged."""
        with Broker(BARE + "connection_messages false\nlog_type all\n") as broker:
            with wire.Raw(broker.port) as raw, wire.Raw(broker.port) as other:
                raw.connected("quiet")
                raw.subscribe("t")
                other.connected("quiet")
                other.disconnect()
            broker.wait_log(r"quiet 0 t")
            broker.stop()
            for word in ("New connection", "New client", "Client quiet"):
                self.assertNotIn(word, broker.log())

    def test_control_characters_are_escaped(self):
        """Class 6: a client id or user name cannot write lines of its own, nor move a terminal's cursor."""
        evil = "evil\n1700000000: New client connected from 6.6.6.6:6 as admin (p5, c1, k60).\r\x1b[2J"
        with Broker(BARE) as broker:
            with wire.Raw(broker.port) as raw:
                raw.send(wire.connect(evil, user="u\nser"))
                answer = raw.read()
            if answer is not None and answer.body[1] == 0:  # refused as malformed is right too
                broker.wait_log(r"as evil\\x0a1700000000")
            broker.stop()
            self.assertNotRegex(broker.log(), r"(?m)^1700000000")
            self.assertNotIn("\x1b", broker.log())
            self.assertNotIn("\r", broker.log())

    def test_identical_lines_are_counted(self):
        """A line that repeats is written once, then how often it came."""
        with Broker(BARE + "connection_messages false\nlog_type subscribe\n", shards=1) as broker:
            with wire.Raw(broker.port) as raw:
                raw.connected("again")
                for _ in range(20):
                    raw.subscribe("same")
                raw.subscribe("other")
            broker.wait_log(r"again 0 other")
            lines = [re.sub(r"^\d+: ", "", line) for line in broker.log().splitlines()]
            self.assertEqual(lines[:3],
                             ["again 0 same", "The last line came 19 more times.", "again 0 other"])


class Types(unittest.TestCase):
    """log_type."""

    def logged(self, types):
        """The log of a client that comes, subscribes and goes."""
        with Broker(BARE + types) as broker:
            with wire.Raw(broker.port) as raw:
                raw.connected("typed")
                raw.subscribe("t")
                raw.disconnect()
            broker.stop()
            return broker.log()

    def test_defaults(self):
        """error, warning, notice, information; not subscribe."""
        log = self.logged("")
        for text, there in (("running", True), ("Client typed disconnected", True), ("typed 0 t", False)):
            self.assertEqual(text in log, there, text)

    def test_chosen(self):
        """notice alone has no information."""
        log = self.logged("log_type notice\n")
        for text, there in (("running", False), ("Client typed disconnected", True), ("typed 0 t", False)):
            self.assertEqual(text in log, there, text)

    def test_error_only(self):
        """A quiet broker."""
        self.assertEqual(self.logged("log_type error\n"), "")

    def test_none(self):
        """Nothing at all."""
        self.assertEqual(self.logged("log_type none\n"), "")

    def test_all(self):
        """Subscriptions too."""
        self.assertIn("typed 0 t", self.logged("log_type all\n"))


class Stamps(unittest.TestCase):
    """log_timestamp, log_timestamp_format (TZ is UTC here)."""

    def first_line(self, extra):
        """The first line of the log."""
        with Broker(BARE + extra) as broker:
            return broker.wait_log(r"^.*starting$").group(0)

    def test_seconds_since_1970(self):
        """The default."""
        before = int(time.time())
        stamp = int(self.first_line("").split(":")[0])
        self.assertTrue(before <= stamp <= time.time(), stamp)

    def test_without(self):
        """log_timestamp false."""
        self.assertRegex(self.first_line("log_timestamp false\n"), r"\Asluice version")

    def test_format(self):
        """strftime's."""
        before = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        line = self.first_line("log_timestamp_format %Y-%m-%dT%H:%M:%S\n")
        found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d): sluice version \S+ starting", line)
        self.assertTrue(found, line)
        self.assertTrue(before <= found.group(1) <= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()))


class Destinations(unittest.TestCase):
    """log_dest."""

    def test_file(self):
        """There, and not on stderr; not for everybody to read."""
        with Broker(BARE + "log_dest file {dir}/a log\n") as broker:
            path = broker.path("a log")
            broker.wait_log("running", read=lambda: read(path))
            publish(broker.port, "-i", "filed", "-t", "a", "-m", "b")
            broker.wait_log("Client filed disconnected", read=lambda: read(path))
            self.assertEqual(broker.log() + broker.out(), "")
            self.assertEqual(os.stat(path).st_mode & 0o007, 0)

    def test_a_file_is_appended_to(self):
        """A restart keeps what was there."""
        with Broker(BARE + "log_dest file {dir}/x.log\n") as broker:
            path = broker.path("x.log")
            broker.stop()
            broker.spawn()
            self.assertTrue(broker.wait_listening(), read(path))
            broker.wait_log("running", count=2, read=lambda: read(path))

    def test_a_file_that_cannot_be_opened(self):
        """Exit code 1, and it says so."""
        with self.assertRaisesRegex(AssertionError, "exit code 1"):
            Broker(BARE + "log_dest file {dir}/missing/x.log\n").__enter__()

    def test_stdout(self):
        """stdout only."""
        with Broker(BARE + "log_dest stdout\n") as broker:
            broker.wait_log("running", read=broker.out)
            self.assertEqual(broker.log(), "")

    def test_several(self):
        """stdout, stderr and a file at once."""
        with Broker(BARE + "log_dest stdout\nlog_dest stderr\nlog_dest file {dir}/x.log\n") as broker:
            for source in (broker.out, broker.log, lambda: read(broker.path("x.log"))):
                broker.wait_log("running", read=source)

    def test_none(self):
        """Silence."""
        with Broker(BARE + "log_dest none\n") as broker:
            publish(broker.port, "-t", "a", "-m", "b")
            broker.stop()
            self.assertEqual(broker.log() + broker.out(), "")

    def test_topic(self):
        """$SYS/broker/log/<letter>, not retained; subscribers do not set off an endless echo."""
        with Broker(BARE + "log_dest topic\nlog_type all\n") as broker:
            with Sub(broker.port, "-t", "$SYS/broker/log/#", form="%t %r %p") as sub:
                publish(broker.port, "-i", "seen", "-t", "a", "-m", "b")
                with wire.Raw(broker.port) as raw:
                    raw.connected("typed")
                    raw.subscribe("x/y")
                    raw.disconnect()

                def line(pattern):
                    return any(re.search(pattern, message) for message in sub.messages())

                until(lambda: line(r"^\$SYS/broker/log/N 0 (\d+: )?New client connected from \S+ as seen "),
                      "N")
                until(lambda: line(r"^\$SYS/broker/log/N 0 (\d+: )?Client typed disconnected\.$"), "N")
                until(lambda: line(r"^\$SYS/broker/log/M/subscribe 0 (\d+: )?typed 0 x/y$"), "subscribe")
            self.assertEqual(broker.log(), "")

    def test_json(self):
        """Each line a JSON object with ts, level and msg, whatever clients call themselves."""
        with Broker(BARE + "log_format json\nlog_type all\n") as broker:
            for name in ('quote"back\\slash', "größe🚀", "tab\there"):
                with wire.Raw(broker.port) as raw:
                    raw.send(wire.connect(name, user='u"'))
                    raw.read()
            publish(broker.port, "-i", "last", "-t", "a", "-m", "b")
            broker.wait_log("Client last disconnected")
            broker.stop()
            lines = [json.loads(line) for line in broker.log().splitlines()]
            for line in lines:
                self.assertRegex(line["ts"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
                self.assertIn(line["level"], ("error", "warning", "notice", "information", "subscribe",
                                              "unsubscribe"))
            texts = [line["msg"] for line in lines]
            quoted = ' as quote"back\\slash (p5, c1, k0, u\'u"\').'
            self.assertTrue(any(quoted in text for text in texts), texts)
            self.assertTrue(any(" as größe🚀 (" in text for text in texts), texts)


if __name__ == "__main__":
    main()
