"""MQTT.js, which browsers speak MQTT with: from Node, and in a page in Chromium that the broker itself hands
out.  MQTT.js comes from the npm registry: without that, these tests fail."""
import os
import shutil
import signal
import subprocess
import tempfile
import unittest

import wire
from broker import SLUICE, WAIT_S, Broker, free_port, main, sanitized_environment

HERE = os.path.dirname(os.path.abspath(__file__))
MAKE = os.path.join(HERE, "../../certs/make.sh")
PAGE = os.path.join(HERE, "../../docs/tutorial/2-websockets.md")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
FOLDER = ""  # with node_modules and certificates, while the tests run
NPM_S = 120

HTML = """<!doctype html><script src="mqtt.min.js"></script><script src="mqttjs.js"></script><script>
const url = location.href.replace("http", "ws").replace("page.html", "mqtt");
const report = (topic, text) => mqtt.connectAsync(url, {clientId: `reports${Math.random()}`})
    .then((client) => client.publishAsync(topic, `${text}`, {qos: 1, retain: true}));
mqtt.Buffer = Uint8Array;
Promise.all([3, 4, 5].map((version) => scenario(mqtt, url, version, {})))
    .then((all) => report("result", all.join()))
    .catch((error) => report("result", error.stack || error));
</script>"""


def need(program):
    """A program that these tests cannot do without."""
    if program is None or shutil.which(program) is None:
        raise AssertionError(f"{program or 'chromium-headless-shell'} is not installed: test.sh says how")


def setUpModule():
    """Gets MQTT.js."""
    global FOLDER
    need("node")
    need("npm")
    FOLDER = tempfile.mkdtemp(prefix="sluice-mqttjs-")
    subprocess.run(["sh", MAKE, FOLDER], check=True, timeout=WAIT_S)
    done = subprocess.run(["npm", "install", "mqtt@5", "--no-audit", "--no-fund", "--loglevel=error"], cwd=FOLDER,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=NPM_S, check=False)
    if done.returncode != 0:
        raise AssertionError(f"MQTT.js cannot be had from the npm registry, and without it nothing is tested here:\n{done.stdout}")


def tearDownModule():
    """Nothing stays."""
    shutil.rmtree(FOLDER)


def config():
    """ws and wss, with files, and one to look from."""
    web = f"protocol websockets\nhttp_dir {FOLDER}/www\n"
    return ("log_type all\nallow_anonymous true\nmax_queued_messages 2000\nlistener {0} 127.0.0.1\n"
            f"listener {{1}} 127.0.0.1\n{web}listener {{2}} 127.0.0.1\n{web}"
            f"certfile {FOLDER}/server.crt\nkeyfile {FOLDER}/server.key\n")


class Case(unittest.TestCase):
    """One broker, and the page in its folder."""

    @classmethod
    def setUpClass(cls):
        www = os.path.join(FOLDER, "www")
        os.makedirs(www, exist_ok=True)
        shutil.copy(os.path.join(FOLDER, "node_modules/mqtt/dist/mqtt.min.js"), www)
        shutil.copy(os.path.join(HERE, "mqttjs.js"), www)
        with open(os.path.join(www, "page.html"), "w", encoding="utf-8") as file:
            file.write(HTML)
        cls.broker = Broker(config(), ports=3, shards=3).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.broker.__exit__(None, None, None)


class Node(Case):
    """The scenario in Node."""

    def run_node(self, url, cafile=None):
        """MQTT 3.1, 3.1.1 and 5 at the same time."""
        environment = {**os.environ, "NODE_PATH": os.path.join(FOLDER, "node_modules")}
        if cafile:
            environment["CAFILE"] = cafile
        running = {v: subprocess.Popen(["node", os.path.join(HERE, "mqttjs.js"), url, str(v)], env=environment, text=True,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE) for v in (3, 4, 5)}
        for version, process in running.items():
            with self.subTest(version=version):
                try:
                    out, err = process.communicate(timeout=60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    out, err = process.communicate()
                self.assertEqual((process.returncode, out), (0, "good\n"), err)

    def test_ws(self):
        """Plain."""
        self.run_node(f"ws://127.0.0.1:{self.broker.ports[1]}/mqtt")

    def test_wss(self):
        """TLS."""
        self.run_node(f"wss://localhost:{self.broker.ports[2]}/mqtt", os.path.join(FOLDER, "ca.crt"))


class Chromium:
    """A page in a browser without a window, until it is ended."""

    def __init__(self, url):
        need(CHROMIUM)
        self.profile = tempfile.mkdtemp(prefix="sluice-chromium-")
        with open(os.path.join(self.profile, "log"), "wb") as log:
            self.process = subprocess.Popen(
                [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                 "--ignore-certificate-errors", "--remote-debugging-port=0", f"--user-data-dir={self.profile}", url],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        os.killpg(self.process.pid, signal.SIGKILL)  # its own session: the processes that it has started
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)


class Page(Case):
    """The same scenario in a page."""

    def run_page(self, url):
        """The page tells how it went by MQTT."""
        with wire.Raw(self.broker.port, seconds=90) as raw, Chromium(url):
            raw.connected("watch").subscribe("result")
            self.assertEqual(raw.message().payload.decode(), "good,good,good")
            raw.published("result", b"", retain=True)

    def test_http(self):
        """http and ws."""
        self.run_page(f"http://localhost:{self.broker.ports[1]}/page.html")

    def test_https(self):
        """https and wss."""
        self.run_page(f"https://localhost:{self.broker.ports[2]}/page.html")


class Tutorial(unittest.TestCase):
    """docs/tutorial/2-websockets.md does what it says."""

    def run_page(self, folder):
        """Every command on the page, one after the other; returns what they said."""
        with open(PAGE, encoding="utf-8") as file:
            lines = [line[4:] for line in file.read().split("\n") if line.startswith("    ")]
        self.assertGreater(len(lines), 60)
        script = "\n".join(lines).replace("certs/make.sh", f"sh {MAKE}").replace("mosquitto_pub", "mosquitto_pub -p 1883")
        for port in ("1883", "8083", "8084"):
            script = script.replace(port, str(free_port()))
        script = script.replace("build/sluice", SLUICE).replace("npm install", f"cp -r {FOLDER}/node_modules . #")
        shell = subprocess.Popen(["bash", "-eu", "-c", script], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True, env=sanitized_environment(folder), start_new_session=True)
        try:
            said, _ = shell.communicate(timeout=100)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)  # its own session: the broker that it has started
            said, _ = shell.communicate()
        self.assertEqual(shell.returncode, 0, said)
        return said

    def test_the_page(self):
        """And the page that it makes, in a browser."""
        with tempfile.TemporaryDirectory() as folder:
            said = self.run_page(folder)
            self.assertEqual(said.count("hello/node from Node"), 4)
            for wanted in ("The configuration is good.", "websockets, anybody who reaches it may connect",
                           "websockets, TLS, anybody", "its Origin is not one of websockets_origin"):
                self.assertIn(wanted, said)
            web = f"listener {{0}} 127.0.0.1\nlistener {{1}} 127.0.0.1\nprotocol websockets\nhttp_dir {folder}/page\n"
            with Broker("allow_anonymous true\nlog_type all\n" + web, ports=2) as broker, \
                    wire.Raw(broker.port, seconds=60) as raw:
                raw.connected("watch").subscribe("hello/page")
                with Chromium(f"http://localhost:{broker.ports[1]}/"):
                    self.assertEqual(raw.message().payload, b"a page is here")


if __name__ == "__main__":
    main()
