"""Under pressure: readers that do not read while others flood, and no descriptors left.  Memory stays
bounded and well-behaved clients are served."""
import signal
import statistics
import threading
import time
import unittest

import wire
from broker import ANYBODY, Broker, main, until
from clients import run_sub

MIB = 1024  # KiB
SLOW = "slow_reader_grace 200ms\nsys_interval 1\n"
SMALL = "quarantine_size_mb=8"


class Flooder(threading.Thread):
    """Publishes to a topic as fast as it is let, until told to stop."""

    def __init__(self, port, topic, size, count, qos=0):
        super().__init__(daemon=True)
        self.raw = wire.Raw(port, seconds=30).connected("", version=wire.V311)
        self.topic, self.payload, self.count, self.qos = topic, b"f" * size, count, qos
        self.error = None

    def run(self):
        try:
            for i in range(self.count):
                self.raw.publish(self.topic, self.payload, qos=self.qos, packet_id=i % 65535 + 1)
                if self.qos:
                    self.raw.expect(wire.PUBACK)
            self.raw.ping()
        except (OSError, AssertionError) as error:
            self.error = error

    def wait(self):
        """All is sent and taken."""
        self.join(60)
        assert not self.is_alive(), "the flooder is still held back"
        assert self.error is None, self.error
        self.raw.close()


class SlowReaders(unittest.TestCase):
    """A connection that never reads."""

    def pair_while(self, broker, busy):
        """A well-behaved pair's round trips while something is going on; returns their seconds."""
        with wire.Raw(broker.port) as sub, wire.Raw(broker.port) as pub:
            sub.connected("pair-sub")
            pub.connected("pair-pub")
            sub.subscribe(("pair", 1))
            times = []
            while busy() or len(times) < 20:
                started = time.monotonic()
                pub.publish("pair", b"x", qos=1)
                pub.expect(wire.PUBACK)
                sub.acked()
                times.append(time.monotonic() - started)
            return times

    def flood_past_a_stuck_reader(self, shards):
        """64 MiB of QoS 0 to a client that reads nothing."""
        with Broker(extra=SLOW, shards=shards, asan=SMALL) as broker:
            stuck = wire.Raw(broker.port, receive_buffer=8192).connected("stuck")
            stuck.subscribe("flood")
            before = broker.resident_kib()
            flooder = Flooder(broker.port, "flood", 64 * 1024, 1024)
            flooder.start()
            times = self.pair_while(broker, flooder.is_alive)
            flooder.wait()
            self.assertLess(broker.resident_kib() - before, 32 * MIB)
            self.assertLess(statistics.median(times), 0.1)
            self.assertLess(max(times), 2)
            broker.wait_log(r"^\d+: Client stuck reads too slowly: QoS 0 messages to it are dropped")
            self.assertEqual(broker.log().count("Client stuck reads too slowly"), 1)
            self.wait_dropped(broker, 500)
            self.recovers(broker, stuck)

    def dropped(self, broker):
        """The count of $SYS, once it has been renewed."""
        run_sub(broker.port, "-t", "$SYS/broker/uptime", "-C", "2")
        done = run_sub(broker.port, "-t", "$SYS/broker/publish/messages/dropped", "-C", "1", "-F", "%p")
        return int(done.stdout)

    def wait_dropped(self, broker, least):
        """$SYS counts what was dropped."""
        until(lambda: self.dropped(broker) >= least, f"{least} dropped messages are counted")

    def recovers(self, broker, stuck):
        """It reads what was kept, and then new messages again."""
        stuck.ping_until_pong()
        kept = len(stuck.later)
        self.assertTrue(0 < kept < 500, kept)
        stuck.later.clear()
        with wire.Raw(broker.port) as pub:
            pub.connected("after")
            pub.publish("flood", b"afterwards")
            self.assertEqual(stuck.message().payload, b"afterwards")
        stuck.close()

    def test_one_shard(self):
        """Publisher, reader and pair on one thread."""
        self.flood_past_a_stuck_reader(1)

    def test_two_shards(self):
        """Across threads."""
        self.flood_past_a_stuck_reader(2)

    def test_four_shards(self):
        """And more of them."""
        self.flood_past_a_stuck_reader(4)

    def test_qos_1_to_a_stuck_reader_is_bounded_by_its_queue(self):
        """20 in flight and 1,000 queued, of 8 KiB each: then they are dropped, not the memory."""
        with Broker(extra=SLOW, shards=2, asan=SMALL) as broker:
            stuck = wire.Raw(broker.port, receive_buffer=8192).connected("stuck")
            stuck.subscribe(("flood", 1))
            before = broker.resident_kib()
            flooder = Flooder(broker.port, "flood", 8 * 1024, 3000, qos=1)
            flooder.start()
            times = self.pair_while(broker, flooder.is_alive)
            flooder.wait()
            self.assertLess(broker.resident_kib() - before, 48 * MIB)
            self.assertLess(statistics.median(times), 0.1)
            broker.wait_log("Outgoing messages are being dropped for client stuck")
            found = [stuck.acked() for _ in range(1000)]
            self.assertEqual({m.qos for m in found}, {1})
            stuck.close()

    def test_max_queued_bytes(self):
        """The same in bytes."""
        with Broker(extra=SLOW + "max_queued_bytes 100k\n", shards=2) as broker:
            with wire.Raw(broker.port) as lazy:
                lazy.connected("lazy", props=wire.u16_property(0x21, 1))
                lazy.subscribe(("flood", 1))
                flooder = Flooder(broker.port, "flood", 10 * 1024, 50, qos=1)
                flooder.start()
                flooder.wait()
                found = [lazy.acked() for _ in range(11)]
                self.assertEqual({len(m.payload) for m in found}, {10 * 1024})
                lazy.ping()

    def readers_that_read(self, shards):
        """Three of them, 1,000 messages of 16 KiB, as fast as the publisher is let."""
        with Broker(extra="slow_reader_grace 20s\n", shards=shards) as broker:
            readers = [wire.Raw(broker.port, receive_buffer=65536, seconds=10) for _ in range(3)]
            for reader in readers:
                reader.connected("")
                reader.subscribe("flood")
            flooder = Flooder(broker.port, "flood", 16 * 1024, 1000)
            flooder.start()
            for i in range(1000):
                for reader in readers:
                    try:
                        self.assertEqual(len(reader.message().payload), 16 * 1024)
                    except TimeoutError:
                        self.fail(f"only {i} of 1000 messages came")
            flooder.wait()
            for reader in readers:
                reader.close()

    def test_readers_that_read_get_everything_on_one_shard(self):
        """Backpressure: the publisher waits instead of losing messages while readers make progress."""
        self.readers_that_read(1)

    def test_readers_that_read_get_everything_on_four_shards(self):
        """The same where publisher and readers live on different threads."""
        self.readers_that_read(4)

    def test_little_is_on_its_way_to_another_shard(self):
        """Until a reader has told its publishers on another thread to wait, what they had sent fits between its
        two limits: nothing is dropped."""
        limits = "output_soft_limit 64k\noutput_hard_limit 2500k\nslow_reader_grace 60s\nsys_interval 1\n"
        many = wire.packet(wire.PUBLISH << 4, b"\0\5flood" + b"f" * 1000) * 100
        with Broker(extra=limits, shards=2) as broker:
            for i in range(4):  # half of them are on different shards
                stuck = wire.Raw(broker.port, receive_buffer=8192).connected(f"reader{i}")
                stuck.subscribe("flood")
                flooder = wire.Raw(broker.port, seconds=0.5).connected(f"flooder{i}", version=wire.V311)
                with self.assertRaises(TimeoutError):
                    while True:
                        flooder.send(many)
                stuck.close()
                flooder.close()
            self.assertEqual(self.dropped(broker), 0)


class Memory(unittest.TestCase):
    """memory_limit."""

    def usual(self):
        """What a broker needs for nothing, in KiB."""
        with Broker(shards=2) as broker:
            return broker.resident_kib()

    def puback(self, raw):
        """Its reason; what nobody has subscribed to is fine."""
        body = raw.expect(wire.PUBACK).body
        code = body[2] if len(body) > 2 else 0
        return 0 if code == 0x10 else code

    def test_publishers_wait_when_memory_is_short(self):
        """Between 7/8 of it and all of it: one message a second."""
        with Broker(shards=2) as broker, wire.Raw(broker.port) as pub:
            pub.connected("pub")
            broker.write_config(ANYBODY + f"memory_limit {broker.resident_kib() * 15 // 14}k\n")
            broker.signal(signal.SIGHUP)
            broker.wait_log("memory is close to memory_limit: publishers are slowed down")
            started = time.monotonic()
            for i in range(1, 4):
                pub.publish("t", b"x", qos=1, packet_id=i)
                self.assertEqual(self.puback(pub), 0)
            self.assertGreater(time.monotonic() - started, 1.5)
            self.assertEqual(broker.log().count("memory is close to memory_limit"), 1)

    def test_publishers_are_refused_when_memory_is_out(self):
        """Retained messages fill it; what was acknowledged is there, and can be removed."""
        usual = self.usual()
        with Broker(extra=f"memory_limit {usual + 32 * MIB}k\n", shards=2) as broker:
            with wire.Raw(broker.port, seconds=60) as pub:
                pub.connected("filler")
                taken, code = 0, 0
                while code == 0 and taken < 100000:
                    size = 4000 if broker.log().count("memory_limit:") == 0 else 1900000
                    pub.publish(f"fill/{taken}", b"f" * size, qos=1, retain=True, packet_id=1)
                    code = self.puback(pub)
                    taken += code == 0
                self.assertEqual(code, 0x97)
                self.assertLess(broker.resident_kib(), usual + 128 * MIB)
                broker.wait_log("memory_limit is reached: new sessions and publishes are refused")
                with wire.Raw(broker.port) as late:
                    self.assertEqual(late.connect("late").code, 0x97)
                pub.publish("fill/0", b"", qos=1, retain=True, packet_id=1)
                self.assertEqual(self.puback(pub), 0)


class Descriptors(unittest.TestCase):
    """ulimit -n is small."""

    def check_well_behaved(self, broker, name, times):
        """A client gets in and is served, so many times in a row."""
        for _ in range(times):
            with wire.Raw(broker.port) as raw:
                raw.connected(name)
                raw.subscribe(("fine", 1))
                wire.round_trip(raw, "fine")
                raw.disconnect()

    def test_the_oldest_without_connect_goes(self):
        """Sixty silent connections and room for thirty: the first are closed, the last are not, who was
        connected stays, and newcomers get in."""
        with Broker(shards=1) as broker:
            first = wire.Raw(broker.port).connected("first")
            first.subscribe("t")
            broker.leave_descriptors(30)
            silent = [wire.Raw(broker.port) for _ in range(60)]
            self.check_well_behaved(broker, "newcomer", 5)
            broker.wait_log(r"Warning: no file descriptors are left")
            for raw in silent[:30]:
                self.assertIsNone(raw.read())
            self.assertFalse(silent[-1].readable(0))
            silent[-1].connected("silent no more")
            wire.round_trip(first, "t")
            for raw in (first, *silent):
                raw.close()

    def test_the_last_silent_one_makes_room(self):
        """All descriptors but one are clients', the last is a silent connection's: it goes, the newcomer gets
        in and is not taken for silent itself."""
        with Broker(shards=1) as broker:
            broker.leave_descriptors(10)
            clients = [wire.Raw(broker.port).connected(f"c{i}") for i in range(9)]
            silent = wire.Raw(broker.port)
            with wire.Raw(broker.port) as raw:
                raw.connected("newcomer")
            self.assertIsNone(silent.read())
            for raw in clients:
                raw.ping()
                raw.close()
            silent.close()

    def test_halves_of_connect_count_as_silent(self):
        """A first byte does not protect."""
        with Broker(shards=1) as broker:
            broker.leave_descriptors(30)
            silent = []
            for _ in range(100):
                raw = wire.Raw(broker.port)
                raw.send(wire.connect("half")[:-1])
                silent.append(raw)
            self.check_well_behaved(broker, "newcomer", 5)
            self.assertIsNone(silent[0].read())
            for raw in silent:
                raw.close()

    def test_on_several_shards(self):
        """Four shards and room for six: forty silent ones take it all, on whichever shard they are; twenty
        newcomers in a row get in, on whichever shard they arrive."""
        with Broker(shards=4) as broker:
            broker.leave_descriptors(6)
            silent = [wire.Raw(broker.port) for _ in range(40)]
            self.check_well_behaved(broker, "newcomer", 20)
            for raw in silent:
                raw.close()

    def test_all_taken_by_clients(self):
        """Then newcomers are closed, clients are served; when some go, newcomers get in again."""
        with Broker(shards=1) as broker:
            broker.leave_descriptors(20)
            clients = []

            def full():
                raw = wire.Raw(broker.port)
                raw.send(wire.connect(f"c{len(clients)}"))
                if raw.read() is None:
                    raw.close()
                    return True
                clients.append(raw)
                return False

            until(full, "no descriptors are left")
            self.assertIn(len(clients), (20, 21))  # what looked for the port may have been still open
            for raw in clients:
                raw.ping()
            for raw in clients[:5]:
                raw.disconnect()

            def gets_in():
                with wire.Raw(broker.port) as raw:
                    raw.send(wire.connect("late"))
                    return raw.read()

            until(gets_in, "there is room again")
            for raw in clients[5:]:
                raw.ping()
                raw.close()


if __name__ == "__main__":
    main()
