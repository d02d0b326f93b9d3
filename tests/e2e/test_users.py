"""User names and passwords: who gets in, `sluicectl passwd` and mosquitto_passwd, reload, and that
passwords being checked hold nobody up."""
import os
import pty
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
import unittest

import wire
from broker import Broker, free_port, main, run_sluice, sanitized_environment, sanitizer_reports, until
from clients import Sub, publish, run_sub

SLUICECTL = os.environ.get("SLUICECTL", "")
USERS = "listener {0} 127.0.0.1\npassword_file {dir}/users\nlog_type all\n"
KINDS = ("sha512", "sha512-pbkdf2", "argon2id")


class UsersCase(unittest.TestCase):
    """With a folder, and the two programs that write files of passwords."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="sluice-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.users = os.path.join(self.dir, "users")

    def passwd(self, *args, code=0, text=None):
        """sluicectl passwd; returns its CompletedProcess."""
        done = subprocess.run([SLUICECTL, "passwd", *args], input=text, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False, cwd=self.dir,
                              env=sanitized_environment(self.dir))
        self.assertEqual(sanitizer_reports(self.dir, done.stderr), "")
        self.assertEqual(done.returncode, code, (args, done.stdout, done.stderr))
        return done

    def mosquitto_passwd(self, *args):
        """The program of Debian's mosquitto."""
        subprocess.run(["mosquitto_passwd", *args], check=True, timeout=60, cwd=self.dir,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def lines(self):
        """Of the file of users."""
        with open(self.users, encoding="utf-8") as file:
            return file.read().splitlines()

    def broker(self, config=USERS, **more):
        """One that knows the users of the file."""
        return Broker(config.replace("{dir}/users", self.users), **more)

    def log_in(self, broker, user, password, code=0, version=wire.V311):
        """One login on a connection of its own."""
        with wire.Raw(broker.port) as raw:
            self.assertEqual(raw.connect(f"c-{user}", version=version, user=user, password=password).code,
                             code, (user, password))


class Logins(UsersCase):
    """Who gets in."""

    def test_mosquitto_clients(self):
        """Right, wrong, none: what people see."""
        self.passwd("-b", "-c", "users", "bob", "secret")
        with self.broker() as broker:
            broker.wait_log(rf"Listener {broker.port} on 127\.0\.0\.1: users of its password_file may connect")
            bob = ("-u", "bob", "-P", "secret")
            with Sub(broker.port, *bob, "-t", "a") as sub:
                publish(broker.port, *bob, "-t", "a", "-m", "hello")
                self.assertEqual(sub.wait_messages(1), ["a hello"])
            broker.wait_log(r"New client connected from 127\.0\.0\.1:\d+ as \S+ \(p2, c1, k60, u'bob'\)\.")
            for args in (("-u", "bob", "-P", "Secret"), ("-u", "eve", "-P", "secret"), ("-u", "bob"), ()):
                done = publish(broker.port, *args, "-t", "a", "-m", "b", check=False)
                self.assertEqual((done.returncode, done.stdout.splitlines()[0]),
                                 (5, "Connection error: Connection Refused: not authorised."))
                done = publish(broker.port, "-V", "5", *args, "-t", "a", "-m", "b", check=False)
                self.assertEqual((done.returncode, done.stdout.splitlines()[0]),
                                 (135, "Connection error: Not authorized"))

    def test_failed_logins_are_in_the_log_with_their_address(self):
        """In mosquitto's words, and without the password."""
        self.passwd("-b", "-c", "users", "bob", "secret")
        with self.broker() as broker:
            with wire.Raw(broker.port) as raw:
                peer = re.escape(raw.peer_text())
                self.assertEqual(raw.connect("x", user="bob", password="hunter2").code, 0x87)
                raw.expect_closed()
            broker.wait_log(rf"\d+: Client <unknown> \[{peer}\] disconnected, not authorised\.\n")
            broker.wait_log(rf"refused {peer} as x: wrong user name or password\.")
            with wire.Raw(broker.port) as raw:
                peer = re.escape(raw.peer_text())
                self.assertEqual(raw.connect("").code, 0x87)
            broker.wait_log(rf"refused {peer}: the listener requires a user name \(allow_anonymous false\)\.")
            self.assertNotIn("hunter2", broker.log())

    def test_anonymous_beside_users(self):
        """allow_anonymous true lets in who gives no name; a name is checked all the same."""
        self.passwd("-b", "-c", "users", "bob", "secret")
        with self.broker(extra="allow_anonymous true\n") as broker:
            with wire.Raw(broker.port) as raw:
                self.assertEqual(raw.connect("x").code, 0)
            self.log_in(broker, "bob", "secret")
            self.log_in(broker, "bob", "wrong", code=5)

    def test_per_listener_settings(self):
        """Each listener has users of its own."""
        config = "per_listener_settings true\nlistener {0} 127.0.0.1\npassword_file {dir}/users\n" \
                 "listener {1} 127.0.0.1\nallow_anonymous true\n"
        self.passwd("-b", "-c", "users", "bob", "secret")
        with self.broker(config, ports=2) as broker:
            self.log_in(broker, "bob", "secret")
            self.log_in(broker, "bob", "wrong", code=5)
            publish(broker.ports[1], "-u", "any", "-P", "thing", "-t", "a", "-m", "b")

    def test_a_file_that_is_wrong(self):
        """3 and FILE:LINE at the start."""
        for text, error in (("# one\nbob\n", ":2: "), ("bob:plain\n", ":1: "), (None, ": cannot open: ")):
            if text is None:
                os.unlink(self.users)
            else:
                with open(self.users, "w", encoding="utf-8") as file:
                    file.write(text)
            name = os.path.join(self.dir, "conf")
            with open(name, "w", encoding="utf-8") as file:
                file.write(f"listener {free_port()} 127.0.0.1\npassword_file {self.users}\n")
            for args in ((), ("--test-config",)):
                done = run_sluice("-c", name, *args, folder=self.dir)
                self.assertEqual(done.returncode, 3)
                self.assertIn(self.users + error, done.stderr)

    def test_others_may_read_the_file(self):
        """A warning, no more."""
        self.passwd("-b", "-c", "users", "bob", "secret")
        os.chmod(self.users, 0o644)
        with self.broker() as broker:
            broker.wait_log("everybody on this machine can read the file of passwords")
            self.log_in(broker, "bob", "secret")


class Reload(UsersCase):
    """SIGHUP reads the file again."""

    def hup(self, broker, text):
        """Reloads, and waits for what the log says."""
        before = broker.log().count(text)
        broker.process.send_signal(signal.SIGHUP)
        until(lambda: broker.log().count(text) > before, text)

    def test_new_passwords_hold_for_new_logins(self):
        """Who is connected stays, with whatever password."""
        self.passwd("-b", "-c", "users", "bob", "old")
        self.passwd("-b", "users", "al", "x")
        with self.broker() as broker:
            bob, al = wire.Raw(broker.port), wire.Raw(broker.port)
            with bob, al:
                self.assertEqual(bob.connect("b", user="bob", password="old").code, 0)
                self.assertEqual(al.connect("a", user="al", password="x").code, 0)
                self.passwd("-b", "users", "bob", "new")
                self.passwd("-D", "users", "al")
                self.passwd("-b", "users", "eve", "y")
                self.log_in(broker, "bob", "old")
                self.hup(broker, "Configuration reloaded.")
                until(lambda: self.code(broker, "eve", "y") == 0, "the new user gets in")
                self.log_in(broker, "bob", "new")
                self.log_in(broker, "bob", "old", code=5)
                self.log_in(broker, "al", "x", code=5)
                for raw in (bob, al):
                    raw.ping()

    def code(self, broker, user, password):
        """CONNACK's."""
        with wire.Raw(broker.port) as raw:
            return raw.connect("code", user=user, password=password).code

    def test_a_broken_file_leaves_the_old_one_in_force(self):
        """And says which line is broken."""
        self.passwd("-b", "-c", "users", "bob", "secret")
        with self.broker() as broker:
            with open(self.users, "a", encoding="utf-8") as file:
                file.write("eve:plain\n")
            self.hup(broker, f"the old configuration stays in force. {self.users}:2: ")
            self.log_in(broker, "bob", "secret")
            self.log_in(broker, "eve", "plain", code=5)
            os.unlink(self.users)
            self.hup(broker, f"the old configuration stays in force. {self.users}: cannot open")
            self.log_in(broker, "bob", "secret")


class Load(UsersCase):
    """Passwords being checked hold nobody up."""

    def test_fifty_logins_while_a_pair_talks(self):
        """Of a kind that takes long; the pair's round trips stay short, and all fifty get their answer."""
        self.passwd("-H", "argon2id", "-b", "-c", "users", "bob", "secret")
        with self.broker(shards=1, extra="allow_anonymous true\nconnect_timeout 60s\n") as broker:
            pair = wire.Raw(broker.port).connected("pair")
            codes, slowest = [], 0
            threads = [threading.Thread(target=lambda i=i: codes.append(self.one(broker, i)))
                       for i in range(50)]
            with pair:
                for thread in threads:
                    thread.start()
                while any(thread.is_alive() for thread in threads):
                    begin = time.monotonic()
                    pair.ping()
                    slowest = max(slowest, time.monotonic() - begin)
            for thread in threads:
                thread.join()
        self.assertEqual(sorted(codes), [0] * 25 + [0x87] * 25)
        self.assertLess(slowest, 1)  # 0.01 s where nothing else runs

    def one(self, broker, i):
        """A login, every other one wrong."""
        with wire.Raw(broker.port, seconds=60) as raw:
            return raw.connect(f"l{i}", user="bob", password="secret" if i % 2 else "wrong").code

    def test_stopping_with_logins_under_way(self):
        """TERM while passwords wait to be checked: a clean end."""
        self.passwd("-I", "300000", "-b", "-c", "users", "bob", "secret")
        with self.broker() as broker:
            raws = [wire.Raw(broker.port) for _ in range(20)]
            for i, raw in enumerate(raws):
                raw.send(wire.connect(f"s{i}", user="bob", password="secret"))
            raws[0].close()
            until(lambda: broker.log().count("New connection") >= 19, "the passwords are being checked")
        for raw in raws[1:]:
            raw.close()


class Passwd(UsersCase):
    """sluicectl passwd, and mosquitto_passwd's files."""

    def test_files_of_mosquitto_passwd(self):
        """Are ours as well."""
        self.mosquitto_passwd("-c", "-b", "users", "bob", "secret")
        self.mosquitto_passwd("-H", "sha512", "-b", "users", "al", "other")
        self.passwd("-b", "users", "eve", "third")
        with self.broker() as broker:
            for user, password in (("bob", "secret"), ("al", "other"), ("eve", "third")):
                self.log_in(broker, user, password)
                self.log_in(broker, user, password + "x", code=5)

    def test_mosquitto_reads_what_we_write(self):
        """The kinds that Debian's knows; and it changes the file further."""
        for kind in KINDS[:2]:
            self.passwd("-H", kind, "-b", "-c", "users", "bob", "secret")
            self.passwd("-b", "users", "al", "other")
            self.mosquitto_passwd("-D", "users", "al")
            port = free_port()
            conf = os.path.join(self.dir, "mosquitto.conf")
            with open(conf, "w", encoding="utf-8") as file:
                file.write(f"listener {port} 127.0.0.1\npassword_file {self.users}\nuser root\n")
            os.chmod(self.dir, 0o755)
            process = subprocess.Popen(["mosquitto", "-c", conf], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
            try:
                until(lambda: publish(port, "-u", "bob", "-P", "secret", "-t", "a", "-m", "b",
                                      check=False).returncode == 0, "mosquitto lets bob in")
                for user, password in (("bob", "wrong"), ("al", "other")):
                    done = publish(port, "-u", user, "-P", password, "-t", "a", "-m", "b", check=False)
                    self.assertEqual(done.returncode, 5)
            finally:
                process.terminate()
                process.wait(20)

    def test_add_change_delete(self):
        """Lines of others stay as they are."""
        self.passwd("-c", "-b", "users", "bob", "one")
        self.assertEqual(stat.S_IMODE(os.stat(self.users).st_mode), 0o600)
        self.assertRegex(self.lines()[0], r"^bob:\$7\$1000\$[A-Za-z0-9+/]{16}\$[A-Za-z0-9+/]{86}==$")
        with open(self.users, "a", encoding="utf-8") as file:
            file.write("# a comment\n\nal:$6$x\n")
        old = self.lines()
        self.passwd("-b", "users", "eve", "two")
        self.assertEqual(self.lines()[:4], old)
        self.passwd("-b", "users", "bob", "three")
        self.assertNotEqual(self.lines()[0], old[0])
        self.assertEqual(self.lines()[1:4], old[1:])
        self.passwd("-D", "users", "bob")
        self.assertEqual(self.lines()[:3], old[1:])
        self.assertIn("no user 'bob'", self.passwd("-D", "users", "bob", code=1).stderr)
        self.passwd("-c", "-b", "users", "new", "x")
        self.assertEqual(len(self.lines()), 1)
        self.assertEqual(os.listdir(self.dir), ["users"])

    def test_kinds(self):
        """All three let the user in."""
        for kind in KINDS:
            self.passwd("-H", kind, "-b", "-c", "users", "bob", "secret")
            with self.broker() as broker:
                self.log_in(broker, "bob", "secret")
                self.log_in(broker, "bob", "wrong", code=5)
        self.passwd("-I", "4321", "-b", "users", "bob", "secret")
        self.assertIn("bob:$7$4321$", self.lines()[0])
        self.passwd("-H", "argon2id", "-b", "users", "bob", "secret")
        self.assertIn("bob:$argon2id$v=19$m=47104,t=1,p=1$", self.lines()[0])

    def test_hashing_a_file_of_plain_passwords(self):
        """-U; a hash in it is left alone."""
        with open(self.users, "w", encoding="utf-8") as file:
            file.write("# plain\nbob:se:cret\nal:other\n")
        self.passwd("-U", "users")
        first = self.lines()
        self.assertEqual(first[0], "# plain")
        self.passwd("-U", "users")
        self.assertEqual(self.lines(), first)
        with self.broker() as broker:
            self.log_in(broker, "bob", "se:cret")
            self.log_in(broker, "al", "other")

    def test_a_link_stays_a_link(self):
        """What it points to is written."""
        real = os.path.join(self.dir, "real")
        self.passwd("-c", "-b", "real", "bob", "x")
        os.symlink(real, self.users)
        self.passwd("-b", "users", "al", "y")
        self.assertTrue(os.path.islink(self.users))
        self.assertEqual(len(self.lines()), 2)

    def test_the_group_keeps_its_right_to_read_and_others_lose_it(self):
        """So that a broker that is not root can read what root has written."""
        self.passwd("-c", "-b", "users", "bob", "x")
        os.chmod(self.users, 0o644)
        self.passwd("-b", "users", "al", "y")
        self.assertEqual(stat.S_IMODE(os.stat(self.users).st_mode), 0o640)

    def test_password_from_a_pipe(self):
        """One line."""
        self.passwd("-c", "users", "bob", text="pipe d\n")
        with self.broker() as broker:
            self.log_in(broker, "bob", "pipe d")
        self.passwd("users", "bob", text="", code=1)
        self.assertIn("empty password", self.passwd("users", "bob", text="\n", code=1).stderr)

    def prompt(self, first, second):
        """Types two passwords into a terminal; returns the exit code and what the terminal showed."""
        master, slave = pty.openpty()
        process = subprocess.Popen([SLUICECTL, "passwd", "-c", "users", "bob"], stdin=slave, stdout=slave,
                                   stderr=slave, cwd=self.dir, env=sanitized_environment(self.dir))
        os.close(slave)
        shown = b""
        for question, answer in ((b"Password: ", first), (b"Reenter password: ", second)):
            while question not in shown:
                shown += os.read(master, 1000)
            os.write(master, answer.encode() + b"\n")
        code = process.wait(20)
        try:
            shown += os.read(master, 1000)
        except OSError:
            pass  # the terminal's other end is closed
        os.close(master)
        return code, shown.decode()

    def test_password_from_a_terminal(self):
        """Asked for twice, and not shown."""
        code, shown = self.prompt("typed in", "typed in")
        self.assertEqual(code, 0)
        self.assertNotIn("typed in", shown)
        with self.broker() as broker:
            self.log_in(broker, "bob", "typed in")
        code, shown = self.prompt("one", "two")
        self.assertEqual(code, 1)
        self.assertIn("not the same", shown)

    def test_wrong_use(self):
        """2, and how it is used."""
        for args in ((), ("-c",), ("users",), ("-b", "users", "bob"), ("-x", "users", "bob"),
                     ("-c", "-D", "users", "bob"), ("-U", "users", "bob"), ("-H", "md5", "users", "bob"),
                     ("-I", "0", "users", "bob"), ("-b", "-D", "users", "bob", "x"), ("-H",)):
            self.assertIn("Usage: sluicectl passwd", self.passwd(*args, code=2).stderr)
        self.assertIn("-c makes it", self.passwd("-b", "users", "bob", "x", code=1).stderr)
        for user in ("", "a:b", "#a"):
            self.passwd("-c", "-b", "users", user, "x", code=1)
        self.assertIn("Usage: sluicectl passwd", self.passwd("--help").stdout)
        self.assertIn("cannot be written", self.passwd("-c", "-b", "no/users", "bob", "x", code=1).stderr)


class Tutorial(UsersCase):
    """docs/tutorial/2-users.md does what it says."""

    PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/tutorial/2-users.md")

    def test_every_command(self):
        """In order; the port and the broker's process id are this test's."""
        with open(self.PAGE, encoding="utf-8") as file:
            page = file.read()
        config = re.search(r"```\n(.*?)```", page, re.S).group(1)
        commands = re.findall(r"^ {4}(.*)$", page, re.M)
        start = commands.index("sluice -c sluice.conf")
        for command in commands[:start]:
            self.shell(command)
        config = config.replace("1883", "{0} 127.0.0.1").replace("users", self.users)
        with Broker(config) as broker:
            for command in commands[start + 1:]:
                reloads = command.startswith("kill -HUP")
                self.shell(command.replace("$(pidof sluice)", str(broker.pid)), broker.port)
                if reloads:
                    broker.wait_log("Configuration reloaded.")
                    until(lambda: publish(broker.port, "-u", "carol", "-P", "pianos", "-t", "a", "-m", "b",
                                          check=False).returncode == 0, "carol gets in")
        self.assertEqual(len(commands), 12)

    def shell(self, command, port=0):
        """Runs a line of the page."""
        names = f'sluicectl() {{ "{SLUICECTL}" "$@"; }}; ' \
                f'mosquitto_pub() {{ command mosquitto_pub -h 127.0.0.1 -p {port} "$@"; }}; '
        done = subprocess.run(["bash", "-c", names + command], stdout=subprocess.PIPE, cwd=self.dir,
                              stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, (command, done.stdout))


if __name__ == "__main__":
    main()
