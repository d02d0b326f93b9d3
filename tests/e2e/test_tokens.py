"""JSON Web Tokens as passwords: signed with a secret here, and by OpenSSL's command with RSA and EC keys."""
import base64
import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import time

import wire
from broker import Broker, main, run_sluice, until
from clients import Sub, publish
from test_users import UsersCase

SECRET = os.urandom(32)
TOKENS = "listener {0} 127.0.0.1\njwt_keys_file {dir}/keys\nlog_type all\n"


def b64(raw):
    """base64url, without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hour():
    """An hour from now."""
    return int(time.time()) + 3600


def parts(algorithm, claims, **header):
    """Header and claims of a token."""
    return b64(json.dumps({"alg": algorithm, **header}).encode()) + "." + b64(json.dumps(claims).encode())


def hs256(claims, secret=SECRET, **header):
    """A token signed with a secret."""
    text = parts("HS256", claims, **header)
    return text + "." + b64(hmac.digest(secret, text.encode(), hashlib.sha256))


def jwk(secret, **more):
    """The key to such tokens."""
    return {"kty": "oct", "k": b64(secret), **more}


class TokensCase(UsersCase):
    """With a file of keys."""

    def setUp(self):
        super().setUp()
        self.keys = os.path.join(self.dir, "keys")
        self.write_keys({"keys": [jwk(SECRET)]})

    def write_keys(self, keys):
        """A JWK Set, or a text."""
        with open(self.keys, "w", encoding="ascii") as file:
            file.write(keys if isinstance(keys, str) else json.dumps(keys))
        os.chmod(self.keys, 0o600)

    def start(self, config=TOKENS, **more):
        """A broker that takes tokens."""
        return self.broker(config.replace("{dir}/keys", self.keys), **more)

    def openssl(self, *args, text=None):
        """OpenSSL's command; returns what it writes."""
        return subprocess.run(["openssl", *args], input=text, stdout=subprocess.PIPE, check=True,
                              stderr=subprocess.PIPE, timeout=60, cwd=self.dir).stdout

    def signed(self, key, algorithm, claims):
        """A token signed with a key of openssl()."""
        text = parts(algorithm, claims)
        signature = self.openssl("dgst", "-sha256", "-sign", key, text=text.encode())
        return text + "." + b64(flat(signature) if algorithm == "ES256" else signature)


def flat(der):
    """The two numbers of an EC signature as tokens have them."""
    out, at = b"", 2
    for _ in range(2):
        size = der[at + 1]
        out += der[at + 2:at + 2 + size].lstrip(b"\0").rjust(32, b"\0")
        at += 2 + size
    return out


class Logins(TokensCase):
    """Who gets in."""

    def test_mosquitto_clients(self):
        """With the user name of the token; with an empty one; with none."""
        with self.start() as broker:
            broker.wait_log(rf"Listener {broker.port} on 127\.0\.0\.1: users with a token may connect\.")
            token = hs256({"sub": "bob", "exp": hour()})
            with Sub(broker.port, "-u", "bob", "-P", token, "-t", "a") as sub:
                publish(broker.port, "-u", "", "-P", token, "-t", "a", "-m", "one")
                publish(broker.port, "-V", "5", "-u", "bob", "-P", token, "-t", "a", "-m", "two")
                self.assertEqual(sub.wait_messages(2), ["a one", "a two"])
            with wire.Raw(broker.port) as raw:
                self.assertEqual(raw.connect("x", password=token).code, 0)
            broker.wait_log(r"New client connected from \S+ as \S+ \(p\d, c1, k\d+, u'bob'\)\.", 4)
            self.assertNotIn(token[:30], broker.log())

    def test_what_is_refused_and_why(self):
        """The client learns nothing, the log says it, without the token."""
        cases = [
            (hs256({"sub": "bob", "exp": hour()}, os.urandom(32)), "signature is wrong"),
            (hs256({"sub": "bob", "exp": int(time.time()) - 60}), "has expired"),
            (hs256({"sub": "bob", "exp": hour(), "nbf": hour() - 60}), "not valid yet"),
            (hs256({"sub": "bob"}), r"has no end \(exp\)"),
            (hs256({"sub": "eve", "exp": hour()}), "user name in CONNECT is not the token's"),
            (hs256({"exp": hour()}), "has no user name"),
            (parts("none", {"sub": "bob", "exp": hour()}) + ".", "no key in jwt_keys_file is for this token"),
            (hs256({"sub": "bob", "exp": hour(), "x": "x" * 20000}), "larger than 16384 bytes"),
            ("secret", "wrong user name or password"),
        ]
        with self.start() as broker:
            for token, why in cases:
                with wire.Raw(broker.port) as raw:
                    self.assertEqual(raw.connect("x", user="bob", password=token).code, 0x87, why)
                    raw.expect_closed()
                with wire.Raw(broker.port) as raw:
                    self.assertEqual(raw.connect("x", version=wire.V311, user="bob", password=token).code, 5)
                broker.wait_log(rf"refused \S+ as x: [^\n]*{why}[^\n]*\.$", 2)
                self.assertNotIn(token[:30] if token.startswith("eyJ") else "'secret'", broker.log())
            broker.wait_log(r"Client <unknown> \[\S+\] disconnected, not authorised\.", 2 * len(cases))
            with wire.Raw(broker.port) as raw:
                self.assertEqual(raw.connect("x", password="no token").code, 0x87)
            with wire.Raw(broker.port) as raw:
                self.assertEqual(raw.connect("x").code, 0x87)

    def test_keys_of_openssl(self):
        """RSA and EC; and the public key is no secret."""
        self.openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "rsa")
        self.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "ec")
        public = [self.openssl("pkey", "-in", name, "-pubout").decode() for name in ("rsa", "ec")]
        self.write_keys("".join(public))
        claims = {"sub": "bob", "exp": hour()}
        with self.start() as broker:
            self.log_in(broker, "bob", self.signed("rsa", "RS256", claims))
            self.log_in(broker, "bob", self.signed("ec", "ES256", claims))
            self.log_in(broker, "bob", hs256(claims, public[0].encode()), code=5)
            self.log_in(broker, "bob", self.signed("rsa", "HS256", claims), code=5)
            self.log_in(broker, "bob", hs256(claims), code=5)

    def test_issuer_audience_and_claim(self):
        """By directives."""
        with self.start(extra="jwt_issuer https://id\njwt_audience mqtt\njwt_username_claim name\n"
                              "jwt_require_expiry false\n") as broker:
            good = {"iss": "https://id", "aud": ["x", "mqtt"], "name": "bob"}
            self.log_in(broker, "bob", hs256(good))
            for wrong in ({"iss": "https://other"}, {"aud": "x"}, {"name": "eve"}):
                self.log_in(broker, "bob", hs256({**good, **wrong}), code=5)

    def test_passwords_beside_tokens(self):
        """What has a token's form is one; all else is a password."""
        form = "eyJhbGciOiJIUzI1NiJ9.e30.AAAA"
        self.passwd("-b", "-c", "users", "bob", "secret")
        self.passwd("-b", "users", "eve", form)
        with self.start(extra=f"password_file {self.users}\n") as broker:
            broker.wait_log("users of its password_file or with a token may connect")
            self.log_in(broker, "bob", "secret")
            self.log_in(broker, "bob", "wrong", code=5)
            self.log_in(broker, "al", hs256({"sub": "al", "exp": hour()}))
            self.log_in(broker, "eve", form, code=5)
            broker.wait_log("the token's signature is wrong")

    def test_access_list(self):
        """Goes by the token's user, also when CONNECT has none."""
        acl = self.dir + "/acl"
        with open(acl, "w", encoding="utf-8") as file:
            file.write("user bob\ntopic readwrite bob/#\n")
        with self.start(extra=f"acl_file {acl}\n") as broker, wire.Raw(broker.port) as raw:
            self.assertEqual(raw.connect("x", password=hs256({"sub": "bob", "exp": hour()})).code, 0)
            raw.subscribe("#")
            raw.publish("eve/x", b"no")
            wire.round_trip(raw, "bob/x")

    def test_a_session_is_its_users(self):
        """And not that of who comes with another token."""
        with self.start() as broker:
            for user, code in (("bob", 0), ("eve", 0x87), ("bob", 0)):
                with wire.Raw(broker.port) as raw:
                    token = hs256({"sub": user, "exp": hour()})
                    answer = raw.connect("x", clean=False, props=wire.session_expiry(60), password=token)
                    self.assertEqual(answer.code, code)


class Ends(TokensCase):
    """A login is over when the token ends."""

    def test_the_connection_ends_with_the_token(self):
        """MQTT 5 is told why; the session stays."""
        with self.start(extra="jwt_clock_skew 0\n") as broker:
            end = time.time() + 2
            token = hs256({"sub": "bob", "exp": end})
            five, three = wire.Raw(broker.port), wire.Raw(broker.port)
            with five, three:
                self.assertEqual(five.connect("five", clean=False, props=wire.session_expiry(60),
                                              password=token).code, 0)
                self.assertEqual(three.connect("three", version=wire.V311, user="bob",
                                               password=token).code, 0)
                five.ping()
                five.expect_disconnect(0x87)
                three.expect_closed()
                self.assertGreaterEqual(time.time(), end - 0.1)
            broker.wait_log(r"Client (five|three) disconnected: its login has expired\.", 2)
            with wire.Raw(broker.port) as raw:
                answer = raw.connect("five", clean=False, props=wire.session_expiry(60), user="bob",
                                     password=hs256({"sub": "bob", "exp": hour()}))
                self.assertEqual((answer.code, answer.present), (0, True))


class Keys(TokensCase):
    """The file of keys."""

    def test_new_keys_by_SIGHUP(self):
        """Who is connected stays; the old key is of no use any more."""
        old, new = (hs256({"sub": "bob", "exp": hour()}, secret) for secret in (SECRET, SECRET[::-1]))
        with self.start() as broker, wire.Raw(broker.port) as raw:
            self.assertEqual(raw.connect("x", password=old).code, 0)
            self.write_keys({"keys": [jwk(SECRET[::-1], kid="2", alg="HS256", use="sig")]})
            broker.signal(signal.SIGHUP)
            broker.wait_log("Configuration reloaded.")
            until(lambda: self.code(broker, new) == 0, "the new key counts")
            self.assertEqual(self.code(broker, old), 0x87)
            raw.ping()
            self.write_keys("nonsense")
            broker.signal(signal.SIGHUP)
            broker.wait_log(f"the old configuration stays in force. {re.escape(self.keys)}: there is no key")
            self.assertEqual(self.code(broker, new), 0)

    def code(self, broker, token):
        """CONNACK's."""
        with wire.Raw(broker.port) as raw:
            return raw.connect("code", password=token).code

    def test_files_that_are_wrong(self):
        """3, and what is wrong; not what is in the file."""
        self.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "ec")
        with open(os.path.join(self.dir, "ec"), encoding="ascii") as file:
            private = file.read()
        name = os.path.join(self.dir, "conf")
        with open(name, "w", encoding="utf-8") as file:
            file.write(f"listener 1883 127.0.0.1\njwt_keys_file {self.keys}\n")
        for keys, why in ((private, "private key"), (jwk(b"short-secret"), "too short"), ("", "no key in it")):
            self.write_keys(keys)
            done = run_sluice("--test-config", "-c", name, folder=self.dir)
            self.assertEqual(done.returncode, 3)
            self.assertIn(why, done.stderr)
            self.assertNotIn(b64(b"short-secret"), done.stderr)


class Tutorial(TokensCase):
    """docs/tutorial/2-tokens.md does what it says."""

    PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/tutorial/2-tokens.md")

    def test_every_command(self):
        """In order, with this test's port."""
        with open(self.PAGE, encoding="utf-8") as file:
            page = file.read()
        script, config = re.findall(r"```\n(.*?)```", page, re.S)
        commands = re.findall(r"^ {4}(.*)$", page, re.M)
        with open(os.path.join(self.dir, "token.sh"), "w", encoding="utf-8") as file:
            file.write(script)
        start = commands.index("sluice -c sluice.conf")
        for command in commands[:start]:
            self.shell(command)
        config = config.replace("1883", "{0} 127.0.0.1").replace("jwt-keys.pem", self.dir + "/jwt-keys.pem")
        with Broker(config) as broker:
            for command in commands[start + 1:]:
                self.shell(command, broker.port)
            broker.wait_log("the token has expired")
        self.assertEqual(len(commands), 7)

    def shell(self, command, port=0):
        """Runs a line of the page."""
        names = f'mosquitto_pub() {{ command mosquitto_pub -h 127.0.0.1 -p {port} "$@"; }}; '
        done = subprocess.run(["bash", "-c", names + command], stdout=subprocess.PIPE, cwd=self.dir,
                              stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, (command, done.stdout))


if __name__ == "__main__":
    main()
