"""TLS: clients and their certificates, reload, ends, and what is not TLS at all.  All certificates are made
for the run."""
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

import wire
from broker import PROGRAMS, SLUICE, WAIT_S, Broker, BrokerCase, free_port, main, run_sluice, \
    sanitized_environment, until
from clients import Sub, publish

MAKE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../certs/make.sh")
CERTS = ""  # the folder, while the tests run


def make(*args, folder=""):
    """Runs certs/make.sh on the folder, or on one in it."""
    subprocess.run(["sh", MAKE, os.path.join(CERTS, folder), *args], check=True, timeout=WAIT_S)


def setUpModule():
    """An authority with a server and clients, and another one."""
    global CERTS
    CERTS = tempfile.mkdtemp(prefix="sluice-certs-")
    make()
    make("server", "renewed")
    make("client", "gone")
    make("revoke", "gone")
    make(folder="other")


def tearDownModule():
    """Nothing stays."""
    shutil.rmtree(CERTS)


def cert(name):
    """A file of the folder."""
    return os.path.join(CERTS, name)


def server(port, more="", name="server"):
    """A listener that speaks TLS."""
    return f"listener {{{port}}} 127.0.0.1\ncertfile {cert(name)}.crt\nkeyfile {cert(name)}.key\n{more}"


def require(more=""):
    """And wants certificates."""
    return f"cafile {cert('ca.crt')}\nrequire_certificate true\n{more}"


def shown(name):
    """The options of mosquitto's clients that show a certificate."""
    return ["--cert", cert(f"{name}.crt"), "--key", cert(f"{name}.key")]


def context(client=None):
    """A client's context in Python."""
    found = ssl.create_default_context(cafile=cert("ca.crt"))
    if client:
        found.load_cert_chain(cert(f"{client}.crt"), cert(f"{client}.key"))
    return found


class Tls(wire.Raw):
    """wire.Raw over TLS."""

    def __init__(self, port, client=None, newest=ssl.TLSVersion.TLSv1_3, **options):
        super().__init__(port, **options)
        self.plain, ours = self.socket, context(client)
        ours.maximum_version = newest
        self.socket = ours.wrap_socket(self.plain, server_hostname="localhost",
                                                  suppress_ragged_eofs=False)


class Start(unittest.TestCase):
    """Configurations that are wrong, and what the log says of those that are right."""

    def check(self, text, line, wanted):
        """3, and one line that says where and what."""
        with tempfile.TemporaryDirectory() as folder:
            name = os.path.join(folder, "x.conf")
            with open(name, "w", encoding="utf-8") as file:
                file.write(text.format(8883))
            for more in ([], ["--test-config"]):
                done = run_sluice("-c", name, *more, folder=folder)
                self.assertEqual(done.returncode, 3, done)
                self.assertTrue(done.stderr.startswith(f"{name}:{line}: "), done.stderr)
                self.assertIn(wanted, done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1)

    def test_wrong_files(self):
        """Missing, not matching, with a pass phrase."""
        self.check(server(0, name="missing"), 2, "No such file or directory")
        self.check(server(0).replace("server.key", "client.key"), 3, "is not the key of certfile")
        locked = cert("locked.key")
        subprocess.run(["openssl", "pkey", "-in", cert("server.key"), "-aes256", "-passout", "pass:x", "-out",
                        locked], check=True)
        self.check(server(0).replace("server.key", "locked.key"), 3, "pass phrase")
        self.check(server(0, f"cafile {cert('ca.key')}\n"), 4, "ca.key")

    def test_the_log_says_who_may_connect(self):
        """For each kind."""
        config = ("allow_anonymous true\n" + server(0) + server(1, require())
                  + server(2, require("use_identity_as_username true\n")))
        with Broker(config, ports=3) as broker:
            broker.wait_log(rf"Listener {broker.ports[0]} on 127\.0\.0\.1: TLS, anybody who reaches it may connect")
            broker.wait_log(rf"Listener {broker.ports[1]} .*: TLS, anybody with a certificate may connect")
            broker.wait_log(rf"Listener {broker.ports[2]} .*: TLS, clients with a certificate may connect, as ")


class Clients(BrokerCase):
    """One broker: plain, TLS, with certificates, as users, 1.3 only, and with a list of who is revoked."""

    def setUp(self):
        self.plain, self.tls, self.strict, self.users, self.new, self.listed = self.broker.ports

    @classmethod
    def setUpClass(cls):
        cls.options = {"ports": 6, "shards": 4, "config": (
            "per_listener_settings true\nlog_type all\nslow_reader_grace 60s\nlistener {0} 127.0.0.1\nallow_anonymous true\n"
            + server(1, "allow_anonymous true\n") + server(2, require("allow_anonymous true\n"))
            + server(3, require("use_identity_as_username true\nuse_username_as_clientid true\n"))
            + server(4, "tls_version tlsv1.3\nallow_anonymous true\n")
            + server(5, require(f"use_subject_as_username true\ncrlfile {cert('ca.crl')}\n")))}
        super().setUpClass()

    def test_mosquitto(self):
        """All QoS in both directions, to and from clients without TLS, wherever their sessions live."""
        ca = ["--cafile", cert("ca.crt")]
        for i in range(4):
            with Sub(self.tls, *ca, "-i", f"sub-{i}", "-q", "2", "-t", f"m/{i}/#") as secure, \
                    Sub(self.plain, "-q", "2", "-t", f"m/{i}/#") as plain:
                for qos in "012":
                    publish(self.tls, *ca, "-q", qos, "-t", f"m/{i}/{qos}", "-m", "secret")
                publish(self.plain, "-q", "1", "-t", f"m/{i}/p", "-m", "open")
                wanted = [f"m/{i}/{x}" for x in ("0 secret", "1 secret", "2 secret", "p open")]
                self.assertEqual(sorted(secure.wait_messages(4)), wanted)
                self.assertEqual(sorted(plain.wait_messages(4)), wanted)

    def test_many_clients_on_all_shards(self):
        """Each is handed to the shard of its id, with what it has sent already."""
        raws = [Tls(self.tls) for _ in range(40)]
        for i, raw in enumerate(raws):
            raw.send(wire.connect(f"many-{i}"), wire.subscribe("many/#"))
        for raw in raws:
            raw.expect(wire.CONNACK)
            raw.expect(wire.SUBACK)
        for i, raw in enumerate(raws):
            raw.publish(f"many/{i}", b"x")
        for raw in raws:
            topics = {raw.message().topic for _ in raws}
            self.assertEqual(topics, {f"many/{i}" for i in range(40)})
            raw.disconnect()

    def test_large_messages_to_a_slow_reader(self):
        """Many records, socket buffers that fill, and writes that go on where they stopped."""
        payload = os.urandom(1 << 20)
        with Tls(self.tls, receive_buffer=4096) as sub, Tls(self.tls) as pub:
            sub.connected("large-sub")
            sub.subscribe(("large", 1))
            pub.connected("large-pub")
            for i in range(8):
                pub.published("large", payload[:len(payload) - i], packet_id=i + 1)
            for i in range(8):
                found = sub.acked()
                self.assertEqual(found.payload, payload[:len(payload) - i])
            sub.ping()

    def test_a_flood_that_has_to_wait(self):
        """The publisher is not read while the reader does not read; nothing is lost, nothing stands still."""
        count, payload = 300, os.urandom(64 * 1024)
        with Tls(self.tls, receive_buffer=4096) as sub, Tls(self.tls) as pub:
            sub.connected("flood-sub")
            sub.subscribe("flood")
            pub.connected("flood-pub")
            sent = []

            def flood():
                for i in range(count):
                    pub.publish("flood", payload[i:])
                    sent.append(i)
                pub.ping()

            thread = threading.Thread(target=flood)
            thread.start()
            until(lambda: sent, "the flood begins")
            known = -1
            while len(sent) != known:  # until it stands still
                known = len(sent)
                time.sleep(0.3)
            self.assertLess(known, count)
            for i in range(count):
                self.assertEqual(sub.message().payload, payload[i:])
            thread.join()

    def test_a_message_of_several_records_does_not_wait(self):
        """They go out together; the last one does not wait for more, which takes the kernel 200 ms."""
        payload = os.urandom(40 * 1024 + 1)
        with Tls(self.tls) as raw:
            raw.connected("several")
            raw.subscribe("several")
            times = []
            for _ in range(9):
                began = time.monotonic()
                raw.publish("several", payload)
                self.assertEqual(raw.message().payload, payload)
                times.append(time.monotonic() - began)
            self.assertLess(sorted(times)[4], 0.2)

    def test_single_bytes(self):
        """Each in a record of its own."""
        with Tls(self.tls) as raw:
            whole = wire.connect("bytes") + wire.publish("bytes", b"hello", qos=1)
            for i in range(len(whole)):
                raw.send(whole[i:i + 1])
            raw.expect(wire.CONNACK)
            raw.expect(wire.PUBACK)

    def test_wrong_authority(self):
        """The client refuses us; we say so in the log and go on."""
        done = publish(self.tls, "--cafile", cert("other/ca.crt"), "-t", "a", "-m", "b", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.broker.wait_log(r"refused 127\.0\.0\.1:\d+: the TLS handshake failed: .*unknown ca")

    def test_certificates(self):
        """None, one of another authority, and a good one."""
        ca = ["--cafile", cert("ca.crt"), "-q", "1", "-t", "a", "-m", "b"]
        self.assertNotEqual(publish(self.strict, *ca, check=False).returncode, 0)
        self.broker.wait_log("the TLS handshake failed: peer did not return a certificate")
        self.assertNotEqual(publish(self.strict, *ca, *shown("other/client"), check=False).returncode, 0)
        self.broker.wait_log(r"the TLS handshake failed: certificate verify failed \(unable to get local issuer")
        publish(self.strict, *ca, *shown("client"))

    def test_a_refused_client_is_told(self):
        """It gets the alert, although it is sending already (TLS 1.3)."""
        with self.assertRaises(ssl.SSLError) as caught, Tls(self.strict) as raw:
            raw.send(wire.connect("unwanted") + b"x" * 10000)
            raw.socket.recv(1)
        self.assertIn("CERTIFICATE_REQUIRED", str(caught.exception).upper().replace(" ", "_"))

    def test_users(self):
        """The common name is the user, and here the client id too; what CONNECT says does not count."""
        publish(self.users, "--cafile", cert("ca.crt"), *shown("client"), "-u", "root", "-P", "x", "-i", "y", "-q",
                "1", "-t", "a", "-m", "b")
        self.broker.wait_log(r"New client connected from \S+ as client \(.*u'client'\)")
        publish(self.users, "--cafile", cert("ca.crt"), *shown("gone"), "-q", "1", "-t", "a", "-m", "b")
        self.broker.wait_log(r"as gone \(.*u'gone'\)")

    def test_revoked(self):
        """Those on the list stay out; and the whole subject may be the user."""
        args = ["--cafile", cert("ca.crt"), "-q", "1", "-t", "a", "-m", "b"]
        self.assertNotEqual(publish(self.listed, *args, *shown("gone"), check=False).returncode, 0)
        self.broker.wait_log(r"certificate verify failed \(certificate revoked\)")
        publish(self.listed, *args, *shown("client"))
        self.broker.wait_log(r"u'CN=client,O=sluice'")

    def s_client(self, port, *args, text=""):
        """What `openssl s_client` says to that input; it leaves at its end."""
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", cert("ca.crt"),
                               *args], input=text.encode(), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=WAIT_S, check=False)
        return done.returncode, done.stdout.decode(errors="replace")

    def test_openssl(self):
        """Versions, ALPN, the authorities that we tell, and tickets."""
        code, text = self.s_client(self.tls, "-alpn", "h2,mqtt")
        self.assertEqual(code, 0, text)
        for wanted in ("Verify return code: 0 (ok)", "ALPN protocol: mqtt", "TLSv1.3"):
            self.assertIn(wanted, text)
        code, text = self.s_client(self.tls, "-tls1_2", "-alpn", "h2", "-reconnect")
        self.assertEqual(code, 0, text)
        for wanted in ("No ALPN negotiated", "TLSv1.2", "Reused", "Compression: NONE"):
            self.assertIn(wanted, text)
        self.assertNotEqual(self.s_client(self.tls, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")[0], 0)
        self.assertNotEqual(self.s_client(self.new, "-tls1_2")[0], 0)
        self.assertIn("CN = sluice CA", self.s_client(self.strict)[1].split("Acceptable client certificate")[1])

    def test_renegotiation(self):
        """Refused, said in the log, and the end of that connection."""
        self.s_client(self.tls, "-tls1_2", text="R\n")
        self.broker.wait_log("refused .*: it sent a request for another TLS handshake, which is not done")

    def test_a_listener_that_wants_a_user_name(self):
        """CONNACK reaches the client over TLS too, then the end in order."""
        with Broker(server(0)) as broker, Tls(broker.port) as raw:
            self.assertEqual(raw.connect("x").code, 0x87)
            self.assertEqual(raw.socket.recv(1), b"")  # close_notify: else it would be an error

    def test_paho(self):
        """Eclipse Paho's C client, all scenarios of the plain one, 3.1.1 and 5."""
        for version in (4, 5):
            for scenario in ("qos", "session", "shared"):
                environment = {**sanitized_environment(self.broker.dir, "detect_leaks=0"),
                               "PAHO_CAFILE": cert("ca.crt")}
                done = subprocess.run([os.path.join(PROGRAMS, "paho_sync"), str(self.tls), str(version), scenario],
                                      env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                      timeout=60, check=False)
                self.assertEqual((done.returncode, done.stdout), (0, f"{scenario}: good\n"), done.stderr)


class Ends(unittest.TestCase):
    """How connections end."""

    def test_stop(self):
        """SIGTERM: DISCONNECT, close_notify, exit code 0."""
        with Broker("allow_anonymous true\n" + server(0), shards=4) as broker:
            raws = [Tls(broker.port).connected(f"c-{i}") for i in range(8)]
            fresh = Tls(broker.port, newest=ssl.TLSVersion.TLSv1_2) # where the broker is last to be ready
            broker.signal(signal.SIGTERM)
            for raw in raws:
                raw.expect_disconnect(0x8B)
            fresh.expect_closed()
            broker.wait_end()

    def test_clients_that_go_without_a_word(self):
        """In the handshake, and in the middle of a record; their wills are sent."""
        with Broker("allow_anonymous true\nlog_type all\n" + server(0), shards=4) as broker, \
                Tls(broker.port) as watch:
            watch.connected("watch")
            watch.subscribe("will")
            for i in range(20):
                raw = Tls(broker.port)
                raw.connected(f"dies-{i}", will=("will", "gone"))
                if i % 2:
                    os.write(raw.socket.fileno(), b"\x17\x03\x03\x10\x00half a record")
                socket.socket(fileno=raw.socket.detach()).close()
                self.assertEqual(watch.message().payload, b"gone")
            watch.ping()

    def client_hello(self):
        """The first bytes of a client."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with self.assertRaises(ssl.SSLWantReadError):
            client.do_handshake()
        return outgoing.read()

    def test_all_at_the_same_time(self):
        """A turn does some handshakes only; the rest come in the next."""
        hello = self.client_hello()
        with Broker("allow_anonymous true\n" + server(0), shards=1) as broker:
            broker.signal(signal.SIGSTOP)
            raws = [wire.Raw(broker.port) for _ in range(90)]
            for raw in raws:
                raw.send(hello)
            broker.signal(signal.SIGCONT)
            for raw in raws:
                self.assertEqual(raw.socket.recv(1), b"\x16")
                raw.close()

    def test_half_open_handshakes(self):
        """Two hundred that begin and do not go on are closed in time, and others come in meanwhile."""
        begin = self.client_hello()
        with Broker("allow_anonymous true\nconnect_timeout 3s\n" + server(0), shards=4) as broker:
            stalled = [wire.Raw(broker.port) for _ in range(200)]
            for i, raw in enumerate(stalled):
                raw.send(begin[:i % 3 * len(begin) // 2])  # nothing, the half, and all of it
            with Tls(broker.port) as raw:
                raw.connected("meanwhile")
                raw.ping()
                for other in stalled:
                    while other.socket.recv(65536):
                        pass
                    other.close()
                raw.ping()

    def test_what_is_not_tls(self):
        """MQTT, HTTP, chance: refused with a reason, closed, and forgotten."""
        garbage = [wire.connect("plain"), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 100,
                   b"\x80\x2e\x01\x03\x01" + b"\0" * 50, b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff",
                   b"\x16\x03\x01\x00\x00" * 50, b"\x15\x03\x01\x00\x02\x02\x28"] + [os.urandom(300) for _ in range(40)]
        with Broker("allow_anonymous true\nconnect_timeout 2s\n" + server(0), shards=4) as broker:
            for data in garbage:
                with wire.Raw(broker.port) as raw:
                    raw.send(data)
                    try:
                        while raw.socket.recv(65536):
                            pass
                    except ConnectionResetError:
                        pass
            broker.wait_log(r"refused 127\.0\.0\.1:\d+: the TLS handshake failed: ", count=5)
            with Tls(broker.port) as raw:
                raw.connected("good")
                raw.ping()

    def test_many_at_once(self):
        """A crowd that shakes hands, speaks and leaves, from several threads."""
        with Broker("allow_anonymous true\n" + server(0), shards=4) as broker:
            failed = []

            def crowd(name):
                try:
                    for i in range(25):
                        with Tls(broker.port) as raw:
                            raw.connected(f"{name}-{i}")
                            raw.published("crowd", b"x" * 3000)
                            if i % 2:
                                raw.disconnect()
                except (OSError, AssertionError) as error:
                    failed.append(error)

            threads = [threading.Thread(target=crowd, args=(f"t{i}",)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(failed, [])


class Reload(unittest.TestCase):
    """SIGHUP."""

    def served(self, port):
        """The certificate that newcomers see."""
        with Tls(port) as raw:
            return raw.socket.getpeercert()["subject"][1][0][1]

    def reload(self, broker, wanted):
        """Sends the signal and waits for the log to say so once more."""
        count = broker.log().count(wanted)
        broker.signal(signal.SIGHUP)
        broker.wait_log(wanted, count=count + 1)

    def test_new_certificates(self):
        """The same names with new content: newcomers see it, who is connected stays."""
        self.install("server")
        with Broker("allow_anonymous true\n" + server(0, name="live"), shards=4) as broker:
            stay = [Tls(broker.port).connected(f"stay-{i}") for i in range(6)]
            self.assertEqual(self.served(broker.port), "server")
            self.install("renewed")
            self.reload(broker, "Configuration reloaded")
            until(lambda: self.served(broker.port) == "renewed", "the new certificate")
            with open(cert("live.key"), "w", encoding="ascii") as file:
                file.write("no key at all\n")
            self.reload(broker, "the old configuration stays in force")
            broker.wait_log(r"stays in force\. \S+sluice\.conf:5: keyfile '\S+live\.key' holds no private key")
            self.assertEqual(self.served(broker.port), "renewed")
            self.install("server")
            self.reload(broker, "Configuration reloaded")
            until(lambda: self.served(broker.port) == "server", "the certificate of before")
            for raw in stay:
                raw.ping()
                raw.disconnect()

    def test_tls_comes_and_goes(self):
        """A listener may begin to speak TLS, and to ask for certificates."""
        plain = "allow_anonymous true\nlistener {0} 127.0.0.1\n"
        with Broker(plain) as broker, wire.Raw(broker.port) as stays:
            stays.connected("stays")
            broker.write_config("allow_anonymous true\n" + server(0))
            self.reload(broker, "Configuration reloaded")
            until(lambda: self.speaks(broker.port), "TLS")
            broker.write_config("allow_anonymous true\n" + server(0, require()))
            self.reload(broker, "Configuration reloaded")
            until(lambda: not self.speaks(broker.port), "certificates are wanted")
            with Tls(broker.port, "client") as raw:
                raw.connected("client")
            stays.ping()

    def speaks(self, port):
        """Whether a client without a certificate comes in."""
        try:
            with Tls(port) as raw:
                raw.connected("speaks")
            return True
        except (OSError, AssertionError):
            return False

    def install(self, name):
        """Puts a server's certificate and key where the configuration names them."""
        for end in ("crt", "key"):
            shutil.copy(cert(f"{name}.{end}"), cert(f"live.{end}"))


class Keys(unittest.TestCase):
    """psk_hint, psk_file: mosquitto's clients with --psk."""

    CONFIG = ("per_listener_settings true\nlog_type all\nlistener {0} 127.0.0.1\npsk_hint who\npsk_file {dir}/keys\n"
              "use_identity_as_username true\nlistener {1} 127.0.0.1\npsk_hint who\npsk_file {dir}/keys\n"
              "allow_anonymous true\ntls_version tlsv1.3\n")

    def broker(self):
        """Alice and bob have keys."""
        broker = Broker(self.CONFIG, ports=2, shards=3)
        self.write_keys(broker, "alice:0011\nbob:2233\n")
        return broker

    def write_keys(self, broker, text):
        """The file anew."""
        with open(broker.path("keys"), "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            file.write(text)

    def test_the_identity_is_the_user(self):
        """Whatever CONNECT says."""
        with self.broker() as broker:
            broker.wait_log(r"TLS, clients with a key of its psk_file may connect, as the user it is for")
            broker.wait_log(r"TLS, anybody with a key of its psk_file may connect")
            alice = ("--psk", "0011", "--psk-identity", "alice")
            with Sub(broker.port, *alice, "-t", "x") as sub:
                publish(broker.port, "--psk", "2233", "--psk-identity", "bob", "-u", "eve", "-P", "x", "-t", "x", "-m", "m")
                self.assertEqual(sub.wait_messages(1), ["x m"])
            broker.wait_log(r"New client connected from \S+ as \S+ \(p2, c1, k60, u'bob'\)")
            publish(broker.ports[1], *alice, "-t", "x", "-m", "m")
            broker.wait_log(r"New client connected from \S+ as \S+ \(p2, c1, k60\)\.")

    def handshake(self, port, key, identity, version):
        """OpenSSL's own client: the version and cipher spoken, or None."""
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-psk", key, "-psk_identity",
                               identity, f"-{version}", "-brief"], input="", stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=WAIT_S, check=False)
        spoken = re.search(r"Protocol version: (\S+)\nCiphersuite: (\S+)", done.stdout)
        return spoken.groups() if spoken else None

    def test_both_versions(self):
        """Forward secret ciphers first; a listener may leave the older one out."""
        with self.broker() as broker:
            self.assertEqual(self.handshake(broker.port, "0011", "alice", "tls1_2"),
                             ("TLSv1.2", "ECDHE-PSK-CHACHA20-POLY1305"))
            spoken = self.handshake(broker.port, "0011", "alice", "tls1_3")
            self.assertRegex(" ".join(spoken), r"\ATLSv1\.3 TLS_\w+_SHA256\Z")  # the hash goes with the key
            self.assertIsNone(self.handshake(broker.ports[1], "0011", "alice", "tls1_2"))
            for version in ("tls1_2", "tls1_3"):
                self.assertIsNone(self.handshake(broker.port, "0012", "alice", version))
                self.assertIsNone(self.handshake(broker.port, "0011", "eve", version))

    def test_who_has_no_key(self):
        """Neither a wrong one, nor another's, nor none."""
        with self.broker() as broker:
            for args in (("--psk", "0012", "--psk-identity", "alice"), ("--psk", "0011", "--psk-identity", "eve"),
                         ("--cafile", cert("ca.crt"))):
                done = publish(broker.port, *args, "-t", "x", "-m", "m", check=False)
                self.assertNotEqual(done.returncode, 0, args)
            broker.wait_log(r"refused 127\.0\.0\.1:\d+: the TLS handshake failed: ", 3)

    def test_reload(self):
        """A new key is known, an old one is not, who is connected stays; a mistake leaves all as it was."""
        with self.broker() as broker, \
                Sub(broker.port, "--psk", "2233", "--psk-identity", "bob", "-t", "x") as sub:
            self.write_keys(broker, "alice:4455\n")
            broker.signal(signal.SIGHUP)
            broker.wait_log("Configuration reloaded")
            old = ("--psk", "0011", "--psk-identity", "alice", "-t", "x", "-m", "old")
            until(lambda: publish(broker.port, *old, check=False).returncode != 0, "the old key is gone")
            self.write_keys(broker, "alice\n")
            broker.signal(signal.SIGHUP)
            broker.wait_log(r"keys:1: the line is not <identity>:<key in hexadecimal>")
            publish(broker.port, "--psk", "4455", "--psk-identity", "alice", "-q", "1", "-t", "x", "-m", "new")
            until(lambda: "x new" in sub.messages(), "bob is still there")


class Tutorial(unittest.TestCase):
    """docs/tutorial/2-tls.md: every command on the page, one after the other."""

    def test_the_page(self):
        """Each must succeed; what it says that one sees is seen."""
        root = os.path.join(os.path.dirname(MAKE), "..")
        with open(os.path.join(root, "docs/tutorial/2-tls.md"), encoding="utf-8") as file:
            lines = [line[4:] for line in file.read().split("\n") if line.startswith("    ")]
        self.assertGreater(len(lines), 30)
        script = "\n".join(lines).replace("8883", str(free_port())).replace("certs/make.sh", f"sh {MAKE}")
        script = script.replace("build/sluice", SLUICE).replace("listener ", "log_type all\nlistener ")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(["bash", "-eu", "-c", script], cwd=folder, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=100, check=False,
                                  env=sanitized_environment(folder))
            self.assertEqual(done.returncode, 0, done.stdout)
        for wanted in ("The configuration is good.", "hello/world in secret", "u'sensor'", "u'meter7'",
                       "peer did not return a certificate", "certificate revoked"):
            self.assertIn(wanted, done.stdout)


if __name__ == "__main__":
    main()
