"""sluicectl pub and sub: against the broker, and, for what is standard, against mosquitto."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import unittest

import wire
from broker import WAIT_S, Broker, BrokerCase, can_connect, free_port, main, sanitized_environment, \
    sanitizer_reports, until
from clients import Sub, publish
from pages import PageCase

SLUICECTL = os.environ.get("SLUICECTL", "")
MOSQUITTO = os.environ.get("MOSQUITTO", "")
MAKE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../certs/make.sh")
QUEUE = "queue work\nqueue_topic work/#\nqueue_backoff 50ms 50ms\nqueue_ack_deadline 20s\nqueue_max_deliveries 3\n"
HISTORY = "history past/#\n"


class Tool:
    """Runs sluicectl pub and sub on a port."""

    port = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="sluice-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def where(self):
        """Options that say where."""
        return ["-p", str(self.port)]

    def run_tool(self, verb, *args, code=0, stdin=None, before=()):
        """Runs it to its end; stderr is empty when all is well."""
        done = subprocess.run([SLUICECTL, *before, verb, *self.where(), *args], input=stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=WAIT_S * 2, check=False,
                              env=sanitized_environment(self.dir))
        text, errors = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        self.assertEqual(sanitizer_reports(self.dir, errors), "")
        self.assertEqual(done.returncode, code, (args, text, errors))
        if code == 0 and "-d" not in args:
            self.assertEqual(errors, "")
        return text if code == 0 else errors

    def pub(self, *args, **options):
        """sluicectl pub."""
        return self.run_tool("pub", *args, **options)

    def sub(self, *args, **options):
        """sluicectl sub."""
        return self.run_tool("sub", *args, **options)

    def objects(self, *args):
        """What sluicectl sub prints as JSON."""
        return [json.loads(line) for line in self.sub(*args, before=("--json",)).splitlines()]

    def start(self, verb, *args):
        """In the background, with -d, until it is subscribed; ended when the test is over."""
        name = os.path.join(self.dir, f"out-{len(os.listdir(self.dir))}")
        with open(name, "wb") as out:
            process = subprocess.Popen([SLUICECTL, verb, *self.where(), "-d", *args], stdin=subprocess.PIPE,
                                       stdout=out, stderr=subprocess.STDOUT, env=sanitized_environment(self.dir))

        def stop():
            process.stdin.close()
            if process.poll() is None:
                process.kill()
            process.wait()

        self.addCleanup(stop)
        process.text = lambda: open(name, encoding="utf-8", errors="replace").read()
        until(lambda: ("SUBACK" if verb == "sub" else "CONNACK") in process.text(), "the tool is ready")
        return process


class Standard(Tool):
    """What any broker has; the classes below name one."""

    def test_every_version_and_qos(self):
        """A message goes round."""
        for version in ("5", "311", "31", "mqttv5"):
            for qos in ("0", "1", "2"):
                topic = f"round/{version}/{qos}"
                with self.subTest(version=version, qos=qos):
                    got = self.start("sub", "-V", version, "-t", topic, "-q", qos, "-C", "1", "-v", "-F", "%t %p %q %l")
                    self.pub("-V", version, "-t", topic, "-q", qos, "-m", "hello")
                    self.assertEqual(got.wait(WAIT_S), 0)
                    self.assertIn(f"{topic} hello {qos} 5\n", got.text())

    def test_lines_in_order(self):
        """More than the window, the last one without an end, and empty ones."""
        lines = [b"%d" % n for n in range(500)] + [b"", b"last"]
        for qos in ("0", "1", "2"):
            with self.subTest(qos=qos):
                got = self.start("sub", "-t", "lines", "-q", qos, "-C", str(len(lines)))
                self.assertEqual(json.loads(self.pub("-t", "lines", "-q", qos, "-l", stdin=b"\n".join(lines),
                                                     before=("--json",)))["sent"], len(lines))
                self.assertEqual(got.wait(WAIT_S), 0)
                payloads = [line for line in got.text().split("\n")[:-1]
                            if not line.startswith(("sending ", "received "))]
                self.assertEqual(payloads, [line.decode() for line in lines])

    def test_lines_as_they_come(self):
        """A line is sent when it is there, and the connection is kept meanwhile."""
        got = self.start("sub", "-t", "slow", "-C", "2")
        talk = self.start("pub", "-t", "slow", "-l", "-q", "1", "-k", "1")
        for word in (b"one", b"two"):
            talk.stdin.write(word + b"\n")
            talk.stdin.flush()
            until(lambda found=word.decode() + "\n": found in got.text(), "the line")
            until(lambda: talk.text().endswith("received PINGRESP\n"), "a ping")
        self.assertEqual(got.wait(WAIT_S), 0)
        talk.stdin.close()
        self.assertEqual(talk.wait(WAIT_S), 0)

    def test_payloads(self):
        """A file, standard input, nothing; bytes as they are."""
        data = bytes(range(256)) * 300
        name = os.path.join(self.dir, "payload")
        with open(name, "wb") as file:
            file.write(data)
        for args, stdin, wanted in ((["-f", name], None, data), (["-s"], data, data), (["-n"], None, b"")):
            self.pub("-t", "bytes", "-r", "-q", "1", *args, stdin=stdin)
            if wanted:
                self.assertEqual(self.sub("-t", "bytes", "-C", "1", "-F", "%x"), wanted.hex() + "\n")
                self.assertEqual(self.sub("-t", "bytes", "-C", "1", "-F", "%X", "-N"), wanted.hex().upper())
        self.assertIn("timed out: 0 of 1", self.sub("-t", "bytes", "-C", "1", "-W", "100ms", code=1))
        self.assertEqual(self.sub("-t", "bytes", "-W", "100ms"), "")

    def test_retained(self):
        """-r keeps it, -R skips it, -T skips by topic, -v shows the topic."""
        self.pub("-t", "kept/a", "-r", "-m", "x")
        self.pub("-t", "kept/b", "-r", "-m", "y")
        self.assertEqual(sorted(self.sub("-t", "kept/#", "-C", "2", "-v").splitlines()), ["kept/a x", "kept/b y"])
        self.assertEqual(self.sub("-t", "kept/#", "-C", "1", "-T", "kept/a", "-v"), "kept/b y\n")
        got = self.start("sub", "-t", "kept/#", "-R", "-C", "1", "-F", "only %p")
        self.pub("-t", "kept/a", "-m", "fresh")
        self.assertEqual(got.wait(WAIT_S), 0)
        self.assertEqual(got.text().count("only "), 1)

    def test_properties(self):
        """All of a message's, as text and as JSON."""
        got = self.start("sub", "-t", "p", "-C", "1", "-q", "1", "-D", "subscribe", "subscription-identifier", "7",
                         "-F", "%C|%D|%E|%F|%R|%S|%P|%r|\\t|%%")
        also = self.start("sub", "--json", "-t", "p", "-C", "1")
        self.pub("-t", "p", "-m", "{}", "-q", "1", "-D", "publish", "content-type", "text/x", "-D", "publish",
                 "correlation-data", "c1", "-D", "publish", "message-expiry-interval", "60", "-D", "publish",
                 "payload-format-indicator", "1", "-D", "publish", "response-topic", "back", "-D", "publish",
                 "user-property", "a", "b c", "--prop", "a=d=e")
        self.assertEqual(got.wait(WAIT_S), 0)
        self.assertIn("text/x|c1|60|1|back|7|a:b c a:d=e|0|\t|%\n", got.text())
        self.assertEqual(also.wait(WAIT_S), 0)
        found = json.loads(next(line for line in also.text().splitlines() if line.startswith("{")))
        self.assertEqual({name: found[name] for name in ("content_type", "correlation_data_base64", "expiry", "payload_format",
                                                         "response_topic", "properties")},
                         {"content_type": "text/x", "correlation_data_base64": "YzE=", "expiry": 60, "payload_format": 1,
                          "response_topic": "back", "properties": [["a", "b c"], ["a", "d=e"]]})
        self.assertEqual((found["topic"], found["payload"], found["qos"], found["retain"], found["attempt"]),
                         ("p", "{}", 0, False, 1))

    def test_binary_as_json(self):
        """No UTF-8: base64."""
        self.pub("-t", "bin", "-r", "-s", stdin=b"\xff\x00")
        found = self.objects("-t", "bin", "-C", "1")[0]
        self.assertEqual((found.get("payload"), found["payload_base64"], found["retain"]), (None, "/wA=", True))

    def test_topic_alias(self):
        """The broker may shorten topics when we say so."""
        got = self.start("sub", "-t", "alias/#", "-C", "3", "-v", "-D", "connect", "topic-alias-maximum", "5")
        self.pub("-t", "alias/a", "-m", "x", "--repeat", "3")
        self.assertEqual(got.wait(WAIT_S), 0)
        self.assertEqual(got.text().count("alias/a x\n"), 3)

    def test_sessions(self):
        """-c keeps one, -E leaves at once, -U ends a subscription, -x ends the session."""
        self.sub("-c", "-i", "lasting", "-q", "1", "-t", "later", "-E")
        self.pub("-t", "later", "-q", "1", "-m", "for later")
        self.assertEqual(self.sub("-c", "-i", "lasting", "-q", "1", "-t", "other", "-C", "1"), "for later\n")
        self.sub("-c", "-i", "lasting", "-U", "later", "-t", "other", "-E")
        self.pub("-t", "later", "-q", "1", "-m", "gone")
        self.sub("-c", "-i", "lasting", "-t", "other", "-W", "100ms")
        self.sub("-c", "-i", "lasting", "-x", "0", "-t", "later", "-q", "1", "-E")
        self.pub("-t", "later", "-q", "1", "-m", "gone too")
        self.assertEqual(self.sub("-c", "-i", "lasting", "-t", "other", "-W", "100ms"), "")

    def test_will(self):
        """Sent when the connection is lost, not when it is closed."""
        with Sub(self.port, "-t", "will/#") as watcher:
            self.sub("-t", "a", "-E", "--will-topic", "will/a", "--will-payload", "bad")
            lost = self.start("sub", "-t", "a", "--will-topic", "will/b", "--will-payload", "lost", "--will-qos", "1")
            lost.kill()
            lost.wait()
            self.assertEqual(watcher.wait_messages(1), ["will/b lost"])

    def test_between_the_tools(self):
        """mosquitto_pub and mosquitto_sub understand ours."""
        with Sub(self.port, "-t", "both", "-q", "2") as other:
            self.pub("-t", "both", "-m", "ours", "-q", "2")
            self.assertEqual(other.wait_messages(1), ["both ours"])
        got = self.start("sub", "-t", "both", "-q", "2", "-C", "1")
        publish(self.port, "-t", "both", "-m", "theirs", "-q", "2")
        self.assertEqual(got.wait(WAIT_S), 0)
        self.assertIn("theirs\n", got.text())

    def test_withheld(self):
        """--ack none: the session has it still."""
        self.sub("-c", "-i", "holder", "-q", "1", "-t", "held", "-E")
        self.pub("-t", "held", "-q", "1", "-m", "x")
        for _ in range(2):
            self.assertEqual(self.sub("-c", "-i", "holder", "-q", "1", "-t", "held", "-C", "1", "--ack", "none"), "x\n")
        self.assertEqual(self.sub("-c", "-i", "holder", "-q", "1", "-t", "held", "-C", "1"), "x\n")
        self.assertEqual(self.sub("-c", "-i", "holder", "-q", "1", "-t", "held", "-W", "100ms"), "")

    def test_a_signal_ends_it(self):
        """In order: DISCONNECT, exit 0."""
        for number in (signal.SIGTERM, signal.SIGINT):
            got = self.start("sub", "-t", "x")
            got.send_signal(number)
            self.assertEqual(got.wait(WAIT_S), 0)
            self.assertTrue(got.text().endswith("sending DISCONNECT\n"))


@unittest.skipUnless(MOSQUITTO, "mosquitto is not installed")
class OnMosquitto(Standard, unittest.TestCase):
    """The same tool on another broker."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="sluice-e2e-")
        cls.port = free_port()
        name = os.path.join(cls.folder, "mosquitto.conf")
        with open(name, "w", encoding="utf-8") as file:
            file.write(f"listener {cls.port} 127.0.0.1\nallow_anonymous true\n")
        cls.process = subprocess.Popen([MOSQUITTO, "-c", name], stderr=subprocess.DEVNULL)
        until(lambda: can_connect(cls.port), "mosquitto listens")

    @classmethod
    def tearDownClass(cls):
        cls.process.terminate()
        cls.process.wait(WAIT_S)
        shutil.rmtree(cls.folder)


class OnSluice(Standard, BrokerCase):
    """The same, and what this broker has beyond it."""

    options = {"extra": QUEUE + HISTORY + "max_topic_alias_broker 10\n", "shards": 2}

    def setUp(self):
        super().setUp()
        self.port = self.broker.port


class Extras(Tool, BrokerCase):
    """Queues, filters and replay."""

    options = {"extra": QUEUE + HISTORY, "shards": 2}

    def setUp(self):
        super().setUp()
        self.port = self.broker.port

    def test_nack_and_attempts(self):
        """nack: again, with its attempt; at last a dead letter that says why."""
        with Sub(self.port, "-t", "$dead/#", "-V", "5", form="%t %p %P") as undertaker:
            self.pub("-t", "work/1", "-m", "x", "-q", "1")
            found = self.objects("-t", "$queue/work", "--ack", "nack", "-C", "3")
            self.assertEqual([m["attempt"] for m in found], [1, 2, 3])
            self.assertEqual({m["seq"] for m in found}, {found[0]["seq"]})
            self.assertIsInstance(found[0]["seq"], int)
            text = undertaker.wait_messages(1)[0]
            self.assertTrue(text.startswith("$dead/attempts/work/work/1 x "), text)
            self.assertIn("sluice-dead-text:refused by sluicectl sub --ack", text)

    def test_reject(self):
        """reject: a dead letter at once; the reason and the code can be chosen; QoS 2 too."""
        with Sub(self.port, "-t", "$dead/rejected/#", "-V", "5", form="%t %P") as undertaker:
            for count, (qos, args, code, text) in enumerate((
                    ("1", ["--ack", "reject"], "135", "refused by sluicectl"),
                    ("2", ["--ack", "reject=0x99", "-D", "puback", "reason-string", "no such thing"], "153", "no such")), 1):
                self.pub("-t", "work/2", "-m", "x", "-q", "1")
                self.sub("-t", "$queue/work", "-C", "1", "-q", qos, *args)
                letter = undertaker.wait_messages(count)[-1]
                self.assertIn(f"sluice-dead-code:{code}", letter)
                self.assertIn(f"sluice-dead-text:{text}", letter)

    def test_delay_lets_others_pass(self):
        """While one answer waits, more messages come; all are answered in the end."""
        for qos in ("1", "2"):
            self.pub("-t", "work/3", "-l", "-q", "1", stdin=b"a\nb\nc\n")
            out = self.sub("-t", "$queue/work", "-C", "3", "--ack", "delay=300ms", "-q", qos, "-F", "%p %U")
            rows = [line.split() for line in out.splitlines()]
            self.assertEqual([row[0] for row in rows], ["a", "b", "c"])
            self.assertLess(float(rows[2][1]) - float(rows[0][1]), 0.3)
            self.assertEqual(self.sub("-t", "$queue/work", "-W", "200ms"), "")

    def test_withheld_returns_to_the_queue(self):
        """--ack none: another gets it when this one has left, uncounted."""
        self.pub("-t", "work/4", "-m", "x", "-q", "1")
        for ack in ("none", "auto"):
            self.assertEqual(self.objects("-t", "$queue/work", "-C", "1", "--ack", ack)[0]["attempt"], 1)

    def test_filter(self):
        """--filter, and where it is wrong."""
        got = self.start("sub", "-t", "f/#", "--filter", "site = 'paris'", "-C", "1")
        self.pub("-t", "f/a", "-m", "no", "--prop", "site=rome")
        self.pub("-t", "f/a", "-m", "yes", "--prop", "site=paris")
        self.assertEqual(got.wait(WAIT_S), 0)
        self.assertNotIn("no\n", got.text())
        errors = self.sub("-t", "f/#", "--filter", "site =", code=1)
        self.assertRegex(errors, r"\Asluicectl: 'f/#' was refused: [^\n]*0x83[^\n]*filter[^\n]*\n\Z")
        self.assertIn("MQTT 3", self.sub("-V", "311", "-t", "$queue/nobody", code=1))

    def test_replay(self):
        """A span leaves at its end; --replay-end shows it; seq and ts are there."""
        self.pub("-t", "past/a", "-l", "-q", "1", stdin=b"1\n2\n3\n")
        found = self.objects("-t", "past/a", "--replay", "earliest", "--replay-until", "-0s")
        self.assertEqual([m["payload"] for m in found], ["1", "2", "3"])
        self.assertTrue(all(m["retain"] and m["seq"] and m["ts"] for m in found))
        out = self.sub("-t", "past/a", "--replay", "last:1", "--replay-end", "-C", "2", "-v")
        self.assertEqual(out, "past/a 3\n$replay/end (null)\n")
        out = self.sub("-t", "past/a", "-t", "past/none", "--replay", "earliest", "--replay-until", "-0s")
        self.assertEqual(out, "1\n2\n3\n")

    def test_redelivery_on_a_plain_subscription(self):
        """--ack-deadline, --max-deliveries; a queue of one's own takes --backoff too."""
        for topic, more in (("plain/#", ()), ("$queue/own/plain/#", ("--backoff", "50ms 50ms"))):
            got = self.start("sub", "-t", topic, "--ack", "none", "--ack-deadline", "100ms", "--max-deliveries", "2",
                             "-C", "2", "--json", *more)
            self.pub("-t", "plain/a", "-q", "1", "-m", "x")
            self.assertEqual(got.wait(WAIT_S), 0)
            self.assertIn('"attempt":2', got.text())
        self.assertIn("backoff is for queues", self.sub("-t", "plain/#", "--backoff", "1s 2s", code=1))

    def test_refused_publishes(self):
        """Exit 1, the reason, and which line; a duplicate is counted."""
        errors = self.pub("-t", "$dead/x", "-m", "x", "-q", "1", code=1)
        self.assertRegex(errors, r"\Asluicectl: the message was refused: Topic Name invalid \(0x90\): [^\n]+\n\Z")
        self.assertIn("0x90", self.pub("-t", "$dead/x", "-m", "x", "-q", "2", code=1))
        errors = self.pub("-t", "$dead/x", "-l", "-q", "1", stdin=b"a\nb\n", code=1)
        self.assertIn("message 2 was refused", errors)
        for count in (0, 1):
            out = self.pub("-t", "work/5", "-m", "x", "-q", "1", "--prop", "sluice-dedup-id=5", before=("--json",))
            self.assertEqual(json.loads(out), {"sent": 1, "acknowledged": 1, "refused": 0, "duplicates": count,
                                               "unmatched": 0})
        self.sub("-t", "$queue/work", "-C", "1")

    def test_the_broker_goes(self):
        """4 when it vanishes, 1 when it says why."""
        got = self.start("sub", "-t", "x", "-i", "taken")
        with wire.Raw(self.port) as raw:
            raw.connected("taken")
            self.assertEqual(got.wait(WAIT_S), 1)
        self.assertIn("the broker ended the connection: Session taken over (0x8e)", got.text())
        with Broker() as other:
            self.port = other.port
            got = self.start("sub", "-t", "x", "-V", "311")
            other.die()
            self.assertEqual(got.wait(WAIT_S), 4)
            self.assertIn("the connection is lost", got.text())
            self.assertIn("cannot reach the broker at", self.sub("-t", "x", code=4))
            other.revive()

    def test_too_large(self):
        """Larger than the broker says it takes: not even sent."""
        with Broker(extra="max_packet_size 1000\n") as other:
            self.port = other.port
            self.assertIn("larger than the broker takes", self.pub("-t", "x", "-s", stdin=b"x" * 2000, code=1))


class Requests(PageCase):
    """docs/tutorial/5-requests.md."""

    def test_every_command(self):
        """In memory."""
        self.run_page("5-requests.md", 7)


class CommandLine(Tool, unittest.TestCase):
    """What needs no broker."""

    port = 1

    def test_help(self):
        """0, all options."""
        for verb, words in (("pub", ("-t TOPIC", "--prop NAME=VALUE", "--will-topic", "--cafile")),
                            ("sub", ("-t TOPIC", "--ack HOW", "--replay-until", "-D PACKET PROPERTY VALUE"))):
            out = self.run_tool(verb, "--help")
            for word in words:
                self.assertIn(word, out)

    def test_wrong_use(self):
        """2, one line that says what."""
        for verb, args, word in (
                ("pub", ["-m", "x"], "needs -t"), ("pub", ["-t", "a"], "one of -m"),
                ("pub", ["-t", "a", "-m", "x", "-n"], "one of -m"), ("pub", ["-t", "a", "-m", "x", "-q", "3"], "0 to 2"),
                ("pub", ["-t"], "-t needs TOPIC"), ("pub", ["-t", "a", "-f", "/nothing"], "cannot open"),
                ("pub", ["-t", "a", "-l", "--repeat", "2"], "not for lines"),
                ("pub", ["-t", "a", "-n", "--prop", "b"], "NAME=VALUE"), ("pub", ["-x", "a"], "-x is"),
                ("pub", ["-t", "a", "-n", "-V", "4"], "-V is"), ("pub", ["--what"], "unknown option '--what'"),
                ("pub", ["-t", "a", "-n", "-V", "311", "--prop", "a=b"], "need MQTT 5"),
                ("pub", ["-t", "a", "-n", "-D", "publish", "subscription-identifier"], "-D needs"),
                ("pub", ["-t", "a", "-n", "-D", "publish", "will-delay-interval", "1"], "is not for publish"),
                ("pub", ["-t", "a", "-n", "-D", "connect", "receive-maximum", "0"], "is not for connect"),
                ("pub", ["-t", "a", "-n", "-D", "connect", "receive-maximum", "70000"], "0 to 65535"),
                ("pub", ["-t", "a", "-n", "-D", "publish", "what", "0"], "no property 'what'"),
                ("pub", ["-t", "a", "-n", "-D", "puback2", "what", "0"], "no packet 'puback2'"),
                ("pub", ["-t", "a", "-n", "--will-qos", "1"], "--will-topic"),
                ("pub", ["-t", "a", "-n", "--insecure"], "--cafile"),
                ("pub", ["-t", "a", "-n", "-i", "a", "-I", "b"], "not both"),
                ("sub", [], "needs -t"), ("sub", ["-t", "a", "-c"], "-c needs -i"),
                ("sub", ["-t", "a", "-F", "%"], "-F: "), ("sub", ["-t", "a", "-F", "%z"], "-F: "),
                ("sub", ["-t", "a", "-F", "\\"], "-F: "), ("sub", ["-t", "a", "-F", "%@"], "-F: "),
                ("sub", ["-t", "a", "--json", "-v"], "--json prints all"),
                ("sub", ["-t", "a", "--ack", "maybe"], "not 'maybe'"), ("sub", ["-t", "a", "--ack", "delay"], "delay=TIME"),
                ("sub", ["-t", "a", "--ack", "nack=0"], "not by '0'"), ("sub", ["-t", "a", "--ack", "nack="], "not by ''"),
                ("sub", ["-t", "a", "--ack", "none", "-q", "0"], "QoS 0 knows"),
                ("sub", ["-t", "a", "--ack", "nack", "-V", "311"], "needs MQTT 5"),
                ("sub", ["-t", "a", "-W", "soon"], "is a duration")):
            with self.subTest(args=args):
                errors = self.run_tool(verb, *args, code=2)
                self.assertRegex(errors, r"\Asluicectl: [^\n]*\n\Z")
                self.assertIn(word, errors)
        errors = self.run_tool("pub", "-t", "a", "-n", before=("--url", "http://127.0.0.1:1"), code=2)
        self.assertIn("pub speaks MQTT", errors)
        self.assertIn("at most 1000 topics", self.sub(*(["-t", "a"] * 1001), code=2))


class Secure(Tool, unittest.TestCase):
    """Users, TLS, a unix socket, and peers that speak something else."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="sluice-certs-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        for folder in ("", "other"):
            subprocess.run(["sh", MAKE, os.path.join(cls.folder, folder)], check=True, timeout=WAIT_S)
        name = os.path.join(cls.folder, "users")
        subprocess.run([SLUICECTL, "passwd", "-c", "-b", name, "alice", "secret"], check=True, timeout=WAIT_S,
                       stdout=subprocess.DEVNULL)
        config = (f"listener {{0}} 127.0.0.1\ncertfile {cls.folder}/server.crt\nkeyfile {cls.folder}/server.key\n"
                  f"listener {{1}} 127.0.0.1\ncertfile {cls.folder}/server.crt\nkeyfile {cls.folder}/server.key\n"
                  f"cafile {cls.folder}/ca.crt\nrequire_certificate true\nlistener 0 {{dir}}/socket\n"
                  f"listener {{2}} 127.0.0.1\nprotocol http_api\nallow_anonymous false\npassword_file {name}\n")
        cls.broker = Broker(config, ports=3, probe=[0, 1]).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.broker.__exit__(None, None, None)

    def setUp(self):
        super().setUp()
        self.port = self.broker.port

    def try_pub(self, *args, code=0, user=("-u", "alice", "-P", "secret")):
        """One message, to nobody."""
        return self.pub("-t", "x", "-m", "y", "-q", "1", *user, *args, code=code)

    def test_users(self):
        """The right password, a wrong one, none; 3.1.1 has other words."""
        tls = ["--cafile", f"{self.folder}/ca.crt"]
        self.try_pub(*tls)
        self.try_pub(*tls, "-V", "311")
        for user in ((), ("-u", "alice", "-P", "wrong")):
            self.assertIn("the broker refused the connection: ", self.try_pub(*tls, code=1, user=user))
            self.assertIn("the broker refused the connection: ", self.try_pub(*tls, "-V", "31", code=1, user=user))

    def test_certificates(self):
        """Who is believed, and by which name."""
        good = ["--cafile", f"{self.folder}/ca.crt"]
        self.try_pub(*good, "-h", "localhost")
        other = ["--cafile", f"{self.folder}/other/ca.crt"]
        self.assertIn("certificate verify failed", self.try_pub(*other, code=4))
        self.assertIn("certificate verify failed", self.try_pub("--tls-use-os-certs", code=4))
        # The resolver takes 127.1 for 127.0.0.1; the certificate does not have it.
        self.assertIn("mismatch", self.try_pub(*good, "-h", "127.1", code=4))
        self.try_pub(*good, "-h", "127.1", "--insecure")
        self.assertIn("cannot be opened", self.try_pub("--cafile", "/nothing", code=2))
        self.assertIn("needs the keyfile", self.try_pub(*good, "--cert", f"{self.folder}/client.crt", code=2))

    def test_our_certificate(self):
        """Where the broker wants one."""
        self.port = self.broker.ports[1]
        good = ["--cafile", f"{self.folder}/ca.crt"]
        self.try_pub(*good, "--cert", f"{self.folder}/client.crt", "--key", f"{self.folder}/client.key")
        self.try_pub(*good, code=4)

    def test_large_over_tls(self):
        """Many records each way, with acknowledgements between them."""
        more = ["--cafile", f"{self.folder}/ca.crt", "-u", "alice", "-P", "secret"]
        got = self.start("sub", "-t", "big", "-C", "40", "-q", "1", "-F", "got %l", *more)
        line = b"x" * 50000 + b"\n"
        self.pub("-t", "big", "-l", "-q", "1", *more, stdin=line * 40)
        self.assertEqual(got.wait(WAIT_S), 0)
        self.assertEqual(got.text().count("got 50000"), 40)

    def test_unix_socket(self):
        """Without a port."""
        self.pub("-t", "x", "-n", "--unix", self.broker.path("socket"), "-u", "alice", "-P", "secret")
        self.assertIn("cannot reach the broker at /nothing", self.pub("-t", "x", "-n", "--unix", "/nothing", code=4))

    def test_no_broker(self):
        """TLS where there is none, and what is no MQTT."""
        self.port = self.broker.ports[2]
        errors = self.try_pub(code=4)
        self.assertRegex(errors, r"speaks no MQTT|connection is lost")


if __name__ == "__main__":
    main()
