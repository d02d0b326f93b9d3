"""The verbs of sluicectl that ask a running broker, and docs/tutorial/5-operate.md."""
import http.server
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import unittest

import wire
from broker import ANYBODY, Broker, BrokerCase, free_port, main, sanitized_environment, sanitizer_reports, until
from clients import Sub, publish, run_sub

SLUICECTL = os.environ.get("SLUICECTL", "")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
OPEN = ANYBODY + "listener {1} 127.0.0.1\nprotocol http_api\n"


def run(folder, *args, code=0, environment=None):
    """sluicectl, with a home folder of its own; checks the exit code."""
    done = subprocess.run([SLUICECTL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          check=False, cwd=folder,
                          env={**sanitized_environment(folder), "HOME": folder, **(environment or {})})
    report = sanitizer_reports(folder, done.stderr)
    assert report == "" and done.returncode == code, (args, done.returncode, done.stdout, done.stderr, report)
    return done


class Verbs(BrokerCase):
    """Tables, JSON and exit codes."""

    options = {"config": OPEN, "ports": 2, "shards": 3}

    def ctl(self, *args, code=0):
        """On this broker."""
        return run(self.broker.dir, "--url", f"http://127.0.0.1:{self.broker.ports[1]}", *args, code=code)

    def json(self, *args):
        """One value on one line."""
        done = self.ctl("--json", *args)
        self.assertEqual((done.stderr, done.stdout.count("\n")), ("", 1))
        return json.loads(done.stdout)

    def table(self, *args):
        """The rows, each by its titles; columns are where the titles are."""
        lines = self.ctl(*args).stdout.splitlines()
        starts = [match.start() for match in re.finditer(r"\S+", lines[0])]
        titles = lines[0].split()
        return titles, [dict(zip(titles, re.split(r" {2,}", line.strip()))) for line in lines[1:]], starts

    def refused(self, *args):
        """Exit code 1 and one line."""
        done = self.ctl(*args, code=1)
        self.assertEqual(done.stdout, "")
        self.assertRegex(done.stderr, r"\Asluicectl: [^\n]*\n\Z")
        return done.stderr

    def test_status(self):
        """A member a line."""
        found = self.json("status")
        self.assertEqual((found["shards"], found["pid"]), (3, self.broker.pid))
        lines = dict(line.split(None, 1) for line in self.ctl("status").stdout.splitlines())
        self.assertEqual(set(lines), set(found))
        self.assertEqual((lines["shards"], lines["persistence"]), ("3", "false"))

    def test_top(self):
        """Once: figures and rates; else until it is ended."""
        found = self.json("top", "--once")
        self.assertIn("publish_received_per_second", found)
        self.assertRegex(self.ctl("top", "--once").stdout, r"\n +NOW +PER SECOND\nclients connected +\d+\n")
        with subprocess.Popen([SLUICECTL, "--url", f"http://127.0.0.1:{self.broker.ports[1]}", "top"], text=True,
                              stdout=subprocess.PIPE) as process:
            self.assertRegex(process.stdout.readline(), r"\Asluice \d")
            while process.stdout.readline().strip() or not process.stdout.readline().startswith("sluice"):
                pass
            process.terminate()

    def test_clients(self):
        """Listed, shown, and disconnected; ids of any kind."""
        for name in ("ctl-1", "a/b//../c", "..", "ä ö&x=1#+%2F", "--help"):
            with wire.Raw(self.broker.port) as raw:
                raw.connected(name, props=wire.session_expiry(5))
                rows = {row["id"]: row for row in self.json("clients", "list")}
                self.assertTrue(rows[name]["connected"])
                self.assertEqual(self.json("clients", "show", "--", name), rows[name])
                self.assertIn(name, self.ctl("clients", "list").stdout)
                self.assertIn(f"address                  {raw.peer_text()}\n",
                              self.ctl("clients", "show", "--", name).stdout)
                if name == "..":
                    self.assertEqual(self.json("clients", "kick", "--", name), {"id": name, "kicked": True})
                else:
                    self.assertEqual(self.ctl("clients", "kick", "--", name).stdout,
                                     f"Client {name} has been disconnected.\n")
                raw.expect_disconnect(0x98)
            self.assertIn("is not connected", self.refused("clients", "kick", "--", name))
        for verb in ("show", "kick"):
            self.assertEqual(self.refused("clients", verb, "nobody"), "sluicectl: there is no client 'nobody'\n")

    def test_columns(self):
        """As wide as what is in them."""
        with wire.Raw(self.broker.port) as one, wire.Raw(self.broker.port) as two:
            one.connected("columns-long-" + "ü" * 40)
            two.connected("columns-2")
            titles, rows, _ = self.table("clients", "list")
            self.assertEqual(titles, ["CLIENT", "USER", "CONNECTED", "ADDRESS", "PROTOCOL", "SUBSCRIPTIONS", "INFLIGHT",
                                      "QUEUED", "SINCE"])
            found = {row["CLIENT"]: row for row in rows}
            self.assertEqual((found["columns-2"]["USER"], found["columns-2"]["CONNECTED"]), ("-", "yes"))
            lines = [line for line in self.ctl("clients", "list").stdout.splitlines() if "columns-" in line]
            self.assertEqual(lines[0].index(" yes "), lines[1].index(" yes "))

    def test_nothing_to_list(self):
        """The titles alone, and an empty array."""
        self.assertEqual(self.ctl("retained", "list", "nothing/#").stdout, "TIME  EXPIRES  BYTES  TOPIC\n")
        self.assertEqual(self.json("retained", "list", "nothing/#"), [])

    def test_control_characters(self):
        """What a client has chosen does not reach the terminal as it is."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("ctl\x1b[31m\x07\u009b2J\r")
            out = self.ctl("clients", "list").stdout + self.refused("clients", "show", "\x1b[31m")
            self.assertIn("ctl?[31m??2J?", out)
            self.assertFalse(re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", out.replace("\x1b[31m'", "")))

    def test_subscriptions(self):
        """All, and one client's."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("ctl-subs")
            raw.subscribe(("ctl/#", 1), "$share/g/x")
            self.assertEqual([row["topic"] for row in self.json("subscriptions", "--client", "ctl-subs")],
                             ["$share/g/x", "ctl/#"][::-1])
            titles, rows, _ = self.table("subscriptions", "--client", "ctl-subs")
            self.assertEqual(titles, ["CLIENT", "QOS", "SUBID", "TOPIC", "FILTER"])
            self.assertEqual({row["TOPIC"] for row in rows}, {"ctl/#", "$share/g/x"})
            self.assertIn("ctl/#", self.ctl("subscriptions").stdout)
        self.assertIn("there is no client 'nobody'", self.refused("subscriptions", "--client", "nobody"))

    def test_retained(self):
        """Listed by filter and deleted."""
        for i in range(5):
            publish(self.broker.port, "-t", f"ctl/kept/{i}", "-m", "x", "-r")
        self.assertEqual(sorted(row["topic"] for row in self.json("retained", "list", "ctl/kept/+")),
                         [f"ctl/kept/{i}" for i in range(5)])
        self.assertIn("ctl/kept/0", self.ctl("retained", "list").stdout)
        self.assertEqual(self.ctl("retained", "delete", "ctl/kept/#", "--dry-run").stdout,
                         "5 retained messages match; none was deleted.\n")
        self.assertEqual(self.json("retained", "delete", "ctl/kept/0"), {"matched": 1, "deleted": 1, "dry_run": False})
        self.assertEqual(self.ctl("retained", "delete", "ctl/kept/#").stdout, "4 retained messages were deleted.\n")
        self.assertEqual(self.ctl("retained", "delete", "ctl/kept/#").stdout, "0 retained messages were deleted.\n")
        self.assertIn("topic filter", self.refused("retained", "delete", "a/#/b"))
        self.assertIn("topic filter", self.refused("retained", "list", "a/#/b"))

    def test_thousands_of_rows(self):
        """More than one page of a table."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("ctl-many")
            for i in range(0, 2500, 100):
                raw.subscribe(*(f"ctl/many/{i + j}" for j in range(100)))
            rows = self.ctl("subscriptions", "--client", "ctl-many").stdout.splitlines()[1:]
            self.assertEqual(sorted(row.split()[3] for row in rows), sorted(f"ctl/many/{i}" for i in range(2500)))
            self.assertEqual(len(self.json("subscriptions", "--client", "ctl-many")), 2500)


class Nobody(http.server.BaseHTTPRequestHandler):
    """A server that is no broker."""

    def do_GET(self):
        """Something else."""
        self.send_response(404 if self.path.startswith("/api/v1/status") else 200)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, *_):
        """Quiet."""


class Reaching(unittest.TestCase):
    """Where the broker is, and who asks."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="sluice-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def test_not_there(self):
        """4, and where it looked; no password is told."""
        port = free_port()
        done = run(self.dir, "--url", f"http://ann:secret@127.0.0.1:{port}", "status", code=4)
        self.assertIn(f"cannot reach the broker at http://127.0.0.1:{port}: ", done.stderr)
        self.assertNotIn("secret", done.stderr)
        self.assertIn("missing.sock", run(self.dir, "--socket", "missing.sock", "clients", "list", code=4).stderr)
        run(self.dir, "--url", f"http://127.0.0.1:{port}", "--json", "top", "--once", code=4)

    def test_somebody_else(self):
        """1, and that it is no broker."""
        with http.server.HTTPServer(("127.0.0.1", 0), Nobody) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            url = f"http://127.0.0.1:{server.server_port}"
            try:
                self.assertIn("is no admin listener", run(self.dir, "--url", url, "status", code=1).stderr)
                self.assertIn("not understood", run(self.dir, "--url", url, "clients", "list", code=1).stderr)
            finally:
                server.shutdown()
                thread.join()

    def test_a_broker_that_goes(self):
        """`top` ends with 4."""
        with Broker(OPEN, ports=2) as broker:
            with subprocess.Popen([SLUICECTL, "--url", f"http://127.0.0.1:{broker.ports[1]}", "top"], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                process.stdout.readline()
                broker.stop()
                self.assertIn("cannot reach the broker", process.stderr.read())
                self.assertEqual(process.wait(20), 4)

    def test_unix_socket(self):
        """--socket."""
        with Broker(ANYBODY + "listener 0 {dir}/admin.sock\nprotocol http_api\n") as broker:
            path = broker.path("admin.sock")
            broker.wait_log("running")
            self.assertEqual(json.loads(run(self.dir, "--socket", path, "--json", "status").stdout)["pid"], broker.pid)
            self.assertIn("clients_connected", run(self.dir, "status", "--socket", path).stdout)

    def test_users(self):
        """In the URL, in the environment, in ~/.netrc; else 1 and what to do."""
        users = os.path.join(self.dir, "users")
        run(self.dir, "passwd", "-b", "-c", users, "ann", "se cret")
        config = f"listener {{0}} 127.0.0.1\npassword_file {users}\nlistener {{1}} 127.0.0.1\nprotocol http_api\n"
        with Broker(config, ports=2) as broker:
            plain = f"http://127.0.0.1:{broker.ports[1]}"
            done = run(self.dir, "--url", plain, "status", code=1)
            self.assertIn("SLUICE_USER", done.stderr)
            run(self.dir, "--url", plain.replace("//", "//ann:se%20cret@"), "status")
            run(self.dir, "--url", plain.replace("//", "//ann:wrong@"), "status", code=1)
            environment = {"SLUICE_USER": "ann", "SLUICE_PASSWORD": "se cret"}
            run(self.dir, "--url", plain, "status", environment=environment)
            run(self.dir, "--url", plain, "status", environment={**environment, "SLUICE_PASSWORD": "x"}, code=1)
            with open(os.path.join(self.dir, ".netrc"), "w", encoding="utf-8") as file:
                file.write('machine 127.0.0.1 login ann password "se cret"\n')
            run(self.dir, "--url", plain, "status")

    def test_tls(self):
        """SLUICE_CAFILE says whom to believe; else 4."""
        folder = os.path.join(self.dir, "certs")
        subprocess.run(["sh", os.path.join(ROOT, "certs/make.sh"), folder], check=True, timeout=60,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with Broker(OPEN + f"certfile {folder}/server.crt\nkeyfile {folder}/server.key\n", ports=2) as broker:
            url = f"https://localhost:{broker.ports[1]}"
            self.assertIn("certificate", run(self.dir, "--url", url, "status", code=4).stderr)
            run(self.dir, "--url", url, "status", environment={"SLUICE_CAFILE": f"{folder}/ca.crt"})


class Tutorial(unittest.TestCase):
    """docs/tutorial/5-operate.md does what it says."""

    def test_every_command(self):
        """In order, with the page's own configurations."""
        with open(os.path.join(ROOT, "docs/tutorial/5-operate.md"), encoding="utf-8") as file:
            page = file.read()
        config = re.search(r"```\n(.*?)```", page, re.S).group(1)
        commands = re.findall(r"^ {4}(\S.*)$", re.sub(r"```\n.*?```", "", page, flags=re.S), re.M)
        config = config.replace("1883", "{0} 127.0.0.1").replace("9883", "{1} 127.0.0.1")
        with Broker(config, ports=2) as broker:
            printed = ""
            for command in commands:
                if command.endswith("&"):
                    sub = Sub(broker.port, "-i", "kitchen", "-t", "home/#", "-q", "1")
                    continue
                printed += self.shell(command, broker)
            sub.end()
            for wanted in ("clients_connected", "PER SECOND", "['kitchen']", "home/kitchen/light", "kitchen",
                           "Client kitchen has been disconnected.", "1 retained messages match",
                           "1 retained messages were deleted", '{"version"', "sluice_publish_received_total{shard=",
                           "ok\nok\n"):
                self.assertIn(wanted, printed)
            self.assertEqual(run_sub(broker.port, "-t", "home/#", "-W", "1").stdout, "")
        self.assertEqual(len(commands), 15)

    def shell(self, command, broker):
        """Runs a line of the page."""
        names = f'sluicectl() {{ "{SLUICECTL}" --url http://127.0.0.1:{broker.ports[1]} "$@"; }}; ' \
                f'mosquitto_pub() {{ command mosquitto_pub -h 127.0.0.1 -p {broker.port} "$@"; }}; ' \
                'curl() { python3 -c "import sys, urllib.request as u; ' \
                '[print(u.urlopen(a).read().decode(), end=str()) for a in sys.argv[2:]]" "$@"; }; '
        done = subprocess.run(["bash", "-c", names + command.replace("9883", str(broker.ports[1]))], timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(done.returncode, 0, (command, done.stdout))
        return done.stdout


if __name__ == "__main__":
    main()
