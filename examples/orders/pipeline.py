#!/usr/bin/env python3
"""Runs the order pipeline and checks it: see README.md.  run.sh builds what it needs.

Everything happens in a temporary folder and on free ports.  Nothing is waited for by the clock: kills come
when so many orders are done, and the end is when all queues are empty."""
import argparse
import collections
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WORKERS = [("payments", 2), ("fulfilment", 2), ("notifications", 1)]
QUEUES = ("orders", "fulfilment", "notifications", "done")
PATIENCE_S = 120  # for all orders, or for the broker: then something is wrong


class Wrong(Exception):
    """What is not as it should be."""


def until(condition, what):
    """Polls until it holds, and returns its value."""
    end = time.monotonic() + PATIENCE_S
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Wrong(f"not within {PATIENCE_S} s: {what}")
        time.sleep(0.02)


def free_ports(count):
    """Ports that nobody has now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class Shop:
    """The broker, the workers, and what they have written."""

    def __init__(self, build, folder):
        self.build, self.folder, self.processes, self.killed = build, folder, {}, collections.Counter()
        self.port, self.admin = free_ports(2)
        os.mkdir(self.path("data"))
        with open(os.path.join(HERE, "shop.conf"), encoding="utf-8") as file:
            queues = file.read()
        with open(self.path("sluice.conf"), "w", encoding="utf-8") as file:
            file.write(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nlistener {self.admin} 127.0.0.1\n"
                       f"protocol http_api\npersistence true\npersistence_location {self.path('data')}\n{queues}")

    def path(self, name):
        """A name in the folder."""
        return os.path.join(self.folder, name)

    def program(self, name):
        """One that was built."""
        return os.path.join(self.build, name)

    def start(self, name, *command):
        """Starts a process whose output goes to a file of its name."""
        with open(self.path(name + ".log"), "ab") as log:
            self.processes[name] = (subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL), command)

    def kill(self, name):
        """kill -9, and starts it again."""
        process, command = self.processes[name]
        process.kill()
        process.wait()
        self.killed["broker" if name == "broker" else "workers"] += 1
        self.start(name, *command)

    def start_all(self, orders):
        """All of them."""
        self.start("broker", self.program("sluice"), "-c", self.path("sluice.conf"))
        until(lambda: self.ctl("queue", "list") is not None, "the broker answers")
        for step, count in WORKERS:
            for i in range(count):
                name = f"{step}-{i + 1}"
                self.start(name, self.program("examples/orders/orders_worker"), str(self.port), step, name)
        self.start("ledger", self.program("examples/orders/orders_ledger"), str(self.port))
        self.start("intake", self.program("examples/orders/orders_intake"), str(self.port), str(orders))

    def stop_all(self):
        """In order, the broker last."""
        for name in sorted(self.processes, key=lambda n: n == "broker"):
            process = self.processes[name][0]
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def ctl(self, *args):
        """What sluicectl prints, as JSON; None while the broker is away."""
        done = subprocess.run([self.program("sluicectl"), "--url", f"http://127.0.0.1:{self.admin}", "--json", *args],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode == 4:
            return None
        if done.returncode != 0:
            raise Wrong(f"sluicectl {' '.join(args)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def text(self, name):
        """What a process has written."""
        with open(self.path(name + ".log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def done(self):
        """Of each order that is in the books: under which numbers the broker has delivered it."""
        found = collections.defaultdict(set)
        for line in self.text("ledger").splitlines():
            order, _, seq = line.partition(" ")
            if order.isdigit() and seq.isdigit():
                found[int(order)].add(seq)
        return found

    def idle(self):
        """Whether nothing is under way anywhere."""
        if self.processes["intake"][0].poll() is None:
            return False
        queues = self.ctl("queue", "list")
        if queues is None:
            return False
        busy = {q["name"]: q["depth"] + q["inflight"] + q["delayed"] for q in queues}
        return not any(busy[name] for name in QUEUES)

    def dead(self):
        """Reason by order."""
        letters = self.ctl("dead", "list")
        if letters is None:
            raise Wrong("the broker is away")
        reasons = [(int(letter["topic"].rsplit("/", 1)[1]), letter["reason"]) for letter in letters]
        if len(dict(reasons)) < len(reasons):
            raise Wrong(f"dead more than once: {sorted(reasons)}")
        return dict(reasons)


def make_trouble(shop, orders):
    """Kills a worker each time another twentieth is done, and the broker three times."""
    names = [f"{step}-{i + 1}" for step, count in WORKERS for i in range(count)]
    for turn in range(1, 16):
        until(lambda wanted=turn * orders // 20: len(shop.done()) >= wanted, f"{turn * 5} % done")
        shop.kill(names[turn % len(names)])
        if turn % 5 == 0:
            shop.kill("broker")
            until(lambda: shop.ctl("queue", "list") is not None, "the broker is back")


def check(shop, orders, dead):
    """Each order in exactly one place, once."""
    done, all_of_them = shop.done(), set(range(1, orders + 1))
    many = {order: seqs for order, seqs in done.items() if len(seqs) > 1}
    for what, which in (("done more than once", many), ("lost", all_of_them - set(done) - set(dead)),
                        ("done and dead", set(done) & set(dead)), ("never ordered", (set(done) | set(dead)) - all_of_them)):
        if which:
            raise Wrong(f"{what}: {sorted(which)}")


def run(shop, orders, chaos):
    """The story, and its checks."""
    began = time.monotonic()
    shop.start_all(orders)
    if chaos:
        make_trouble(shop, orders)
    until(shop.idle, "all queues are empty")
    took = time.monotonic() - began
    dead = shop.dead()
    check(shop, orders, dead)
    reasons = collections.Counter(dead.values())
    expired = {n for n in range(1, orders + 1) if n % 25 == 7}
    if {order for order, reason in dead.items() if reason == "rejected"} != expired:
        raise Wrong("not the orders with an expired card were rejected")
    print(f"{orders} orders in {took:.1f} s; workers killed {shop.killed['workers']} times, "
          f"the broker {shop.killed['broker']} times")
    print(f"  done     {len(shop.done())}")
    print(f"  dead     {len(dead)}: " + ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items())))
    answer = shop.ctl("dead", "redrive", "--source", "orders")
    until(shop.idle, "all queues are empty again")
    check(shop, orders, shop.dead())
    print(f"after `sluicectl dead redrive --source orders` ({answer['redriven']} sent again)")
    print(f"  done     {len(shop.done())}")
    print(f"  dead     {len(shop.dead())}")
    if len(shop.done()) != orders:
        raise Wrong("after the redrive not all are done")


def main():
    """0: all is as it should be."""
    parser = argparse.ArgumentParser(description="The order pipeline: see examples/orders/README.md.")
    parser.add_argument("--orders", type=int, default=1000, metavar="N")
    parser.add_argument("--chaos", action="store_true", help="kill workers and the broker (kill -9) on the way")
    parser.add_argument("--build", required=True, metavar="FOLDER", help="where the programs were built")
    parser.add_argument("--keep", action="store_true", help="keep the folder with data and logs")
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="sluice-orders-")
    shop = Shop(os.path.abspath(args.build), folder)
    code = 1
    try:
        run(shop, args.orders, args.chaos)
        print("good: every order was done exactly once")
        code = 0
    except Wrong as wrong:
        print(f"WRONG: {wrong}", file=sys.stderr)
        for name in shop.processes:
            if name != "ledger":
                print(f"--- {name}: {shop.text(name)[-2000:]}", file=sys.stderr)
    finally:
        shop.stop_all()
        if args.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
