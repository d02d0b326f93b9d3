"""The command line, exit codes, what a bad configuration says, include_dir, and the daemon."""
import ctypes
import os
import pwd
import re
import shutil
import signal
import socket
import tempfile
import unittest

import wire
from broker import Broker, can_connect, free_port, main, run_sluice, sanitizer_reports, until
from clients import publish

REFUSED = [  # what this version does not have yet
    "tls_engine x", "tls_engine_kpass_sha1 x",
    "tls_keyform engine",
    "connection bridge", "address 10.0.0.1",
    "topic # both",
]
WRONG = [  # and what is not right
    "no_such_directive 1", "max_qos 3", "max_qos two", "allow_anonymous maybe", "max_connections many",
    "max_inflight_messages 65536", "max_packet_size 10", "listener", "listener 70000", "listener x",
    "log_dest nowhere", "log_type everything", "sys_interval 65536", "shards 65", "shards 0",
    "mount_point a/#", "queue a/b", "queue_topic a", "dead_letter_reasons some", "max_deliveries 256",
    "log_dest file", "protocol smoke", "connect_timeout 1x",
    "certfile /etc/cert.pem", "keyfile /etc/key.pem", "cafile /etc/ca.pem", "require_certificate true",
    "psk_hint x", "plugin /usr/lib/p.so", "auth_plugin /usr/lib/p.so", "plugin_opt_acl_file /x",
    "use_identity_as_username true", "use_subject_as_username true", "tls_version tlsv1", "tls_version 3",
    "tls_keyform der", "durability sometimes", "durability interval", "persistence_file x/",
    "enable_proxy_protocol true", "enable_proxy_protocol 3",
    "persistent_client_expiration 5", "http_dir /nowhere", "websockets_origin x", "websockets_headers_size 65536", "accept_protocol_versions 6", "allow_anonymous",
]
GOOD = [  # mosquitto's, taken over or ignored with a reason
    "# a comment", "", "persistence true", "durability interval 100ms", "autosave_interval 1800",
    "persistence_location /var/lib/x/", "persistence_file x.db", "allow_duplicate_messages true", "check_retain_source true",
    "retained_persistence true", "websockets_log_level 0", "maximum_qos 1", "max_inflight_bytes 1000",
    "max_keepalive 100", "memory_limit 1000000", "set_tcp_nodelay true", "log_facility 5",
    "upgrade_outgoing_qos true", "protocol websockets", "http_dir /tmp", "websockets_headers_size 1024", "packet_buffer_size 4096", "retain_expiry_interval 1",
    "max_queued_bytes 5M", "persistent_client_expiration 2w", "connection_messages false",
]


class Command(unittest.TestCase):
    """Runs that end by themselves."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="sluice-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def run_sluice(self, *args):
        """In a folder of its own."""
        return run_sluice(*args, folder=self.dir)

    def file(self, text, name="x.conf"):
        """Writes a file, and its folder."""
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    def test_help(self):
        """-h: 0, on stdout, all options."""
        for option in ("-h", "--help"):
            done = self.run_sluice(option)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for word in ("sluice 0.", "-c", "-p", "-v", "-d", "--test-config", "-h"):
                self.assertIn(word, done.stdout)

    def test_wrong_options(self):
        """3, and which one it is."""
        for args, word in ((["-x"], "-x"), (["--port"], "--port"), (["-c"], "-c"), (["stray"], "stray"),
                           (["-p", "99999"], "99999"), (["-p", "mqtt"], "mqtt"), (["-p", "-1"], "-1")):
            done = self.run_sluice(*args)
            self.assertEqual(done.returncode, 3, args)
            self.assertIn(word, done.stderr)

    def test_port_in_use(self):
        """1, and one clear line with the port; also when only one of the addresses is taken."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            for args in (["-p", str(port)], ["-c", self.file(f"listener {port} 127.0.0.1\n")],
                         ["-c", self.file(f"listener {port}\n", "y.conf")]):
                done = self.run_sluice(*args)
                self.assertEqual(done.returncode, 1, done)
                errors = [line for line in done.stderr.splitlines() if "Error" in line]
                self.assertEqual(len(errors), 1, done.stderr)
                self.assertRegex(errors[0], rf"\b{port}\b.*Address already in use")

    def test_two_listeners_on_one_port(self):
        """The second bind fails, or the file is refused; either way it does not run."""
        port = free_port()
        done = self.run_sluice("-c", self.file(f"listener {port} 127.0.0.1\nlistener {port} 127.0.0.1\n"))
        self.assertIn(done.returncode, (1, 3))
        self.assertIn(str(port) if done.returncode == 1 else "x.conf:2", done.stderr)

    def test_an_address_that_is_not_here(self):
        """1, with the address (192.0.2.0/24 is for documentation)."""
        done = self.run_sluice("-c", self.file(f"listener {free_port()} 192.0.2.1\n"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("192.0.2.1", done.stderr)

    def check_refused(self, directive, command):
        """3, one line, FILE:LINE and the directive's name."""
        name = self.file("# first\nlistener 1883 127.0.0.1\n\n" + directive.format(dir=self.dir) + "\n")
        done = self.run_sluice("-c", name, *command)
        self.assertEqual(done.returncode, 3, (directive, done))
        self.assertTrue(done.stderr.startswith(f"{name}:4: "), (directive, done.stderr))
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(directive.split()[0], done.stderr)
        return done.stderr

    def test_not_supported_yet(self):
        """Refused by name, and it says that it is a matter of time."""
        for directive in REFUSED:
            with self.subTest(directive=directive):
                self.assertIn("not supported yet", self.check_refused(directive, ["--test-config"]))
        self.check_refused(REFUSED[0], [])

    def test_bad_directives(self):
        """Unknown names and values that are not right."""
        for directive in WRONG:
            with self.subTest(directive=directive):
                self.check_refused(directive, ["--test-config"])
        self.check_refused(WRONG[0], [])

    def test_good_directives(self):
        """--test-config says yes and starts nothing."""
        name = self.file("listener 1883 127.0.0.1\n" + "\n".join(GOOD) + "\n")
        done = self.run_sluice("--test-config", "-c", name)
        self.assertEqual((done.returncode, done.stdout), (0, "The configuration is good.\n"), done)

    def test_values_may_hold_anything(self):
        """One space ends the name, the rest of the line is the value; # begins a comment only in front."""
        name = self.file("listener 0 {}/a socket #1\nauto_id_prefix a # b\n".format(self.dir))
        self.assertEqual(self.run_sluice("--test-config", "-c", name).returncode, 0)

    def test_windows_line_ends(self):
        """\\r\\n is a line's end."""
        name = self.file("listener 1883 127.0.0.1\r\nallow_anonymous true\r\n")
        self.assertEqual(self.run_sluice("--test-config", "-c", name).returncode, 0)

    def test_unreadable_files(self):
        """Missing, a folder: 3, as mosquitto, with its name."""
        for name in (os.path.join(self.dir, "missing.conf"), self.dir):
            done = self.run_sluice("-c", name)
            self.assertEqual(done.returncode, 3, done)
            self.assertIn(name, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)

    def test_a_file_without_permission(self):
        """3 (root may read everything: then it is good)."""
        name = self.file("listener 1883 127.0.0.1\n")
        os.chmod(name, 0)
        done = self.run_sluice("--test-config", "-c", name)
        self.assertEqual(done.returncode, 0 if os.geteuid() == 0 else 3)

    def test_a_file_of_bytes(self):
        """Not text at all: 3, not a crash."""
        path = os.path.join(self.dir, "bytes.conf")
        with open(path, "wb") as file:
            file.write(bytes(range(256)) * 64)
        self.assertEqual(self.run_sluice("--test-config", "-c", path).returncode, 3)

    def test_include_dir(self):
        """*.conf only, capital letters first; the last value counts; mistakes are told where they are."""
        self.file("max_qos 9\n", "conf.d/ignored.txt")
        self.file("log_type none\n", "conf.d/b.conf")
        self.file("auto_id_prefix B-\n", "conf.d/B.conf")
        name = self.file(f"listener 1883 127.0.0.1\ninclude_dir {self.dir}/conf.d\n")
        self.assertEqual(self.run_sluice("--test-config", "-c", name).returncode, 0)
        bad = self.file("# fine\nsys_interval x\n", "conf.d/c.conf")
        done = self.run_sluice("--test-config", "-c", name)
        self.assertEqual(done.returncode, 3)
        self.assertTrue(done.stderr.startswith(f"{bad}:2: "), done.stderr)
        self.file("no_such_thing\n", "conf.d/A.conf")
        self.assertIn("A.conf:1: ", self.run_sluice("--test-config", "-c", name).stderr)

    def test_include_dir_that_is_missing(self):
        """3, where it is named and which folder."""
        name = self.file(f"include_dir {self.dir}/nowhere\n")
        done = self.run_sluice("-c", name)
        self.assertEqual(done.returncode, 3)
        self.assertTrue(done.stderr.startswith(f"{name}:1: "), done.stderr)
        self.assertIn(f"{self.dir}/nowhere", done.stderr)

    def test_include_dir_is_used(self):
        """What stands in the folder works."""
        self.file("auto_id_prefix inc-\n", "inc/a.conf")
        with Broker(extra=f"include_dir {self.dir}/inc\n") as broker:
            publish(broker.port, "-t", "a", "-m", "b")
            broker.wait_log(r"New client connected from \S+ as inc-[0-9A-Z]+ ")

    def test_debians_own_file(self):
        """/etc/mosquitto/mosquitto.conf as it comes, with our folders."""
        lines = ["pid_file {0}/mosquitto.pid", "persistence true", "persistence_location {0}/",
                 "log_dest file {0}/mosquitto.log", "include_dir {0}/conf.d"]
        os.mkdir(os.path.join(self.dir, "conf.d"))
        text = "\n".join(["# Place your local configuration in conf.d", *lines, ""])
        name = self.file(text.format(self.dir))
        self.assertEqual(self.run_sluice("--test-config", "-c", name).returncode, 0)

    def test_verbose(self):
        """-v logs everything, over log_type; without it subscriptions are not logged."""
        for args, wanted in (([], False), (["-v"], True)):
            with Broker("listener {0} 127.0.0.1\nallow_anonymous true\n", args=args) as broker:
                with wire.Raw(broker.port) as raw:
                    raw.connected("verbose")
                    raw.subscribe(("some/topic", 1))
                broker.wait_log(r"Client verbose ")
                self.assertEqual("verbose 1 some/topic" in broker.log(), wanted)


    def test_user(self):
        """Root becomes the user after the ports are open; somebody who does not exist: exit code 1."""
        if os.geteuid() != 0:
            self.skipTest("only root can change")
        try:
            wanted = pwd.getpwnam("nobody").pw_uid
        except KeyError:
            self.skipTest("no user 'nobody' here")
        # A process that has changed its user cannot be looked into, which looking for leaks needs.
        with Broker(extra="user nobody\n", asan="detect_leaks=0") as broker:
            broker.wait_log("running")
            with open(f"/proc/{broker.pid}/status", encoding="ascii") as file:
                uids = re.search(r"Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", file.read()).groups()
            self.assertEqual(set(map(int, uids)), {wanted})
            publish(broker.port, "-t", "a", "-m", "b")
        done = self.run_sluice("-c", self.file(f"listener {free_port()} 127.0.0.1\nuser no-such-user\n"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("no-such-user", done.stderr)


class Daemon(unittest.TestCase):
    """-d.  The grandchild becomes ours (PR_SET_CHILD_SUBREAPER), so that its end can be waited for."""

    def setUp(self):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
        self.addCleanup(ctypes.CDLL(None).prctl, 36, 0, 0, 0, 0)
        self.dir = tempfile.mkdtemp(prefix="sluice-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.conf = os.path.join(self.dir, "d.conf")
        self.pid_file = os.path.join(self.dir, "sluice.pid")
        self.log_file = os.path.join(self.dir, "sluice.log")

    def start(self, port, extra=""):
        """Writes the file and runs sluice -d."""
        with open(self.conf, "w", encoding="utf-8") as file:
            file.write(f"listener {port} 127.0.0.1\nallow_anonymous true\nshards 2\n"
                       f"pid_file {self.pid_file}\n"
                       f"log_dest file {self.log_file}\n{extra}")
        return run_sluice("-d", "-c", self.conf, folder=self.dir)

    def start_on_free_port(self):
        """Tries again when the port was lost meanwhile."""
        for _ in range(5):
            port = free_port()
            done = self.start(port)
            if done.returncode == 0 or "in use" not in self.log():
                return port, done
        raise AssertionError(self.log())

    def log(self):
        """The log file."""
        if not os.path.exists(self.log_file):
            return ""
        with open(self.log_file, encoding="utf-8") as file:
            return file.read()

    def test_daemon(self):
        """The parent ends with 0 when the broker listens; the child is in the pid file, in its own session,
        and has let go of the terminal; SIGTERM ends it with 0 and the file is gone."""
        port, done = self.start_on_free_port()
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), self.log())
        self.assertTrue(can_connect(port))  # at once, nothing to wait for
        with open(self.pid_file, encoding="ascii") as file:
            pid = int(file.read())
        self.addCleanup(self.reap, pid)
        self.assertEqual(os.getsid(pid), pid)
        for fd in range(3):
            self.assertEqual(os.readlink(f"/proc/{pid}/fd/{fd}"), "/dev/null")
        publish(port, "-q", "1", "-t", "a", "-m", "b")
        os.kill(pid, signal.SIGTERM)
        self.assertEqual(self.wait(pid), 0, self.log())
        self.assertFalse(os.path.exists(self.pid_file))
        self.assertEqual(sanitizer_reports(self.dir), "")
        self.assertIn("terminating", self.log())

    @staticmethod
    def wait(pid):
        """The daemon's exit code."""
        result = []

        def ended():
            done, status = os.waitpid(pid, os.WNOHANG)
            result.append(status)
            return done == pid

        until(ended, "the daemon ends", 10)
        return os.waitstatus_to_exitcode(result[-1])

    @staticmethod
    def reap(pid):
        """Leaves nothing behind when the test failed."""
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass

    def test_failed_bind(self):
        """The parent ends with 1, there is no pid file, and the log says why."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            done = self.start(port)
            self.assertEqual(done.returncode, 1)
            self.assertFalse(os.path.exists(self.pid_file))
            self.assertRegex(self.log(), rf"Error: .*\b{port}\b.*Address already in use")

    def test_failed_bind_is_seen_without_a_log_file(self):
        """The error reaches the terminal from which it was started."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            done = run_sluice("-d", "-p", str(port), folder=self.dir)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, rf"\b{port}\b.*Address already in use")

    def test_bad_configuration(self):
        """3, before it becomes a daemon."""
        done = self.start(1, "no_such_thing\n")
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stderr, r"\A.*/d\.conf:\d+: ")

    def test_pid_file_that_cannot_be_written(self):
        """1, and which file."""
        self.pid_file = os.path.join(self.dir, "missing", "sluice.pid")
        done = self.start(free_port())
        self.assertEqual(done.returncode, 1)
        self.assertIn(self.pid_file, self.log())

    def test_pid_file_in_the_foreground(self):
        """mosquitto writes it without -d too."""
        with Broker(extra="pid_file {dir}/f.pid\n") as broker:
            path = broker.path("f.pid")
            broker.wait_log("running")
            with open(path, encoding="ascii") as file:
                self.assertEqual(file.read(), f"{broker.pid}\n")
            broker.stop()
            self.assertFalse(os.path.exists(path))


if __name__ == "__main__":
    main()
