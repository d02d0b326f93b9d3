"""Queues, dead letters and histories by the admin listener and sluicectl: every verb, what it answers,
and that what was answered outlives kill -9."""
import concurrent.futures
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.parse

import test_durability
import wire
from broker import DURABLE, Broker, BrokerCase, main, until
from clients import publish
from test_admin import ADMIN, OPEN, ask, basic, get, metrics, post
from test_ctl_broker import SLUICECTL, run

QUEUE = "queue orders\nqueue_topic orders/#\nqueue_backoff 100ms 1s\nqueue_max_deliveries 2\n"
KEPT = DURABLE + ADMIN
# Each message makes the one before a dead letter; log and checkpoints are small.
SMALL = "max_inflight_messages 1000\nstore_checkpoint_size 1M\nstore_segment_size 1M\n"
COLUMNS = ["name", "topics", "depth", "inflight", "delayed", "oldest_seconds", "consumers"]


def feed(port, topic, payloads, window=20, props=b""):
    """Publishes at QoS 1 and returns when all are acknowledged; their reasons."""
    reasons = []
    with wire.Raw(port) as raw:
        raw.connected("")
        for i in range(0, len(payloads), window):
            part = payloads[i:i + window]
            raw.send(*(wire.publish(topic, p, qos=1, packet_id=n + 1, props=props) for n, p in enumerate(part)))
            for _ in part:
                body = raw.expect(wire.PUBACK).body
                reasons.append(body[2] if len(body) > 2 else 0)
    return reasons


def overflow(port, admin, count):
    """Makes so many dead letters of a new queue `small`."""
    answer = post(admin, "/api/v1/queues", {"name": "small", "topics": ["small/#"], "max_messages": 1})
    assert answer.status == 200, answer.body
    feed(port, "small/x", [b"%d" % n for n in range(count + 1)], window=1000)


def served(port, what):
    """Does it while others are served; what it returns, and the longest that a PING took.  What it does is to
    be done by others than this process, whose threads take turns."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool, wire.Raw(port) as one, wire.Raw(port) as two:
        one.connected("watch-1")
        two.connected("watch-22") # on both shards, as like as not
        worst, job = 0, pool.submit(what)
        while not job.done():
            for raw in (one, two):
                start = time.monotonic()
                raw.ping_until_pong()
                worst = max(worst, time.monotonic() - start)
        return job.result(), worst


class VerbCase(BrokerCase):
    """Asks by HTTP and by sluicectl."""

    options = {"config": OPEN, "extra": QUEUE, "ports": 2, "shards": 3}

    @property
    def admin(self):
        """The port."""
        return self.broker.ports[1]

    def ctl(self, *args, code=0):
        """What sluicectl prints."""
        done = run(self.broker.dir, "--url", f"http://127.0.0.1:{self.admin}", *args, code=code)
        return done.stdout if code == 0 else done.stderr

    def json(self, *args, code=0):
        """One value on one line."""
        done = run(self.broker.dir, "--url", f"http://127.0.0.1:{self.admin}", "--json", *args, code=code)
        self.assertEqual(done.stdout.count("\n"), 1)
        return json.loads(done.stdout)

    def refused(self, path, body, status, error=None):
        """What a POST is refused with; the sentence."""
        answer = post(self.admin, path, body)
        self.assertEqual((answer.status, answer.json()["error"]), (status, error or answer.json()["error"]))
        return answer.json()["detail"]

    def queue(self, name):
        """One queue."""
        return get(self.admin, "/api/v1/queues/" + urllib.parse.quote(name, safe=""))

    def drain(self, topic, count):
        """Takes so many messages from a queue; their payloads."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.subscribe((topic, 1))
            found = [raw.acked().payload for _ in range(count)]
            raw.ping_until_pong()
            return found


class Queues(VerbCase):
    """list, show, create, purge, delete."""

    def test_the_list(self):
        """Its members are those of the contract, in memory too; no consumer, then one."""
        feed(self.broker.port, "orders/list", [b"%d" % n for n in range(7)])
        rows = {row["name"]: row for row in get(self.admin, "/api/v1/queues")}
        self.assertEqual(list(rows["orders"]), COLUMNS)
        self.assertEqual(self.json("queue", "list"), list(rows.values()))
        row = rows["orders"]
        self.assertEqual((row["topics"], row["depth"], row["inflight"], row["delayed"], row["consumers"]),
                         (["orders/#"], 7, 0, 0, 0))
        with wire.Raw(self.broker.port) as raw:
            raw.connected("worker-1", props=wire.u16_property(0x21, 5))
            raw.subscribe(("$queue/orders", 1))
            for _ in range(5):
                raw.message()
            row = self.queue("orders")
            self.assertEqual((row["depth"], row["ready"], row["inflight"], row["consumers"]), (7, 2, 5, 1))
            self.assertEqual(row["members"], [{"client": "worker-1", "topic": None, "inflight": 5, "window": 5,
                                               "suspended": False}])
            self.assertEqual((row["delivered"], row["received"], row["configured"]), (5, 7, True))
            text = self.ctl("queue", "list")
            self.assertRegex(text, r"\AQUEUE +DEPTH +INFLIGHT +DELAYED +OLDEST +CONSUMERS +TOPICS\n")
            self.assertRegex(text, r"\norders +7 +5 +0 +\d+ +1 +orders/#\n")
        until(lambda: self.queue("orders")["inflight"] == 0, "the worker's messages come back")
        self.assertEqual(self.json("queue", "purge", "orders"), {"name": "orders", "purged": 7})
        self.assertEqual(self.ctl("queue", "purge", "orders"), "Queue orders has lost 0 messages.\n")
        self.assertEqual(self.queue("orders")["depth"], 0)

    def test_the_age_of_the_oldest(self):
        """In seconds; 0 when there is none."""
        self.json("queue", "create", "aged", "--topic", "aged/#")
        feed(self.broker.port, "aged/x", [b"x"])
        until(lambda: self.queue("aged")["oldest_seconds"] >= 1, "a second is over")
        self.json("queue", "purge", "aged")
        self.assertEqual(self.queue("aged")["oldest_seconds"], 0)

    def test_create(self):
        """With every setting; it takes messages of whatever shard as soon as it is answered."""
        answer = self.json("queue", "create", "full", "--topic", "full/#", "--topic", "more/+/x", "--filter", "n > 3",
                           "--ack-deadline", "500ms", "--max-deliveries", "7", "--backoff", "2s 30s",
                           "--max-messages", "1000", "--max-bytes", "64k", "--overflow", "reject",
                           "--message-ttl", "1h", "--order", "key", "--dedup-window", "0", "--prefetch", "9",
                           "--dispatch", "round-robin")
        self.assertEqual(answer, {"name": "full", "created": True})
        found = self.queue("full")
        self.assertEqual(
            {key: found[key] for key in ("topics", "filter", "ack_deadline_seconds", "max_deliveries",
                                         "backoff_first_seconds", "backoff_max_seconds", "max_messages", "max_bytes",
                                         "overflow", "message_ttl_seconds", "order", "dedup_window_seconds",
                                         "prefetch", "dispatch", "configured")},
            {"topics": ["full/#", "more/+/x"], "filter": "n > 3", "ack_deadline_seconds": 0.5, "max_deliveries": 7,
             "backoff_first_seconds": 2, "backoff_max_seconds": 30, "max_messages": 1000, "max_bytes": 65536,
             "overflow": "reject", "message_ttl_seconds": 3600, "order": "key", "dedup_window_seconds": 0,
             "prefetch": 9, "dispatch": "round-robin", "configured": False})
        for i in range(20):
            self.assertEqual(post(self.admin, f"/api/v1/queues/fast-{i}/create", {"topics": [f"fast/{i}"]}).status, 200)
            for _ in range(2): # clients of both kinds of shard
                publish(self.broker.port, "-t", f"fast/{i}", "-m", "x", "-q", "1")
            self.assertEqual(self.queue(f"fast-{i}")["depth"], 2)
            self.assertEqual(self.ctl("queue", "delete", f"fast-{i}"), f"Queue fast-{i} was deleted.\n")
        self.assertIn("Queue full was deleted", self.ctl("queue", "delete", "full"))

    def test_a_consumer_of_a_queue_that_ends(self):
        """What it has is its own affair; it gets more when it subscribes again."""
        self.json("queue", "create", "ends", "--topic", "ends/#")
        feed(self.broker.port, "ends/x", [b"1", b"2"])
        with wire.Raw(self.broker.port) as raw:
            raw.connected("stays", props=wire.u16_property(0x21, 1))
            raw.subscribe(("$queue/ends", 1))
            found = raw.message()
            self.assertEqual(self.json("queue", "purge", "ends")["purged"], 1)
            feed(self.broker.port, "ends/x", [b"3"])
            self.assertEqual(self.json("queue", "delete", "ends"), {"name": "ends", "deleted": True, "purged": 1})
            raw.send(wire.ack(wire.PUBACK, found.packet_id))
            raw.ping_until_pong()
            self.json("queue", "create", "ends", "--topic", "ends/#")
            feed(self.broker.port, "ends/x", [b"4"])
            raw.subscribe(("$queue/ends", 1))
            self.assertEqual(raw.acked().payload, b"4")
            raw.ping_until_pong()
        self.json("queue", "delete", "ends")

    def test_what_is_no_queue(self):
        """400 with the reason, 404, 409; exit codes 1 and 2."""
        topics = {"topics": ["a/#"]}
        self.assertIn("column 5", self.refused("/api/v1/queues/bad/create", {**topics, "filter": "n > "}, 400,
                                               "bad-queue"))
        self.assertIn("queue_topic", self.refused("/api/v1/queues/bad/create", {"topics": ["a/#/b"]}, 400))
        self.assertIn("has no queue_topic", self.refused("/api/v1/queues/bad/create", {"topics": []}, 400))
        self.assertIn("queue_backoff", self.refused("/api/v1/queues/bad/create", {**topics, "backoff": "1s"}, 400))
        self.assertIn("ack_deadline", self.refused("/api/v1/queues/bad/create", {**topics, "ack_deadline": 0}, 400))
        for name, value in (("nothing", 1), ("topics", "a"), ("topics", [1]), ("filter", ["x"]), ("prefetch", 0.5),
                            ("x" * 100, "y"), ("max_messages", ""), ("filter", "a\nb"), ("auto_create", True)):
            self.refused("/api/v1/queues/bad/create", {**topics, name: value}, 400, "bad-queue")
        self.refused("/api/v1/queues/bad/create", {"topics": ["a"] * 65}, 400, "bad-queue")
        self.refused("/api/v1/queues/bad/create", [], 400, "bad-json")
        for name in ("a/b", "a+", "", "x" * 256, 7):
            self.refused("/api/v1/queues", {**topics, "name": name}, 400, "bad-queue")
        self.refused("/api/v1/queues", {**topics, "name": "orders"}, 409, "queue-exists")
        self.refused("/api/v1/queues/orders/delete", {}, 409, "queue-configured")
        for verb in ("purge", "delete"):
            self.refused(f"/api/v1/queues/none/{verb}", {}, 404, "no-such-queue")
            self.assertEqual(self.ctl("queue", verb, "none", code=1), "sluicectl: there is no queue 'none'\n")
        self.assertEqual(ask(self.admin, "/api/v1/queues/none").status, 404)
        self.assertIn("there is no queue 'none'", self.ctl("queue", "show", "none", code=1))
        self.assertIn("there is a queue 'orders' already", self.ctl("queue", "create", "orders", "--topic", "x", code=1))
        self.assertIn("--topic", self.ctl("queue", "create", "x", code=2))
        self.assertIn("twice", self.ctl("queue", "create", "x", "--topic", "a", "--order", "key", "--order", "none",
                                        code=2))
        self.assertIn("not for", self.ctl("queue", "list", "--topic", "a", code=2))
        self.assertIn("column 5", self.ctl("queue", "create", "x", "--topic", "a", "--filter", "n > ", code=1))
        self.assertEqual([row["name"] for row in self.json("queue", "list") if row["name"] in ("bad", "x")], [])

    def test_names_of_any_kind(self):
        """In paths and in the terminal."""
        for name in ("ä ö&x=1%2F", "with space", "\u009b2J"):
            self.json("queue", "create", name, "--topic", "names/#")
            self.assertEqual(self.json("queue", "show", name)["name"], name)
            self.json("queue", "delete", name)

    def test_pages(self):
        """With a limit, by Link headers."""
        for i in range(12):
            self.json("queue", "create", f"page-{i}", "--topic", "none")
        found, path = [], "/api/v1/queues?limit=5"
        while path:
            answer = ask(self.admin, path)
            self.assertLessEqual(len(answer.json()), 5)
            found += [row["name"] for row in answer.json()]
            link = answer.headers.get("Link")
            path = link and re.fullmatch(r'<(.*)>; rel="next"', link).group(1)
        self.assertEqual(len(found), len(set(found)))
        self.assertLessEqual({f"page-{i}" for i in range(12)}, set(found))
        for i in range(12):
            self.json("queue", "delete", f"page-{i}")

    def test_metrics(self):
        """Of each queue and its consumers, with names of any kind."""
        name = 'm"\\x ä'
        shown = name.replace("\\", "\\\\").replace('"', '\\"')
        self.json("queue", "create", name, "--topic", "metrics/#", "--backoff", "10ms 10ms", "--max-deliveries", "2")
        feed(self.broker.port, "metrics/x", [b"x"] * 5)

        def figures():
            found = metrics(ask(self.admin, "/metrics").body.decode())
            start = f'{{queue="{shown}"'
            return {key.replace(start, "{").replace("{,", "{").replace("{}", "").removeprefix("sluice_queue_"): value
                    for key, value in found.items() if start in key}

        found = figures()
        self.assertEqual([found[key] for key in ("depth", "ready", "received_total", "delivered_total", "consumers")],
                         [5, 5, 5, 0, 0])
        with wire.Raw(self.broker.port) as raw:
            raw.connected('lag"1', props=wire.u16_property(0x21, 3))
            raw.subscribe((f"$queue/{name}", 1))
            raw.send(wire.ack(wire.PUBACK, raw.message().packet_id, 0x99))
            raw.send(wire.ack(wire.PUBACK, raw.message().packet_id, 0x80))
            for _ in range(3):
                raw.message()
            until(lambda: figures()["inflight"] == 3, "three are with it")
            found = figures()
            self.assertEqual((found['consumer_inflight{client="lag\\"1"}'], found['consumer_window{client="lag\\"1"}']),
                             (3, 3))
            self.assertEqual((found['dead_letters_total{reason="rejected"}'], found['redelivered_total{cause="nack"}'],
                              found["consumers"]), (1, 1, 1))
        until(lambda: figures()['redelivered_total{cause="disconnect"}'] == 3, "they come back")
        total = metrics(ask(self.admin, "/metrics").body.decode())
        self.assertEqual(sum(value for key, value in total.items()
                             if key.startswith('sluice_dead_letters_by_reason_total{reason="rejected"')), 1)
        self.assertEqual(total["sluice_queues"], len(self.json("queue", "list")))
        self.json("queue", "delete", name)
        self.assertEqual(figures(), {})

    def test_log_lines(self):
        """Who has done what."""
        self.ctl("queue", "create", "logged", "--topic", "a")
        self.ctl("queue", "purge", "logged")
        self.ctl("queue", "delete", "logged")
        for what in ("made", "emptied", "ended"):
            self.broker.wait_log(rf"Admin: anonymous \(127\.0\.0\.1:\d+\) has {what} queue logged\.")


class QueuesKilled(VerbCase):
    """What was answered is on disk."""

    options = {"config": KEPT, "extra": "max_inflight_messages 1000\n" + QUEUE, "ports": 2, "shards": 3}

    def names(self):
        """Of all queues."""
        return {row["name"] for row in self.json("queue", "list")}

    def test_kill_9_at_once(self):
        """After create, after purge, after delete."""
        for i in range(5):
            self.json("queue", "create", f"q{i}", "--topic", f"q{i}/#", "--max-deliveries", "3")
            self.broker.restart()
            self.assertLessEqual({f"q{k}" for k in range(i + 1)}, self.names())
        self.assertEqual(self.queue("q4")["max_deliveries"], 3)
        for i in range(5):
            feed(self.broker.port, f"q{i}/x", [b"x"] * 10)
        self.broker.restart()
        self.assertEqual([self.queue(f"q{i}")["depth"] for i in range(5)], [10] * 5)
        for i in range(4):
            self.assertEqual(self.json("queue", "purge", f"q{i}")["purged"], 10)
            self.broker.restart()
            self.assertEqual(self.queue(f"q{i}")["depth"], 0)
        self.assertEqual(self.json("queue", "delete", "q4"), {"name": "q4", "deleted": True, "purged": 10})
        self.broker.restart()
        self.assertNotIn("q4", self.names())
        self.assertIn("orders", self.names())

    def test_many_messages(self):
        """Twenty thousand that are on disk are counted, aged and removed, while others are served."""
        feed(self.broker.port, "orders/many", [b"x" * 100] * 20000, window=1000)
        self.broker.restart()
        row = self.queue("orders")
        self.assertEqual(row["depth"], 20000)
        self.assertEqual(self.json("queue", "purge", "orders"), {"name": "orders", "purged": 20000})
        self.broker.restart()
        self.assertEqual(self.queue("orders")["depth"], 0)


class Full(unittest.TestCase):
    """A disk that takes nothing more."""

    def test_what_cannot_be_kept(self):
        """Is not said to be: 503 within seconds; a broker that is asked to end does so meanwhile."""
        with tempfile.TemporaryDirectory(prefix="sluice-full-") as folder:
            options, full = test_durability.shim(folder)
            with Broker(**{**options, "config": KEPT}, ports=2) as broker:
                make = {"topics": ["a/#"]}
                self.assertEqual(post(broker.ports[1], "/api/v1/queues/kept/create", make).status, 200)
                test_durability.write(full, b"all")
                answer = post(broker.ports[1], "/api/v1/queues/lost/create", make)
                self.assertEqual((answer.status, answer.json()["error"]), (503, "disk-full"))
                with concurrent.futures.ThreadPoolExecutor(1) as pool:
                    late = pool.submit(post, broker.ports[1], "/api/v1/queues/later/create", make)
                    until(lambda: len(get(broker.ports[1], "/api/v1/queues")) == 3, "it is made")
                    broker.die(signal.SIGTERM)
                    self.assertIsNot(late.exception() or late.result().status, 200)
                os.unlink(full)
                broker.revive()
                self.assertEqual([row["name"] for row in get(broker.ports[1], "/api/v1/queues")], ["kept"])


class DeadCase(VerbCase):
    """Makes dead letters."""

    def reject(self, count, topic="$queue/orders", text=b"no"):
        """Takes so many from a queue and says no."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("grumpy")
            raw.subscribe((topic, 1))
            for _ in range(count):
                found = raw.message()
                body = found.packet_id.to_bytes(2, "big") + b"\x99" + wire.properties(wire.reason_string(text))
                raw.send(wire.packet(0x40, body))
            raw.ping_until_pong()

    def letters(self, **query):
        """The list."""
        return get(self.admin, "/api/v1/dead?" + urllib.parse.urlencode(query))

    def wait_letters(self, count):
        """Until there are so many; their list."""
        return until(lambda: (rows := self.letters()) and len(rows) == count and rows, f"{count} letters")


class Dead(DeadCase):
    """list, show, redrive, purge."""

    options = {"config": OPEN, "ports": 2, "shards": 3,
               "extra": "filter big bytes > 100\nmax_inflight_messages 1000\n" + QUEUE}

    def setUp(self):
        post(self.admin, "/api/v1/dead/purge", {})
        post(self.admin, "/api/v1/queues/orders/purge", {})

    def make(self, count, topic="orders/x", queue="$queue/orders", props=b""):
        """Letters of a queue, rejected."""
        before = len(self.letters())
        feed(self.broker.port, topic, [b"%d" % n for n in range(count)], props=props)
        self.reject(count, queue)
        self.wait_letters(before + count)

    def test_list_and_show(self):
        """The members of the contract; one whole, with a payload that is no text."""
        props = wire.user_property("site", "paris") + wire.user_property("site", "rome")
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.send(wire.publish("orders/bin", b"\xff\x00abc", qos=1, packet_id=1, props=props))
            raw.expect(wire.PUBACK)
        self.reject(1, text=b"out of anchovies")
        row, = self.wait_letters(1)
        self.assertEqual(list(row), ["seq", "time", "reason", "source", "topic", "attempts", "client", "code", "text",
                                     "size", "redriven"])
        self.assertEqual([row[key] for key in list(row)[2:]],
                         ["rejected", "orders", "orders/bin", 1, "grumpy", 0x99, "out of anchovies", 5, 0])
        self.assertRegex(row["time"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")
        self.assertEqual(self.json("dead", "list"), [row])
        whole = self.json("dead", "show", str(row["seq"]))
        self.assertEqual({key: whole[key] for key in row}, row)
        self.assertEqual((whole["properties"], whole["payload_base64"], whole["qos"]),
                         ([["site", "paris"], ["site", "rome"]], "/wBhYmM=", 1))
        self.assertNotIn("payload", whole)
        text = self.ctl("dead", "list")
        self.assertRegex(text, r"\A *SEQ +TIME +REASON +SOURCE +ATTEMPTS +CLIENT +CODE +SIZE +REDRIVEN +TOPIC +TEXT\n")
        self.assertRegex(text, r"\n *\d+ +\S+Z +rejected +orders +1 +grumpy +153 +5 +0 +orders/bin +out of anchovies\n")
        self.assertIn('payload_base64', self.ctl("dead", "show", str(row["seq"])))
        for seq in ("1", "0", "x", "-1", "99999999999999999999"):
            self.assertEqual(ask(self.admin, f"/api/v1/dead/{seq}").status, 404)
        self.assertIn("there is no dead letter 1", self.ctl("dead", "show", "1", code=1))

    def test_what_is_picked(self):
        """By source, reason, filter; and a limit."""
        self.json("queue", "create", "mails", "--topic", "mails/#")
        self.make(6, props=wire.user_property("bytes", "500"))
        self.make(4, "mails/x", "$queue/mails", props=wire.user_property("bytes", "5"))
        self.assertEqual(len(self.letters()), 10)
        for query, count in (({"source": "mails"}, 4), ({"source": "orders"}, 6), ({"source": "x"}, 0),
                             ({"reason": "rejected"}, 10), ({"reason": "expired"}, 0), ({"filter": "bytes > 100"}, 6),
                             ({"filter": "@big"}, 6), ({"filter": "mqtt.topic LIKE '%mails/x'"}, 4),
                             ({"source": "orders", "filter": "mqtt.payload = '3'"}, 1),
                             ({"filter": "`sluice-dead-client` = 'grumpy'"}, 10), ({"limit": 3}, 3)):
            with self.subTest(query=query):
                self.assertEqual(len(self.letters(**query)), count)
                options = [word for key, value in query.items() for word in (f"--{key}", str(value))]
                self.assertEqual(len(self.json("dead", "list", *options)), count)
                if query:
                    self.assertEqual(self.json("dead", "redrive", "--dry-run", *options),
                                     {"matched": count, "redriven": 0, "dry_run": True})
                    self.assertEqual(self.json("dead", "purge", "--dry-run", *options),
                                     {"matched": count, "purged": 0, "dry_run": True})
        self.assertEqual(len(self.letters()), 10)
        self.assertEqual(len(self.json("dead", "list", "--limit", "5000")), 10)
        self.assertEqual(self.ctl("dead", "purge", "--source", "mails", "--dry-run"),
                         "4 dead letters match; none was thrown away.\n")
        self.assertEqual(self.ctl("dead", "purge", "--source", "mails"), "4 dead letters were thrown away.\n")
        self.assertEqual(self.json("dead", "purge", "--filter", "@big", "--limit", "2"),
                         {"matched": 2, "purged": 2, "dry_run": False})
        self.assertEqual([row["source"] for row in self.letters()], ["orders"] * 4)
        self.assertEqual(self.json("dead", "purge", "--source", "mails"), {"matched": 0, "purged": 0, "dry_run": False})
        self.assertEqual(self.ctl("dead", "redrive", "--source", "mails"), "0 dead letters were sent again.\n")
        self.json("queue", "delete", "mails")

    def test_pages(self):
        """With a limit, by Link headers that keep what was asked for."""
        self.make(25)
        found, path = [], "/api/v1/dead?source=orders&limit=10&filter=" + urllib.parse.quote("NOT (mqtt.payload = '7')")
        while path:
            answer = ask(self.admin, path)
            found += [row["seq"] for row in answer.json()]
            link = answer.headers.get("Link")
            path = link and re.fullmatch(r'<(.*)>; rel="next"', link).group(1)
        self.assertEqual(found, sorted(set(found)))
        self.assertEqual(len(found), 24)

    def test_redrive(self):
        """Back to its queue, which counts anew; one alone; how often it has been."""
        self.make(5)
        rows = self.letters()
        self.assertEqual(post(self.admin, f"/api/v1/dead/{rows[2]['seq']}/redrive").json(),
                         {"seq": rows[2]["seq"], "redriven": True})
        self.assertEqual(self.drain("$queue/orders", 1), [b"2"])
        self.assertEqual(post(self.admin, f"/api/v1/dead/{rows[3]['seq']}/purge").json(),
                         {"seq": rows[3]["seq"], "purged": True})
        for verb in ("purge", "redrive"):
            answer = post(self.admin, f"/api/v1/dead/{rows[3]['seq']}/{verb}")
            self.assertEqual((answer.status, answer.json()["error"]), (404, "no-such-letter"))
        self.assertEqual(self.json("dead", "redrive"), {"matched": 3, "redriven": 3, "dry_run": False})
        self.reject(3)
        self.assertEqual({(row["attempts"], row["redriven"]) for row in self.wait_letters(3)}, {(1, 1)})
        self.assertEqual(self.ctl("dead", "redrive", "--limit", "1"), "1 dead letters were sent again.\n")
        self.assertEqual(self.drain("$queue/orders", 1), [b"0"])
        self.broker.wait_log(r"Admin: anonymous \(127\.0\.0\.1:\d+\) has sent again 3 dead letters\.")

    def test_a_queue_that_is_no_more(self):
        """It stays in the list, or is there again; exit code 1 when the broker knows at once."""
        self.json("queue", "create", "brief", "--topic", "brief/#")
        self.make(2, "brief/x", "$queue/brief")
        self.json("queue", "delete", "brief")
        done = post(self.admin, "/api/v1/dead/redrive", {"source": "brief"}).json()
        self.assertEqual(done["matched"], 2)
        rows = until(lambda: len(rows := self.letters(source="brief")) == 2 and rows, "both are there")
        if done["redriven"] == 0: # the list and the queue's owner are one shard
            self.assertIn("were not", self.ctl("dead", "redrive", "--source", "brief", code=1))
            self.assertEqual(post(self.admin, f"/api/v1/dead/{rows[0]['seq']}/redrive").status, 409)

    def test_plain_sources(self):
        """Of a client, by max_deliveries or a refusal: to the original topic."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("client/1", props=wire.session_expiry(60))
            raw.subscribe(("plain/#", 1))
            publish(self.broker.port, "-t", "plain/a", "-m", "hello", "-q", "1")
            raw.send(wire.ack(wire.PUBACK, raw.message().packet_id, 0x83))
            row, = self.wait_letters(1)
            self.assertEqual((row["source"], row["reason"], row["topic"], row["code"]),
                             ("client/1", "rejected", "plain/a", 0x83))
            self.assertEqual(self.json("dead", "redrive", "--source", "client/1")["redriven"], 1)
            found = raw.acked()
            self.assertEqual((found.topic, found.payload), ("plain/a", b"hello"))

    def test_what_is_wrong(self):
        """400 with what and where; exit codes 1 and 2; nothing is done."""
        self.make(1)
        for body, part in (({"filter": "a ="}, "column 4"), ({"filter": "@none"}, "column"), ({"reason": "tired"}, "one of"),
                           ({"limit": 0}, "limit"), ({"limit": "1"}, "limit"), ({"rate": 0.5}, "rate"),
                           ({"rate": 1000001}, "rate"), ({"dry_run": 1}, "dry_run"), ({"sources": "x"}, "not known"),
                           ({"source": ""}, "source"), ({"source": 1}, "source")):
            for verb in ("redrive", "purge"):
                self.assertIn(part, self.refused(f"/api/v1/dead/{verb}", body, 400), body)
        for query, part in (({"filter": "a ="}, "column 4"), ({"reason": "x"}, "one of"), ({"source": ""}, "source"),
                            ({"limit": 0}, "limit"), ({"after": "x"}, "after"), ({"after": "0.x"}, "after")):
            answer = ask(self.admin, "/api/v1/dead?" + urllib.parse.urlencode(query))
            self.assertEqual(answer.status, 400)
            self.assertIn(part, answer.json()["detail"])
        self.assertIn("column 4", self.ctl("dead", "list", "--filter", "a =", code=1))
        self.assertIn("column 4", self.ctl("dead", "purge", "--filter", "a =", code=1))
        self.assertIn("one of", self.ctl("dead", "redrive", "--reason", "x", code=1))
        for words in (["--limit", "0"], ["--rate", "x"], ["--limit", "-1"], ["--rate", "1.5"]):
            self.assertIn("at least 1", self.ctl("dead", "redrive", *words, code=2))
        self.assertIn("not for", self.ctl("dead", "list", "--rate", "1", code=2))
        self.assertEqual(len(self.letters()), 1)

    def test_rate(self):
        """So many a second, no faster; others are answered meanwhile; who goes away has stopped it."""
        self.make(60)
        start = time.monotonic()
        self.assertEqual(self.json("dead", "redrive", "--limit", "20", "--rate", "20")["redriven"], 20)
        took = time.monotonic() - start
        self.assertGreater(took, 0.9)
        self.assertLess(took, 10)
        left = len(self.letters())
        with socket.create_connection(("127.0.0.1", self.admin)) as sock:
            body = b'{"rate":10}'
            sock.sendall(b"POST /api/v1/dead/purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                         b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            until(lambda: len(self.letters()) < left, "it has begun")
        self.broker.wait_log(r"has thrown away \d+ dead letters")
        left = len(self.letters())
        self.assertGreater(left, 0)
        time.sleep(0.3) # three would have gone
        self.assertEqual(len(self.letters()), left)


class DeadKilled(DeadCase):
    """What was answered is on disk, and checkpoints lose no letter."""

    options = {"config": KEPT, "extra": SMALL + QUEUE, "ports": 2, "shards": 3}

    def setUp(self):
        post(self.admin, "/api/v1/dead/purge", {})
        post(self.admin, "/api/v1/queues/orders/purge", {})

    def test_kill_9_at_once(self):
        """After redrive, after purge."""
        feed(self.broker.port, "orders/x", [b"%d" % n for n in range(300)], window=100)
        self.reject(300)
        rows = self.wait_letters(300)
        self.broker.restart()
        self.assertEqual(self.letters(), rows)
        self.assertEqual(self.json("dead", "redrive", "--limit", "100")["redriven"], 100)
        self.broker.restart()
        self.assertEqual(self.letters(), rows[100:])
        self.assertEqual(self.queue("orders")["depth"], 100)
        self.assertEqual(self.json("dead", "purge", "--limit", "150")["purged"], 150)
        self.broker.restart()
        self.assertEqual(self.letters(), rows[250:])
        self.assertEqual(post(self.admin, f"/api/v1/dead/{rows[299]['seq']}/redrive").status, 200)
        self.broker.restart()
        self.assertEqual(self.letters(), rows[250:299])
        self.assertEqual(self.queue("orders")["depth"], 101)
        self.assertEqual({int(payload) for payload in self.drain("$queue/orders", 101)}, set(range(100)) | {299})

    def test_checkpoints_lose_no_letter(self):
        """While letters go, at the front and in the middle, the others are written to checkpoints, and the
        broker dies: those that nobody has thrown away are there."""
        overflow(self.broker.port, self.admin, 30000)
        others = sum("3" not in str(n) for n in range(30000))
        for _ in range(4):
            with subprocess.Popen([SLUICECTL, "--url", f"http://127.0.0.1:{self.admin}", "dead", "purge", "--rate", "9000",
                                   "--filter", "mqtt.payload LIKE '%3%'"], stderr=subprocess.PIPE) as process:
                for _ in range(4): # what fills the log
                    feed(self.broker.port, "orders/x", [b"x" * 4000] * 200, window=200)
                self.broker.restart()
                process.stderr.read()
            found = post(self.admin, "/api/v1/dead/redrive", {"dry_run": True,
                                                              "filter": "NOT (mqtt.payload LIKE '%3%')"}).json()
            self.assertEqual(found["matched"], others)


class DeadMany(DeadCase):
    """A hundred thousand letters hold up nobody."""

    options = {"config": KEPT, "extra": SMALL, "ports": 2, "shards": 2}

    def test_list_redrive_and_purge(self):
        """Each whole, within its time."""
        overflow(self.broker.port, self.admin, 100000)
        text, worst = served(self.broker.port, lambda: self.ctl("--json", "dead", "list"))
        self.assertEqual(len({row["seq"] for row in json.loads(text)}), 100000)
        self.assertLess(worst, 1)
        self.json("queue", "delete", "small")
        self.json("queue", "create", "small", "--topic", "elsewhere", "--max-messages", "0")
        start = time.monotonic()
        found, worst = served(self.broker.port, lambda: self.json("dead", "redrive", "--rate", "20000", "--limit", "40000"))
        self.assertEqual(found["redriven"], 40000)
        self.assertGreater(time.monotonic() - start, 1.9)
        self.assertLess(worst, 1)
        found, worst = served(self.broker.port, lambda: self.json("dead", "purge", "--filter", "mqtt.payload LIKE '%7'"))
        self.assertEqual(found["purged"], 6000)
        self.assertLess(worst, 1)
        self.broker.restart()
        self.assertEqual((self.queue("small")["depth"], len(self.json("dead", "list"))), (40000, 54000))
        found, worst = served(self.broker.port, lambda: self.json("dead", "redrive"))
        self.assertEqual(found["redriven"], 54000)
        self.assertLess(worst, 1)
        self.broker.restart()
        self.assertEqual((self.queue("small")["depth"], self.json("dead", "list")), (94000, []))


HISTORIES = "filter hot temp > 30\nhistory sensors/#\nhistory_max_age 1h\nhistory_max_bytes 64M\nhistory logs/+\n" \
            "history_max_per_topic 3\nmax_inflight_messages 1000\n"


class HistoryCase(VerbCase):
    """Reads histories."""

    def read(self, topic, **query):
        """The messages."""
        return get(self.admin, "/api/v1/history/read?" + urllib.parse.urlencode({"filter": topic, **query}))

    def payloads(self, topic, **query):
        """Their payloads."""
        return [row["payload"] for row in self.read(topic, **query)]


class History(HistoryCase):
    """list and read, of one in memory."""

    options = {"config": OPEN, "ports": 2, "shards": 3, "extra": HISTORIES}

    def test_list(self):
        """What is configured and what it holds."""
        self.assertEqual([row["filter"] for row in self.json("history", "list")], ["sensors/#", "logs/+"])
        feed(self.broker.port, "sensors/list/a", [b"12345"] * 3)
        row = until(lambda: (row := get(self.admin, "/api/v1/history")[0])["messages"] >= 3 and row, "they are counted")
        self.assertEqual(list(row), ["filter", "messages", "bytes", "max_age_seconds", "max_bytes", "max_per_topic",
                                     "oldest", "newest", "first_seq", "last_seq"])
        self.assertEqual((row["max_age_seconds"], row["max_bytes"], row["max_per_topic"]), (3600, 64 << 20, 0))
        found = self.read("sensors/#")
        self.assertEqual((row["oldest"], row["first_seq"], row["newest"], row["last_seq"]),
                         (found[0]["ts"], found[0]["seq"], found[-1]["ts"], found[-1]["seq"]))
        self.assertRegex(self.ctl("history", "list"), r"\AFILTER +MESSAGES +BYTES +OLDEST +NEWEST +FIRST +LAST +MAX-AGE "
                                                      r"+MAX-BYTES +PER-TOPIC\nsensors/# +\d+ +\d+ +\S+Z +\S+Z")

    def test_a_message(self):
        """Its members; a payload that is no text."""
        props = wire.user_property("temp", "31") + b"\x03" + wire.text("text/plain") + wire.user_property("temp", "2")
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.send(wire.publish("sensors/one", b"warm", qos=1, packet_id=1, retain=True, props=props),
                     wire.publish("sensors/one", b"\xff\xfe", qos=0))
            raw.expect(wire.PUBACK)
            raw.ping_until_pong()
        first, second = self.read("sensors/one")
        self.assertEqual(list(first), ["seq", "ts", "topic", "qos", "retain", "content_type", "properties", "payload"])
        self.assertEqual([first[key] for key in list(first)[2:]],
                         ["sensors/one", 1, True, "text/plain", [["temp", "31"], ["temp", "2"]], "warm"])
        self.assertEqual((second["payload_base64"], second["qos"], second["retain"]), ("//4=", 0, False))
        self.assertLess(first["seq"], second["seq"])
        self.assertRegex(first["ts"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")
        self.assertEqual(self.json("history", "read", "sensors/one"), [first, second])
        self.assertRegex(self.ctl("history", "read", "sensors/one"),
                         r"\A *SEQ +TIME +QOS +TOPIC +PAYLOAD\n *\d+ +\S+Z +1 +sensors/one +warm\n *\d+ +\S+Z +0 +sensors/one +-\n\Z")
        with wire.Raw(self.broker.port) as raw: # a replay tells the same
            raw.connected("")
            raw.subscribe(("$replay/earliest/sensors/one", 1))
            found = raw.acked()
            self.assertIn(b"sluice-seq" + wire.text(str(first["seq"])), found.properties)
            self.assertIn(b"sluice-ts" + wire.text(first["ts"]), found.properties)

    def test_spans(self):
        """From and to, by number and by time; the last of each topic."""
        for topic in ("sensors/span/a", "sensors/span/b"):
            feed(self.broker.port, topic, [b"%d" % n for n in range(5)])
        rows = self.read("sensors/span/#")
        self.assertEqual([(row["topic"][-1], row["payload"]) for row in rows],
                         [(topic, str(n)) for topic in "ab" for n in range(5)])
        third = rows[3]
        self.assertEqual(self.read("sensors/span/+", **{"from": f"seq:{third['seq']}"}), rows[3:])
        self.assertEqual(self.read("sensors/span/+", to=f"seq:{third['seq']}"), rows[:4])
        self.assertEqual(self.read("sensors/span/+", **{"from": f"seq:{third['seq']}", "to": f"seq:{third['seq']}"}), [third])
        self.assertEqual(self.read("sensors/span/+", **{"from": "last:1"}), [rows[4], rows[9]])
        self.assertEqual(self.read("sensors/span/a", **{"from": "last:2"}), rows[3:5])
        self.assertEqual(self.read("sensors/span/#", **{"from": "-10m"}), rows)
        self.assertEqual(self.read("sensors/span/#", **{"from": "latest"}), [])
        self.assertEqual(self.read("sensors/span/#", to="-10m"), [])
        self.assertEqual(self.read("sensors/span/#", **{"from": rows[0]["ts"], "to": rows[-1]["ts"]}), rows)
        self.assertEqual(self.read("sensors/span/#", limit=3), rows[:3])
        self.assertEqual(self.json("history", "read", "sensors/span/#", "--from", f"seq:{third['seq']}", "--to",
                                   f"seq:{rows[6]['seq']}"), rows[3:7])

    def test_where(self):
        """The filters of subscriptions, and a name of the configuration."""
        for n in range(40):
            publish(self.broker.port, "-V", "5", "-t", "sensors/where", "-m", str(n), "-D", "publish", "user-property",
                    "temp", str(n))
        self.assertEqual(self.payloads("sensors/where", where="temp > 37"), ["38", "39"])
        self.assertEqual(self.payloads("sensors/where", where="@hot"), [str(n) for n in range(31, 40)])
        self.assertEqual([row["payload"] for row in self.json("history", "read", "sensors/where", "--filter",
                                                              "mqtt.payload = '7'")], ["7"])

    def test_the_last_of_a_topic(self):
        """history_max_per_topic holds."""
        feed(self.broker.port, "logs/a", [b"%d" % n for n in range(9)])
        self.assertEqual(self.payloads("logs/a"), ["6", "7", "8"])
        self.assertEqual(self.payloads("logs/#", **{"from": "last:1"}), ["8"])

    def test_what_is_wrong(self):
        """400 with what and where, 404; exit codes 1 and 2."""
        for query, part in (({"from": "yesterday"}, "RFC 3339"), ({"to": "x"}, "RFC 3339"), ({"where": "a ="}, "column 4"),
                            ({"where": "@none"}, "column"), ({"filter": "a/#/b"}, "topic filter"), ({"limit": "0"}, "limit"),
                            ({"from": "-1m", "to": "-2m"}, "ends before"), ({"from": "last:0"}, "expected"),
                            ({"from": "last:2", "to": "-1m"}, "no end"), ({"from": "2100-01-01T00:00:00Z"}, "future")):
            answer = ask(self.admin, "/api/v1/history/read?" + urllib.parse.urlencode({"filter": "sensors/#", **query}))
            self.assertEqual(answer.status, 400, query)
            self.assertIn(part, answer.json()["detail"])
        answer = ask(self.admin, "/api/v1/history/read?filter=none/%23")
        self.assertEqual((answer.status, answer.json()["error"]), (404, "no-such-history"))
        self.assertIn("there is no history of 'none'", self.ctl("history", "read", "none", code=1))
        self.assertIn("column 4", self.ctl("history", "read", "sensors/#", "--filter", "a =", code=1))
        self.assertIn("use: ", self.ctl("history", "read", code=2))
        self.assertIn("not for", self.ctl("history", "list", "--from", "-1h", code=2))


class HistoryMany(HistoryCase):
    """A long history on disk: streams that are bounded, for who reads slowly and for who goes away."""

    options = {"config": KEPT, "ports": 2, "shards": 2, "extra": HISTORIES + "store_segment_size 1M\n",
               "asan": "quarantine_size_mb=1"}
    count = 60000

    def test_a_long_one(self):
        """Whole, in order, while others are served; over a restart; by somebody slow."""
        feed(self.broker.port, "sensors/long", [b"%d" % n for n in range(self.count)], window=1000)
        text, worst = served(self.broker.port, lambda: self.ctl("--json", "history", "read", "sensors/#"))
        self.assertEqual([row["payload"] for row in json.loads(text)], [str(n) for n in range(self.count)])
        self.assertLess(worst, 1)
        until(lambda: get(self.admin, "/api/v1/history")[0]["messages"] == self.count, "they are counted")
        row = get(self.admin, "/api/v1/history")[0]
        rows = self.read("sensors/long")
        self.assertEqual((row["first_seq"], row["last_seq"]), (rows[0]["seq"], rows[-1]["seq"]))
        self.broker.restart()
        self.assertEqual(get(self.admin, "/api/v1/history")[0], row)
        self.assertEqual(self.read("sensors/long"), rows)
        before = self.broker.resident_kib()
        path = b"GET /api/v1/history/read?filter=sensors/%23 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        socks = []
        for _ in range(20): # who ask, and do not read
            sock = socket.create_connection(("127.0.0.1", self.admin))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(path)
            socks.append(sock)
        found, worst = served(self.broker.port, lambda: self.payloads("sensors/#", **{"from": "last:5"}))
        self.assertEqual(found, [str(n) for n in range(self.count)][-5:])
        self.assertLess(worst, 1)
        self.assertLess(self.broker.resident_kib() - before, 60 * 1024) # 20 answers have 200 MB
        for sock in socks:
            sock.close()
        self.assertEqual(len(self.payloads("sensors/#", limit=7)), 7)

    def test_large_messages(self):
        """Each larger than a page."""
        feed(self.broker.port, "logs/large", [bytes([65 + n]) * 1000000 for n in range(3)], window=1)
        self.assertEqual([(row["payload"][0], len(row["payload"])) for row in self.read("logs/large")],
                         [("A", 1000000), ("B", 1000000), ("C", 1000000)])


class Sys(DeadCase):
    """$SYS of queues and dead letters, and the alarms."""

    options = {"config": OPEN, "ports": 2, "shards": 3, "extra": "sys_interval 1\nalarm_dead_letters 3\n" + QUEUE}

    def values(self, raw, topics):
        """Takes messages until there is one of each of these topics, None for one that is removed."""
        found = {}
        while not topics <= set(found):
            message = raw.message()
            if message.payload or not message.retain:
                found[message.topic] = message.payload.decode() or None
        return found

    def test_queues(self):
        """Values on change, retained; removed with the queue."""
        self.json("queue", "create", "sys q", "--topic", "sys/#")
        start = "$SYS/broker/queue/sys q/"
        names = {start + name for name in (
            "depth", "ready", "inflight", "delayed", "oldest_seconds", "stored_bytes", "consumers", "received", "delivered",
            "acknowledged", "duplicates", "dropped", "redelivered/deadline", "redelivered/nack", "redelivered/requeue",
            "redelivered/disconnect", "dead_letters/attempts", "dead_letters/rejected", "dead_letters/expired",
            "dead_letters/overflow", "dead_letters/too-large")}
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.subscribe((start + "#", 0))
            found = self.values(raw, names)
            self.assertEqual((set(found), set(found.values())), (names, {"0"}))
            feed(self.broker.port, "sys/x", [b"x"] * 4)
            found = self.values(raw, {start + "depth", start + "received", start + "ready"})
            self.assertEqual([found[start + name] for name in ("depth", "received", "ready")], ["4", "4", "4"])
            self.json("queue", "delete", "sys q")
            found = self.values(raw, names)
            self.assertEqual(set(found.values()), {None})
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.subscribe((start + "#", 0), ("$SYS/broker/uptime", 0))
            self.assertEqual(raw.message().topic, "$SYS/broker/uptime")

    def test_dead_letters(self):
        """By reason; an alarm from the third in an interval on, which ends by itself."""
        topic, reason = "$SYS/alarm/dead-letters", "$SYS/broker/dead/rejected"
        feed(self.broker.port, "orders/x", [b"x"] * 5)
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.subscribe(("$SYS/alarm/#", 0), (reason, 0))
            self.assertEqual(self.values(raw, {reason}), {reason: "0"})
            self.reject(5)
            found = json.loads(self.values(raw, {topic})[topic])
            self.assertGreaterEqual(found["new"], 3)
            self.assertIn(found["listed"], (3, 4, 5))
            self.assertRegex(found["since"], r"\A\d{4}-\d\d-\d\dT.*Z\Z")
            until(lambda: self.values(raw, {topic})[topic] is None, "the alarm is over")

    def test_the_age_of_a_queue(self):
        """While a message that waits is older than the limit, which a reload sets."""
        topic = "$SYS/alarm/queue-age/aged"
        self.json("queue", "create", "aged", "--topic", "aged")
        feed(self.broker.port, "aged", [b"x"])
        self.broker.write_config(self.broker.template + "alarm_queue_age 1s\n")
        self.broker.signal(signal.SIGHUP)
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.subscribe(("$SYS/alarm/queue-age/+", 0))
            found = json.loads(self.values(raw, {topic})[topic])
            self.assertEqual((found["depth"], found["consumers"]), (1, 0))
            self.assertGreaterEqual(found["oldest_seconds"], 2)
            self.json("queue", "purge", "aged")
            until(lambda: self.values(raw, {topic})[topic] is None, "the alarm is over")
            feed(self.broker.port, "aged", [b"x"])
            self.assertIsNotNone(self.values(raw, {topic})[topic])
            self.json("queue", "delete", "aged")
            until(lambda: self.values(raw, {topic})[topic] is None, "the alarm is over")


class SysStale(DeadCase):
    """What a session that lasts has made last."""

    options = {"config": KEPT, "ports": 2, "shards": 3, "extra": "sys_interval 1\n" + QUEUE}

    def test_topics_of_a_queue_that_is_no_more(self):
        """Are removed at the next start."""
        topic = "$SYS/broker/queue/gone/depth"
        with wire.Raw(self.broker.port) as raw:
            raw.connected("lasting", clean=True, props=wire.session_expiry(1000))
            raw.subscribe(("$SYS/broker/queue/#", 1))
            self.json("queue", "create", "gone", "--topic", "gone")
            until(lambda: raw.acked().topic == topic, "it is told")
            self.json("queue", "delete", "gone")
            self.broker.restart()
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            self.broker.wait_log("running")

            def gone():
                return topic not in [row["topic"] for row in get(self.admin, "/api/v1/retained?filter=" +
                                                                 urllib.parse.quote("$SYS/broker/queue/#"))]
            until(gone, "it is removed")


class Rights(unittest.TestCase):
    """Who may, and from where: of every endpoint that there is."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="sluice-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        users, acl = os.path.join(self.dir, "users"), os.path.join(self.dir, "acl")
        for number, name in enumerate(("reader", "writer")):
            run(self.dir, "passwd", "-b", *(["-c"] if number == 0 else []), users, name, "x")
        with open(acl, "w", encoding="utf-8") as file:
            for what in ("queues", "dead", "history"):
                file.write(f"user reader\ntopic read $CONTROL/sluice/{what}\n"
                           f"user writer\ntopic readwrite $CONTROL/sluice/{what}\n")
        self.config = f"listener {{0}} 127.0.0.1\npassword_file {users}\nacl_file {acl}\n" + ADMIN + QUEUE

    def test_an_access_list(self):
        """read lets look, write lets act; nobody else gets in."""
        with Broker(self.config, ports=2) as broker:
            port = broker.ports[1]
            read, write = basic("reader", "x"), basic("writer", "x")
            for path in ("queues", "queues/orders", "dead", "history", "history/read"):
                self.assertEqual(ask(port, f"/api/v1/{path}").status, 401)
                for user in (read, write):
                    self.assertEqual(ask(port, f"/api/v1/{path}", headers=user).status, 200)
            for path, status in (("queues/orders/purge", 200), ("queues/orders/delete", 409), ("dead/redrive", 200),
                                 ("dead/purge", 200), ("dead/7/purge", 404), ("dead/7/redrive", 404),
                                 ("queues/new/create", 400), ("queues", 400)):
                self.assertEqual(post(port, f"/api/v1/{path}", {}).status, 401)
                self.assertEqual(post(port, f"/api/v1/{path}", {}, read).json()["error"], "denied")
                self.assertEqual(post(port, f"/api/v1/{path}", {}, write).status, status, path)

    def test_pages_of_others(self):
        """No act from another origin, by another type, or by GET."""
        with Broker(OPEN, ports=2) as broker:
            port, acts = broker.ports[1], 0
            for path, methods in get(port, "/api/v1/openapi.json")["paths"].items():
                if "post" not in methods:
                    continue
                path = re.sub(r"\{\w+\}", "1", path)
                self.assertEqual(post(port, path, {}, {"Origin": "http://evil.example"}).status, 403)
                self.assertEqual(post(port, path, {}, {"Host": "evil.example"}).status, 421)
                self.assertEqual(post(port, path, {}, {"Content-Type": "text/plain"}).status, 415)
                self.assertIn(ask(port, path).status, (200, 404, 405))
                acts += 1
            self.assertGreaterEqual(acts, 10)


if __name__ == "__main__":
    main()
