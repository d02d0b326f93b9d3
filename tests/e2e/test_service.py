"""Under a service manager: what it is told (sd_notify), its watchdog, and the unit for systemd."""
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

import wire
from broker import SLUICE, WAIT_S, Broker, free_port, main, run_sluice, sanitized_environment, until

HERE = os.path.dirname(os.path.abspath(__file__))
UNIT = os.path.join(HERE, "../../packaging/sluice.service")
MAKE = os.path.join(HERE, "../../certs/make.sh")


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


class Privileges(unittest.TestCase):
    """user: what is given up, and what still works then.  Who is not root has nothing to give up."""

    root = os.geteuid() == 0

    def ids(self, broker):
        """Real, effective, saved and file system ids of user and group, the other groups, and the umask."""
        with open(f"/proc/{broker.pid}/status", encoding="ascii") as file:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        return set(fields["Uid"].split()), set(fields["Gid"].split()), set(fields["Groups"].split()), fields["Umask"]

    def test_another_user(self):
        """After the ports are open and the key is read; the store is that user's; SIGHUP goes on, or says why not."""
        nobody = pwd.getpwnam("nobody")
        config = ("listener {0} 127.0.0.1\nallow_anonymous true\ncertfile {dir}/server.crt\nkeyfile {dir}/server.key\n"
                  "persistence true\npersistence_location {data}\nuser nobody\n")
        broker = Broker(config, probe=[])
        subprocess.run(["sh", MAKE, broker.dir], check=True, timeout=60, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        os.chmod(broker.path("server.crt"), 0o644)
        os.chmod(broker.path("server.key"), 0o600)
        os.chmod(broker.dir, 0o711)
        if self.root:
            os.chown(broker.data, nobody.pw_uid, nobody.pw_gid)
        with broker:
            broker.wait_log("running, ")
            users, groups, others, umask = self.ids(broker)
            self.assertEqual(umask, "0077")
            if self.root:
                self.assertEqual((users, groups), ({str(nobody.pw_uid)}, {str(nobody.pw_gid)}))
                self.assertLessEqual(others, {str(nobody.pw_gid)})
                self.assertEqual(os.stat(os.path.join(broker.data, "mosquitto.db")).st_uid, nobody.pw_uid)
            broker.signal(signal.SIGHUP)
            broker.wait_log(r"the old configuration stays in force\. .*server\.key' cannot be opened" if self.root
                            else "Configuration reloaded")
            context = ssl.create_default_context(cafile=broker.path("ca.crt"))
            with context.wrap_socket(socket.create_connection(("127.0.0.1", broker.port)),
                                     server_hostname="localhost") as sock:
                sock.sendall(wire.connect("x"))
                self.assertEqual(sock.recv(4)[0], wire.CONNACK << 4)

    def test_a_user_that_is_not_there(self):
        """The start fails: it does not go on as root."""
        with tempfile.TemporaryDirectory() as folder:
            name = os.path.join(folder, "conf")
            with open(name, "w", encoding="utf-8") as file:
                file.write(f"listener {free_port()} 127.0.0.1\nuser no-such-user\nsys_interval 0\n")
            if self.root:
                done = run_sluice("-c", name, folder=folder)
                self.assertEqual(done.returncode, 1)
                self.assertIn("there is no user 'no-such-user'", done.stderr)

    def test_root_is_warned_of(self):
        """Unless it is meant."""
        for line, count in (("", 1), ("user root\n", 0)):
            with Broker(extra=line) as broker:
                broker.wait_log("running, ")
                self.assertEqual(broker.log().count("Warning: this process stays root"), count if self.root else 0)


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
