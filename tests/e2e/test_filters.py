"""docs/tutorial/3-filters.md does what it says: filters from mosquitto_sub, and sluicectl; filters that the
configuration names, and a reload."""
import os
import signal
import tempfile
import unittest

from broker import ANYBODY, Broker, main, run_sluice
from clients import Sub, publish
from pages import PageCase


class Tutorial(PageCase):
    """The commands of the page in order, and what they print."""

    options = {"extra": "filter hot payload.temp > 30\n"}

    def test_every_command(self):
        """A fenced block is what the commands before it have printed."""
        self.run_page("3-filters.md", 13)


class Named(unittest.TestCase):
    """filter NAME EXPRESSION."""

    def send(self, broker, temp):
        """One message; the topic says how warm it is."""
        publish(broker.port, "-q", "1", "-t", f"m/{temp}", "-m", f'{{"temp": {temp}}}')

    def test_a_reload_changes_what_a_name_means(self):
        with Broker(ANYBODY, extra="filter hot payload.temp > 30\n", shards=1) as broker, \
                Sub(broker.port, "-t", "$filter/@hot/m/+", form="%t") as sub, \
                Sub(broker.port, "-t", "m/last", form="%t") as last:
            self.send(broker, 31)
            self.send(broker, 29)
            broker.write_config(ANYBODY + "filter hot payload.temp > 10\n")
            broker.signal(signal.SIGHUP)
            broker.wait_log("Configuration reloaded")
            self.send(broker, 9)
            self.send(broker, 11)
            broker.write_config(ANYBODY + "filter hot payload.temp >\n")
            broker.signal(signal.SIGHUP)
            broker.wait_log("column 15: the expression is not complete")
            self.send(broker, 12)
            broker.write_config(ANYBODY)
            broker.signal(signal.SIGHUP)
            broker.wait_log("Configuration reloaded", count=2)
            self.send(broker, 13)
            publish(broker.port, "-t", "m/last", "-m", "x")
            last.wait_messages(1)
            self.assertEqual(sub.wait_messages(4), ["m/31", "m/11", "m/12", "m/13"])

    def test_a_bad_one_ends_the_start(self):
        with tempfile.TemporaryDirectory() as folder:
            name = os.path.join(folder, "sluice.conf")
            with open(name, "w", encoding="utf-8") as file:
                file.write("listener 0 /nowhere\nfilter hot temp LIKE 3\n")
            done = run_sluice("-c", name, folder=folder)
            self.assertEqual(done.returncode, 3)
            self.assertIn(f"{name}:2: filter hot: column 11: LIKE needs a string literal", done.stderr)


if __name__ == "__main__":
    main()
