"""Eclipse Paho's C clients, synchronous and asynchronous, MQTT 3.1.1 and 5: runs the programs' scenarios."""
import os
import subprocess

from broker import PROGRAMS, BrokerCase, main, sanitized_environment, sanitizer_reports

LISTENERS = """\
per_listener_settings true
listener {0} 127.0.0.1
allow_anonymous true
listener {1} 127.0.0.1
"""


class Case(BrokerCase):
    """Runs scenarios, several at a time: Paho spends most of their time waiting for itself."""

    options = {"config": LISTENERS, "ports": 2, "shards": 4, "extra": "max_inflight_messages 1000\n"}

    def start(self, program, scenario, version, port):
        """One program.  Paho itself keeps some memory to its end."""
        command = [os.path.join(PROGRAMS, program), str(port), str(version), scenario]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=sanitized_environment(self.broker.dir, "detect_leaks=0"))

    def run_scenarios(self, program, version, scenarios, port=None):
        """All of them at once; each must say that it went well."""
        running = {name: self.start(program, name, version, port or self.broker.port) for name in scenarios}
        for name, process in running.items():
            with self.subTest(scenario=name):
                try:
                    out, err = process.communicate(timeout=60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    out, err = process.communicate()
                self.assertEqual((process.returncode, out), (0, f"{name}: good\n"), err)
        self.assertEqual(sanitizer_reports(self.broker.dir), "")


class Sync(Case):
    """MQTTClient: all QoS, a session with what waited, a shared subscription; attribute filters; for 5
    properties and request/response with correlation data."""

    def test_311(self):
        """MQTT 3.1.1."""
        self.run_scenarios("paho_sync", 4, ("qos", "session", "shared", "filter", "filter_refused"))

    def test_5(self):
        """MQTT 5."""
        self.run_scenarios("paho_sync", 5, ("qos", "session", "shared", "properties", "request", "filter", "filter_property",
                                            "filter_refused"))

    def test_refused(self):
        """A listener that lets nobody in."""
        for version in (4, 5):
            self.run_scenarios("paho_sync", version, ("refused",), port=self.broker.ports[1])


class Async(Case):
    """MQTTAsync: 900 publishes in flight, and a subscriber that leaves in the middle and comes back."""

    def test_311(self):
        """MQTT 3.1.1."""
        self.run_scenarios("paho_async", 4, ("flight-1", "flight-2", "back-1", "back-2"))

    def test_5(self):
        """MQTT 5."""
        self.run_scenarios("paho_async", 5, ("flight-1", "flight-2", "back-1", "back-2"))


if __name__ == "__main__":
    main()
