"""Under a service manager: what it is told (sd_notify), its watchdog, and the unit for systemd."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from broker import SLUICE, WAIT_S, Broker, main, sanitized_environment, until

UNIT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../packaging/sluice.service")


class Manager:
    """The socket of a service manager, and what came to it."""

    def __init__(self, name):
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name[0] == "@" else name)
        self.socket.settimeout(WAIT_S)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.socket.close()

    def next(self, watchdog=False):
        """The next datagram, as a dictionary; without those of the watchdog unless they are wanted."""
        while True:
            text = self.socket.recv(4096).decode()
            if watchdog or text != "WATCHDOG=1":
                return dict(line.split("=", 1) for line in text.split("\n"))

    def nothing_for(self, seconds):
        """Whether nothing comes."""
        self.socket.settimeout(seconds)
        try:
            return not self.socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(WAIT_S)


class Notify(unittest.TestCase):
    """The datagrams."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="sluice-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def test_start_reload_and_stop(self):
        """READY when clients may come; a reload, also one that fails; STOPPING."""
        for name in (os.path.join(self.dir, "notify"), f"@sluice-test-{os.getpid()}"):
            with Manager(name) as manager:
                with Broker(environment={"NOTIFY_SOCKET": name}) as broker:
                    self.assertEqual(manager.next(), {"READY": "1", "MAINPID": str(broker.pid), "STATUS": "running"})
                    broker.signal(signal.SIGHUP)
                    reloading = manager.next()
                    self.assertEqual(reloading["RELOADING"], "1")
                    now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                    self.assertLess(abs(int(reloading["MONOTONIC_USEC"]) - now_us), WAIT_S * 1000000)
                    self.assertEqual(manager.next(), {"READY": "1", "STATUS": "running"})
                    broker.write_config("max_qos 7\n")
                    broker.signal(signal.SIGHUP)
                    self.assertEqual(manager.next()["RELOADING"], "1")
                    failed = manager.next()
                    self.assertEqual(failed["READY"], "1")
                    self.assertIn("the last reload failed: ", failed["STATUS"])
                    self.assertIn("'max_qos' cannot be '7'", failed["STATUS"])
                self.assertEqual(manager.next()["STOPPING"], "1")
                self.assertTrue(manager.nothing_for(0.1))

    def test_the_watchdog_hears_as_long_as_all_goes_on(self):
        """Twice in the time that it waits; not while the process stands still."""
        name = os.path.join(self.dir, "notify")
        environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000"}
        with Manager(name) as manager, Broker(environment=environment, shards=4) as broker:
            self.assertEqual(manager.next()["READY"], "1")
            began = time.monotonic()
            for _ in range(5):
                self.assertEqual(manager.next(watchdog=True), {"WATCHDOG": "1"})
            self.assertGreaterEqual(time.monotonic() - began, 0.4)
            broker.signal(signal.SIGSTOP)
            until(lambda: manager.nothing_for(0.3), "it stands still")
            broker.signal(signal.SIGCONT)
            self.assertEqual(manager.next(watchdog=True), {"WATCHDOG": "1"})

    def test_another_processs_watchdog_is_not_ours(self):
        """WATCHDOG_PID; and names of sockets that are none do no harm."""
        name = os.path.join(self.dir, "notify")
        environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}
        with Manager(name) as manager, Broker(environment=environment):
            self.assertEqual(manager.next()["READY"], "1")
            self.assertTrue(manager.nothing_for(0.2))
        for wrong in ("", "@", "/", "relative", "/nowhere/x", "/" + "x" * 200, "vsock:2:1"):
            with Broker(environment={"NOTIFY_SOCKET": wrong, "WATCHDOG_USEC": "x"}) as broker:
                broker.wait_log("running")


@unittest.skipUnless(shutil.which("systemd-analyze"), "there is no systemd here")
class Unit(unittest.TestCase):
    """packaging/sluice.service."""

    def test_systemd_understands_it(self):
        """Nothing to complain about, and little that it could do to the machine."""
        with tempfile.TemporaryDirectory() as folder, open(UNIT, encoding="utf-8") as file:
            path = os.path.join(folder, "sluice.service")
            with open(path, "w", encoding="utf-8") as out:
                out.write(file.read().replace("/usr/sbin/sluice", SLUICE))
            done = subprocess.run(["systemd-analyze", "verify", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=60, check=False, env=sanitized_environment(folder))
            self.assertEqual((done.returncode, done.stdout), (0, ""))
            done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", path],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    main()
