"""MQTT 5's enhanced authentication with SCRAM-SHA-256 against the real broker."""
import signal
import threading

import scram
import wire
from broker import main, until
from clients import Sub, publish
from test_users import UsersCase


class ScramCase(UsersCase):
    """With a user bob, who can use SCRAM."""

    def setUp(self):
        super().setUp()
        self.passwd("-H", "scram-sha-256", "-b", "-c", "users", "bob", "secret")

    def scram(self, broker, user="bob", password="secret", code=0, **options):
        """A login; returns the connection that is open."""
        raw = wire.Raw(broker.port)
        self.addCleanup(raw.close)
        self.assertEqual(scram.log_in(raw, "x", user, password, **options), code)
        return raw


class Logins(ScramCase):
    """Who gets in, and what the others are told."""

    def test_right_and_wrong(self):
        """The server proves that it knows bob, too; nobody learns whether a user is there."""
        with self.broker() as broker:
            raw = self.scram(broker)
            raw.ping()
            broker.wait_log(r"New client connected from \S+ as x \(p5, c1, k0, u'bob'\)\.")
            self.scram(broker, password="hunter2", code=0x87).expect_closed()
            self.scram(broker, user="eve", code=0x87).expect_closed()
            broker.wait_log(r"refused \S+ as x: wrong user name or password\.", 2)
            broker.wait_log(r"Client <unknown> \[\S+\] disconnected, not authorised\.", 2)
            self.scram(broker, user="bob").ping()
            for word in ("hunter2", "secret", "n=bob", "biws"):
                self.assertNotIn(word, broker.log())

    def test_who_is_not_there_has_a_salt(self):
        """The same one after a restart."""
        found = []
        for _ in range(2):
            with self.broker() as broker, wire.Raw(broker.port) as raw:
                exchange = scram.Exchange("eve", "x")
                raw.send(wire.connect("x", props=scram.method_property()
                                      + scram.data_property(exchange.first())))
                exchange.server_first = scram.expect_auth(raw, scram.GO_ON)
                found.append((exchange.fields()[b"s"], exchange.fields()[b"i"]))
        self.assertEqual(found[0], found[1])
        self.assertEqual((len(found[0][0]), found[0][1]), (24, b"4096"))

    def test_the_client_that_lets_the_server_begin(self):
        """CONNECT without data."""
        with self.broker() as broker, wire.Raw(broker.port) as raw:
            exchange = scram.Exchange("bob", "secret")
            raw.send(wire.connect("x", props=scram.method_property()))
            self.assertEqual(scram.expect_auth(raw, scram.GO_ON), b"")
            raw.send(scram.auth(scram.GO_ON, exchange.first()))
            raw.send(scram.auth(scram.GO_ON, exchange.last(scram.expect_auth(raw, scram.GO_ON))))
            self.assertEqual(raw.expect(wire.CONNACK).body[1], 0)

    def test_other_methods(self):
        """Are refused, and so is this one where nobody has keys for it, or names are not checked."""
        def code(broker, method):
            with wire.Raw(broker.port) as raw:
                return raw.connect("x", props=scram.method_property(method)).code

        with self.broker() as broker:
            for method in ("SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "PLAIN", "scram-sha-256", "x" * 60000, ""):
                self.assertEqual(code(broker, method), 0x8C)
        self.passwd("-b", "-c", "users", "bob", "secret")
        with self.broker() as broker:
            self.assertEqual(code(broker, "SCRAM-SHA-256"), 0x8C)
        with self.broker("listener {0} 127.0.0.1\nallow_anonymous true\n") as broker:
            self.assertEqual(code(broker, "SCRAM-SHA-256"), 0x8C)

    def test_the_same_user_by_password(self):
        """Also of 3.1.1, which has no methods."""
        with self.broker() as broker:
            bob = ("-u", "bob", "-P", "secret")
            with Sub(broker.port, *bob, "-t", "a") as sub:
                publish(broker.port, "-V", "5", *bob, "-t", "a", "-m", "hello")
                self.assertEqual(sub.wait_messages(1), ["a hello"])
            self.log_in(broker, "bob", "Secret", code=5)

    def test_access_list(self):
        """Knows who it is."""
        acl = self.dir + "/acl"
        with open(acl, "w", encoding="utf-8") as file:
            file.write("user bob\ntopic readwrite bob/#\n")
        with self.broker(extra=f"acl_file {acl}\n") as broker:
            raw = self.scram(broker)
            self.assertEqual(raw.subscribe(("bob/x", 1)), [1])
            wire.round_trip(raw, "bob/x")

    def test_a_name_with_comma_and_letters(self):
        """As SCRAM writes it."""
        self.passwd("-H", "scram-sha-256", "-b", "users", "a,b=ü", "pässword")
        with self.broker() as broker:
            self.scram(broker, user="a,b=ü", password="pässword").ping()
            broker.wait_log("u'a,b=ü'")

    def test_many_at_once(self):
        """On several shards, right and wrong ones."""
        with self.broker(shards=4, extra="connect_timeout 60s\n") as broker:
            codes = []

            def one(i):
                with wire.Raw(broker.port, seconds=60) as raw:
                    codes.append(scram.log_in(raw, f"c{i}", "bob", "secret" if i % 2 else "wrong"))

            threads = [threading.Thread(target=one, args=(i,)) for i in range(40)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(sorted(codes), [0] * 20 + [0x87] * 20)

    def test_stopping_within_exchanges(self):
        """A clean end, whatever they wait for."""
        with self.broker() as broker:
            for i in range(20):
                raw = wire.Raw(broker.port)
                self.addCleanup(raw.close)
                exchange = scram.Exchange("bob", "secret")
                raw.send(wire.connect(f"s{i}", props=scram.method_property()
                                      + scram.data_property(exchange.first())))
                if i % 2:
                    scram.expect_auth(raw, scram.GO_ON)

    def test_nothing_comes_in_time(self):
        """Closes."""
        with self.broker(extra="connect_timeout 500ms\n") as broker, wire.Raw(broker.port) as raw:
            raw.send(wire.connect("x", props=scram.method_property()))
            scram.expect_auth(raw, scram.GO_ON)
            raw.expect_closed()
            broker.wait_log("no AUTH in time")


class Again(ScramCase):
    """Re-authentication on a live connection."""

    def test_right(self):
        """It stays what it was."""
        with self.broker() as broker:
            raw = self.scram(broker)
            raw.subscribe("t")
            for _ in range(3):
                self.assertTrue(scram.log_in_again(raw, "bob", "secret"))
                wire.round_trip(raw, "t")

    def test_wrong(self):
        """DISCONNECT 0x87, and the end."""
        self.passwd("-H", "scram-sha-256", "-b", "users", "eve", "other")
        with self.broker() as broker:
            for user, password in (("bob", "wrong"), ("eve", "other"), ("nobody", "x")):
                raw = self.scram(broker)
                self.assertFalse(scram.log_in_again(raw, user, password))
                raw.expect_disconnect(0x87)
            broker.wait_log("its re-authentication failed", 3)

    def test_the_new_password_counts(self):
        """After a reload, on connections that were there before."""
        with self.broker() as broker:
            raw = self.scram(broker)
            self.passwd("-H", "scram-sha-256", "-b", "users", "bob", "new")
            broker.signal(signal.SIGHUP)
            broker.wait_log("Configuration reloaded.")
            until(lambda: self.code(broker, "new") == 0, "the new password is known")
            self.assertTrue(scram.log_in_again(raw, "bob", "new"))
            self.assertFalse(scram.log_in_again(raw, "bob", "secret"))
            raw.expect_disconnect(0x87)

    def code(self, broker, password):
        """CONNACK's."""
        with wire.Raw(broker.port) as raw:
            return scram.log_in(raw, "code", "bob", password)


class Tool(ScramCase):
    """sluicectl passwd -H scram-sha-256."""

    def test_lines(self):
        """As RFC 5803 has them."""
        key = "[A-Za-z0-9+/]{43}="
        self.assertRegex(self.lines()[0], rf"^bob:SCRAM-SHA-256\$4096:[A-Za-z0-9+/]{{22}}==\${key}:{key}$")
        self.passwd("-H", "scram-sha-256", "-I", "10000", "-b", "users", "bob", "secret")
        self.assertIn("bob:SCRAM-SHA-256$10000:", self.lines()[0])
        self.passwd("-U", "users")
        self.assertIn("bob:SCRAM-SHA-256$10000:", self.lines()[0])

    def test_what_is_refused(self):
        """Too few iterations, and passwords that are no text."""
        before = self.lines()
        self.assertIn("4096", self.passwd("-H", "scram-sha-256", "-I", "4095", "-b", "users", "bob", "x",
                                          code=2).stderr)
        self.assertIn("no password for SCRAM", self.passwd("-H", "scram-sha-256", "-b", "users", "bob",
                                                           "a\u0007\u00e4", code=1).stderr)
        self.assertEqual(self.lines(), before)


if __name__ == "__main__":
    main()
