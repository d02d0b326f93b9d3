"""The admin listener: every endpoint, who may ask, and what happens to those who ask wrongly."""
import base64
import concurrent.futures
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
import urllib.parse

import wire
from broker import ANYBODY, DURABLE, STOP_S, Broker, BrokerCase, can_connect, has_ipv6, main, run_sluice, until
from clients import Sub, publish, run_sub

SLUICECTL = os.environ.get("SLUICECTL", "")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
ADMIN = "listener {1} 127.0.0.1\nprotocol http_api\n"
OPEN = ANYBODY + ADMIN
MANY = 5000
JSON = {"Content-Type": "application/json"}


class Answer:
    """Of one request."""

    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self):
        """The body."""
        return json.loads(self.body)


def ask(port, path, method="GET", body=None, headers=None, timeout=30):
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def get(port, path, **headers):
    """The JSON of a request that is to succeed."""
    answer = ask(port, path, headers=headers)
    assert answer.status == 200, (answer.status, answer.body)
    return answer.json()


def post(port, path, value=None, headers=None):
    """A POST of JSON."""
    return ask(port, path, "POST", json.dumps(value), {**JSON, **(headers or {})})


def basic(user, password):
    """The header of Basic authentication."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def raw_http(port, data, seconds=20, path=None):
    """Sends bytes and reads until the end; None: it was reset."""
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as sock:
        sock.settimeout(seconds)
        sock.connect(path or ("127.0.0.1", port))
        sock.sendall(data)
        got = b""
        try:
            while part := sock.recv(65536):
                got += part
        except ConnectionResetError:
            return None
        return got


def metrics(text):
    """Every sample of /metrics by its name and labels, when every line is as it should be."""
    found, types, helped = {}, {}, set()
    for line in text.split("\n")[:-1]:
        if match := re.fullmatch(r"# HELP (sluice_[a-z0-9_]+) \S.*", line):
            assert match.group(1) not in helped, line
            helped.add(match.group(1))
        elif match := re.fullmatch(r"# TYPE (sluice_[a-z0-9_]+) (counter|gauge)", line):
            assert match.group(1) in helped and match.group(1) not in types, line
            types[match.group(1)] = match.group(2)
        else:
            label = r'[a-z]+="(?:[^"\\\n]|\\["\\n])*"'
            match = re.fullmatch(rf'((sluice_[a-z0-9_]+)(?:\{{{label}(?:,{label})*\}})?) (\d+)', line)
            assert match and match.group(2) in types and match.group(1) not in found, line
            assert types[match.group(2)] == "gauge" or match.group(2).endswith("_total"), line
            found[match.group(1)] = int(match.group(3))
    assert helped == set(types) and text.endswith("\n")
    return found


class Endpoints(BrokerCase):
    """Each of them, with one shard."""

    options = {"config": OPEN, "ports": 2, "shards": 1}
    shards = 1

    @property
    def port(self):
        """Of the admin listener."""
        return self.broker.ports[1]

    def test_probes_and_index(self):
        """/livez, /readyz, and a page for people."""
        for path in ("/livez", "/readyz"):
            answer = ask(self.port, path)
            self.assertEqual((answer.status, answer.body), (200, b"ok\n"))
        answer = ask(self.port, "/")
        self.assertEqual(answer.status, 200)
        self.assertIn(b"/api/v1/openapi.json", answer.body)
        self.assertIn("default-src 'none'", answer.headers["Content-Security-Policy"])

    def test_status(self):
        """Figures of the whole broker."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("status-1")
            found = get(self.port, "/api/v1/status")
            self.assertEqual((found["shards"], found["pid"], found["persistence"]),
                             (self.shards, self.broker.pid, False))
            self.assertGreaterEqual(found["clients_connected"], 1)
            self.assertRegex(found["version"], r"\A\d+\.\d+\.\d+\Z")

    def test_metrics(self):
        """Every line is valid; counters move, by shard."""
        before = ask(self.port, "/metrics")
        self.assertEqual(before.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        publish(self.broker.port, "-t", "metrics", "-m", "x", "--repeat", "10", "--repeat-delay", "0")
        first, second = (metrics(text.body.decode()) for text in (before, ask(self.port, "/metrics")))

        def total(found, name):
            return sum(value for key, value in found.items() if key.startswith(f"sluice_{name}{{shard="))

        self.assertEqual(total(second, "publish_received_total") - total(first, "publish_received_total"), 10)
        self.assertGreater(second["sluice_admin_requests_total"], first["sluice_admin_requests_total"])
        self.assertEqual(len([key for key in second if key.startswith("sluice_sessions{")]), self.shards)

    def test_clients(self):
        """Who is there, who is away, and ids of any kind."""
        ids = ["clients-1", "clients/2 ä&=+#?", "clients%3"]
        raws = [wire.Raw(self.broker.port) for _ in ids]
        try:
            for raw, name in zip(raws, ids):
                raw.connected(name, props=wire.session_expiry(60), keep_alive=30)
            raws[0].subscribe("clients/a", ("clients/b", 1))
            rows = {row["id"]: row for row in get(self.port, "/api/v1/clients")}
            for name in ids:
                row = rows[name]
                self.assertTrue(row["connected"])
                self.assertEqual((row["protocol"], row["port"], row["keep_alive_seconds"],
                                  row["session_expiry_seconds"], row["user"], row["will"]),
                                 ("5.0", self.broker.port, 30, 60, None, False))
                self.assertRegex(row["since"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")
                quoted = urllib.parse.quote(name, safe="")
                self.assertEqual(get(self.port, f"/api/v1/clients/{quoted}"), row)
                self.assertEqual(get(self.port, f"/api/v1/clients?id={quoted}"), [row])
            self.assertEqual(rows[ids[0]]["subscriptions"], 2)
            self.assertEqual(rows[ids[0]]["address"], raws[0].peer_text())
        finally:
            for raw in raws:
                raw.close()

        def away():
            row = get(self.port, "/api/v1/clients/clients-1")
            return row if not row["connected"] else None

        row = until(away, "it is away")
        self.assertEqual((row["address"], row["port"], row["receive_max"]), (None, 0, 0))
        publish(self.broker.port, "-t", "clients/b", "-q", "1", "-m", "12345")
        self.assertEqual([get(self.port, "/api/v1/clients/clients-1")[key] for key in ("queued", "queued_bytes")],
                         [1, 5])
        answer = ask(self.port, "/api/v1/clients/nobody")
        self.assertEqual((answer.status, answer.json()["error"]), (404, "no-such-client"))
        self.assertEqual(get(self.port, "/api/v1/clients?id=nobody"), [])

    def test_kick(self):
        """DISCONNECT 0x98 and the end of the connection; the session stays."""
        for name, path, body in (("kick-1", "/api/v1/clients/kick-1/kick", None),
                                 ("kick/../2", "/api/v1/clients/kick", {"id": "kick/../2"})):
            with wire.Raw(self.broker.port) as raw:
                raw.connected(name, props=wire.session_expiry(60))
                answer = ask(self.port, path, "POST") if body is None else post(self.port, path, body)
                self.assertEqual((answer.status, answer.json()), (200, {"id": name, "kicked": True}))
                raw.expect_disconnect(0x98)
                raw.expect_closed()
            answer = post(self.port, "/api/v1/clients/kick", {"id": name})
            self.assertEqual((answer.status, answer.json()["error"]), (409, "not-connected"))
        self.broker.wait_log(r"Admin: anonymous \(127\.0\.0\.1:\d+\) has disconnected client kick-1\.")
        self.assertEqual(ask(self.port, "/api/v1/clients/nobody/kick", "POST").status, 404)
        for body in ("", "[]", "{}", '{"id": 7}', '{"id": ""}', "{", '{"id":"a","id":"b"}', "[" * 100):
            answer = ask(self.port, "/api/v1/clients/kick", "POST", body, JSON)
            self.assertEqual(answer.status, 400, body)

    def test_subscriptions(self):
        """All of them as they were said, and those of one client."""
        with wire.Raw(self.broker.port) as raw, wire.Raw(self.broker.port) as other:
            raw.connected("subs-1")
            other.connected("subs-2")
            raw.subscribe(("subs/#", 2 | 4 | 8 | 16), props=bytes([0x0b, 7]))
            raw.subscribe(("$share/g/subs/x", 1), ("$filter/a = 1/subs/#", 0))
            raw.subscribe("subs/w", props=wire.user_property("filter", "b > 2"))
            other.subscribe("subs/other")
            rows = {row["topic"]: row for row in get(self.port, "/api/v1/subscriptions?client=subs-1")}
            self.assertEqual(set(rows), {"subs/#", "$share/g/subs/x", "$filter/a = 1/subs/#", "subs/w"})
            row = rows["subs/#"]
            self.assertEqual((row["client"], row["qos"], row["id"], row["no_local"], row["retain_as_published"],
                              row["retain_handling"], row["shared"], row["filter"]),
                             ("subs-1", 2, 7, True, True, 1, False, None))
            self.assertTrue(rows["$share/g/subs/x"]["shared"])
            self.assertEqual(rows["subs/w"]["filter"], "b > 2")
            everybody = get(self.port, "/api/v1/subscriptions")
            self.assertIn(("subs-2", "subs/other"), [(row["client"], row["topic"]) for row in everybody])
            self.assertEqual(get(self.port, "/api/v1/subscriptions?client=nobody"), [])

    def test_retained(self):
        """Listed by filter, deleted on all shards, and subscribers are told."""
        topics = [f"kept/{i}" for i in range(50)]
        with wire.Raw(self.broker.port) as raw:
            raw.connected("retainer")
            for topic in topics + ["other/1"]:
                raw.published(topic, b"payload", retain=True)
            rows = get(self.port, "/api/v1/retained?filter=" + urllib.parse.quote("kept/+", safe=""))
            self.assertEqual(sorted(row["topic"] for row in rows), sorted(topics))
            self.assertEqual({row["bytes"] for row in rows}, {len("kept/1payload"), len("kept/10payload")})
            self.assertEqual({row["shard"] for row in rows}, set(range(self.shards)))
            listed = [row["topic"] for row in get(self.port, "/api/v1/retained")]
            self.assertIn("other/1", listed)
            self.assertFalse([topic for topic in listed if topic.startswith("$")])
            answer = post(self.port, "/api/v1/retained/delete", {"filter": "kept/#", "dry_run": True})
            self.assertEqual(answer.json(), {"matched": 50, "deleted": 0, "dry_run": True})
            self.assertEqual(len(get(self.port, "/api/v1/retained?filter=kept/%23")), 50)
            with Sub(self.broker.port, "-t", "kept/7", "-R", "-q", "1") as sub:
                answer = post(self.port, "/api/v1/retained/delete", {"filter": "kept/#"})
                self.assertEqual(answer.json(), {"matched": 50, "deleted": 50, "dry_run": False})
                self.assertEqual(sub.wait_messages(1), ["kept/7 "])
        self.assertEqual(get(self.port, "/api/v1/retained?filter=kept/%23"), [])
        done = run_sub(self.broker.port, "-t", "kept/#", "-t", "other/1", "-C", "1", "-v")
        self.assertEqual(done.stdout, "other/1 payload\n")
        answer = post(self.port, "/api/v1/retained/delete", {"filter": "nothing/#"})
        self.assertEqual(answer.json(), {"matched": 0, "deleted": 0, "dry_run": False})
        for body in ({}, {"filter": ""}, {"filter": "a/#/b"}, {"filter": 1}, {"filter": "a", "dry_run": 1}):
            self.assertEqual(post(self.port, "/api/v1/retained/delete", body).status, 400, body)
        self.assertEqual(ask(self.port, "/api/v1/retained?filter=a%2F%23%2Fb").status, 400)

    def pages(self, path):
        """All rows, page by page, by their Link headers."""
        rows = []
        while path:
            answer = ask(self.port, path)
            self.assertEqual(answer.status, 200, answer.body)
            page = answer.json()
            rows += page
            match = re.fullmatch(r'<(.*)>; rel="next"', answer.headers.get("Link", ""))
            path = match and match.group(1)
            self.assertTrue(page or not path)
        return rows

    def test_pages(self):
        """Each row once, whatever the size of a page."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("pages")
            for i in range(7):
                raw.subscribe(f"pages/{i}")
                raw.published(f"pages/ä/{i}&x=1", b"x", retain=True)
            for limit in (1, 2, 3, 7, 8, 1000):
                for path, key in (("/api/v1/clients?", "id"), ("/api/v1/subscriptions?client=pages&", "topic"),
                                  ("/api/v1/subscriptions?", "topic"),
                                  ("/api/v1/retained?filter=pages/%23&", "topic"), ("/api/v1/retained?", "topic")):
                    whole = [row[key] for row in get(self.port, path)]
                    paged = [row[key] for row in self.pages(f"{path}limit={limit}")]
                    self.assertEqual(sorted(paged), sorted(whole), (path, limit))
                    self.assertTrue(whole)
        for query in ("limit=0", "limit=1001", "limit=x", "limit=", "limit=99999999999999999999", "after=x",
                      "after=9.0.0", "after=0.0", "after=0.0.0.0", "after=0.0.99999999999", "after=-1.0.0"):
            self.assertEqual(ask(self.port, f"/api/v1/clients?{query}").status, 400, query)

    def test_config(self):
        """The directives in force, and the listeners."""
        found = get(self.port, "/api/v1/config")
        rows = {row["name"]: row for row in found["directives"]}
        self.assertEqual((rows["max_inflight_messages"]["value"], rows["max_inflight_messages"]["default"]), ("20", "20"))
        self.assertEqual(rows["sys_interval"]["value"], "10s")
        self.assertEqual([(row["port"], row["protocol"]) for row in found["listeners"]],
                         [(self.broker.port, "mqtt"), (self.port, "http_api")])

    def test_openapi_and_the_reference_page(self):
        """The description, the page and the program have the same endpoints."""
        found = get(self.port, "/api/v1/openapi.json")
        self.assertTrue(found["openapi"].startswith("3.0"))
        described = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
        with open(os.path.join(ROOT, "docs/reference/http-api.md"), encoding="utf-8") as file:
            page = file.read()
        written = set(re.findall(r"^### `(GET|POST) (\S+)`$", page, re.M))
        self.assertEqual(described, written)
        for (_, path), operation in ((key, found["paths"][key[1]][key[0].lower()]) for key in described):
            names = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
            self.assertEqual(names, re.findall(r"\{(\w+)\}", path))
            self.assertTrue(operation["summary"] and operation["responses"]["200"])
        answers = {path: ask(self.port, path).status for method, path in described
                   if method == "GET" and "{" not in path}
        self.assertEqual(set(answers.values()), {200}, answers)

    def test_methods_and_paths(self):
        """404, 405 with Allow, HEAD."""
        for path in ("/nothing", "/api", "/api/v1/", "/api/v2/status", "/metrics/x", "/api/v1/../../etc/passwd"):
            answer = ask(self.port, path)
            self.assertEqual((answer.status, answer.json()["error"]), (404, "no-such-path"), path)
        for method, path, allow in (("POST", "/metrics", "GET, HEAD"), ("DELETE", "/api/v1/clients/a", "GET, HEAD"),
                                    ("PUT", "/api/v1/status", "GET, HEAD"), ("OPTIONS", "/livez", "GET, HEAD"), ("GET", "/api/v1/retained/delete", "POST")):
            answer = ask(self.port, path, method, headers=JSON)
            self.assertEqual((answer.status, answer.json()["error"]), (405, "wrong-method"), (method, path))
            self.assertEqual(answer.headers["Allow"], allow)
        for path in ("/livez", "/metrics", "/api/v1/clients", "/api/v1/clients?limit=5"):
            answer = ask(self.port, path, "HEAD")
            self.assertEqual((answer.status, answer.body), (200, b""))

    def test_one_connection_for_many_requests(self):
        """Keep-alive, also after an error and a stream."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        for _ in range(3):
            for path, status in (("/livez", 200), ("/nothing", 404), ("/api/v1/clients", 200), ("/metrics", 200)):
                connection.request("GET", path)
                answer = connection.getresponse()
                self.assertEqual(answer.status, status)
                answer.read()
        connection.close()


class EndpointsOfShards(Endpoints):
    """The same with three."""

    options = {"config": OPEN, "ports": 2, "shards": 3}
    shards = 3


class Browsers(BrokerCase):
    """Pages that would speak to us through somebody's browser, and other requests that are not right."""

    options = {"config": OPEN, "ports": 2, "shards": 2}

    @property
    def port(self):
        """Of the admin listener."""
        return self.broker.ports[1]

    def test_host(self):
        """DNS rebinding: the name in Host is not ours."""
        for host in ("127.0.0.1", f"127.0.0.1:{self.port}", "localhost", "LOCALHOST:1", "[::1]:9", socket.gethostname()):
            self.assertEqual(ask(self.port, "/api/v1/status", headers={"Host": host}).status, 200, host)
        for host in ("evil.example", f"evil.example:{self.port}", "localhost.evil.example", "127.0.0.1.evil", ""):
            for path in ("/api/v1/status", "/metrics", "/api/v1/openapi.json"):
                answer = ask(self.port, path, headers={"Host": host})
                self.assertEqual((answer.status, answer.json()["error"]), (421, "wrong-host"), (host, path))
            self.assertEqual(ask(self.port, "/livez", headers={"Host": host}).status, 200)
        self.assertIn(b" 421 ", raw_http(self.port, b"GET /metrics HTTP/1.0\r\n\r\n"))
        self.assertIn(b" 421 ", raw_http(self.port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n"
                                                    b"Connection: close\r\n\r\n"))

    def test_origin(self):
        """Only our own pages."""
        host = f"127.0.0.1:{self.port}"
        for origin, status in ((f"http://{host}", 404), (f"https://{host}", 403), ("http://127.0.0.1:1", 403),
                               ("http://evil.example", 403), ("null", 403)):
            answer = post(self.port, "/api/v1/clients/nobody/kick", {}, {"Origin": origin})
            self.assertEqual(answer.status, status, origin)
        self.assertEqual(ask(self.port, "/api/v1/status", headers={"Origin": "http://evil.example"}).status, 403)

    def test_type_of_a_body(self):
        """What a form or a simple script can send is refused."""
        body = '{"filter":"#"}'
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            answer = ask(self.port, "/api/v1/retained/delete", "POST", body, {"Content-Type": kind})
            self.assertEqual((answer.status, answer.json()["error"]), (415, "wrong-type"), kind)
        answer = ask(self.port, "/api/v1/retained/delete", "POST", body,
                     {"Content-Type": "application/json; charset=utf-8"})
        self.assertEqual(answer.status, 200)

    def test_no_answer_is_for_other_pages(self):
        """No CORS header, and nothing is kept or guessed."""
        answer = ask(self.port, "/api/v1/status")
        self.assertFalse([name for name in answer.headers if name.lower().startswith("access-control")])
        self.assertEqual((answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"]),
                         ("no-store", "nosniff"))
        self.assertEqual(ask(self.port, "/api/v1/status", "OPTIONS").status, 405)

    def test_bodies(self):
        """Too large 413, without a length 411, of a GET 400, not what its length says."""
        answer = ask(self.port, "/api/v1/retained/delete", "POST", b"x" * 65537, JSON)
        self.assertEqual(answer.status, 413)
        answer = ask(self.port, "/api/v1/retained/delete", "POST", b"x" * 65536, JSON)
        self.assertEqual(answer.status, 400)
        head = b"POST /api/v1/clients/kick HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for length, status in ((b"99999999999999", b" 413 "), (b"-1", b" 400 "), (b"1x", b" 400 ")):
            self.assertIn(status, raw_http(self.port, head + b"Content-Length: " + length + b"\r\n\r\n"))
        self.assertIn(b" 411 ", raw_http(self.port, head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
        self.assertFalse(raw_http(self.port, b"GET /livez?a=b%00c HTTP/1.1\r\nHost: a\r\n\r\n"))
        self.assertIn(b" 400 ", raw_http(self.port, b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxx"))

    def test_heads(self):
        """Garbage, long lines, upgrades: an error or the end, and the listener lives."""
        for data in (b"\x16\x03\x01\x02\x00\x01", b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 20000 + b"\r\n\r\n",
                     b"GET /" + b"a" * 7000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /api/%00/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                     b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
                     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
            got = raw_http(self.port, data)
            self.assertFalse(got and b" 200 " in got[:20], (data[:40], got))
            self.assertEqual(ask(self.port, "/livez").status, 200)

    def test_pipelining(self):
        """Answers in the order of the requests."""
        one = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
        got = raw_http(self.port, one % (b"livez", b"") + one % (b"api/v1/clients", b"") + one % (b"nothing", b"") +
                       one % (b"readyz", b"Connection: close\r\n"))
        self.assertEqual(re.findall(rb"HTTP/1\.1 (\d+) ", got), [b"200", b"200", b"404", b"200"])

    def test_slow_requests(self):
        """A head or a body that drips, and one that never comes: the end after ten seconds."""
        def drip(head):
            with socket.create_connection(("127.0.0.1", self.port)) as sock:
                sock.sendall(head)
                begun = time.monotonic()
                sock.settimeout(0.5)
                while time.monotonic() < begun + 30:
                    try:
                        if head:
                            sock.sendall(b"x")
                        if sock.recv(1000) == b"":
                            break
                    except socket.timeout:
                        continue
                    except OSError:
                        break
                return time.monotonic() - begun

        heads = (b"GET / HTTP/1.1\r\nHost: ", b"", b"POST /api/v1/clients/kick HTTP/1.1\r\nHost: localhost\r\n"
                 b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            for lasted in pool.map(drip, heads):
                self.assertTrue(5 < lasted < 25, lasted)
        found = metrics(ask(self.port, "/metrics").body.decode())
        self.assertGreaterEqual(found["sluice_admin_timeouts_total"], 3)


class Connections(unittest.TestCase):
    """How many at a time."""

    @staticmethod
    def hold(port):
        """A connection that was answered and stays; None: it was turned off."""
        sock = socket.create_connection(("127.0.0.1", port))
        try:
            sock.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            if b" 200 " in sock.recv(1000):
                return sock
        except OSError:
            pass
        sock.close()
        return None

    def test_limit(self):
        """max_connections; above it, the end; and counted."""
        with Broker(OPEN + "max_connections 3\n", ports=2) as broker:
            port = broker.ports[1]
            held = [until(lambda: self.hold(port), "there is room") for _ in range(3)]
            self.assertIn(raw_http(port, b""), (b"", None))
            held.pop().close()
            until(lambda: raw_http(port, b"GET /livez HTTP/1.0\r\n\r\n"), "there is room again")
            held.pop().close()
            text = until(lambda: raw_http(port, b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n"), "metrics")
            found = metrics(text.split(b"\r\n\r\n", 1)[1].decode())
            self.assertGreaterEqual(found["sluice_admin_connections_turned_off_total"], 1)
            self.assertLessEqual(found["sluice_admin_connections"], 3)
            broker.write_config(OPEN + "max_connections 1\n")
            broker.signal(signal.SIGHUP)
            broker.wait_log("Configuration reloaded")
            until(lambda: raw_http(port, b"") in (b"", None), "one is enough")
            held.pop().close()
            until(lambda: raw_http(port, b"GET /livez HTTP/1.0\r\n\r\n"), "there is room again")

    def test_without_descriptors(self):
        """Who comes waits, the thread does not spin, and it goes on when there are some."""
        with Broker(OPEN, ports=2) as broker:
            port = broker.ports[1]
            broker.leave_descriptors(1)
            held = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]

            def ticks():
                with open(f"/proc/{broker.pid}/stat", encoding="ascii") as file:
                    return sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13]))

            before = ticks()
            with self.assertRaises(socket.timeout), socket.create_connection(("127.0.0.1", port)) as sock:
                sock.settimeout(1.5)
                sock.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
                sock.recv(1)
            self.assertLess(ticks() - before, 0.5 * os.sysconf("SC_CLK_TCK"))
            for sock in held:
                sock.close()
            until(lambda: ask(port, "/livez").status == 200, "it goes on")

    def test_unix_socket(self):
        """`listener 0 PATH`: whoever may open the file."""
        with Broker(ANYBODY + "listener 0 {dir}/admin.sock\nprotocol http_api\n") as broker:
            broker.wait_log("running")
            got = raw_http(None, b"GET /api/v1/status HTTP/1.1\r\nHost: whatever\r\nConnection: close\r\n\r\n",
                           path=broker.path("admin.sock"))
            self.assertIn(b" 200 ", got)
            broker.wait_log(r"Admin listener: socket \S+admin\.sock, anybody who reaches it may ask\.")
            self.assertEqual(os.stat(broker.path("admin.sock")).st_mode & 0o077, 0)

    def test_loopback_by_default(self):
        """Without an address, and it is said."""
        with Broker(ANYBODY + "listener {1}\nprotocol http_api\n", ports=2) as broker:
            self.assertEqual(ask(broker.ports[1], "/livez").status, 200)
            broker.wait_log(rf"Admin listener: http://localhost:{broker.ports[1]}/, anybody who reaches it may ask\. "
                            rf"Try: sluicectl --url http://localhost:{broker.ports[1]} status$")
            self.assertEqual(can_connect(broker.ports[1], "::1"), has_ipv6())
            self.assertFalse(can_connect(broker.ports[1], "127.0.0.2"))

    def test_a_port_in_use(self):
        """Exit code 1 and the usual line."""
        with Broker(OPEN, ports=2) as broker, tempfile.TemporaryDirectory() as folder:
            name = os.path.join(folder, "conf")
            with open(name, "w", encoding="utf-8") as file:
                file.write(f"listener {broker.ports[1]} 127.0.0.1\nprotocol http_api\nallow_anonymous true\n")
            done = run_sluice("-c", name, folder=folder)
            self.assertEqual(done.returncode, 1)
            self.assertIn("Is another broker running", done.stderr)


class Users(unittest.TestCase):
    """Who may ask."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="sluice-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.users = os.path.join(self.dir, "users")
        for number, (user, password) in enumerate((("ann", "pass:wörd"), ("bob", "b"))):
            subprocess.run([SLUICECTL, "passwd", "-b", *(["-c"] if number == 0 else []), self.users, user, password],
                           check=True, timeout=60)

    def config(self, more=""):
        """With the file of users, and nobody else."""
        return f"listener {{0}} 127.0.0.1\npassword_file {self.users}\nlog_type all\n" + ADMIN + more

    def test_basic_authentication(self):
        """Right, wrong, none; probes are for everybody."""
        with Broker(self.config(), ports=2) as broker:
            port = broker.ports[1]
            self.assertEqual(ask(port, "/api/v1/status", headers=basic("ann", "pass:wörd")).status, 200)
            self.assertEqual(ask(port, "/metrics", headers=basic("bob", "b")).status, 200)
            for headers in ({}, basic("ann", "wrong"), basic("eve", "b"), basic("", ""),
                            {"Authorization": "Basic !!!"}, {"Authorization": "Bearer x"},
                            {"Authorization": "Basic"}):
                for path in ("/api/v1/status", "/metrics", "/api/v1/openapi.json", "/api/v1/clients"):
                    answer = ask(port, path, headers=headers)
                    self.assertEqual((answer.status, answer.json()["error"]), (401, "not-authorized"), (headers, path))
                    self.assertTrue(answer.headers["WWW-Authenticate"].startswith('Basic realm="sluice"'))
            for path in ("/livez", "/readyz", "/"):
                self.assertEqual(ask(port, path).status, 200)
            broker.wait_log(r"Admin: login of 'ann' from 127\.0\.0\.1:\d+ refused\.")
            self.assertGreater(metrics(ask(port, "/metrics", headers=basic("bob", "b")).body.decode())
                               ["sluice_admin_refused_total"], 10)

    def test_as_for_mqtt(self):
        """allow_anonymous lets in who gives no name; a name is checked all the same."""
        with Broker(self.config("allow_anonymous true\n"), ports=2) as broker:
            port = broker.ports[1]
            self.assertEqual(ask(port, "/api/v1/status").status, 200)
            self.assertEqual(ask(port, "/api/v1/status", headers=basic("bob", "b")).status, 200)
            self.assertEqual(ask(port, "/api/v1/status", headers=basic("bob", "x")).status, 401)
        with Broker("listener {0} 127.0.0.1\n" + ADMIN, ports=2) as broker:
            for headers in ({}, basic("bob", "b")):
                self.assertEqual(ask(broker.ports[1], "/api/v1/status", headers=headers).status, 401)

    def test_reload(self):
        """New passwords, and allow_anonymous."""
        with Broker(self.config(), ports=2) as broker:
            port = broker.ports[1]
            self.assertEqual(ask(port, "/api/v1/status", headers=basic("bob", "b")).status, 200)
            subprocess.run([SLUICECTL, "passwd", "-b", self.users, "bob", "new"], check=True, timeout=60)
            broker.signal(signal.SIGHUP)
            until(lambda: ask(port, "/api/v1/status", headers=basic("bob", "new")).status == 200, "the new password")
            self.assertEqual(ask(port, "/api/v1/status", headers=basic("bob", "b")).status, 401)
            broker.write_config(self.config("allow_anonymous true\n"))
            broker.signal(signal.SIGHUP)
            until(lambda: ask(port, "/api/v1/status").status == 200, "anybody")

    def test_access_list(self):
        """It decides by $CONTROL/sluice/<what>, also after a reload."""
        acl = os.path.join(self.dir, "acl")

        def write(text):
            with open(acl, "w", encoding="utf-8") as file:
                file.write(text)

        write("user ann\ntopic readwrite $CONTROL/sluice/#\nuser bob\ntopic read $CONTROL/sluice/metrics\n")
        with Broker(self.config(f"acl_file {acl}\n"), ports=2) as broker:
            port, bob = broker.ports[1], basic("bob", "b")
            ann = basic("ann", "pass:wörd")
            self.assertEqual(ask(port, "/metrics", headers=bob).status, 200)
            answer = ask(port, "/api/v1/clients", headers=bob)
            self.assertEqual((answer.status, answer.json()["detail"]),
                             (403, "the access list does not let bob read $CONTROL/sluice/clients"))
            self.assertEqual(ask(port, "/api/v1/clients", headers=ann).status, 200)
            self.assertEqual(post(port, "/api/v1/clients/x/kick", headers=ann).status, 404)
            write("user bob\ntopic read $CONTROL/sluice/clients\n")
            broker.signal(signal.SIGHUP)
            until(lambda: ask(port, "/api/v1/clients", headers=bob).status == 200, "the new list")
            answer = post(port, "/api/v1/clients/x/kick", headers=bob)
            self.assertEqual((answer.status, answer.json()["detail"]),
                             (403, "the access list does not let bob write $CONTROL/sluice/clients"))

    def test_access_list_of_the_listener(self):
        """With per_listener_settings it is the admin listener's own, also after a reload."""
        acl = os.path.join(self.dir, "acl")

        def config(admins):
            with open(acl, "w", encoding="utf-8") as file:
                file.write("user bob\ntopic read $CONTROL/sluice/metrics\n")
            return ("per_listener_settings true\nlistener {0} 127.0.0.1\nallow_anonymous true\n"
                    f"listener {{1}} 127.0.0.1\nprotocol http_api\npassword_file {self.users}\n" + admins)

        with Broker(config(f"acl_file {acl}\n"), ports=2) as broker:
            port, bob = broker.ports[1], basic("bob", "b")
            self.assertEqual(ask(port, "/metrics", headers=bob).status, 200)
            self.assertEqual(ask(port, "/api/v1/clients", headers=bob).status, 403)
            broker.write_config(config(""))
            broker.signal(signal.SIGHUP)
            until(lambda: ask(port, "/api/v1/clients", headers=bob).status == 200, "no list")

    def test_a_wrong_password_waits(self):
        """failed_login_delay, longer each time, also for who guesses by MQTT; a right one is answered meanwhile."""
        with Broker(self.config() + "failed_login_delay 400ms\n", ports=2) as broker:
            port, wrong = broker.ports[1], basic("bob", "x")

            def lasts(headers, status):
                began = time.monotonic()
                self.assertEqual(ask(port, "/api/v1/status", headers=headers).status, status)
                return time.monotonic() - began + 0.01  # the broker counts in milliseconds

            self.assertGreaterEqual(lasts(wrong, 401), 0.4)
            with wire.Raw(broker.port) as raw:
                self.assertEqual(raw.connect("x", user="bob", password="y").code, 0x87)
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                waits = pool.submit(lasts, wrong, 401)
                while not waits.done():
                    lasts(basic("bob", "b"), 200)
                self.assertGreaterEqual(waits.result(), 1.6)
            found = metrics(ask(port, "/metrics", headers=basic("bob", "b")).body.decode())
            self.assertEqual(found["sluice_admin_logins_delayed_total"], 2)

    def test_a_stop_while_an_answer_waits(self):
        """Is not held up, and nor is a client that goes."""
        with Broker(self.config() + "failed_login_delay 60s\n", ports=2) as broker:
            waiting = []
            for _ in range(4):
                sock = socket.create_connection(("127.0.0.1", broker.ports[1]))
                sock.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: " +
                             basic("bob", "x")["Authorization"].encode() + b"\r\n\r\n")
                waiting.append(sock)
            broker.wait_log("Admin: login of 'bob' from .* refused", 4)
            for sock in waiting[:2]:
                sock.close()
        for sock in waiting[2:]:
            sock.close()

    def test_many_logins_at_a_time(self):
        """None is lost, and clients are served meanwhile."""
        with Broker(self.config("max_connections 40\n"), ports=2) as broker:
            with concurrent.futures.ThreadPoolExecutor(20) as pool:
                found = list(pool.map(
                    lambda i: ask(broker.ports[1], "/metrics", headers=basic("bob", "b" if i % 2 else "x")).status,
                    range(60)))
            self.assertEqual(found, [401, 200] * 30)


class Tls(unittest.TestCase):
    """With a certificate."""

    def test_tls(self):
        """HTTPS, 1.2 and up; a plain request gets no answer; any Host, as the certificate tells."""
        folder = tempfile.mkdtemp(prefix="sluice-e2e-")
        self.addCleanup(shutil.rmtree, folder, True)
        subprocess.run(["sh", os.path.join(ROOT, "certs/make.sh"), folder], check=True, timeout=60,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        more = f"certfile {folder}/server.crt\nkeyfile {folder}/server.key\n"
        with Broker(OPEN + more, ports=2) as broker:
            port = broker.ports[1]
            broker.wait_log(rf"Admin listener: https://127\.0\.0\.1:{port}/")
            end = subprocess.run(["openssl", "x509", "-noout", "-enddate", "-in", f"{folder}/server.crt"], check=True,
                                 timeout=60, stdout=subprocess.PIPE, text=True).stdout.strip().split("=")[1]
            context = ssl.create_default_context(cafile=f"{folder}/ca.crt")
            context.check_hostname = False
            for host in ("localhost", "broker.example"):
                connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
                for path in ("/api/v1/status", "/api/v1/clients", "/metrics"):
                    connection.request("GET", path, headers={"Host": host, "Origin": f"https://{host}"})
                    answer = connection.getresponse()
                    body = answer.read()
                    self.assertEqual(answer.status, 200)
                connection.close()
                name = f'sluice_tls_cert_expiry_timestamp_seconds{{listener="127.0.0.1:{port}"}}'
                self.assertEqual(metrics(body.decode())[name], ssl.cert_time_to_seconds(end))
            self.assertFalse((raw_http(port, b"GET /livez HTTP/1.0\r\n\r\n") or b"").startswith(b"HTTP/1.1 200"))
            old = ssl.create_default_context(cafile=f"{folder}/ca.crt")
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
            old.set_ciphers("ALL:@SECLEVEL=0")
            with self.assertRaises((ssl.SSLError, OSError)), socket.create_connection(("127.0.0.1", port)) as sock:
                old.wrap_socket(sock, server_hostname="localhost")


class Many(unittest.TestCase):
    """Long lists."""

    def test_thousands_of_clients(self):
        """Each is listed once, streamed or in pages, while others are served."""
        with Broker(OPEN + "max_queued_messages 10\n", ports=2, shards=3) as broker:
            port = broker.ports[1]
            for i in range(0, MANY, 500):
                self.connect_and_go(broker.port, range(i, i + 500))
            until(lambda: get(port, "/api/v1/status")["clients_connected"] == 0, "all have gone")
            with Sub(broker.port, "-t", "probe"), concurrent.futures.ThreadPoolExecutor(1) as pool:
                listing = pool.submit(get, port, "/api/v1/clients")
                publish(broker.port, "-t", "probe", "-m", "x")
                rows = [row["id"] for row in listing.result() if row["id"].startswith("many-")]
            self.assertEqual(sorted(rows), sorted(f"many-{i}" for i in range(MANY)))
            rows = [row["topic"] for row in get(port, "/api/v1/subscriptions") if row["topic"].startswith("many/")]
            self.assertEqual(sorted(rows), sorted(f"many/{i}" for i in range(MANY)))
            pages = Endpoints.pages.__get__(self)
            self.port = port
            found = [row["id"] for row in pages("/api/v1/clients?limit=1000") if row["id"].startswith("many-")]
            self.assertEqual(sorted(found), sorted(f"many-{i}" for i in range(MANY)))

    @staticmethod
    def connect_and_go(port, numbers):
        """Sessions that stay, each with a subscription."""
        raws = []
        for i in numbers:
            raws.append(wire.Raw(port))
            raws[-1].send(wire.connect(f"many-{i}", props=wire.session_expiry(600)) + wire.subscribe(f"many/{i}"))
        for raw in raws:
            raw.await_packet(wire.SUBACK)
            raw.close()

    def test_a_reader_that_does_not_read(self):
        """A stream waits for it, and memory does not grow."""
        with Broker(OPEN, ports=2, shards=2, asan="quarantine_size_mb=1") as broker:
            with wire.Raw(broker.port) as raw:
                raw.connected("retainer")
                for i in range(4000):
                    raw.send(wire.publish(f"long/{i}/{'x' * 500}", b"x", retain=True))
                raw.ping()
            before = broker.resident_kib()
            readers = [socket.create_connection(("127.0.0.1", broker.ports[1])) for _ in range(20)]
            for sock in readers:
                sock.sendall(b"GET /api/v1/retained HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertEqual(len(get(broker.ports[1], "/api/v1/retained")), 4000)
            self.assertLess(broker.resident_kib() - before, 20 * 2000 + 30000)
            for sock in readers:
                sock.close()


class Ends(unittest.TestCase):
    """The broker is stopped, or killed, while it is being asked."""

    def test_stop_while_requests_are_under_way(self):
        """Each request ends with an answer or with its connection; the broker ends in time and well."""
        with Broker(OPEN + "sys_interval 1\n", ports=2, shards=3) as broker:
            port = broker.ports[1]
            with wire.Raw(broker.port) as raw:
                raw.connected("retainer")
                for i in range(3000):
                    raw.send(wire.publish(f"ends/{i}", b"x", retain=True))
                raw.ping()

            def hammer(number):
                count = 0
                paths = ("/api/v1/retained", "/metrics", "/readyz", "/api/v1/retained?limit=1000")
                while True:
                    try:
                        ask(port, paths[(number + count) % 4], timeout=20)
                        if number == 0:
                            post(port, "/api/v1/retained/delete", {"filter": f"ends/{count}"})
                        count += 1
                    except (OSError, http.client.HTTPException):
                        return count

            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                busy = [pool.submit(hammer, i) for i in range(8)]
                until(lambda: metrics(ask(port, "/metrics").body.decode())["sluice_admin_requests_total"] > 100, "busy")
                idle = socket.create_connection(("127.0.0.1", port))
                begun = time.monotonic()
                broker.stop()
                self.assertLess(time.monotonic() - begun, STOP_S)
                self.assertGreater(sum(one.result() for one in busy), 0)
                idle.close()

    def test_reload_while_requests_are_under_way(self):
        """The configuration is answered from one or the other."""
        with Broker(OPEN, ports=2, shards=3) as broker:
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                asked = [pool.submit(get, broker.ports[1], "/api/v1/config") for _ in range(100)]
                for _ in range(5):
                    broker.signal(signal.SIGHUP)
                    broker.wait_log("Configuration reloaded")
                for one in asked:
                    self.assertEqual(len(one.result()["listeners"]), 2)

    def test_deleted_is_deleted_after_a_crash(self):
        """SIGKILL behind the answer and a commit: the messages do not come back."""
        with Broker(DURABLE + ADMIN, ports=2, shards=3) as broker:
            with wire.Raw(broker.port) as raw:
                raw.connected("retainer")
                for i in range(100):
                    raw.published(f"crash/{i}", b"x", retain=True)
                answer = post(broker.ports[1], "/api/v1/retained/delete", {"filter": "crash/#"})
                self.assertEqual(answer.json()["deleted"], 100)
                raw.published("crash/last", b"x", retain=True)  # safe, and so is what came before it
            broker.restart()
            self.assertEqual([row["topic"] for row in get(broker.ports[1], "/api/v1/retained")], ["crash/last"])


if __name__ == "__main__":
    main()
