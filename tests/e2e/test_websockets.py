"""WebSockets: the handshake, frames of all kinds, listeners' options, TLS and files, by hand and with Paho."""
import base64
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

import wire
from broker import PROGRAMS, Broker, BrokerCase, can_connect, has_ipv6, main, sanitized_environment, until
from clients import Sub, publish
from websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frames, Ws, frame, read_head, request

MAKE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../certs/make.sh")
ONE = "log_type all\nsys_interval 1\nlistener {0} 127.0.0.1\nallow_anonymous true\nlistener {1} 127.0.0.1\n" \
      "protocol websockets\n"


def ask(port, data, tls=None, host="127.0.0.1"):
    """Sends a request as it is; the answer's status, fields and body."""
    with socket.create_connection((host, port), 20) as sock:
        if tls:
            sock = tls.wrap_socket(sock, server_hostname="localhost")
        sock.sendall(data)
        status, fields, rest = read_head(sock)
        while True:
            more = sock.recv(65536)
            if not more:
                return status, fields, rest
            rest += more


def get(port, path, method="GET", more="", tls=None):
    """A request for a file."""
    return ask(port, f"{method} {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode(), tls)


def rest_of(sock):
    """All that comes until the other end closes, politely or not."""
    body = b""
    try:
        while more := sock.recv(65536):
            body += more
    except ConnectionResetError:
        pass
    return body


class OneBroker(BrokerCase):
    """A plain listener and one for WebSockets, three shards."""

    options = {"config": ONE, "ports": 2, "shards": 3, "extra": "connect_timeout 2s\n"}

    def setUp(self):
        self.tcp, self.ws = self.broker.ports


class Handshake(OneBroker):
    """HTTP."""

    def test_any_path_and_both_names(self):
        """The sub-protocol is one of those offered; the path says nothing."""
        for path in ("/", "/mqtt", "/a/b?token=x", "/%20"):
            for offered, chosen in (("mqtt", "mqtt"), ("mqttv3.1", "mqttv3.1"), ("chat, mqttv3.1, mqtt", "mqtt")):
                with Ws(self.ws, path=path, protocols=offered) as raw:
                    self.assertEqual(raw.socket.protocol, chosen)
                    raw.connected("any").ping()
                    raw.disconnect()

    def refused(self, data, status, why):
        """This status, a reason for people, the same in the log, and the end."""
        found, fields, body = ask(self.ws, data)
        self.assertEqual(found, status, body)
        self.assertIn(why.encode(), body)
        self.assertEqual(fields["connection"], "close")
        self.assertEqual(int(fields["content-length"]), len(body))
        self.broker.wait_log(f"refused 127.0.0.1:[0-9]+: the WebSocket handshake failed: .*{why}")
        return fields

    def test_refusals(self):
        """Each with its status, counted."""
        good = request()
        self.refused(request(protocols=None), 400, "does not offer mqtt")
        self.refused(request(protocols="chat"), 400, "does not offer mqtt")
        self.refused(request(key="x"), 400, "not 16 bytes in base64")
        self.refused(request(key=base64.b64encode(os.urandom(15)).decode()), 400, "not 16 bytes in base64")
        for version in (b"8", b"14", b""):
            fields = self.refused(good.replace(b"Version: 13", b"Version: " + version), 426, "is not 13")
            self.assertEqual(fields["sec-websocket-version"], "13")
        fields = self.refused(good.replace(b"GET", b"POST"), 405, "GET")
        self.assertEqual(fields["allow"], "get, head")
        self.refused(good.replace(b"Host: localhost\r\n", b""), 400, "Host")
        self.refused(good.replace(b"Connection: Upgrade", b"Connection: close"), 400, "Upgrade")
        self.refused(good.replace(b"HTTP/1.1", b"HTTP/1.0"), 505, "HTTP/1.1")
        self.refused(good + frame(BINARY, wire.connect("x")), 400, "does not wait")
        self.refused(request(more="".join(f"X-{i}: y\r\n" for i in range(100))), 431, "too many headers")
        self.refused(request(more=f"Cookie: {'x' * 5000}\r\n"), 431, "websockets_headers_size")
        self.refused(request(more=f"Cookie: {'x' * 100000}\r\n"), 431, "websockets_headers_size")
        self.refused(b"GET / HTTP/1.1\nHost: x\n\n", 400, "CR LF")
        self.refused(wire.connect("x"), 400, "not HTTP")
        self.refused(b"\x16\x03\x01\x02\x00\x01\x00", 400, "not HTTP")
        with Sub(self.tcp, "-t", "$SYS/sluice/refused/websocket_handshake", form="%p") as sub:
            until(lambda: any(int(m) >= 17 for m in sub.messages()), "the counter")

    def test_what_is_no_upgrade(self):
        """There are no files: it is told what this port is for."""
        for method in ("GET", "HEAD"):
            status, fields, body = get(self.ws, "/", method)
            self.assertEqual(bool(body), method == "GET")
            self.assertEqual((status, fields["upgrade"], fields["sec-websocket-version"]), (426, "websocket", "13"))
        self.assertEqual(get(self.ws, "/", "POST", "Content-Length: 3\r\n")[0], 405)
        self.assertEqual(ask(self.ws, b"GET / HTTP/1.1\r\n\r\n")[0], 400)
        with Sub(self.tcp, "-t", "$SYS/sluice/refused/http_request", form="%p") as sub:
            until(lambda: any(int(m) >= 4 for m in sub.messages()), "the counter")

    def test_heads_that_stall(self):
        """Closed under the deadline of the CONNECT: before, in and after the head, and in a frame."""
        begin = time.monotonic()
        stalled = [wire.Raw(self.ws) for _ in range(3)]
        stalled[1].send(request()[:50])
        stalled[2].send(request()[:-2])
        opened = [Ws(self.ws), Ws(self.ws)]
        opened[1].socket.push(frame(BINARY, wire.connect("never"))[:9])
        for raw in stalled:
            self.assertEqual(raw.socket.recv(1), b"")
        for raw in opened:
            self.assertIn(raw.socket.wait_close(), (None, 1000))
        self.assertGreater(time.monotonic() - begin, 1.5)
        for raw in stalled + opened:
            raw.close()


class Talk(OneBroker):
    """Frames, and MQTT in them."""

    def test_one_byte_at_a_time(self):
        """Handshake, frames and packets."""
        with Ws(self.ws, step=1) as raw:
            raw.socket.plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.connected("bytes")
            raw.subscribe(("b/#", 2))
            for qos in (1, 2):
                raw.published("b/x", b"y" * 200, qos=qos, packet_id=qos)
                self.assertEqual(raw.acked().payload, b"y" * 200)
            raw.disconnect()

    def test_packets_and_frames_have_different_ends(self):
        """[MQTT-6.0.0-2]: several packets in a frame, one over many, fragments, empty frames, pings between."""
        with Ws(self.ws) as raw:
            send = raw.socket.send_frame
            raw.send(wire.connect("ends"), wire.subscribe("e"), wire.publish("e", b"1"), wire.publish("e", b"2")[:5])
            raw.expect(wire.CONNACK)
            raw.await_packet(wire.SUBACK)
            self.assertEqual(raw.message().payload, b"1")
            send(BINARY)
            send(PONG, b"nobody asked")
            raw.send(wire.publish("e", b"2")[5:])
            self.assertEqual(raw.message().payload, b"2")
            large = wire.publish("e", bytes(range(256)) * 10)
            for i in range(0, len(large), 7):
                raw.send(large[i:i + 7])
            self.assertEqual(raw.message().payload, bytes(range(256)) * 10)
            send(BINARY, large[:1], final=False)
            for i in range(1, len(large), 100):
                send(PING, str(i).encode())
                send(CONTINUATION, large[i:i + 100], final=False)
            send(CONTINUATION, b"", final=True)
            self.assertEqual(raw.message().payload, bytes(range(256)) * 10)
            raw.socket.wait_pong(str(range(1, len(large), 100)[-1]).encode())
            self.assertTrue(all(int(p) % 100 == 1 for p in raw.socket.pongs))
            raw.ping()

    def test_pings(self):
        """Answered with what they say, before CONNECT too."""
        with Ws(self.ws) as raw:
            raw.socket.send_frame(PING, b"early")
            raw.socket.wait_pong(b"early")
            raw.connected("pings")
            raw.socket.send_frame(PING, b"x" * 125)
            raw.socket.wait_pong(b"x" * 125)
            raw.socket.send_frame(PING)
            raw.socket.wait_pong(b"")
            raw.ping()

    def test_broken_frames(self):
        """Closed with the code for it, the will is sent, and it is in the log and counted."""
        cases = (
            (frame(TEXT, b"hello"), 1003, "text frame"),  # [MQTT-6.0.0-1]
            (frame(BINARY, b"hello", mask=b""), 1002, "without a mask"),
            (frame(BINARY, b"hello", reserved=4), 1002, "extension"),
            (frame(3, b"x"), 1002, "unknown kind"),
            (frame(CONTINUATION, b"x"), 1002, "does not continue"),
            (frame(BINARY, b"", final=False) + frame(BINARY, b"x"), 1002, "does not continue"),
            (frame(PING, b"x", final=False), 1002, "in pieces"),
            (frame(PING, b"x" * 126), 1002, "too long"),
            (frame(CLOSE, b"x"), 1002, "code"),
            (frame(CLOSE, b"\x03\xe8\xff"), 1007, "text that is none"),
            (frame(BINARY, b"x", says=1 << 40), 1009, "longer than"),
            (frame(BINARY, b"x", says=1 << 63), 1002, "badly written"),
        )
        with wire.Raw(self.tcp) as watch:
            watch.connected("watch").subscribe("will")
            for i, (data, code, why) in enumerate(cases):
                with Ws(self.ws) as raw, self.subTest(why=why):
                    raw.connected(f"broken-{i}", will=("will", str(i)))
                    raw.socket.push(data + frame(BINARY, wire.packet(0xC0)) * 1000)
                    raw.expect_close(code)
                    self.broker.wait_log(rf"Client broken-{i} \S* ?disconnected: it sent .*{why}")
                    self.assertEqual(watch.message().payload, str(i).encode())
        with Ws(self.ws) as raw:
            raw.socket.send_frame(TEXT, wire.connect("x"))
            raw.expect_close(1003)
            self.broker.wait_log("refused 127.0.0.1:[0-9]+: it sent a text frame")
        with Sub(self.tcp, "-t", "$SYS/sluice/refused/websocket_frame", form="%p") as sub:
            until(lambda: any(int(m) >= len(cases) + 1 for m in sub.messages()), "the counter")

    def test_what_comes_before_a_broken_frame_counts(self):
        """In one piece with it."""
        with wire.Raw(self.tcp) as watch, Ws(self.ws) as raw:
            watch.connected("watch-before").subscribe("before")
            raw.connected("before")
            raw.socket.push(frame(BINARY, wire.publish("before", b"x")) + frame(TEXT, b"x"))
            raw.expect_close(1003)
            self.assertEqual(watch.message().payload, b"x")

    def test_closes(self):
        """Theirs is answered with its code; ours comes after DISCONNECT, and waits for theirs."""
        with wire.Raw(self.tcp) as watch:
            watch.connected("watch-closes").subscribe("will/closes")
            for code in (1000, 1001, 3000, 4999):
                with Ws(self.ws) as raw:
                    raw.connected("closes", will=("will/closes", str(code)))
                    raw.socket.send_frame(CLOSE, code.to_bytes(2, "big") + b"bye")
                    raw.expect_close(code)
                    self.assertEqual(watch.message().payload, str(code).encode())
            with Ws(self.ws) as raw:
                raw.connected("closes", will=("will/closes", "no"))
                raw.socket.push(frame(BINARY, wire.packet(0xE0)) + frame(CLOSE, b"\x03\xe8"))
                raw.expect_close(1000)
            with Ws(self.ws) as raw:
                raw.connected("closes")
                raw.send(wire.packet(0xE0))
                raw.expect_close(1000)
            with Ws(self.ws) as raw:
                raw.connected("closes", will=("will/closes", "cut"))
            self.assertEqual(watch.message().payload, b"cut")

    def test_an_error_of_mqtt_is_told(self):
        """DISCONNECT in a frame, then the close."""
        with Ws(self.ws) as raw:
            raw.connected("malformed")
            raw.send(b"\x00\x00")
            self.assertEqual(raw.expect(wire.DISCONNECT).body[0], 0x81)
            raw.expect_close(1000)
        with Ws(self.ws) as raw:
            raw.send(b"GET / HTTP/1.1\r\n\r\n")
            self.assertIn(raw.socket.wait_close(), (None, 1000))

    def test_a_mebibyte_each_way(self):
        """In one frame and in many; the broker's have one packet each."""
        payload = os.urandom(1 << 20)
        with Ws(self.ws) as raw, wire.Raw(self.tcp) as plain:
            raw.connected("large").subscribe(("l/#", 1))
            plain.connected("plain").subscribe(("l/#", 1))
            raw.published("l/1", payload)
            packet = wire.publish("l/2", payload, qos=1, packet_id=2)
            for i in range(0, len(packet), 1000):
                raw.send(packet[i:i + 1000])
            raw.await_packet(wire.PUBACK)
            plain.published("l/3", payload, packet_id=3)
            for client in (raw, plain):
                found = [client.acked() for _ in range(3)]
                self.assertEqual({m.topic for m in found}, {"l/1", "l/2", "l/3"})
                self.assertTrue(all(m.payload == payload for m in found))
            self.assertEqual(raw.socket.frames, 7)  # CONNACK, SUBACK, 3 PUBLISH, 2 PUBACK
            raw.ping()

    def test_wherever_the_session_lives(self):
        """A connection goes to its home shard in the middle of a frame, a message and a packet."""
        clients = []
        for i in range(12):
            raw = Ws(self.ws)
            packet = wire.publish(f"home/{i}", b"x" * 100, qos=1)
            whole = wire.connect(f"home-{i}", keep_alive=60) + wire.subscribe(f"home/{i}") + packet
            data = frame(BINARY, whole, final=False)
            cut = len(data) - 50 if i % 2 else 8 + len(wire.connect(f"home-{i}"))
            raw.socket.push(data[:cut])
            raw.expect(wire.CONNACK)
            raw.socket.push(data[cut:])
            found = {packet.type: packet for packet in (raw.read(), raw.read(), raw.read())}
            self.assertEqual(set(found), {wire.SUBACK, wire.PUBACK, wire.PUBLISH})
            self.assertTrue(found[wire.PUBLISH].body.endswith(b"x" * 100))
            raw.socket.send_frame(CONTINUATION, wire.packet(0xC0))
            raw.expect(wire.PINGRESP)
            clients.append(raw)
        for i, raw in enumerate(clients):  # and all of them can reach each other
            raw.published(f"home/{(i + 5) % 12}", str(i).encode(), packet_id=7)
        for i, raw in enumerate(clients):
            self.assertEqual(raw.message().payload, str((i + 7) % 12).encode())
            raw.close()

    def test_takeover_and_resume(self):
        """Over another transport."""
        with Ws(self.ws) as first, wire.Raw(self.tcp) as second:
            first.connected("moves", clean=False, props=wire.session_expiry(60)).subscribe(("m/#", 1))
            self.assertTrue(second.connect("moves", clean=False, props=wire.session_expiry(60)).present)
            self.assertEqual(first.expect(wire.DISCONNECT).body[0], 0x8E)
            first.expect_close(1000)
            second.published("m/x", b"1")
            self.assertEqual(second.acked().payload, b"1")
        publish(self.tcp, "-q", "1", "-t", "m/x", "-m", "2")
        with Ws(self.ws) as third:
            self.assertTrue(third.connect("moves", clean=False, props=wire.session_expiry(0)).present)
            self.assertEqual(third.acked().payload, b"2")
            third.disconnect()

    def test_keep_alive(self):
        """Counts packets of MQTT: pings of WebSockets keep nothing alive."""
        with Ws(self.ws) as raw:
            raw.connected("alive", keep_alive=1)
            begin = time.monotonic()
            raw.socket.settimeout(0.2)
            while time.monotonic() - begin < 10 and raw.socket.close_code is None:
                try:
                    raw.socket.send_frame(PING, b"x")
                    raw.socket.step_in()
                except socket.timeout:
                    continue
                except (BrokenPipeError, ConnectionResetError):
                    break
            self.assertLess(time.monotonic() - begin, 5)
            self.broker.wait_log("Client alive .*has exceeded timeout")


class Pressure(unittest.TestCase):
    """A page that does not read."""

    def test_a_reader_that_does_not_read(self):
        """Memory is bounded, pings do not help, others are served, and it goes on where it was."""
        with Broker(ONE + "slow_reader_grace 200ms\n", ports=2, shards=2, asan="quarantine_size_mb=8") as broker:
            stuck = Ws(broker.ports[1], receive_buffer=8192).connected("stuck")
            stuck.subscribe("flood", ("keep", 1))
            before = broker.resident_kib()
            with wire.Raw(broker.port) as pub:
                pub.connected("pub")
                for i in range(500):
                    pub.publish("flood", b"f" * 65536)
                pub.published("keep", b"kept")
                pub.ping()
            broker.wait_log("Client stuck reads too slowly")
            stuck.socket.settimeout(0.5)
            sent = 0
            try:
                for sent in range(200000):
                    stuck.socket.send_frame(PING, b"p" * 100)
            except socket.timeout:
                pass
            self.assertLess(sent, 199999)  # it is not read any more
            self.assertLess(broker.resident_kib() - before, 32 * 1024)
            stuck.socket.settimeout(20)
            while True:
                found = stuck.message()
                if found.topic == "keep":
                    break
                self.assertEqual(found.payload, b"f" * 65536)
            stuck.socket.close()

    def test_stop(self):
        """Pages are told too."""
        with Broker(ONE, ports=2) as broker:
            raw = Ws(broker.ports[1]).connected("x")
            half = Ws(broker.ports[1])
            broker.signal(15)
            self.assertEqual(raw.expect(wire.DISCONNECT).body[0], 0x8B)
            raw.expect_close(1000)
            self.assertIn(half.socket.wait_close(), (None, 1000))

    def test_descriptors(self):
        """Without any left, who has not said CONNECT goes first."""
        with Broker(ONE, ports=2, shards=1) as broker:
            broker.leave_descriptors(10)
            waiting = [Ws(broker.ports[1]) for _ in range(8)]
            more = [Ws(broker.ports[1]).connected(f"well-{i}") for i in range(8)]
            for raw in more:
                raw.ping()
            for raw in waiting + more:
                raw.close()


LISTENERS = """per_listener_settings true
log_type all
listener {0} 127.0.0.1
allow_anonymous true
listener {1} 127.0.0.1
protocol websockets
max_connections 2
allow_anonymous true
listener {2} 127.0.0.1
protocol websockets
mount_point m/
max_qos 1
allow_anonymous true
listener {3} 127.0.0.1
protocol websockets
enable_proxy_protocol 1
websockets_origin https://good.example
allow_anonymous true
listener {4} localhost
protocol websockets
socket_domain ipv4
bind_interface lo
password_file {dir}/users
listener 0 {dir}/web.sock
protocol websockets
allow_anonymous true
"""


class Options(unittest.TestCase):
    """What a listener can be told holds for WebSockets too."""

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(LISTENERS, ports=5, shards=3)
        done = subprocess.run(["mosquitto_passwd", "-b", "-c", cls.broker.path("users"), "ann", "secret"], check=False)
        assert done.returncode == 0, done
        cls.broker.__enter__()
        cls.tcp, cls.two, cls.mount, cls.proxied, cls.users = cls.broker.ports

    @classmethod
    def tearDownClass(cls):
        cls.broker.__exit__(None, None, None)

    def test_the_log_says_what_listens(self):
        """At the start."""
        self.broker.wait_log(rf"Opening websockets listen socket on port {self.two}\.")
        self.broker.wait_log(rf"Listener {self.two} on 127\.0\.0\.1: websockets, anybody who reaches it may connect")
        self.broker.wait_log(rf"Listener {self.users} on localhost: websockets, users of its password_file may connect")

    def test_max_connections(self):
        """Also before the handshake; and room is made when one goes."""
        with Ws(self.two) as a, Ws(self.two):
            a.connected("a")
            with wire.Raw(self.two) as raw:
                self.assertEqual(raw.socket.recv(1), b"")
            self.broker.wait_log("denied: max_connections exceeded")

        def room():
            try:
                Ws(self.two).close()
                return True
            except (AssertionError, ConnectionResetError, BrokenPipeError):
                return False

        until(room, "there is room again")

    def test_mount_point_and_max_qos(self):
        """As over TCP."""
        with Ws(self.mount) as raw, wire.Raw(self.tcp) as plain:
            self.assertIn(b"\x24\x01", raw.connect("mounted").properties)
            raw.subscribe("x")
            plain.connected("plain").subscribe("m/#")
            raw.publish("x", b"1")
            self.assertEqual(raw.message().topic, "x")
            self.assertEqual(plain.message().topic, "m/x")

    def test_proxy_and_origin(self):
        """The header comes before HTTP; then only pages of that origin, and programs."""
        for i in range(6):
            header = f"PROXY TCP4 198.51.100.{i} 127.0.0.1 1000 80\r\n".encode()
            with Ws(self.proxied, before=header, more="Origin: https://good.example\r\n") as raw:
                raw.connected(f"page-{i}")
                self.broker.wait_log(rf"New client connected from 198\.51\.100\.{i}:1000 as page-{i} ")
        with Ws(self.proxied, before=b"PROXY UNKNOWN\r\n") as raw:
            raw.connected("program")
        header = b"PROXY TCP4 198.51.100.9 127.0.0.1 1000 80\r\n"
        for origin in ("https://evil.example", "http://good.example", "null"):
            status, _, body = ask(self.proxied, header + request(more=f"Origin: {origin}\r\n"))
            self.assertEqual((status, body), (403, b"its Origin is not one of websockets_origin\n"))
        self.broker.wait_log(r"refused 198\.51\.100\.9:1000: the WebSocket handshake failed: its Origin")
        with wire.Raw(self.proxied) as raw:
            raw.send(request())
            try:
                self.assertEqual(raw.socket.recv(1), b"")
            except ConnectionResetError:
                pass
        self.broker.wait_log("no PROXY header of version 1")

    def test_users(self):
        """A password, checked off the shard while the frames wait."""
        with Ws(self.users) as raw:
            raw.send(wire.connect("ann", user="ann", password="secret"), wire.subscribe("u"), wire.publish("u", b"x"))
            raw.expect(wire.CONNACK)
            raw.await_packet(wire.SUBACK)
            self.assertEqual(raw.message().payload, b"x")
        for user, password in (("ann", "wrong"), ("bob", "secret"), (None, None)):
            with Ws(self.users) as raw:
                self.assertIn(raw.connect("x", user=user, password=password).code, (0x86, 0x87))
                raw.expect_close(1000)

    def test_unix_socket(self):
        """As a web server in front of it would."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.broker.path("web.sock"))
            sock.settimeout(20)
            frames = Frames(sock)
            frames.sendall(wire.connect("unix"))
            self.assertEqual(frames.recv(100)[:1], b"\x20")

    def test_reload(self):
        """The protocol, the origins and the folder hold for who comes next; who is there stays."""
        with Broker(ONE, ports=2, shards=2) as broker:
            before = Ws(broker.ports[1]).connected("before")
            text = "allow_anonymous true\nlistener {0} 127.0.0.1\nprotocol websockets\nwebsockets_origin http://a\n" \
                   "listener {1} 127.0.0.1\nprotocol mqtt\n"
            broker.write_config(text)
            broker.signal(1)
            broker.wait_log("Configuration reloaded")
            until(lambda: self.speaks_mqtt(broker.ports[1]), "all shards know")
            before.ping()
            with Ws(broker.port, more="Origin: http://a\r\n") as raw:
                raw.connected("after").ping()
            self.assertEqual(ask(broker.port, request(more="Origin: http://b\r\n"))[0], 403)
            before.close()

    def speaks_mqtt(self, port):
        """Often enough that every shard has been asked."""
        for i in range(20):
            with wire.Raw(port) as raw:
                raw.send(wire.connect(f"speaks-{i}"))
                if raw.socket.recv(1) != b"\x20":
                    return False
        return True

    @unittest.skipUnless(has_ipv6(), "no IPv6 here")
    def test_socket_domain_ipv6(self):
        """IPv6 only."""
        config = "listener {0} ::1\nprotocol websockets\nsocket_domain ipv6\nallow_anonymous true\n"
        with Broker(config, probe=()) as broker:
            broker.wait_log("running")  # as nobody can look by IPv4
            with Ws(broker.port, host="::1") as raw:
                raw.connected("six").ping()
            self.assertFalse(can_connect(broker.port, "127.0.0.1"))


class Files(unittest.TestCase):
    """http_dir."""

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(ONE + "http_dir {dir}/www\nconnect_timeout 2s\n", ports=2, shards=2)
        www = cls.broker.path("www")
        os.makedirs(os.path.join(www, "sub"))
        cls.large = os.urandom(3 << 20)
        for name, data in (("index.html", b"<p>hello"), ("sub/index.html", b"sub"), ("x.js", b"1"), ("large.bin", cls.large),
                           (".hidden", b"no"), ("empty.txt", b"")):
            with open(os.path.join(www, name), "wb") as file:
                file.write(data)
        os.symlink("../sluice.conf", os.path.join(www, "link"))
        cls.broker.__enter__()
        cls.tcp, cls.ws = cls.broker.ports

    @classmethod
    def tearDownClass(cls):
        cls.broker.__exit__(None, None, None)

    def test_files(self):
        """Content, type and length; HEAD without the content."""
        for path, kind, data in (("/", "text/html; charset=utf-8", b"<p>hello"), ("/sub/?x", "text/html; charset=utf-8", b"sub"),
                                 ("/x.js", "text/javascript; charset=utf-8", b"1"), ("/empty.txt", "text/plain; charset=utf-8", b""),
                                 ("/large.bin", "application/octet-stream", self.large)):
            status, fields, body = get(self.ws, path)
            self.assertEqual((status, fields["content-type"], int(fields["content-length"])), (200, kind, len(data)))
            self.assertEqual((fields["connection"], fields["x-content-type-options"]), ("close", "nosniff"))
            self.assertTrue(body == data, path)
            status, fields, body = get(self.ws, path, "HEAD")
            self.assertEqual((status, int(fields["content-length"]), body), (200, len(data), b""))
        self.broker.wait_log(r"127\.0\.0\.1:\d+: GET /sub/\?x: 200\.")
        with Sub(self.tcp, "-t", "$SYS/sluice/http/served", form="%p") as sub:
            until(lambda: any(int(m) >= 10 for m in sub.messages()), "the counter")

    def test_what_is_no_file(self):
        """Nothing above, nothing hidden, no link; a folder is told to have a slash."""
        for path in ("/missing", "/.hidden", "/link", "/../sluice.conf", "/%2e%2e/sluice.conf", "/sub/../index.html", "//x.js"):
            self.assertEqual(get(self.ws, path)[0], 404, path)
        self.assertEqual(get(self.ws, "/..%2fsluice.conf")[0], 400)
        status, fields, _ = get(self.ws, "/sub?q")
        self.assertEqual((status, fields["location"]), (301, "/sub/"))
        self.assertEqual(get(self.ws, "/x.js", "DELETE")[0], 405)
        self.assertEqual(get(self.ws, "/missing", "HEAD")[::2], (404, b""))
        self.assertEqual(get(self.ws, "/sub", "HEAD")[::2], (301, b""))

    def test_websockets_beside_files(self):
        """On any path, also one that a file has."""
        with Ws(self.ws, path="/index.html") as raw:
            raw.connected("page").ping()

    def test_slow_readers_of_files(self):
        """Each piece gives time, none takes it from others; who reads nothing is closed."""
        begin = time.monotonic()
        slow = wire.Raw(self.ws, receive_buffer=4096)
        never = wire.Raw(self.ws, receive_buffer=4096)
        for raw in (slow, never):
            raw.send(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        _, _, body = read_head(slow.socket)
        while time.monotonic() - begin < 4:  # twice connect_timeout
            body += slow.socket.recv(300000)
            with wire.Raw(self.tcp) as other:
                other.connected("other").ping()
            time.sleep(0.05)  # it is slow on purpose
        while len(body) < len(self.large):
            more = slow.socket.recv(65536)
            self.assertTrue(more)
            body += more
        self.assertTrue(body == self.large)
        _, _, body = read_head(never.socket)
        body += rest_of(never.socket)
        self.assertLess(len(body), len(self.large))

    def test_a_file_that_shrinks(self):
        """Ends the connection, not the broker."""
        name = self.broker.path("www/shrinks.bin")
        with open(name, "wb") as file:
            file.write(self.large)
        with wire.Raw(self.ws, receive_buffer=4096) as raw:
            raw.send(b"GET /shrinks.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            _, _, body = read_head(raw.socket)
            os.truncate(name, 1000)
            body += rest_of(raw.socket)
            self.assertLess(len(body), len(self.large))
        self.assertEqual(get(self.ws, "/shrinks.bin")[2], self.large[:1000])


class Secure(unittest.TestCase):
    """wss, and Paho's clients over both."""

    @classmethod
    def setUpClass(cls):
        cls.certs = tempfile.mkdtemp(prefix="sluice-ws-certs-")
        subprocess.run(["sh", MAKE, cls.certs], check=True, timeout=60)
        pair = f"certfile {cls.certs}/server.crt\nkeyfile {cls.certs}/server.key\nprotocol websockets\n"
        cls.broker = Broker("per_listener_settings true\nlog_type all\nlistener {0} 127.0.0.1\nallow_anonymous true\n"
                            f"listener {{1}} 127.0.0.1\nallow_anonymous true\n{pair}http_dir {{dir}}\n"
                            f"listener {{2}} 127.0.0.1\n{pair}cafile {cls.certs}/ca.crt\nrequire_certificate true\n"
                            "use_identity_as_username true\nlistener {3} 127.0.0.1\nprotocol websockets\n"
                            "allow_anonymous true\n"
                            f"listener {{4}} 127.0.0.1\nallow_anonymous true\nenable_proxy_protocol 2\n{pair}"
                            "max_inflight_messages 1000\n", ports=5, shards=3)
        with open(cls.broker.path("page.html"), "wb") as file:
            file.write(b"p" * 200000)
        cls.broker.__enter__()
        cls.tcp, cls.wss, cls.strict, cls.ws, cls.proxied = cls.broker.ports
        cls.context = ssl.create_default_context(cafile=f"{cls.certs}/ca.crt")

    @classmethod
    def tearDownClass(cls):
        cls.broker.__exit__(None, None, None)
        shutil.rmtree(cls.certs)

    def test_the_log_says_so(self):
        """At the start."""
        self.broker.wait_log(rf"Listener {self.wss} on 127\.0\.0\.1: websockets, TLS, anybody who reaches it")
        self.broker.wait_log(rf"Listener {self.strict} .*: websockets, TLS, clients with a certificate may connect")

    def test_talk(self):
        """On every shard, byte by byte, large ones, and the close."""
        payload = os.urandom(1 << 20)
        for i in range(6):
            with Ws(self.wss, self.context) as raw:
                raw.connected(f"secure-{i}").subscribe((f"s/{i}", 1))
                raw.published(f"s/{i}", payload)
                self.assertTrue(raw.acked().payload == payload)
                raw.socket.send_frame(PING, b"x")
                raw.socket.wait_pong(b"x")
                raw.send(wire.packet(0xE0))
                raw.expect_close(1000)
        with Ws(self.wss, self.context, step=1) as raw:
            raw.connected("secure-bytes").ping()
            raw.socket.send_frame(TEXT, b"x")
            raw.expect_close(1003)

    def test_a_reader_that_does_not_read(self):
        """Frames of TLS that wait, and pings meanwhile."""
        with Ws(self.wss, self.context, receive_buffer=8192) as raw, wire.Raw(self.tcp) as pub:
            raw.connected("stuck").subscribe(("f", 1))
            pub.connected("pub")
            for i in range(1, 31):
                pub.published("f", bytes([i]) * 100000, packet_id=i)
            raw.socket.send_frame(PING, b"between")
            for i in range(1, 31):
                self.assertTrue(raw.acked().payload == bytes([i]) * 100000)
            raw.socket.wait_pong(b"between")

    def test_certificates(self):
        """Say who it is, wherever the session lives."""
        context = ssl.create_default_context(cafile=f"{self.certs}/ca.crt")
        context.load_cert_chain(f"{self.certs}/client.crt", f"{self.certs}/client.key")
        for i in range(6):
            with Ws(self.strict, context) as raw:
                raw.connected(f"cert-{i}", user="root", password="x")
                self.broker.wait_log(rf"as cert-{i} \(.*u'client'\)")
        with self.assertRaises((ssl.SSLError, ConnectionResetError, AssertionError)):
            Ws(self.strict, self.context)

    def test_files(self):
        """https."""
        status, _, body = get(self.wss, "/page.html", tls=self.context)
        self.assertEqual((status, body), (200, b"p" * 200000))

    def test_proxy(self):
        """Header, TLS, HTTP, frames."""
        header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 5, 127, 0, 0, 1]) + b"\x10\0\0\x50"
        with Ws(self.proxied, self.context, before=header) as raw:
            raw.connected("behind")
            self.broker.wait_log(r"New client connected from 192\.0\.2\.5:4096 as behind ")

    def paho(self, program, port, version, scenarios, cafile=None):
        """Runs a program's scenarios, all at once."""
        environment = {**sanitized_environment(self.broker.dir, "detect_leaks=0"), "PAHO_WEBSOCKETS": "1"}
        if cafile:
            environment["PAHO_CAFILE"] = cafile
        running = {name: subprocess.Popen([os.path.join(PROGRAMS, program), str(port), str(version), name],
                                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
                   for name in scenarios}
        for name, process in running.items():
            with self.subTest(program=program, version=version, scenario=name, tls=bool(cafile)):
                try:
                    out, err = process.communicate(timeout=60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    out, err = process.communicate()
                self.assertEqual((process.returncode, out), (0, f"{name}: good\n"), err)

    def test_paho_over_ws(self):
        """All that it does over TCP."""
        for version in (4, 5):
            self.paho("paho_sync", self.ws, version, ("qos", "session", "shared"))
            self.paho("paho_async", self.ws, version, ("flight-1", "flight-2", "back-1", "back-2"))
        self.paho("paho_sync", self.ws, 5, ("properties", "request"))

    def test_paho_over_wss(self):
        """The same with TLS."""
        for version in (4, 5):
            self.paho("paho_sync", self.wss, version, ("qos", "shared"), f"{self.certs}/ca.crt")


if __name__ == "__main__":
    main()
