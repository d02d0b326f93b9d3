"""Limits at the door: of an address, of a listener's rate, of connections without CONNECT, and the answer
to a wrong password, which waits.  Each is hit, counted below $SYS/sluice, and told once."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import wire
from broker import WAIT_S, Broker, main, until
from clients import run_sub
from websocket import Ws, request

SLUICECTL = os.environ.get("SLUICECTL", "")
MAKE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../certs/make.sh")


def counted(broker, name, least=1):
    """The value of a counter, once it has come to what is wanted."""
    def value():
        done = run_sub(broker.port, "-t", f"$SYS/sluice/{name}", "-F", "%p", "-C", "1")
        return int(done.stdout) if int(done.stdout) >= least else None
    return until(value, f"{least} of {name}")


def refused(port, **options):
    """A connection that is closed without a word, while it is asked for or before."""
    try:
        with wire.Raw(port, **options) as raw:
            raw.send(wire.connect("refused"))
            raw.expect_closed()
    except (ConnectionResetError, BrokenPipeError):
        pass


class Addresses(unittest.TestCase):
    """max_connections_per_address, max_connect_rate_per_address."""

    def test_connections_of_an_address(self):
        """Two may come, on whatever shard; a third is closed, but not from elsewhere, nor when one has gone."""
        config = ("sys_interval 1\nlistener {0} 127.0.0.1\nallow_anonymous true\nlistener {1} 127.0.0.1\n"
                  "max_connections_per_address 2\n")
        with Broker(config, shards=3, ports=2, probe=[0]) as broker:
            limited = broker.ports[1]
            with wire.Raw(limited, source="127.0.0.9") as other:
                other.connected("other")
                for turn in range(3):
                    first, second = wire.Raw(limited), wire.Raw(limited)
                    first.connected(f"first-{turn}")
                    second.connected(f"second-{turn}")
                    for _ in range(3):
                        refused(limited)
                    first.disconnect()
                    with wire.Raw(limited) as third:
                        third.connected(f"third-{turn}")
                        third.disconnect()
                    second.disconnect()
                other.ping()
            counted(broker, "refused/address_connections", 9)
            broker.wait_log(r"Client connection from 127\.0\.0\.1:\d+ denied: max_connections_per_address exceeded")
            self.assertEqual(broker.log().count("max_connections_per_address exceeded"), 1)

    def test_a_reload_sets_and_takes_away(self):
        """Who came before the limit is not counted, and leaves without harm; the limit then holds."""
        with Broker(shards=2) as broker, wire.Raw(broker.port) as before:
            before.connected("before")
            broker.write_config(broker.template + "max_connections_per_address 1\n")
            self.reload(broker, 1)
            with wire.Raw(broker.port) as one:
                one.connected("one")
                refused(broker.port)
                before.disconnect()
                refused(broker.port)
                broker.write_config(broker.template)
                self.reload(broker, 2)
                with wire.Raw(broker.port) as two:
                    two.connected("two")

    def reload(self, broker, count):
        """SIGHUP, until every shard has the new configuration: a new connection proves that of its own."""
        broker.signal(signal.SIGHUP)
        broker.wait_log(r"Configuration reloaded\.", count)
        for _ in range(8):
            with wire.Raw(broker.port, source=f"127.0.1.{count}") as raw:
                raw.connected()
                raw.disconnect()

    def test_connections_by_time(self):
        """Three may come at once, then three a second."""
        with Broker(extra="max_connect_rate_per_address 3\nsys_interval 1\n", probe=[]) as broker:
            broker.wait_log("running")
            for _ in range(3):
                with wire.Raw(broker.port, source="127.0.0.7") as raw:
                    raw.connected()
            refused(broker.port, source="127.0.0.7")
            broker.wait_log(r"from 127\.0\.0\.7:\d+ denied: max_connect_rate_per_address exceeded")
            with wire.Raw(broker.port, source="127.0.0.8") as raw:
                raw.connected()
            until(lambda: self.enters(broker.port), "a third of a second later one may")
            counted(broker, "refused/address_rate")

    def enters(self, port):
        """Whether it is let in just now."""
        try:
            with wire.Raw(port, source="127.0.0.7") as raw:
                return raw.connect().code == 0
        except (AssertionError, OSError):
            return False

    def test_behind_a_proxy_it_is_the_clients_address(self):
        """IPv6 by its first half."""
        config = ("listener {0} 127.0.0.1\nallow_anonymous true\nenable_proxy_protocol 1\n"
                  "max_connections_per_address 1\n")
        with Broker(config) as broker:
            def header(address):
                return f"PROXY TCP{6 if ':' in address else 4} {address} {address} 1 2\r\n".encode()
            with wire.Raw(broker.port) as one, wire.Raw(broker.port) as same, wire.Raw(broker.port) as other:
                one.send(header("2001:db8:1:2::3"))
                one.connected("one")
                same.send(header("2001:db8:1:2:aaaa::"), wire.connect("same"))
                same.expect_closed()
                other.send(header("2001:db8:1:3::3"))
                other.connected("other")
            with wire.Raw(broker.port) as one, wire.Raw(broker.port) as same, wire.Raw(broker.port) as other:
                one.send(header("192.0.2.1"))
                one.connected("one")
                same.send(header("::ffff:192.0.2.1"), wire.connect("same"))
                same.expect_closed()
                other.send(header("192.0.2.2"))
                other.connected("other")

    def test_unix_sockets_have_no_address(self):
        """Any number."""
        config = "listener 0 {dir}/mqtt.sock\nallow_anonymous true\nmax_connections_per_address 1\n"
        with Broker(config, ports=0) as broker:
            path = broker.path("mqtt.sock")
            broker.wait_log("running")  # the path is there before somebody listens
            with wire.Raw(path=path) as one, wire.Raw(path=path) as two:
                one.connected("one")
                two.connected("two")


class Listener(unittest.TestCase):
    """max_connect_rate."""

    def test_those_beyond_wait_their_turn(self):
        """All get in, no faster than the rate after the first second's worth."""
        config = ("sys_interval 1\nlistener {0} 127.0.0.1\nallow_anonymous true\nlistener {1} 127.0.0.1\n"
                  "max_connect_rate 20\n")
        with Broker(config, shards=3, ports=2, probe=[0]) as broker:
            began = time.monotonic()
            raws = [wire.Raw(broker.ports[1]) for _ in range(50)]
            for i, raw in enumerate(raws):
                raw.send(wire.connect(f"c{i}"))
            with wire.Raw(broker.port) as other: # is not held up
                other.connected("other")
                self.assertLess(time.monotonic() - began, 1)
            for raw in raws:
                self.assertEqual(raw.expect(wire.CONNACK).body[1], 0)
                raw.close()
            self.assertGreater(time.monotonic() - began, 1.3)
            counted(broker, "slowed/connect_rate")
            broker.wait_log(rf"Listener {broker.ports[1]}: more than 20 connections a second \(max_connect_rate\)")


class Pending(unittest.TestCase):
    """max_pending_connections."""

    def test_the_oldest_without_connect_goes(self):
        """Of all shards; whoever says CONNECT in time gets in, however many say nothing."""
        with Broker(extra="max_pending_connections 4\nsys_interval 1\nconnect_timeout 1h\n", shards=3) as broker:
            silent = [wire.Raw(broker.port) for _ in range(4)]
            for i in range(12):
                with wire.Raw(broker.port) as good:
                    good.connected(f"good-{i}")
                silent.append(wire.Raw(broker.port))
            for raw in silent[:8]:
                raw.expect_closed()

            def open_ones():
                return sum(not raw.readable(0) for raw in silent)

            until(lambda: open_ones() <= 4, "all but four to be closed")
            self.assertGreaterEqual(open_ones(), 1)
            counted(broker, "refused/pending", 8)
            broker.wait_log(r"More than 4 connections without CONNECT \(max_pending_connections\)")
            for raw in silent:
                raw.close()

    def test_one(self):
        """The smallest limit: the newest has its chance."""
        with Broker(extra="max_pending_connections 1\n", shards=1) as broker:
            with wire.Raw(broker.port) as silent, wire.Raw(broker.port) as good:
                silent.expect_closed()
                good.connected("good")
                good.ping()


class TooLate(unittest.TestCase):
    """connect_timeout: whoever stalls is told of in the log, once a minute, and counted."""

    def test_what_has_not_come(self):
        """Each step before CONNECT has its word."""
        certificates = tempfile.mkdtemp(prefix="sluice-e2e-")
        self.addCleanup(shutil.rmtree, certificates, True)
        subprocess.run(["sh", MAKE, certificates], check=True, timeout=60, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        tls = f"certfile {certificates}/server.crt\nkeyfile {certificates}/server.key\n"
        cases = (("", b"\x10\x20\0\x04MQ", "no whole CONNECT has come"),
                 ("enable_proxy_protocol 1\n", b"PROXY TCP4 ", "no whole PROXY header has come"),
                 (tls, b"\x16\x03\x01", "the TLS handshake has not ended"),
                 ("protocol websockets\n", request()[:40], "no whole HTTP request has come"))
        for more, data, words in cases:
            config = ("sys_interval 1\nlistener {0} 127.0.0.1\nallow_anonymous true\n"
                      "listener {1} 127.0.0.1\n" + more + "connect_timeout 300ms\n")
            with Broker(config, ports=2, probe=[0], shards=1) as broker:
                for _ in range(3):
                    with wire.Raw(broker.ports[1]) as raw:
                        raw.send(data)
                        raw.expect_closed()
                broker.wait_log(rf"refused 127\.0\.0\.1:\d+: {words} in time \(connect_timeout\)")
                self.assertEqual(broker.log().count("in time (connect_timeout)"), 1)
                counted(broker, "refused/connect_timeout")


class WebSockets(unittest.TestCase):
    """The same limits where it begins with HTTP: it is half open until its CONNECT."""

    CONFIG = ("sys_interval 1\nlistener {0} 127.0.0.1\nallow_anonymous true\nlistener {1} 127.0.0.1\n"
              "protocol websockets\nhttp_dir {dir}\n")

    def test_connections_of_an_address(self):
        """Whatever they have said so far: nothing, half a head, a WebSocket, CONNECT."""
        with Broker(self.CONFIG + "max_connections_per_address 4\n", ports=2, shards=3, probe=[0]) as broker:
            port = broker.ports[1]
            with wire.Raw(port) as silent, wire.Raw(port) as half, Ws(port) as opened, Ws(port) as up:
                half.send(request()[:30])
                up.connected("up").ping()
                refused(port)
                with wire.Raw(port, source="127.0.0.9") as other:
                    other.send(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
                    self.assertIn(b" 404 ", other.socket.recv(1000))
                opened.close()
                until(lambda: self.opens(port), "its place is free")
                self.assertFalse(silent.readable(0))
            counted(broker, "refused/address_connections")

    def opens(self, port):
        """Whether a WebSocket does."""
        try:
            with Ws(port) as raw:
                raw.connected("again").ping()
                return True
        except (AssertionError, OSError):
            return False

    def test_connections_by_time(self):
        """Of an address: closed; of the listener: they wait."""
        with Broker(self.CONFIG + "max_connect_rate_per_address 2\n", ports=2, probe=[0]) as broker:
            for i in range(2):
                with Ws(broker.ports[1]) as raw:
                    raw.connected(f"c{i}")
            refused(broker.ports[1])
            counted(broker, "refused/address_rate")
        with Broker(self.CONFIG + "max_connect_rate 10\n", ports=2, shards=3, probe=[0]) as broker:
            began = time.monotonic()
            for i in range(20):
                with Ws(broker.ports[1]) as raw:
                    raw.connected(f"c{i}")
            self.assertGreater(time.monotonic() - began, 0.9)
            counted(broker, "slowed/connect_rate")

    def test_the_oldest_without_connect_goes(self):
        """A WebSocket that says nothing more is no better than a socket that does not."""
        extra = "max_pending_connections 3\nconnect_timeout 1h\n"
        with Broker(self.CONFIG + extra, ports=2, shards=3, probe=[0]) as broker:
            silent = [Ws(broker.ports[1]) for _ in range(3)]
            for i in range(9):
                with Ws(broker.ports[1]) as good:
                    good.connected(f"good-{i}").ping()
                silent.append(Ws(broker.ports[1]))
            for raw in silent[:6]:
                self.assertIn(raw.socket.wait_close(), (None, 1000, 1001))
            counted(broker, "refused/pending", 6)
            for raw in silent:
                raw.close()

    def test_a_silent_one_is_closed_in_time(self):
        """connect_timeout is from the accept to the CONNECT, however far the handshake has come."""
        with Broker(self.CONFIG + "connect_timeout 1s\n", ports=2, probe=[0]) as broker:
            began = time.monotonic()
            with Ws(broker.ports[1]) as raw:
                self.assertIn(raw.socket.wait_close(), (None, 1000, 1001))
            self.assertLess(time.monotonic() - began, WAIT_S)


class Admin(unittest.TestCase):
    """The limits of an address on a listener of http_api."""

    CONFIG = ("listener {0} 127.0.0.1\nallow_anonymous true\nlistener {1} 127.0.0.1\nprotocol http_api\n")

    @staticmethod
    def ask(port, source="127.0.0.1"):
        """Whether somebody answers; the connection, which stays."""
        sock = socket.socket()
        sock.settimeout(WAIT_S)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
        try:
            sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if b" 200 " in sock.recv(1000):
                return sock
        except OSError:
            pass
        sock.close()
        return None

    def test_connections_of_an_address(self):
        """Two may stay; one elsewhere may come too; a place that is free is another's. A reload changes that."""
        with Broker(self.CONFIG + "max_connections_per_address 2\n", ports=2) as broker:
            port = broker.ports[1]
            held = [self.ask(port), self.ask(port)]
            self.assertIsNone(self.ask(port))
            other = self.ask(port, "127.0.0.9")
            self.assertIsNotNone(other)
            held.pop().close()
            again = until(lambda: self.ask(port), "its place is free")
            broker.wait_log(r"Admin: connection from 127\.0\.0\.1:\d+ denied: max_connections_per_address exceeded")
            broker.write_config(self.CONFIG)
            broker.signal(signal.SIGHUP)
            broker.wait_log("Configuration reloaded")
            more = until(lambda: self.ask(port), "there is no limit any more")
            for sock in (*held, other, again, more):
                sock.close()

    def test_connections_by_time(self):
        """Two at once, then two a second."""
        with Broker(self.CONFIG + "max_connect_rate_per_address 2\n", ports=2) as broker:
            port = broker.ports[1]
            until(lambda: self.ask(port, "127.0.0.7"), "it is there").close()
            while sock := self.ask(port, "127.0.0.7"):
                sock.close()
            broker.wait_log(r"Admin: connection from 127\.0\.0\.7:\d+ denied: max_connect_rate_per_address exceeded")
            until(lambda: self.ask(port, "127.0.0.7"), "half a second later one may").close()


class Logins(unittest.TestCase):
    """failed_login_delay."""

    def broker(self, extra="", shards=2):
        """One that knows bob, by a hash that is fast."""
        broker = Broker("listener {0} 127.0.0.1\npassword_file {dir}/users\nsys_interval 1\n" + extra, shards=shards)
        subprocess.run([SLUICECTL, "passwd", "-H", "sha512", "-b", "-c", broker.path("users"), "bob", "secret"], check=True,
                       timeout=60)
        return broker

    def login(self, broker, password, code, **options):
        """One login; how long its answer took."""
        with wire.Raw(broker.port, **options) as raw:
            began = time.monotonic()
            self.assertEqual(raw.connect("x", user="bob", password=password).code, code)
            return time.monotonic() - began + 0.01  # the broker counts in milliseconds

    def test_a_wrong_password_waits_longer_each_time(self):
        """From that address; a right one is answered at once, and so are others meanwhile."""
        with self.broker("failed_login_delay 300ms\n") as broker:
            self.assertGreaterEqual(self.login(broker, "wrong", 0x87), 0.3)
            with wire.Raw(broker.port) as slow:
                slow.send(wire.connect("y", user="bob", password="wrong"))
                began = time.monotonic()
                while not slow.readable(0):
                    self.login(broker, "secret", 0)
                self.assertGreaterEqual(time.monotonic() - began, 0.5)
                self.assertEqual(slow.expect(wire.CONNACK).body[1], 0x87)
            self.assertGreaterEqual(self.login(broker, "wrong", 0x87), 1.2)
            elsewhere = self.login(broker, "wrong", 0x87, source="127.0.0.5")
            self.assertGreaterEqual(elsewhere, 0.3)
            done = run_sub(broker.port, "-u", "bob", "-P", "secret", "-t", "$SYS/sluice/slowed/logins", "-F", "%p", "-C",
                           "2")
            self.assertEqual(done.stdout.split()[-1], "4")

    def test_the_answer_waits_no_longer_than_the_client_may(self):
        """Half of connect_timeout; then it is told, not only closed."""
        with self.broker("failed_login_delay 60s\nconnect_timeout 1s\n") as broker:
            self.assertLess(self.login(broker, "wrong", 0x87), 1)

    def test_a_stop_and_a_client_that_goes_while_an_answer_waits(self):
        """Neither is held up, and nothing leaks."""
        with self.broker("failed_login_delay 60s\nconnect_timeout 1h\n") as broker:
            raws = [wire.Raw(broker.port) for _ in range(8)]
            for i, raw in enumerate(raws):
                raw.send(wire.connect(f"x{i}", user="bob", password="wrong"))
            until(lambda: self.delayed(broker) == 8, "all wait")
            for raw in raws[:4]:
                raw.close()
        for raw in raws[4:]:
            raw.close()

    def test_answers_that_wait_have_a_limit(self):
        """4096 a shard, of clients that have gone; the next is told at once that the server is busy, and right
        passwords are answered as ever."""
        with self.broker("failed_login_delay 60s\nconnect_timeout 1h\nconnection_messages false\n", shards=1) as broker:
            wrong = wire.connect("x", user="bob", password="wrong")
            for i in range(64):
                raws = [wire.Raw(broker.port) for _ in range(64)]
                for raw in raws:
                    raw.send(wrong)
                until(lambda: self.delayed(broker) >= 64 * (i + 1) or i < 63, "they wait")
                for raw in raws:
                    raw.close()
            self.assertLess(self.login(broker, "wrong", 0x89), WAIT_S)
            self.login(broker, "secret", 0)

    def delayed(self, broker):
        """How many answers have had to wait."""
        done = run_sub(broker.port, "-u", "bob", "-P", "secret", "-t", "$SYS/sluice/slowed/logins", "-F", "%p", "-C", "1")
        return int(done.stdout)


if __name__ == "__main__":
    main()
