"""A broker under load is killed again and again, by SIGKILL and with loss of power, and nothing is lost,
doubled or out of order.  And the proof that lost, doubled and disordered things would be noticed.

    SLUICE_KILL_ROUNDS=1000 SLUICE_KILL_SEED=7 python3 test_kill.py Kill

rounds: all classes together die so often (200).  seed: printed; it fixes when and how, as far as time allows.
"""
import os
import random
import subprocess
import sys
import tempfile
import unittest

import durable
import powerloss
import wire
from broker import ANYBODY, DURABLE, PROGRAMS, Broker, main

SHIM = os.path.join(PROGRAMS, "unsynced.so")
# Everything that is owed is kept, however long somebody stays away.
NO_LIMITS = "max_queued_messages 0\nmax_queued_bytes 0\n"


def told(seed, faults):
    """The first of them, as lines."""
    return "\n".join([f"seed {seed}", *faults[:25], f"{len(faults)} in all"])


class Judge(unittest.TestCase):
    """History: a correct run has no faults, and each kind of fault is one."""

    def setUp(self):
        self.history = durable.History()
        self.history.subscribed("sub", "live/#", 2)
        self.history.subscribed("low", "live/+/0", 1)

    def publish(self, number, qos=2, acked=True, topic="live/p/0"):
        """Publishes and, by default, sees it acknowledged."""
        self.history.published("p", number, topic, qos)
        if acked:
            self.history.acked("p", number)

    def deliver(self, number, qos=2, to="sub", topic="live/p/0", payload=None):
        """A delivery."""
        self.history.delivered(to, payload or durable.payload_of("p", number, 30), topic, qos)

    def both(self, *numbers):
        """Delivers to both subscribers."""
        for number in numbers:
            self.deliver(number)
            self.deliver(number, 1, "low")

    def check(self, *wanted):
        """These patterns, one a fault, and no others."""
        faults = self.history.check()
        self.assertEqual(len(faults), len(wanted), faults)
        for fault, pattern in zip(faults, wanted):
            self.assertRegex(fault, pattern)

    def test_a_correct_run(self):
        """QoS 1 may come again; what was not acknowledged need not come."""
        for number in (1, 2, 3):
            self.publish(number)
        self.publish(4, acked=False)
        self.both(1, 2, 3)
        self.deliver(2, 1, "low")
        self.check()

    def test_lost(self):
        """Acknowledged, and one subscriber has not got it."""
        for number in (1, 2, 3):
            self.publish(number)
        self.both(1)
        self.deliver(3)
        self.deliver(2, 1, "low")
        self.deliver(3, 1, "low")
        self.check(r"sub: .*2\) of QoS 2, published in round 0, was acknowledged and is lost")

    def test_lost_at_qos_1(self):
        """The same with the other subscriber."""
        self.publish(1)
        self.deliver(1)
        self.check(r"low: .* is lost")

    def test_published_before_the_subscription(self):
        """Is not owed; afterwards it is."""
        self.publish(1)
        self.both(1)
        self.history.subscribed("late", "live/#", 1)
        self.check()
        self.publish(2)
        self.both(2)
        self.check(r"late: .*2\) .* is lost")

    def test_twice_with_qos_2(self):
        """Exactly once."""
        self.publish(1)
        self.both(1)
        self.deliver(1)
        self.check(r"sub: .* of QoS 2 delivered 2 times")

    def test_twice_long_afterwards(self):
        """After everything was checked and forgotten."""
        self.publish(1)
        self.both(1)
        self.check()
        self.history.forget()
        self.deliver(1, 1, "low")
        self.check()
        self.deliver(1)
        self.check("long afterwards")

    def test_out_of_order(self):
        """First deliveries count, those of each QoS among themselves."""
        self.publish(1)
        self.publish(2, 1)
        self.publish(3)
        for number, qos in ((2, 1), (3, 2), (1, 2)):
            self.deliver(number, qos)
        for number in (1, 2, 3, 1, 2):
            self.deliver(number, 1, "low")
        self.check(r"sub: .*1\) after number 3")

    def test_forged_and_altered(self):
        """Never published; damaged; on another topic; with another QoS."""
        self.publish(1)
        self.both(1)
        self.deliver(9)
        self.deliver(1, 1, "low", payload=durable.payload_of("p", 1, 30)[:-1] + b"?")
        self.publish(2)
        self.deliver(2, topic="live/p/1")
        self.deliver(2, 2, "low")
        self.check("never published", "altered", "on live/p/1, published on live/p/0", "QoS 2, not 1")

    def test_not_subscribed(self):
        """A delivery that its filter does not match."""
        self.publish(1, topic="live/p/1")
        self.deliver(1, topic="live/p/1")
        self.deliver(1, 1, "low", topic="live/p/1")
        self.check("low: ")

    def test_a_packet_identifier_for_two_messages(self):
        """While its handshake is open."""
        self.history.same_again("sub", 5, b"a", b"a")
        self.history.same_again("sub", 5, b"a", b"b")
        self.check("packet identifier 5")

    def test_session_present(self):
        """Forgotten, or not forgotten."""
        self.history.session("sub", True, True)
        self.history.session("sub", True, False)
        self.history.session("sub", False, True)
        self.check("present False, not True", "present True, not False")

    def test_retained(self):
        """The last acknowledged value or a newer one; a deletion is a value too."""
        values = [self.history.kept("kept/p/1", payload) for payload in (b"old", b"", b"good", b"new")]
        for value in values[:3]:
            value[1] = True
        for found, fault in ((b"good", False), (b"new", False), (b"old", True), (b"", True)):
            self.history.faults.clear()
            self.history.check_retained({"kept/p/1": found} if found else {})
            self.check(*["retained on kept/p/1"] * fault)
        self.history.kept("kept/p/1", b"")
        self.history.faults.clear()
        self.history.check_retained({})
        self.check()
        self.history.check_retained({"kept/q/1": b"x", "kept/p/1": b"new"})
        self.check("nobody set")


class Clients(unittest.TestCase):
    """The load and its judge on a broker that keeps nothing on disk."""

    def test_connections_break(self):
        """Nobody dies, all connections do: no faults."""
        for shards in (1, 3):
            with Broker(config=ANYBODY, extra=NO_LIMITS, shards=shards) as broker:
                load = durable.Load(broker, durable.seed(), crash=lambda: None)
                load.start = lambda: None
                load.die = lambda load=load: [client.drop() for client in load.clients]
                faults = load.run(6)
                self.assertFalse(faults, told(load.seed, faults))
                self.assertGreater(load.publishers[1].number, 30)

    def test_a_broker_that_forgets_is_found_out(self):
        """Killed and started without persistence."""
        with Broker(config=ANYBODY + "# {data}\n", extra=NO_LIMITS) as broker:
            load = durable.Load(broker, 5)
            load.DRAIN_S = load.RETAINED_S = 0.5
            wanted = {client: load.MESSAGES for client in load.publishers}
            load.load = lambda: load.pump(lambda: load.feed(wanted) or not any(wanted.values()), "published")
            text = "\n".join(load.run(1))
        self.assertRegex(text, "all2: session present False")
        self.assertRegex(text, "is lost")
        self.assertRegex(text, "retained on kept/")


class Kill(unittest.TestCase):
    """kill -9.  The system lives on, so what was written is there, synced or not."""

    def check(self, shards, share, extra):
        """Rounds of it on one folder."""
        seed = durable.seed()
        print(f"seed {seed}", file=sys.stderr)
        with Broker(config=DURABLE, extra=NO_LIMITS + extra, shards=shards[0]) as broker:
            load = durable.Load(broker, seed, shards)
            faults = load.run(durable.rounds(share))
            self.assertFalse(faults, told(seed, faults))

    def test_one_shard(self):
        """Each acknowledgement waits for the disk."""
        self.check((1,), 0.28, "durability commit\n")

    def test_three_shards(self):
        """Across threads."""
        self.check((3,), 0.28, "durability commit\n")

    def test_another_number_of_shards_each_time(self):
        """Sessions and queues move to other homes; synced every 50 ms."""
        self.check((1, 3, 2, 4), 0.2, "durability interval 50ms\n")


class Shim(unittest.TestCase):
    """unsynced.c and powerloss.py with a program that is told what to do."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="sluice-shim-")
        self.addCleanup(folder.cleanup)
        self.root = os.path.join(folder.name, "data")
        self.watcher = powerloss.Watcher(self.root, os.path.join(folder.name, "own"))

    def run_program(self, text, code=-9):
        """Python under the shim, in the watched folder; by default it kills itself at the end."""
        text = f"""import os
def opened(name, flags=os.O_RDWR | os.O_CREAT):
    return os.open(name, flags)
{text}
os.kill(os.getpid(), 9)
"""
        done = subprocess.run([sys.executable, "-c", text], cwd=self.root, check=False,
                              env={**os.environ, **self.watcher.environment(SHIM)})
        self.assertEqual(done.returncode, code)

    def files(self):
        """{name: content} of what is left."""
        found = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, self.root)] = file.read()
        return found

    def check(self, text, share, wanted):
        """Runs, loses power, compares."""
        self.run_program(text)
        self.watcher.lose_power(random.Random(1), share)
        self.assertEqual(self.files(), wanted)

    KEPT_NAMES = "here = opened('.', os.O_RDONLY)\nfile = opened('a')\nos.fsync(here)\n"

    def test_only_what_was_synced_stays(self):
        """Overwritten, appended, cut, grown."""
        self.check(self.KEPT_NAMES + """
os.pwrite(file, b'a' * 2000, 0)
os.fdatasync(file)
os.pwrite(file, b'b' * 1000, 1500)
os.pwritev(file, [b'c' * 10, b'd' * 10], 100)
os.ftruncate(file, 300)
os.posix_fallocate(file, 0, 5000)
os.write(file, b'e')
""", 0, {"a": b"a" * 2000})

    def test_everything_stays(self):
        """Or all of it was on the disk already."""
        self.check(self.KEPT_NAMES + """
os.pwrite(file, b'a' * 1000, 0)
os.ftruncate(file, 700)
os.pwrite(file, b'b' * 10, 800)
os.rename('a', 'b')
""", 1, {"b": b"a" * 700 + bytes(100) + b"b" * 10})

    def test_a_part_stays_by_sectors(self):
        """Each sector is old or new."""
        self.run_program(self.KEPT_NAMES + """
os.pwrite(file, b'o' * 512 * 100, 0)
os.fsync(file)
os.pwrite(file, b'n' * 512 * 100, 0)
""")
        said = self.watcher.lose_power(random.Random(1), 0.5)
        found = self.files()["a"]
        sectors = {found[at:at + 512] for at in range(0, len(found), 512)}
        self.assertEqual(sectors, {b"o" * 512, b"n" * 512})
        self.assertRegex(said, r"share 0.5: [3-6]\d of 100 unsafe sectors and 0 of 0 unsafe names lost")

    def test_names_want_a_sync_of_their_folder(self):
        """A file that was synced in a folder that was not is gone."""
        self.check("""
file = opened('a')
os.write(file, b'x')
os.fsync(file)
os.mkdir('sub')
os.close(opened('sub/b'))
""", 0, {})

    def test_renamed_replaced_and_removed(self):
        """All of it comes back."""
        self.check("""
for name in 'abc':
    file = opened(name)
    os.write(file, name.encode())
    os.fsync(file)
os.fsync(opened('.', os.O_RDONLY))
os.replace('a', 'b')
os.unlink('c')
os.rename('b', 'd')
""", 0, {"a": b"a", "b": b"b", "c": b"c"})

    def test_synced_names_stay(self):
        """The same with fsync of the folder."""
        self.check("""
for name in 'abc':
    file = opened(name)
    os.write(file, name.encode())
    os.fsync(file)
os.replace('a', 'b')
os.unlink('c')
os.fsync(opened('.', os.O_RDONLY))
""", 0, {"b": b"a"})

    def test_truncated_when_opened(self):
        """O_TRUNC is a change of content."""
        self.check(self.KEPT_NAMES + """
os.write(file, b'old')
os.fsync(file)
os.write(opened('a', os.O_WRONLY | os.O_TRUNC), b'new')
""", 0, {"a": b"old"})

    def check_full(self, trigger, in_place):
        """ENOSPC while the file is there, for what is watched only; in_place: also without a new block."""
        self.run_program(f"""
file = opened('a')
os.posix_fallocate(file, 0, 4096)
with open({self.watcher.full!r}, 'wb') as full:
    full.write({trigger!r})
os.write(opened({self.watcher.own!r} + '/else'), b'x')
def refused(call):
    try:
        call()
    except OSError as error:
        return error.errno == 28
    return False
assert refused(lambda: os.pwrite(file, b'x', 100)) == {in_place}
assert refused(lambda: os.pwrite(file, b'x', 4096))
assert refused(lambda: os.posix_fallocate(file, 0, 5000))
os.unlink({self.watcher.full!r})
os.pwrite(file, b'x', 4096)
""")

    def test_a_disk_that_is_full(self):
        """There are no more blocks."""
        self.check_full(b"", False)

    def test_a_disk_that_refuses_everything(self):
        """Because it writes nothing in place."""
        self.check_full(b"all", True)

    def test_another_boot(self):
        """The kernel's boot id is ours, and another after power was lost."""
        self.run_program(f"""
name = '/proc/sys/kernel/random/boot_id'
assert os.read(opened(name, os.O_RDONLY), 99) == os.read(opened({self.watcher.boot!r}), 99)
""")
        with open(self.watcher.boot, "rb") as file:
            before = file.read()
        self.watcher.lose_power(random.Random(1))
        with open(self.watcher.boot, "rb") as file:
            self.assertNotEqual(file.read(), before)


class PowerLoss(unittest.TestCase):
    """kill -9, and then the disk has what was synced and a random part of the rest."""

    def check(self, shards, share):
        """Rounds of it on one folder."""
        seed = durable.seed()
        print(f"seed {seed}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="sluice-power-") as folder:
            watcher = powerloss.Watcher(os.path.join(folder, "data"), os.path.join(folder, "own"))
            with Broker(config=DURABLE, extra=NO_LIMITS, shards=shards[0], data=watcher.root,
                        asan=powerloss.ASAN, environment=watcher.environment(SHIM)) as broker:
                said = []

                def crash():
                    broker.die()
                    said.append(watcher.lose_power(load.chance))

                load = durable.Load(broker, seed, shards, crash)
                faults = load.run(durable.rounds(share))
                self.assertFalse(faults, told(seed, [*faults[:20], *said[-3:]]))

    def test_one_shard(self):
        """The acknowledged survives."""
        self.check((1,), 0.12)

    def test_three_shards(self):
        """Across threads."""
        self.check((3,), 0.12)

    def test_after_a_clean_stop(self):
        """SIGTERM: nothing is left that could be lost."""
        with tempfile.TemporaryDirectory(prefix="sluice-power-") as folder:
            watcher = powerloss.Watcher(os.path.join(folder, "data"), os.path.join(folder, "own"))
            options = {"config": DURABLE, "data": watcher.root, "asan": powerloss.ASAN,
                       "environment": watcher.environment(SHIM)}
            with Broker(**options) as broker:
                with wire.Raw(broker.port) as raw:
                    raw.connected("stays", props=durable.FOREVER)
                    raw.subscribe(("t", 1))
                    raw.disconnect()
                with wire.Raw(broker.port) as raw:
                    raw.connected("")
                    raw.publish("t", b"kept", qos=1)
                    raw.expect(wire.PUBACK)
                    raw.disconnect()
            watcher.lose_power(random.Random(1), 0)
            with Broker(**options) as broker, wire.Raw(broker.port) as raw:
                self.assertTrue(raw.connect("stays", clean=False, props=durable.FOREVER).present)
                self.assertEqual(raw.acked().payload, b"kept")
                raw.disconnect()


if __name__ == "__main__":
    main()
