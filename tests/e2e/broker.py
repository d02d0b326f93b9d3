"""Starts the real broker for a test and proves that it ended well.

    with Broker(extra="max_qos 1\n", shards=2) as broker:
        ...broker.port...

The broker gets free ports and a folder of its own.  Leaving the block sends SIGTERM and checks: exit
code 0 within ten seconds, and no sanitizer report.  Nothing sleeps for luck: until() polls a condition
and fails with a text when its deadline passes.  Every process is ended by its own id.

With config=DURABLE it keeps its state in broker.data, and restart() gives the next one the same folder
and the same ports, after SIGKILL or any other signal.

The executable is named by the environment: SLUICE, and E2E_PROGRAMS for the folder of the C clients.
"""
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from signal import SIGKILL

SLUICE = os.environ.get("SLUICE", "")
PROGRAMS = os.environ.get("E2E_PROGRAMS", "")
# For an event that should come at once: the deadline is for a machine that is busy.
WAIT_S = int(os.environ.get("E2E_WAIT", "20"))
STOP_S = 10  # CONTRACT section 1
STARTS = 5  # times a lost race for a port is tried again
ANYBODY = "listener {0} 127.0.0.1\nallow_anonymous true\nlog_type all\n"
DURABLE = ANYBODY + "persistence true\npersistence_location {data}/\n"


def until(condition, what, seconds=WAIT_S):
    """Polls until the condition holds and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def free_port():
    """A port that was free a moment ago, on both loopback addresses where there are two."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def steady_port():
    """A port to come back to: below those that the kernel gives to others meanwhile, so that no connection
    takes it, not even one to itself."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        end = int(file.read().split()[0])
    for _ in range(1000):
        port = random.randrange(5000, end)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no port is free")


def has_ipv6():
    """Whether ::1 can be bound here."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def can_connect(port, host="127.0.0.1"):
    """Whether somebody listens there."""
    try:
        socket.create_connection((host, port), 5).close()
    except OSError:
        return False
    return True


def sanitized_environment(folder, more=""):
    """The environment of a process whose sanitizer reports go to files in the folder."""
    result = dict(os.environ)
    for name, own in (("ASAN_OPTIONS", more), ("UBSAN_OPTIONS", "print_stacktrace=1"),
                      ("TSAN_OPTIONS", ""), ("LSAN_OPTIONS", "")):
        parts = [result.get(name, ""), own, f"log_path={folder}/sanitizer"]
        result[name] = ":".join(part for part in parts if part)
    result["TZ"] = "UTC"
    return result


def sanitizer_reports(folder, text=""):
    """What sanitizers wrote to the folder's files or into the text."""
    found = []
    for name in sorted(os.listdir(folder)):
        if name.startswith("sanitizer."):
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                found.append(file.read())
    if re.search(r"Sanitizer|runtime error:|Assertion|ASSERT", text):
        found.append(text)
    return "\n".join(found)


def run_sluice(*args, folder, seconds=WAIT_S):
    """Runs the broker until it ends by itself; returns its CompletedProcess with text."""
    done = subprocess.run([SLUICE, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="replace", timeout=seconds, check=False, cwd=folder,
                          env=sanitized_environment(folder))
    report = sanitizer_reports(folder, done.stderr)
    if report:
        raise AssertionError(report)
    return done


class Broker:
    """A broker that runs, with its folder, its ports and its log.

    config: the file's text, where {0}, {1} ... are ports, {dir} is the folder and {data} the one in it for
            durable state; None: no file.
    extra:  added to it.  args: added to the command line, with the same fields.
    shards: None leaves the directive out.
    data:   another folder for {data}, which stays.  environment: more variables."""

    def __init__(self, config=ANYBODY, extra="", shards=2, ports=1, args=(), asan="", probe=None, data=None,
                 environment=None):
        self.dir = tempfile.mkdtemp(prefix="sluice-e2e-")
        self.data, self.environment = data or os.path.join(self.dir, "data"), dict(environment or {})
        os.makedirs(self.data, exist_ok=True)
        self.template, self.shards, self.args = config, shards, args
        if config is not None:
            self.template = config + extra
        self.asan, self.port_count, self.probe = asan, ports, probe
        self.ports, self.process, self.expected_code = [], None, 0
        self.log_name = os.path.join(self.dir, "stderr")
        self.out_name = os.path.join(self.dir, "stdout")
        self.config_name = os.path.join(self.dir, "sluice.conf")

    @property
    def port(self):
        """The first port."""
        return self.ports[0]

    @property
    def pid(self):
        """The broker's process id."""
        return self.process.pid

    def path(self, name):
        """A name in the broker's folder."""
        return os.path.join(self.dir, name)

    def fill(self, text):
        """Puts ports and folder into a text."""
        return text.format(*self.ports, dir=self.dir, data=self.data)

    def write_config(self, text):
        """Writes the configuration file anew."""
        shards = "" if self.shards is None else f"shards {self.shards}\n"
        with open(self.config_name, "w", encoding="utf-8") as file:
            file.write(shards + self.fill(text))

    def start(self):
        """Starts and waits until all ports take connections; a lost race for a port is tried again."""
        for attempt in range(STARTS):
            port = steady_port if "{data}" in (self.template or "") else free_port
            self.ports = []
            while len(self.ports) < self.port_count:  # the kernel may give the same one twice
                self.ports += {port()} - set(self.ports)
            self.spawn()
            if self.wait_listening():
                return self
            lost = "in use" in self.log() and attempt + 1 < STARTS
            if not lost:
                break
        raise AssertionError(f"exit code {self.process.returncode}:\n{self.log()}")

    def spawn(self):
        """Starts the process on the ports chosen."""
        command = [SLUICE, *(self.fill(arg) for arg in self.args)]
        if self.template is not None:
            self.write_config(self.template)
            command += ["-c", self.config_name]
        with open(self.out_name, "wb") as out, open(self.log_name, "wb") as err:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, cwd=self.dir,
                env={**sanitized_environment(self.dir, self.asan), **self.environment})

    def wait_listening(self):
        """Whether it listens; False when it has ended instead."""
        probed = self.ports if self.probe is None else [self.ports[i] for i in self.probe]

        def listening_or_over():
            return self.process.poll() is not None or all(can_connect(port) for port in probed)

        until(listening_or_over, "the broker listens")
        return self.process.poll() is None

    def log(self):
        """What it wrote to stderr so far."""
        with open(self.log_name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def out(self):
        """What it wrote to stdout so far."""
        with open(self.out_name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_log(self, pattern, count=1, read=None):
        """Waits until the log has so many lines with the pattern; returns the last match."""
        expression = re.compile(pattern, re.M)
        read = read or self.log

        def matches():
            found = list(expression.finditer(read()))
            return found[-1] if len(found) >= count else None

        try:
            return until(matches, f"{count} times {pattern!r} in the log")
        except AssertionError as error:
            raise AssertionError(f"{error}; the log is:\n{read()}") from None

    def signal(self, number):
        """Sends it a signal."""
        self.process.send_signal(number)

    def leave_descriptors(self, count):
        """Limits the running broker to so many file descriptors more than it has open now."""
        self.wait_log("running")
        used = len(os.listdir(f"/proc/{self.pid}/fd"))
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (used + count, used + count))

    def resident_kib(self):
        """Its memory, in KiB."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

    def wait_end(self, seconds=STOP_S):
        """Waits for its end and checks exit code and sanitizers."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"the broker did not end within {seconds} s\n{self.log()}") from None
        report = sanitizer_reports(self.dir, self.log())
        if report:
            raise AssertionError(report)
        if code != self.expected_code:
            raise AssertionError(f"exit code {code}, not {self.expected_code}:\n{self.log()}")

    def stop(self):
        """SIGTERM, then wait_end()."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        self.wait_end()

    def die(self, number=SIGKILL):
        """Ends it by a signal.  SIGKILL: only sanitizers can have something to say."""
        self.signal(number)
        if number != SIGKILL:
            self.wait_end()
            return
        code, report = self.process.wait(), sanitizer_reports(self.dir, self.log())
        if report or code != -SIGKILL:
            raise AssertionError(f"exit code {code}:\n{report or self.log()}")

    def revive(self):
        """Starts it again with the same ports and folder; the log begins anew."""
        self.spawn()
        if not self.wait_listening():
            raise AssertionError(f"exit code {self.process.returncode}:\n{self.log()}")

    def restart(self, number=SIGKILL):
        """die(), then revive()."""
        self.die(number)
        self.revive()

    def kill(self):
        """Ends it the hard way, and checks nothing."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.clean()
            raise

    def clean(self):
        """Leaves nothing behind."""
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.stop()
            else:
                self.tell(kind)
        finally:
            self.clean()

    def tell(self, kind):
        """A test failed: the broker's side of it."""
        if issubclass(kind, unittest.SkipTest):
            return
        state = self.process.poll()
        if state is None:
            self.signal(signal.SIGTERM)
            try:
                state = self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                state = "none: it did not end"
        print(f"---- broker, exit code {state} ----", self.log()[-8000:],
              sanitizer_reports(self.dir), "----", sep="\n", file=sys.stderr)


class BrokerCase(unittest.TestCase):
    """Tests that share one broker; `options` are Broker()'s."""

    options = {}
    broker = None

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(**cls.options).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.broker.__exit__(None, None, None)


def main():
    """Runs the calling file's tests; the exit code tells."""
    if not SLUICE:
        sys.exit("SLUICE must name the broker's executable")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < min(hard, 8192):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    unittest.main(module="__main__", argv=sys.argv, verbosity=2, warnings="ignore")
