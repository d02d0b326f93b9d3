"""Work queues from real clients: the tutorial, workers that vanish, brokers that die."""
import wire
from broker import ANYBODY, DURABLE, BrokerCase, main, until
from clients import publish
from pages import PageCase

QUEUE = "queue orders\nqueue_topic orders/#\nqueue_backoff 100ms 1s\nqueue_ack_deadline 2s\n"


class Tutorial(PageCase):
    """docs/tutorial/5-queues.md."""

    options = {"config": ANYBODY + "listener {1} 127.0.0.1\nprotocol http_api\n", "ports": 2,
               "extra": "queue orders\nqueue_topic orders/#\n"}

    def test_every_command(self):
        """In memory."""
        self.run_page("5-queues.md", 26)


class Pipeline(BrokerCase):
    """All that was acknowledged to its publisher is done or dead in the end, whoever dies."""

    options = {"config": DURABLE, "extra": QUEUE, "shards": 3}

    def feed(self, start, count):
        """Publishes numbers, and returns when all are acknowledged."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            for i in range(start, start + count, 20):
                raw.send(*(wire.publish("orders/x", b"%d" % n, qos=1, packet_id=n + 1) for n in range(i, i + 20)))
                for _ in range(20):
                    raw.expect(wire.PUBACK)

    def work(self, count, name=""):
        """Takes so many; every seventh fails once, every thirteenth is rejected.  Returns the numbers done."""
        done = []
        with wire.Raw(self.broker.port) as raw:
            raw.connected(name)
            raw.subscribe(("$queue/orders", 1))
            while count:
                found = raw.message()
                number, count = int(found.payload), count - 1
                again = b"sluice-attempt" in found.properties
                reason = 0x99 if number % 13 == 0 else 0x80 if number % 7 == 0 and not again else 0
                raw.send(wire.ack(wire.PUBACK, found.packet_id, reason))
                if reason == 0:
                    done.append(number)
            raw.ping_until_pong()
        return done

    def test_it_balances_under_kill_9(self):
        """Consumers vanish in the middle of their work, and the broker is killed three times."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("undertaker", clean=True, props=wire.session_expiry(1000))
            raw.subscribe(("$dead/#", 1))
        done = []
        for turn in range(4):
            self.feed(turn * 200, 200)
            for _ in range(2):
                done += self.work(60)
            self.broker.restart()
        dead, doomed = set(), {n for n in range(800) if n % 13 == 0}

        def rest():
            done.extend(self.work(1))
            return len(set(done)) == 800 - len(doomed)

        until(rest, "all to be done", seconds=60)
        with wire.Raw(self.broker.port) as raw:
            raw.connected("undertaker", clean=False, props=wire.session_expiry(1000))
            while dead != doomed:
                found = raw.acked()
                self.assertEqual(found.topic, "$dead/rejected/orders/orders/x")
                dead.add(int(found.payload))
        self.assertEqual(set(done) & dead, set())
        self.assertEqual(set(done) | dead, set(range(800)))


class Refusals(BrokerCase):
    """What a client of each version is told."""

    def test_an_unknown_queue(self):
        """SUBACK 0x83."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.send(wire.subscribe(("$queue/none", 1)))
            self.assertEqual(raw.expect(wire.SUBACK).body[-1], 0x83)
        publish(self.broker.port, "-t", "$queue/none/nack", "-m", "x", "-q", "1")
        self.broker.wait_log("no such delivery")


if __name__ == "__main__":
    main()
