"""Histories and replays from real clients: mosquitto_sub, busy publishers, slow readers, dead brokers."""
import os
import signal
import threading

import wire
from broker import ANYBODY, DURABLE, Broker, BrokerCase, main, until
from clients import publish, run_sub
from pages import PageCase

HISTORY = "history sensors/#\n"
EACH, PUBLISHERS = 1500, 3


def feed(port, name, count, qos):
    """Publishes numbers as fast as they are taken; returns when all are acknowledged."""
    with wire.Raw(port) as raw:
        raw.connected("")
        for start in range(0, count, 20):  # Receive Maximum
            part = range(start, min(start + 20, count))
            raw.send(*(wire.publish(f"sensors/{name}/{i % 7}", f"{name} {i}".encode(), qos=qos, packet_id=i + 1)
                       for i in part))
            for _ in part:
                if qos:
                    raw.expect(wire.PUBACK)
        raw.ping()


class Reader(threading.Thread):
    """A subscriber that replays; `got` are the payloads in order, without what came again with DUP."""

    def __init__(self, port, when, qos, wanted, slow=False):
        super().__init__()
        self.port, self.when, self.qos, self.wanted, self.slow = port, when, qos, wanted, slow
        self.got, self.marked, self.error = [], 0, None

    def run(self):
        try:
            with wire.Raw(self.port, receive_buffer=4096 if self.slow else None) as raw:
                raw.connected("", props=wire.u16_property(0x21, 10))
                raw.subscribe((f"$replay/{self.when}/sensors/#", self.qos))
                while len(self.got) < self.wanted:
                    found = raw.acked()
                    self.got.append(found.payload.decode())
                    self.marked += found.retain
                raw.ping()  # nothing else has come
        except Exception as error:  # pylint: disable=broad-except
            self.error = error


class Tutorial(PageCase):
    """docs/tutorial/4-replay.md."""

    options = {"config": ANYBODY + "listener {1} 127.0.0.1\nprotocol http_api\n", "ports": 2, "extra": HISTORY}

    def test_every_command(self):
        """In memory."""
        self.run_page("4-replay.md", 11)


class Busy(BrokerCase):
    """Subscribers that come while publishers publish get all that was and all that comes, in order."""

    options = {"config": DURABLE, "extra": HISTORY, "shards": 3}

    def check(self, reader):
        """Each publisher's numbers in their order, none missing."""
        self.assertIsNone(reader.error)
        for name in range(PUBLISHERS):
            mine = [int(text.split()[1]) for text in reader.got if text.startswith(f"{name} ")]
            self.assertEqual(mine, list(range(EACH)), f"publisher {name}")

    def test_nothing_is_missing_and_nothing_comes_twice(self):
        """QoS 0 and 1, fast and slow readers, from before the first message until after the last."""
        port, readers = self.broker.port, []
        feeders = [threading.Thread(target=feed, args=(port, i, EACH, i % 2)) for i in range(PUBLISHERS)]
        for thread in feeders:
            thread.start()
        for i in range(8):
            readers.append(Reader(port, "earliest", i % 2, EACH * PUBLISHERS, slow=i % 4 == 3))
            readers[-1].start()
            publish(port, "-t", f"pause/{i}", "-m", "x")  # takes a moment
        for thread in (*feeders, *readers):
            thread.join(120)
        readers.append(Reader(port, "last:1000000", 1, EACH * PUBLISHERS))
        readers[-1].start()
        readers[-1].join(60)
        for reader in readers:
            self.check(reader)
        self.assertEqual(readers[-1].marked, EACH * PUBLISHERS)


class InMemory(Busy):
    """The same without a disk."""

    options = {"config": ANYBODY, "extra": HISTORY, "shards": 2}


class Limits(BrokerCase):
    """What a history keeps."""

    options = {"extra": "history a/#\nhistory_max_bytes 3000\nhistory b/#\nhistory_max_per_topic 3\n"
                        "history c/#\nhistory_max_age 2s\n"}

    def past(self, topic):
        """The payloads of a span up to now."""
        done = run_sub(self.broker.port, "-V", "5", "-t", topic, "-F", "%p", "-D", "subscribe", "user-property",
                       "replay", "earliest", "-D", "subscribe", "user-property", "replay-until", "latest", "-D",
                       "subscribe", "user-property", "replay-end", "true", "-W", "1")
        return done.stdout.split()

    def test_bytes_number_and_age(self):
        """Bytes are topic, properties and payload: 30 each here."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            for i in range(200):
                raw.publish("a/1", b"%027d" % i)
                raw.publish(f"b/{i % 2}", b"%d" % i)
            raw.publish("c/1", b"old")
            raw.ping()
        until(lambda: len(self.past("a/#")) == 100, "the first to be trimmed")
        self.assertEqual([int(text) for text in self.past("a/#")], list(range(100, 200)))
        self.assertEqual(sorted(int(text) for text in self.past("b/#")), list(range(194, 200)))
        until(lambda: self.past("c/#") == [], "the old one to go")


class Killed(BrokerCase):
    """A replay is the session's: it outlives broker and client."""

    options = {"config": DURABLE, "extra": HISTORY, "shards": 2}

    def test_it_goes_on_after_kill_9(self):
        """Killed in the middle, again and again; QoS 1 may come again, nothing may be missing."""
        broker, seen = self.broker, []
        feed(broker.port, 0, 400, 1)
        for n in range(6):
            with wire.Raw(broker.port) as raw:
                raw.connected("keeper", clean=n == 0, props=wire.session_expiry(1000) + wire.u16_property(0x21, 5))
                if n == 0:
                    raw.subscribe(("$replay/earliest/sensors/#", 1))
                for _ in range(50):
                    seen.append(int(raw.acked().payload.split()[1]))
                if n == 3:
                    feed(broker.port, 1, 100, 1)
            broker.restart()
        with wire.Raw(broker.port) as raw:
            raw.connected("keeper", clean=False, props=wire.session_expiry(1000))
            while 499 not in seen[-1:]:
                name, number = raw.acked().payload.decode().split()
                seen.append(int(number) + (400 if name == "1" else 0))
        self.assertEqual(sorted(set(seen)), list(range(500)))
        self.assertLess(len(seen), 500 + 6 * 60)


def reject(port, numbers, size):
    """One message each, which its only subscriber rejects; returns when that is settled."""
    with wire.Raw(port) as worker, wire.Raw(port) as feeder:
        worker.connected("worker")
        worker.subscribe(("jobs/#", 1))
        feeder.connected("feeder")
        for i in numbers:
            feeder.published(f"jobs/{i % 3}", b"%06d" % i + b"x" * size, packet_id=1)
            worker.send(wire.ack(wire.PUBACK, worker.message().packet_id, 0x99))
        worker.ping()


def letters(port, when, *args):
    """What mosquitto_sub prints of such a replay: (topic, number, RETAIN), sequence numbers."""
    done = run_sub(port, "-V", "5", "-t", f"$replay/{when}/$dead/#", "-F", "%t %r %P|%p", *args)
    lines = [line.rstrip("x") for line in done.stdout.splitlines()]
    heads = [line.split()[:2] + [line.split("|")[1]] for line in lines]
    return heads, [line.split("sluice-seq:")[1].split()[0] for line in lines]


class DeadLetters(BrokerCase):
    """The list of dead letters is a history, without a block in the configuration."""

    options = {"config": DURABLE, "extra": "store_segment_size 64k\nstore_checkpoint_size 64k\nqueue busy\n"
                                           "queue_topic busy/#\nqueue_max_messages 50\nqueue_overflow drop-oldest\n",
               "shards": 3}
    COUNT = 60

    def churn(self, count):
        """The log moves on."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("churn")
            for _ in range(0, count, 20):
                raw.send(*(wire.publish("busy/x", b"y" * 1000, qos=1, packet_id=i + 1) for i in range(20)))
                for _ in range(20):
                    raw.expect(wire.PUBACK)

    def test_they_come_in_order_and_under_their_numbers(self):
        """Before and after their part of the log is gone, and the broker was killed; from 3.1.1 too."""
        port = self.broker.port
        for i in range(self.COUNT):  # few in each segment
            reject(port, range(i, i + 1), 100)
            self.churn(40)
        wanted = [[f"$dead/rejected/worker/jobs/{i % 3}", "1", "%06d" % i] for i in range(self.COUNT)]
        heads, numbers = letters(port, "earliest", "-C", str(self.COUNT))
        self.assertEqual(heads, wanted)
        self.assertEqual(numbers, sorted(numbers, key=int))
        self.churn(2000)
        first = min(name for name in os.listdir(self.broker.path("data/mosquitto.db.d")) if name.endswith(".seg"))
        self.assertGreater(int(first[:-4], 16), int(numbers[0]))  # it lies elsewhere now
        self.broker.restart()
        for qos in "012":
            with self.subTest(qos=qos):
                self.assertEqual(letters(port, "earliest", "-C", str(self.COUNT), "-q", qos), (heads, numbers))
        self.assertEqual(letters(port, f"seq:{numbers[30]}", "-C", "5"), (heads[30:35], numbers[30:35]))
        self.assertEqual(letters(port, "last:2", "-C", "6"), (heads[-6:], numbers[-6:]))
        old = run_sub(port, "-V", "311", "-t", "$replay/earliest/$dead/rejected/+/jobs/1", "-C", "20")
        self.assertEqual([line.rstrip("x") for line in old.stdout.splitlines()],
                         ["%06d" % i for i in range(self.COUNT) if i % 3 == 1])


class LettersCome(BrokerCase):
    """Readers of the list get what is added to it; in memory."""

    options = {"shards": 3}

    def test_many_readers(self):
        """Each gets all of it, whenever it came, over whatever shard."""
        port, start = self.broker.port, 20
        reject(port, range(start), 10)
        raws = [wire.Raw(port) for _ in range(6)]
        for n, raw in enumerate(raws):
            raw.connected(f"reader{n}")
            raw.subscribe((f"$replay/last:{n + 1}/$dead/#", n % 3))
        reject(port, range(start, start + 60), 3000)
        for raw in raws:
            seen = []
            while not seen or seen[-1] < start + 59:
                seen.append(int(raw.acked().payload[:6]))
            self.assertEqual(seen[-60:], list(range(start, start + 60)))
            raw.close()


class Reload(BrokerCase):
    """Histories come and go with the configuration."""

    def test_without_a_log_it_needs_a_restart(self):
        """In memory there is a log only if one was asked for at the start."""
        with Broker() as broker:
            broker.write_config(ANYBODY + HISTORY)
            broker.signal(signal.SIGHUP)
            broker.wait_log("history.*next start only")


if __name__ == "__main__":
    main()
