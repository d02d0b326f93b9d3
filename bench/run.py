#!/usr/bin/env python3
"""Measures build/sluice beside the byte relay and, if installed, mosquitto, and prints one table.

All run in turns (A B C A B C ...), each time freshly started, the broker pinned to CPU 0 and the
generator to CPU 1; a figure is the median of the rounds.  See bench/README.md.
"""
import argparse
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIZE = 64  # bytes of payload
TICK = os.sysconf("SC_CLK_TCK")


def log(text):
    print(text, file=sys.stderr, flush=True)


class Target:
    """A broker, or the relay: how to start one on a port."""

    def __init__(self, name, program, shards=None):
        self.name, self.program, self.shards = name, program, shards

    def command(self, port, folder, scenario):
        if self.name == "relay":
            return [self.program, str(port), scenario.relay]
        lines = [f"listener {port} 127.0.0.1", f"protocol {'websockets' if scenario.websockets else 'mqtt'}",
                 "allow_anonymous true", "max_queued_messages 0",
                 "set_tcp_nodelay true", "log_dest none"]
        if scenario.inflight:
            lines.append(f"max_inflight_messages {scenario.inflight}")
        if self.shards:
            lines.append(f"shards {self.shards}")
        if scenario.queue:
            lines += ["queue mqload", "queue_topic mqload/#", "queue_max_messages 4000000", "queue_max_bytes 4G"]
        if scenario.disk:
            lines += ["persistence true", f"persistence_location {folder}/"]
        path = os.path.join(folder, "broker.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        return [self.program, "-c", path]


class Figure:
    """One row: which number of a run, and what it should be."""

    def __init__(self, label, field, unit, less=False, minus=0):
        self.label, self.field, self.unit, self.less, self.minus = label, field, unit, less, minus
        self.goals = []

    def against(self, other, ratio):
        self.goals.append(("ratio", other, ratio))
        return self

    def limit(self, value):
        self.goals.append(("limit", None, value))
        return self


class Scenario:
    def __init__(self, name, flags, figures, relay=None, inflight=1000, pinned=True, split=False, disk=False,
                 websockets=False, ours=False, queue=False):
        self.name, self.flags, self.figures, self.relay = name, flags, figures, relay
        self.disk = disk  # persistence true; mosquitto then writes its database now and then, we sync
        self.inflight = inflight  # None: the broker's default
        self.pinned, self.split, self.websockets = pinned, split, websockets
        self.ours = ours  # only we can do it
        self.queue = queue  # the work queue "mqload"


def cpu_cost(ratio):
    return Figure("CPU a delivery", "broker_us_per_delivery", "us", less=True).against("mosquitto", ratio)


def rate(relay=True):
    figure = Figure("delivered", "delivered_per_s", "/s")
    return figure.against("relay", 0.5) if relay else figure


def pubsub(name, flags, ratio, relay):
    timed = f"pubsub --size {SIZE} --warmup 1 --secs @ {flags}"
    return Scenario(name, timed, [cpu_cost(ratio), rate(relay is not None)], relay=relay)


def scenarios(descriptors):
    idle = min(19000, descriptors - 300)
    subs = "subs --clients 100 --wildpct 50 --pubs 4 --secs @ --count"
    found = [
        pubsub("qos0-pair", "--map pair --qos 0", 25, "pair"),
        pubsub("qos1-pair", "--map pair --qos 1", 40, "pair"),
        pubsub("qos2-pair", "--map pair --qos 2", 50, "pair"),
        pubsub("fan-in-50", "--map fanin --pubs 50", 25, "fanin"),
        pubsub("fan-out-100", "--map fanout --subs 100", 50, "fanout"),
        pubsub("pairs-100", "--map pair --pubs 100", 25, "pair"),
        pubsub("pairs-100-qos1", "--map pair --pubs 100 --qos 1", 30, "pair"),
        Scenario("ws-pair", f"pubsub --size {SIZE} --warmup 1 --secs @ --map pair --qos 0 --ws",
                 [Figure("CPU a delivery", "broker_us_per_delivery", "us", less=True).against("qos0-pair", 0.6),
                  Figure("delivered", "delivered_per_s", "/s")], websockets=True),
        Scenario("latency", f"pubsub --map pair --size {SIZE} --rate 10000 --spin --secs @",
                 [Figure("p99 at 10,000 msg/s", "p99_us", "us", less=True).against("relay", 0.8)],
                 relay="pair"),
        Scenario("connects", "connect --count 20000 --churn",
                 [Figure("connects", "conn_per_s", "/s").against("mosquitto", 1.3)]),
        Scenario("idle", f"connect --count {idle} --hold 2 --perip 2000",
                 [Figure(f"memory of {idle} idle", "bytes_per_conn", "B", less=True).limit(1024)]),
        Scenario("ws-idle", f"connect --count {idle} --hold 2 --perip 2000 --ws",
                 [Figure(f"memory of {idle} idle WebSockets", "bytes_per_conn", "B", less=True).limit(1536)],
                 websockets=True),
        Scenario("subs-10k", f"{subs} 10000", [Figure("delivered, 10 K subs", "delivered_per_s", "/s")]),
        Scenario("subs-1m", f"{subs} 1000000",
                 [Figure("memory a subscription", "bytes_per_sub", "B", less=True).limit(200),
                  Figure("delivered, 1 M subs", "delivered_per_s", "/s").against("mosquitto", 10)
                  .against("subs-10k", 0.8)]),
        # 100 clients x 1,000 filters, all on one topic; three of them want each message
        Scenario("filters-100k", "subs --ver 5 --clients 100 --sbatch 50 --filters 3 --pubs 4 --secs @ --count 100000",
                 [Figure("published, 100 K filters", "published_per_s", "/s").limit(100000),
                  Figure("CPU a delivery", "broker_us_per_delivery", "us", less=True),
                  Figure("memory a filtered subscription", "bytes_per_sub", "B", less=True)], ours=True),
        Scenario("retained", f"retained --count 100000 --pubs 4 --qos 1 --subqos 0 --size {SIZE}",
                 [Figure("delivered", "delivered_per_s", "/s").limit(1000000),
                  # "mqload/r/NN/NNNNN" is 17 bytes, nearly always
                  Figure("memory beside the message", "bytes_per_retained", "B", less=True,
                         minus=SIZE + 17).limit(300)]),
        Scenario("queue", f"queue --count 100000 --qos 1 --inflight 1000 --size {SIZE}",
                 [Figure("memory beside the message", "bytes_per_queued", "B", less=True,
                         minus=SIZE + len("mqload/0")).limit(64),
                  Figure("drained", "drain_per_s", "/s")], inflight=None),
        Scenario("durable", "queue --count 1000000 --pubs 50 --qos 1 --inflight 100 --size 256",
                 [Figure("acknowledged", "pub_per_s", "/s").limit(200000),
                  Figure("CPU an acknowledged publish", "queue_broker_us", "us", less=True),
                  Figure("drained", "drain_per_s", "/s"),
                  Figure("memory a queued message", "bytes_per_queued", "B", less=True)], disk=True),
    ]
    work = "work --pubs 8 --subs 4 --size 256 --secs @"
    found += [
        # publish, deliver, acknowledge; on disk, at QoS 1
        Scenario("work-queue", work, [Figure("settled", "delivered_per_s", "/s").limit(100000),
                                      Figure("CPU a message", "broker_us_per_delivery", "us", less=True)],
                 pinned=False, disk=True, ours=True, queue=True),
        Scenario("work-queue-1m", f"{work} --backlog 1000000",
                 [Figure("settled, 1 M waiting", "delivered_per_s", "/s").against("work-queue", 0.5),
                  Figure("CPU a message, 1 M waiting", "broker_us_per_delivery", "us", less=True)],
                 pinned=False, disk=True, ours=True, queue=True),
        Scenario("retry-1k", "retry --count 1000 --after 2",
                 [Figure("latest redelivery of 1,000", "late_max_us", "us", less=True).limit(50000)],
                 pinned=False, disk=True, ours=True, queue=True),
        Scenario("retry-100k", "retry --count 100000 --after 10",
                 [Figure("latest redelivery of 100,000", "late_max_us", "us", less=True).limit(50000),
                  Figure("CPU while they wait", "idle_cpu", "of a core", less=True).limit(0.05)],
                 pinned=False, disk=True, ours=True, queue=True),
    ]
    for name, flags, split, ratio in (("2-shards-pair", "--map pair", True, 0.7),
                                      ("2-shards-fan-out", "--map fanout --subs 100", False, 1),
                                      ("2-shards-pairs-100", "--map pair --pubs 100", False, 1)):
        figure = Figure("across, against within one" if split else "2 shards against 1",
                        "delivered_per_s", "/s").against("1-shard", ratio)
        found.append(Scenario(name, f"pubsub --size {SIZE} --warmup 1 --secs @ {flags}", [figure],
                              pinned=False, split=split))
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def prepare(cpu):
    """What a child does before it starts: its CPU, and all the descriptors it may have."""
    def run():
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
    return run


def wait_ready(process, port):
    end = time.monotonic() + 5
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{process.args[0]} does not listen on {port}")


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def thread_ticks(pid):
    ticks = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        ticks[task] = int(fields[11]) + int(fields[12])
    return ticks


def busy_ticks():
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(f) for f in file.readline().split()[1:9]]
    return sum(fields) - fields[3] - fields[4]  # all but idle and waiting for a disk


def measure(target, scenario, secs, cpus):
    """One run against a fresh broker: mqload's fields, and two of ours."""
    pinned = scenario.pinned and len(cpus) > 1
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        port = free_port()
        process = subprocess.Popen(target.command(port, folder, scenario), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, preexec_fn=prepare(cpus[0] if pinned else None))
        try:
            wait_ready(process, port)
            flags = scenario.flags.replace("@", str(secs)).split()
            command = [os.path.join(ROOT, "build/bench/mqload"), *flags, "--port", str(port),
                       "--pid", str(process.pid), "--label", target.name]
            threads, busy, start = thread_ticks(process.pid), busy_ticks(), time.monotonic()
            own = os.times()
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False,
                                  preexec_fn=prepare(cpus[1] if pinned else None))
            took, used = time.monotonic() - start, os.times()
            after = thread_ticks(process.pid)
            busy = busy_ticks() - busy
        finally:
            stop(process)
    if done.returncode != 0 or not done.stdout.strip():
        raise RuntimeError(f"mqload failed: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    per_thread = sorted((after[t] - threads.get(t, 0) for t in after), reverse=True)
    ours = sum(per_thread) + TICK * (used.children_user + used.children_system
                                     - own.children_user - own.children_system)
    result["other_cores"] = max(0, busy - ours) / TICK / took
    result["split"] = len(per_thread) > 1 and per_thread[1] > per_thread[0] / 4
    dirty = [k for k in ("lost", "dup", "ooo", "corrupt", "stalls", "disconnects", "conn_fail")
             if result.get(k)]
    result["dirty"] = ", ".join(f"{k} {result[k]}" for k in dirty)
    return result


def run_split(scenario, target, rounds, secs, cpus):
    """Where the two ends of a pair live is a matter of chance: both cases are collected."""
    runs = {"sluice": [], "1-shard": []}
    for _ in range(6 * rounds):
        result = measure(target, scenario, secs, cpus)
        kind = "sluice" if result["split"] else "1-shard"
        if len(runs[kind]) < rounds:
            runs[kind].append(result)
        if all(len(r) >= rounds for r in runs.values()):
            break
    return runs


def run(scenario, targets, rounds, secs, cpus):
    log(f"{scenario.name} ...")
    if scenario.split:
        return run_split(scenario, targets["2-shards"], rounds, secs, cpus)
    names = ["1-shard", "2-shards"] if not scenario.pinned else ["sluice", "mosquitto", "relay"]
    if scenario.relay is None and "relay" in names:
        names.remove("relay")
    if "mosquitto" in names and (scenario.ours or scenario.websockets):
        names.remove("mosquitto")  # Debian's does not listen for WebSockets on a single address
    runs = {name: [] for name in names if name in targets}
    for _ in range(rounds):
        for name, results in runs.items():
            try:
                results.append(measure(targets[name], scenario, secs, cpus))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                log(f"  {name}: {error}")
    if "2-shards" in runs:
        runs["sluice"] = runs.pop("2-shards")
    return runs


def median(results, figure):
    values = [r[figure.field] - figure.minus for r in results if figure.field in r]
    return statistics.median(values) if values else None


def number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def judge(goal, figure, values, all_values):
    """The ratio or limit as text, and whether it is met (None: cannot be told)."""
    kind, other, wanted = goal
    ours = values.get("sluice")
    if kind == "limit":
        met = None if ours is None else (ours <= wanted if figure.less else ours >= wanted)
        return f"{'at most' if figure.less else 'at least'} {number(wanted)} {figure.unit}", met
    theirs = values.get(other)
    if other in all_values:
        theirs = next(iter(all_values[other].values())).get("sluice")
    if not ours or not theirs:
        return f"{wanted} x {other}", None
    ratio = theirs / ours if figure.less else ours / theirs
    return f"{ratio:.2f} x {other}, goal {wanted}", ratio >= wanted


def report(plan, collected, title):
    names = ["sluice", "mosquitto", "relay", "1-shard"]
    print(f"\n{title}\n")
    print("| scenario | figure | " + " | ".join(names) + " | against the goal | met |")
    print("|---|---|" + "---:|" * len(names) + "---|---|")
    all_values, notes, rows = {}, [], []
    for scenario in plan:
        runs = collected.get(scenario.name)
        if not runs:
            continue
        all_values[scenario.name] = {}
        for name, results in runs.items():
            notes += [f"{scenario.name}, {name}: {r['dirty']}" for r in results if r["dirty"]]
        for figure in scenario.figures:
            values = {name: median(results, figure) for name, results in runs.items()}
            all_values[scenario.name][figure.label] = values
            judged = [judge(goal, figure, values, all_values) for goal in figure.goals]
            cells = [number(values.get(name)) for name in names]
            met = [{True: "yes", False: "NO", None: "?"}[m] for _, m in judged]
            print(f"| {scenario.name} | {figure.label} ({figure.unit}) | " + " | ".join(cells) + " | "
                  + "; ".join(text for text, _ in judged) + " | " + " ".join(met) + " |")
            rows.append({"scenario": scenario.name, "figure": figure.label, "unit": figure.unit,
                         "values": values, "goals": [{"goal": t, "met": m} for t, m in judged]})
    for note in notes:
        print(f"not clean: {note}")
    return rows


def machine(collected):
    other = [r["other_cores"] for runs in collected.values() for results in runs.values() for r in results]
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((l.split(":", 1)[1].strip() for l in file if l.startswith("model name")), "unknown CPU")
    text = f"{model}, {os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.2f}"
    if other:
        text += (f", other work during the runs {statistics.median(other):.2f} cores"
                 f" (at most {max(other):.2f})")
    return text


def find_targets(args):
    found = {"sluice": Target("sluice", args.sluice, 1), "1-shard": Target("sluice", args.sluice, 1),
             "2-shards": Target("sluice", args.sluice, 2),
             "relay": Target("relay", os.path.join(ROOT, "build/bench/relay"))}
    mosquitto = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if mosquitto:
        found["mosquitto"] = Target("mosquitto", mosquitto)
    for target in found.values():
        if not os.access(target.program, os.X_OK):
            sys.exit(f"{target.program} is missing; build it: cmake -S . -B build && cmake --build build")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="scenarios whose name contains NAME")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--secs", type=float, default=3, help="of each timed run")
    parser.add_argument("--json", metavar="FILE", help="write every run and the table there")
    parser.add_argument("--sluice", default=os.path.join(ROOT, "build/sluice"), metavar="PROGRAM")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    args = parser.parse_args()
    plan = scenarios(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    if args.only:
        plan = [s for s in plan if any(part in s.name for part in args.only)]
    if args.list or not plan:
        print("\n".join(s.name for s in plan) or "no such scenario")
        return 0 if plan else 2
    targets, cpus = find_targets(args), sorted(os.sched_getaffinity(0))
    collected = {s.name: run(s, targets, args.rounds, args.secs, cpus) for s in plan}
    title = machine(collected)
    rows = report(plan, collected, title)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"machine": title, "table": rows, "runs": collected}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
