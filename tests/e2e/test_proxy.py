"""The PROXY protocol: headers by hand, and a real haproxy in front that ends TLS."""
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

import wire
from broker import SLUICE, WAIT_S, Broker, can_connect, free_port, main, sanitized_environment, \
    sanitizer_reports, until
from clients import Sub, publish

MAKE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../certs/make.sh")
HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CONFIG = """per_listener_settings true
log_type all
sys_interval 1
connect_timeout 2s
listener {0} 127.0.0.1
allow_anonymous true
enable_proxy_protocol 1
listener {1} 127.0.0.1
allow_anonymous true
enable_proxy_protocol 2
listener {2} 127.0.0.1
allow_anonymous true
enable_proxy_protocol 2
proxy_protocol_v2_require_tls true
listener {3} 127.0.0.1
enable_proxy_protocol 2
require_certificate true
use_identity_as_username true
listener {4} 127.0.0.1
allow_anonymous true
"""


def field(kind, value):
    """A type-length-value field."""
    return bytes([kind]) + struct.pack(">H", len(value)) + value


def tls(client=1, name=None):
    """The field that tells of TLS."""
    return field(0x20, struct.pack(">BI", client, 0) + (field(0x22, name) if name else b""))


def v2(fields=b"", command=0x21, family=0x11, address="192.0.2.5", port=6275):
    """A header of version 2."""
    body = socket.inet_aton(address) + bytes([127, 0, 0, 1]) + struct.pack(">HH", port, 1883) + fields
    return SIGNATURE + bytes([command, family]) + struct.pack(">H", len(body)) + body


class Headers(unittest.TestCase):
    """By hand."""

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(CONFIG, ports=5).__enter__()
        cls.one, cls.two, cls.strict, cls.users, cls.plain = cls.broker.ports

    @classmethod
    def tearDownClass(cls):
        cls.broker.__exit__(None, None, None)

    def refused(self, port, data, why):
        """Closed, with a line in the log."""
        with wire.Raw(port) as raw:
            raw.send(data)
            try:
                self.assertEqual(raw.socket.recv(1), b"")
            except ConnectionResetError:
                pass
        self.broker.wait_log(why)

    def test_the_address_is_the_clients(self):
        """In the log, for both versions; wherever the session lives."""
        for i in range(8):
            with wire.Raw(self.one) as raw:
                raw.send(f"PROXY TCP4 198.51.100.{i} 127.0.0.1 1000 1883\r\n".encode())
                raw.connected(f"one-{i}")
                self.broker.wait_log(rf"New client connected from 198\.51\.100\.{i}:1000 as one-{i} ")
            with wire.Raw(self.two) as raw:
                raw.send(v2(address=f"203.0.113.{i}", port=2000))
                raw.connected(f"two-{i}")
                self.broker.wait_log(rf"New client connected from 203\.0\.113\.{i}:2000 as two-{i} ")

    def test_header_and_connect_at_once_and_byte_by_byte(self):
        """What follows the header is MQTT, to the byte."""
        for port, header in ((self.one, b"PROXY TCP6 2001:db8::7 ::1 77 1883\r\n"), (self.two, v2(field(4, b"x" * 500)))):
            with wire.Raw(port) as raw:
                raw.send(header, wire.connect("at-once"), wire.publish("a", b"b", qos=1))
                raw.expect(wire.CONNACK)
                raw.expect(wire.PUBACK)
            with wire.Raw(port) as raw:
                raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                whole = header + wire.connect("bytes") + wire.publish("a", b"b", qos=1)
                for i in range(len(whole)):
                    raw.send(whole[i:i + 1])
                raw.expect(wire.CONNACK)
                raw.expect(wire.PUBACK)

    def test_what_is_no_header(self):
        """Closed with a reason, and counted."""
        self.refused(self.one, wire.connect("x"), "no PROXY header of version 1: it does not begin")
        self.refused(self.one, v2(), "no PROXY header of version 1")
        self.refused(self.one, b"PROXY " + b"x" * 200, "version 1: it is too long")
        self.refused(self.two, wire.connect("x"), "no PROXY header of version 2: its signature")
        self.refused(self.two, b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "version 2: its signature")
        self.refused(self.two, SIGNATURE + b"\x21\x11\xff\xff", "version 2: it is too long")
        self.refused(self.two, v2(b"\x20\0\x01"), "version 2: a field in it is not whole")
        with Sub(self.plain, "-t", "$SYS/sluice/refused/proxy_header") as sub:
            until(lambda: any(int(m.split()[1]) >= 7 for m in sub.messages()), "the counter")

    def test_a_header_that_never_ends_is_closed_in_time(self):
        """Under the deadline of the CONNECT."""
        begin = time.monotonic()
        with wire.Raw(self.two) as half, wire.Raw(self.one) as none:
            half.send(v2()[:20])
            self.assertEqual(half.socket.recv(1), b"")
            self.assertEqual(none.socket.recv(1), b"")
        self.assertLess(time.monotonic() - begin, WAIT_S)

    def test_local_and_unknown_are_the_proxys_own_address(self):
        """A health check is nobody's address."""
        for port, header in ((self.two, SIGNATURE + b"\x20\0\0\0"), (self.two, SIGNATURE + b"\x21\0\0\0"),
                             (self.one, b"PROXY UNKNOWN\r\n")):
            with wire.Raw(port) as raw:
                own = raw.peer_text()
                raw.send(header)
                raw.connected("local")
                self.broker.wait_log(f"New client connected from {own} as local ")

    def test_require_tls(self):
        """By the header's word."""
        self.refused(self.strict, v2(), "refused 192.0.2.5:6275: the client did not come to the proxy by TLS")
        self.refused(self.strict, v2(tls(0)), "did not come to the proxy by TLS")
        with wire.Raw(self.strict) as raw:
            raw.send(v2(tls()))
            raw.connected("secure")

    def test_identity(self):
        """The common name is the user; a client that showed none stays out; CONNECT says nothing."""
        self.refused(self.users, v2(tls()), "the client has shown the proxy no certificate")
        for i in range(4):
            with wire.Raw(self.users) as raw:
                raw.send(v2(tls(5, b"alice")))
                raw.connected(f"who-{i}", user="root", password="x")
                self.broker.wait_log(rf"as who-{i} \(.*u'alice'\)")
        with wire.Raw(self.users) as raw:
            raw.send(v2(tls(5)))
            self.assertEqual(raw.connect("nameless").code, 0x86)


class Haproxy(unittest.TestCase):
    """Debian's, in front of the broker."""

    def setUp(self):
        if not os.path.exists(HAPROXY):
            self.skipTest("haproxy is not installed")
        self.dir = tempfile.mkdtemp(prefix="sluice-haproxy-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def start(self, broker):
        """v1, v2, and TLS with certificates."""
        subprocess.run(["sh", MAKE, self.dir], check=True, timeout=WAIT_S)
        pem = os.path.join(self.dir, "server.pem")
        with open(pem, "w", encoding="ascii") as out:
            for name in ("server.crt", "server.key"):
                with open(os.path.join(self.dir, name), encoding="ascii") as file:
                    out.write(file.read())
        ports = [free_port() for _ in range(3)]
        text = "global\n    maxconn 100\ndefaults\n    mode tcp\n    timeout connect 10s\n    timeout client 1m\n" \
               "    timeout server 1m\n"
        binds = ("", "", f" ssl crt {pem} ca-file {self.dir}/ca.crt verify required")
        sends = ("send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn")
        for i, back in enumerate((broker.ports[0], broker.ports[1], broker.ports[3])):
            text += f"listen p{i}\n    bind 127.0.0.1:{ports[i]}{binds[i]}\n    server s 127.0.0.1:{back} {sends[i]}\n"
        name = os.path.join(self.dir, "haproxy.cfg")
        with open(name, "w", encoding="ascii") as out:
            out.write(text)
        process = subprocess.Popen([HAPROXY, "-db", "-f", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        until(lambda: all(can_connect(port) for port in ports), "haproxy listens")
        return ports

    def test_haproxy(self):
        """The broker sees the client's own address and the name in its certificate."""
        with Broker(CONFIG, ports=5) as broker:
            one, two, secure = self.start(broker)
            for i, port in enumerate((one, two)):
                with wire.Raw(port) as raw:
                    raw.connected(f"through-{i}")
                    broker.wait_log(rf"New client connected from {raw.peer_text()} as through-{i} ")
                    raw.ping()
            show = ["--cafile", f"{self.dir}/ca.crt", "--cert", f"{self.dir}/client.crt", "--key", f"{self.dir}/client.key"]
            publish(secure, *show, "-i", "sensor", "-q", "1", "-t", "a", "-m", "b")
            broker.wait_log(r"as sensor \(.*u'client'\)")

    def test_the_page(self):
        """docs/howto/haproxy.md: every command on it, one after the other."""
        root = os.path.join(os.path.dirname(MAKE), "..")
        with open(os.path.join(root, "docs/howto/haproxy.md"), encoding="utf-8") as file:
            lines = [line[4:] for line in file.read().split("\n") if line.startswith("    ")]
        self.assertGreater(len(lines), 40)
        script = "\n".join(lines).replace("certs/make.sh", f"sh {MAKE}").replace("build/sluice", SLUICE)
        script = script.replace("haproxy -", f"{HAPROXY} -").replace("listener ", "log_type all\nlistener ")
        for port in ("1884", "8883"):
            script = script.replace(port, str(free_port()))
        name = os.path.join(self.dir, "output")
        with open(name, "w", encoding="utf-8") as out, \
                subprocess.Popen(["bash", "-eu", "-c", script], cwd=self.dir, stdout=out, stderr=subprocess.STDOUT,
                                 start_new_session=True, env=sanitized_environment(self.dir)) as shell:
            try:
                code = shell.wait(60)
            finally:
                if shell.poll() != 0: # what it has started is still there
                    os.killpg(shell.pid, signal.SIGKILL)
        with open(name, encoding="utf-8") as file:
            text = file.read()
        self.assertEqual((code, sanitizer_reports(self.dir, "")), (0, ""), text)
        for wanted in (r"New client connected from 127\.0\.0\.1:\d+ as sensor \(p2, c1, k60\)", r"u'client'",
                       r"refused 127\.0\.0\.1:\d+: no PROXY header of version 2", "Configuration reloaded"):
            self.assertRegex(text, wanted)
        self.assertEqual(text.count("refused "), 1, text)  # nothing of the checks


if __name__ == "__main__":
    main()
