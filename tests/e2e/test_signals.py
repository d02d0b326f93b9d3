"""Signals: stopping, reload, dump, reopening the log."""
import os
import signal
import time
import unittest

import wire
from broker import ANYBODY, Broker, main, until
from clients import Sub, publish


class Stop(unittest.TestCase):
    """SIGTERM and SIGINT."""

    def test_clients_are_told(self):
        """MQTT 5 gets DISCONNECT 0x8B and the end, 3.1.1 and 3.1 just the end; exit code 0 within 10 s."""
        for number in (signal.SIGTERM, signal.SIGINT):
            with Broker(shards=4) as broker:
                five = [wire.Raw(broker.port).connected(f"five-{i}") for i in range(8)]
                old = [wire.Raw(broker.port).connected(f"old-{i}", version=version)
                       for i, version in enumerate((wire.V31, wire.V311))]
                fresh = wire.Raw(broker.port)
                broker.signal(number)
                for raw in five:
                    raw.expect_disconnect(0x8B)
                for raw in (*old, fresh):
                    raw.expect_closed()
                broker.wait_end()
                broker.wait_log(r"sluice version \S+ terminating")

    def test_without_clients(self):
        """It ends at once."""
        with Broker() as broker:
            started = time.monotonic()
            broker.stop()
            self.assertLess(time.monotonic() - started, 5)

    def test_what_was_published_before_is_delivered(self):
        """A message whose PUBACK was sent is on its way before DISCONNECT."""
        with Broker(shards=4) as broker:
            sub = wire.Raw(broker.port).connected("sub")
            sub.subscribe(("s", 1))
            pub = wire.Raw(broker.port).connected("pub")
            for i in range(10):
                pub.publish("s", str(i).encode(), qos=1, packet_id=i + 1)
                pub.expect(wire.PUBACK)
            broker.signal(signal.SIGTERM)
            self.assertEqual([sub.message().payload for _ in range(10)], [str(i).encode() for i in range(10)])
            sub.expect_disconnect(0x8B)
            broker.wait_end()

    def stuck_reader(self, broker):
        """A client whose output is stuck: it subscribed, and does not read."""
        sub = wire.Raw(broker.port, receive_buffer=4096).connected("stuck")
        sub.subscribe("flood")
        with wire.Raw(broker.port) as pub:
            pub.connected("flooder")
            for _ in range(100):
                pub.publish("flood", b"x" * 100000)
            broker.wait_log("Client stuck reads too slowly")
        return sub

    def test_a_client_that_does_not_read(self):
        """It does not keep the broker: exit code 0 within 10 s."""
        with Broker(extra="slow_reader_grace 100ms\n") as broker:
            sub = self.stuck_reader(broker)
            broker.stop()
            sub.close()

    def test_a_second_signal_ends_at_once(self):
        """Although a client does not read."""
        with Broker(extra="slow_reader_grace 100ms\n") as broker:
            sub = self.stuck_reader(broker)
            broker.signal(signal.SIGTERM)
            broker.wait_log("terminating")
            if broker.process.poll() is None:
                broker.signal(signal.SIGTERM)
            broker.wait_end(3)
            sub.close()


class Reload(unittest.TestCase):
    """SIGHUP."""

    def reload(self, broker, text, wanted):
        """Writes the file anew, sends the signal, waits for the log to say so."""
        count = len([line for line in broker.log().splitlines() if wanted in line])
        broker.write_config(text)
        broker.signal(signal.SIGHUP)
        return broker.wait_log(f"^.*{wanted}.*$", count=count + 1).group(0)

    def code(self, broker):
        """CONNACK's code for a newcomer."""
        with wire.Raw(broker.port) as raw:
            return raw.connect("newcomer").code

    def test_good(self):
        """New values hold from now on; who is connected stays."""
        with Broker(shards=4) as broker, wire.Raw(broker.port) as stays:
            stays.connected("stays")
            stays.subscribe("t")
            self.reload(broker, ANYBODY.replace("allow_anonymous true", "allow_anonymous false"),
                        "Configuration reloaded")
            self.assertEqual(until(lambda: self.code(broker), "newcomers are refused"), 0x87)
            wire.round_trip(stays, "t")
            self.reload(broker, ANYBODY + "max_packet_size 5000\n", "Configuration reloaded")
            until(lambda: self.code(broker) == 0, "newcomers are let in")
            with wire.Raw(broker.port) as raw:
                self.assertIn(wire.u32_property(0x27, 5000), raw.connect("x").properties)
            self.reload(broker, ANYBODY + "autosave_interval 5\n", "Configuration reloaded")
            broker.wait_log(r"Warning: \S+sluice\.conf:\d+: 'autosave_interval' is ignored")

    def test_bad(self):
        """The old one stays, and the log says what is wrong where."""
        with Broker() as broker:
            line = self.reload(broker, ANYBODY.replace("true", "false") + "no_such_thing\n",
                               "the old configuration stays in force")
            self.assertRegex(line, r"sluice\.conf:5: .*no_such_thing")
            self.assertEqual(self.code(broker), 0)
            os.unlink(broker.config_name)
            broker.signal(signal.SIGHUP)
            broker.wait_log("the old configuration stays in force", count=2)
            self.assertEqual(self.code(broker), 0)

    def test_what_needs_a_restart_is_told(self):
        """shards, listeners, the pid file: a warning each, and the rest is taken over."""
        with Broker(ports=2, probe=[0]) as broker:
            self.reload(broker, "pid_file {dir}/p\n" + ANYBODY + "listener {1} 127.0.0.1\n",
                        "Configuration reloaded")
            for name in ("listener", "pid_file"):
                broker.wait_log(
                    rf"Warning: '{name}' has changed, which takes effect with the next start only\.")
            self.assertEqual(self.code(broker), 0)

    def test_often_while_clients_work(self):
        """Fifty reloads under load lose nothing."""
        with Broker(shards=4) as broker, wire.Raw(broker.port) as raw:
            raw.connected("busy")
            raw.subscribe("busy")
            for i in range(50):
                broker.signal(signal.SIGHUP)
                for j in range(20):
                    wire.round_trip(raw, "busy", f"{i} {j}".encode())
            broker.wait_log("Configuration reloaded")

    def test_without_a_file(self):
        """Nothing to read: it goes on."""
        with Broker(None, args=["-p", "{0}"], shards=None) as broker:
            broker.signal(signal.SIGHUP)
            broker.wait_log("Configuration reloaded")
            publish(broker.port, "-t", "a", "-m", "b")


class Others(unittest.TestCase):
    """USR1, USR2, RTMIN, PIPE."""

    def test_usr1(self):
        """Nothing to save yet; it goes on."""
        with Broker() as broker:
            broker.signal(signal.SIGUSR1)
            broker.wait_log("Nothing to save: all state is in memory")
            publish(broker.port, "-t", "a", "-m", "b")

    def test_usr2(self):
        """Sessions and their subscriptions, from all shards."""
        with Broker(shards=4) as broker:
            with Sub(broker.port, "-i", "one", "-q", "1", "-t", "a/+", "-t", "b/#"):
                with wire.Raw(broker.port) as raw:
                    raw.connected("two", props=wire.session_expiry(100))
                    raw.subscribe("c", ("$share/g/d", 2))
                broker.wait_log(r"Client two closed its connection")
                broker.signal(signal.SIGUSR2)
                broker.wait_log(r"session one: connected, 2 subscriptions, 0 in flight, 0 queued")
                broker.wait_log(r"session two: offline, 2 subscriptions, 0 in flight, 0 queued")
                for line in (r"a/\+ \(QoS 1\)", r"b/# \(QoS 1\)", r"c \(QoS 0\)", r"\$share/g/d \(QoS 2\)"):
                    broker.wait_log(rf"^\d+:   {line}$")

    def reopened(self, number):
        """logrotate: rename, signal, and new lines are in a new file."""
        with Broker(extra="log_dest file {dir}/x.log\n") as broker:
            name = broker.path("x.log")

            def read(path=name):
                if not os.path.exists(path):
                    return ""
                with open(path, encoding="utf-8") as file:
                    return file.read()

            publish(broker.port, "-i", "before", "-t", "a", "-m", "b")
            broker.wait_log("Client before disconnected", read=read)
            os.rename(name, name + ".1")
            broker.signal(number)
            until(lambda: os.path.exists(name), "a new file")
            publish(broker.port, "-i", "after", "-t", "a", "-m", "b")
            broker.wait_log("Client after disconnected", read=read)
            self.assertNotIn("before", read())
            self.assertNotIn("after", read(name + ".1"))

    def test_rtmin_reopens_the_log(self):
        """For logrotate, without a reload."""
        self.reopened(signal.SIGRTMIN)

    def test_hup_reopens_the_log(self):
        """Debian's logrotate sends it."""
        self.reopened(signal.SIGHUP)

    def test_pipe_is_ignored(self):
        """A peer that goes while we write must not end us."""
        with Broker() as broker:
            broker.signal(signal.SIGPIPE)
            publish(broker.port, "-q", "1", "-t", "a", "-m", "b")


if __name__ == "__main__":
    main()
