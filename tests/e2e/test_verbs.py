"""Queues, dead letters and histories by the admin listener and sluicectl: every verb, what it answers,
and that what was answered outlives kill -9."""
import json
import os
import re
import time
import urllib.parse

import wire
from broker import DURABLE, Broker, BrokerCase, main, until
from clients import publish
from test_admin import ADMIN, OPEN, ask, get, metrics, post
from test_ctl_broker import run

QUEUE = "queue orders\nqueue_topic orders/#\nqueue_backoff 100ms 1s\nqueue_max_deliveries 2\n"
KEPT = DURABLE + ADMIN
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


if __name__ == "__main__":
    main()
