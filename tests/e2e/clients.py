"""mosquitto_pub and mosquitto_sub as people use them."""
import atexit
import os
import subprocess
import tempfile

from broker import WAIT_S, until

MARK = "M|"
started = []  # every Sub that has not ended


def publish(port, *args, check=True):
    """mosquitto_pub; returns its CompletedProcess.  check: it must say that all is well."""
    where = [] if port is None else ["-h", "127.0.0.1", "-p", str(port)]
    done = subprocess.run(["mosquitto_pub", *where, *args], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=WAIT_S, check=False)
    if check:
        assert (done.returncode, done.stdout) == (0, ""), done
    return done


def run_sub(port, *args, seconds=WAIT_S):
    """mosquitto_sub until it ends by itself (-C, -W, -E); returns its CompletedProcess."""
    where = [] if port is None else ["-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(["mosquitto_sub", *where, *args], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=seconds, check=False)


class Sub:
    """mosquitto_sub in the background.  With -d it says when the broker has confirmed the subscription;
    messages are told apart by a mark in their format.  (stdbuf: else its debug lines wait for a full
    buffer.)"""

    def __init__(self, port, *args, form="%t %p", wait=True):
        where = [] if port is None else ["-h", "127.0.0.1", "-p", str(port)]
        handle, self.name = tempfile.mkstemp(prefix="sub-")
        self.process = subprocess.Popen(
            ["stdbuf", "-oL", "mosquitto_sub", *where, "-d", "-F", MARK + form, *args], stdout=handle,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        os.close(handle)
        started.append(self)
        if wait:
            self.wait_text("received SUBACK")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.end()

    def text(self):
        """All that it printed."""
        with open(self.name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def messages(self):
        """The messages so far."""
        lines = self.text().split("\n")[:-1]
        return [line[len(MARK):] for line in lines if line.startswith(MARK)]

    def wait_text(self, wanted):
        """Waits until it has printed something."""
        try:
            until(lambda: wanted in self.text(), wanted)
        except AssertionError as error:
            raise AssertionError(f"{error}; mosquitto_sub said:\n{self.text()}") from None

    def wait_messages(self, count):
        """Waits for so many messages; returns all that came."""
        try:
            until(lambda: len(self.messages()) >= count, f"{count} messages")
        except AssertionError as error:
            raise AssertionError(f"{error}; mosquitto_sub said:\n{self.text()}") from None
        return self.messages()

    def wait_end(self):
        """Waits for its own end; returns the exit code."""
        return self.process.wait(WAIT_S)

    def kill(self):
        """Ends it without DISCONNECT: its will is sent."""
        self.process.kill()
        self.process.wait()

    def leave(self):
        """Ends it with DISCONNECT; returns its messages."""
        self.process.terminate()
        self.process.wait(WAIT_S)
        return self.messages()

    def end(self):
        """Leaves nothing behind."""
        if self.process.poll() is None:
            self.kill()
        if os.path.exists(self.name):
            os.unlink(self.name)
        if self in started:
            started.remove(self)


@atexit.register
def end_all():
    """Also what a failed test left."""
    for sub in list(started):
        sub.end()
