"""Clients under load while their broker dies again and again, and a judge of what they saw.

History is the judge: it is told what was published, acknowledged, subscribed and delivered, in that order,
and says what the broker did wrong.  Publisher and Subscriber are clients that do as the standard says, one
thread for all of them.  Load runs them, kills, restarts, drains."""
import collections
import os
import random
import re
import select
import subprocess
import time

import wire
from broker import WAIT_S, until

FOREVER = wire.session_expiry(0xFFFFFFFF)
LIVE, KEPT = "live", "kept"  # first levels: what subscribers get; what is retained and nobody gets
FILLER = b"0123456789abcdef"
RECEIVE = 65536


def payload_of(publisher, number, size):
    """A payload that says who it is, and shows whether it was altered."""
    head = f"{publisher}|{number}|{size}|".encode()
    return head + (FILLER * (size // len(FILLER) + 1))[:size]


def parse_payload(payload):
    """(publisher, number), None when it is not whole."""
    match = re.match(rb"(\w+)\|(\d+)\|(\d+)\|", payload)
    if not match or payload != payload_of(match[1].decode(), int(match[2]), int(match[3])):
        return None
    return match[1].decode(), int(match[2])


def matches(topic_filter, topic):
    """Whether a filter matches, both without $."""
    wanted, found = topic_filter.split("/"), topic.split("/")
    for i, level in enumerate(wanted):
        if level == "#":
            return True
        if i >= len(found) or level not in ("+", found[i]):
            return False
    return len(wanted) == len(found)


class Message:
    """One publication."""

    def __init__(self, topic, qos, published, now):
        self.topic, self.qos, self.published, self.round, self.acked = topic, qos, published, now, False


class Inbox:
    """What one subscriber is owed and has got."""

    def __init__(self, topic_filter, qos, since):
        self.filter, self.qos, self.since = topic_filter, qos, since
        self.count = collections.Counter()  # (publisher, number): deliveries
        self.first = {}  # (publisher, number): how it was delivered first
        self.last = {}  # (publisher, its QoS): the highest number that came


class History:
    """What the clients saw.  faults: sentences, complete after check()."""

    def __init__(self):
        self.messages, self.inboxes, self.faults = {}, {}, []
        self.early = collections.defaultdict(collections.Counter)  # subscriber: what came before SUBACK
        self.retained = collections.defaultdict(list)  # topic: [[payload, acknowledged]]
        self.floor = collections.defaultdict(int)  # publisher: numbers up to it were checked and forgotten
        self.clock, self.round = 0, 0

    def fault(self, text):
        """The broker did something wrong."""
        self.faults.append(f"round {self.round}: {text}")

    def published(self, publisher, number, topic, qos):
        """Is about to be sent for the first time."""
        self.clock += 1
        self.messages[publisher, number] = Message(topic, qos, self.clock, self.round)

    def acked(self, publisher, number):
        """The broker has taken it over: PUBACK or PUBREC."""
        self.clock += 1
        self.messages[publisher, number].acked = True

    def kept(self, topic, payload):
        """A retained message is about to be sent for the first time; returns what kept_acked() wants."""
        self.retained[topic].append([payload, False])
        return self.retained[topic][-1]

    def subscribed(self, subscriber, topic_filter, qos):
        """SUBACK has come: what is published from now on is owed."""
        self.clock += 1
        self.inboxes[subscriber] = Inbox(topic_filter, qos, self.clock)
        self.inboxes[subscriber].count.update(self.early.pop(subscriber, {}))

    def gone(self, subscriber):
        """It has ended its session."""
        del self.inboxes[subscriber]

    def session(self, client, expected, found):
        """CONNACK has told whether there is a session."""
        if expected != found:
            self.fault(f"{client}: session present {found}, not {expected}")

    def effective(self, inbox, message):
        """The QoS of a delivery."""
        return min(inbox.qos, message.qos)

    def delivered(self, subscriber, payload, topic, qos, how=""):
        """A message, but not one whose packet identifier shows that it is the same again.  how: for people."""
        inbox, name = self.inboxes.get(subscriber), parse_payload(payload)
        if name is None:
            self.fault(f"{subscriber}: payload altered: {payload[:60]} on {topic}")
            return
        if inbox is None:  # its SUBACK is on its way
            self.early[subscriber][name] += 1
            return
        inbox.count[name] += 1
        how = f"in round {self.round}{how}"
        inbox.first.setdefault(name, how)
        if name[1] <= self.floor[name[0]]:
            if qos == 2:
                self.fault(f"{subscriber}: {name} delivered again, long afterwards")
            return
        message = self.messages.get(name)
        if message is None:
            self.fault(f"{subscriber}: {name} was never published")
        else:
            self.check_delivery(subscriber, inbox, name, message, topic, qos)
            if qos == 2 and inbox.count[name] > 1:
                self.fault(f"{subscriber}: {name} of QoS 2 delivered {inbox.count[name]} times, "
                           f"{inbox.first[name]}, {how}")

    def check_delivery(self, subscriber, inbox, name, message, topic, qos):
        """One delivery against its publication."""
        if topic != message.topic or not matches(inbox.filter, topic):
            self.fault(f"{subscriber}: {name} on {topic}, published on {message.topic}")
        if qos != self.effective(inbox, message):
            self.fault(f"{subscriber}: {name} with QoS {qos}, not {self.effective(inbox, message)}")
        if inbox.count[name] > 1:
            return
        line = name[0], message.qos
        if inbox.last.get(line, 0) > name[1]:
            self.fault(f"{subscriber}: {name} after number {inbox.last[line]}")
        inbox.last[line] = max(inbox.last.get(line, 0), name[1])

    def same_again(self, subscriber, packet_id, before, payload):
        """A packet identifier whose handshake is open came again: it must be the same message."""
        if before != payload:
            self.fault(f"{subscriber}: packet identifier {packet_id} was {before[:40]}, is {payload[:40]}")

    def missing(self):
        """(subscriber, (publisher, number)) that are owed and have not come."""
        for subscriber, inbox in self.inboxes.items():
            for name, message in self.messages.items():
                if (message.acked and message.published > inbox.since and name not in inbox.count
                        and matches(inbox.filter, message.topic)):
                    yield subscriber, name

    def check(self):
        """All is drained: what has not come is lost.  Returns the faults."""
        for subscriber, name in self.missing():
            self.fault(f"{subscriber}: {name} of QoS {self.messages[name].qos}, published in round "
                       f"{self.messages[name].round}, was acknowledged and is lost")
        return self.faults

    def wrong_retained(self, found):
        """found: {topic: payload}, what a new subscriber gets.  Says which are neither the last acknowledged
        ones of their topics nor ones that were sent later."""
        for topic, values in self.retained.items():
            acked = [i for i, value in enumerate(values) if value[1]]
            if not acked:
                continue
            allowed = [payload for payload, _ in values[acked[-1]:]]
            if found.get(topic, b"") not in allowed:
                yield (f"retained on {topic}: {found.get(topic, b'nothing')[:40]}, acknowledged was "
                       f"{allowed[0][:40] or b'nothing'}, {len(allowed) - 1} were sent after it")
        for topic in found.keys() - self.retained.keys():
            yield f"retained on {topic}, which nobody set"

    def check_retained(self, found):
        """The same as faults."""
        for text in self.wrong_retained(found):
            self.fault(text)

    def forget(self):
        """All was drained and checked; a long run keeps its memory small."""
        for publisher, number in self.messages:
            self.floor[publisher] = max(self.floor[publisher], number)
        self.messages.clear()
        for inbox in self.inboxes.values():
            inbox.count.clear()
            inbox.first.clear()
        for values in self.retained.values():
            del values[:-1]


class Client:
    """A connection that never blocks, and comes back."""

    def __init__(self, history, client_id, version):
        self.history, self.client_id, self.version = history, client_id, version
        self.socket, self.inbox, self.outbox = None, b"", b""
        self.established = False  # the broker has promised to keep the session
        self.packets = 0  # received

    def fileno(self):
        """For select."""
        return self.socket.fileno()

    def join(self, port):
        """Connects and waits for CONNACK."""
        try:
            raw = wire.Raw(port)
            answer = raw.connect(self.client_id, version=self.version, clean=False,
                                 props=FOREVER if self.version == wire.V5 else b"")
        except (OSError, AssertionError) as error:
            self.history.fault(f"{self.client_id}: no CONNACK, {error}")
            return
        if answer.code:
            self.history.fault(f"{self.client_id}: refused with {answer.code:#x}")
        if self.established:
            self.history.session(self.client_id, True, answer.present)
        self.socket, self.inbox, self.outbox = raw.socket, raw.buffer, b""
        self.socket.setblocking(False)
        self.joined(answer.present)
        self.parse()  # what came together with CONNACK

    def joined(self, present):
        """CONNACK has come."""

    def packet(self, found):
        """A packet has come."""

    def send(self, raw):
        """Now or as soon as it goes."""
        self.outbox += raw

    def flush(self):
        """Sends what goes."""
        if not self.outbox or self.socket is None:
            return
        try:
            self.outbox = self.outbox[self.socket.send(self.outbox):]
        except BlockingIOError:
            pass
        except OSError:
            self.outbox = b""  # the end shows when reading

    def receive(self):
        """Handles what has come; False when the connection has ended."""
        alive = True
        try:
            more = self.socket.recv(RECEIVE)
            alive = bool(more)
            self.inbox += more
        except BlockingIOError:
            pass
        except OSError:
            alive = False
        self.parse()
        return alive

    def parse(self):
        """Whole packets only; what is left of a dead broker's last one is nothing."""
        raw, at = self.inbox, 0
        while len(raw) - at >= 2:
            size, used = wire.read_varint(raw[at + 1:at + 5])
            end = at + 1 + used + size
            if not used or end > len(raw):
                break
            self.packets += 1
            self.packet(wire.Packet(raw[at] >> 4, raw[at] & 15, raw[at + 1 + used:end]))
            at = end
        self.inbox = raw[at:]

    def read_to_end(self):
        """The broker is dead: what it sent before counts."""
        if self.socket is None:
            return
        self.socket.settimeout(WAIT_S)
        while self.receive():
            pass
        self.drop()

    def drop(self):
        """Closes without a word."""
        if self.socket is not None:
            self.socket.close()
        self.socket, self.inbox, self.outbox = None, b"", b""


class Flight:
    """A PUBLISH that is not finished."""

    def __init__(self, raw, again, done):
        self.raw, self.again, self.done, self.released = raw, again, done, False


class Publisher(Client):
    """Up to `window` messages on their way; numbers them.  Every eighth is retained, on a topic of its own
    for each QoS, every fourth of those deletes; nobody subscribes to them."""

    def __init__(self, history, name, version, qos_choice, chance, window=20):
        super().__init__(history, name, version)
        self.qos_choice, self.chance, self.window = qos_choice, chance, window
        self.number, self.packet_id, self.flights = 0, 0, {}

    def next_id(self):
        """A packet identifier that is free."""
        while True:
            self.packet_id = self.packet_id % 65535 + 1
            if self.packet_id not in self.flights:
                return self.packet_id

    def produce(self):
        """One more message if the window allows."""
        if self.socket is None or len(self.flights) >= self.window:
            return False
        self.number += 1
        number, qos = self.number, self.chance.choice(self.qos_choice)
        size = self.chance.choice((0, 20, 20, 200, 200, 3000, self.chance.randrange(60000)))
        payload, retain = payload_of(self.client_id, number, size), number % 8 == 0
        if retain:
            topic = f"{KEPT}/{self.client_id}/{qos}"
            payload = b"" if number % 32 == 0 else payload
            value = self.history.kept(topic, payload)
            done = lambda: value.__setitem__(1, True)
        else:
            topic = f"{LIVE}/{self.client_id}/{number % 3}"
            self.history.published(self.client_id, number, topic, qos)
            done = lambda: self.history.acked(self.client_id, number)
        packet_id = self.next_id()
        raw, again = (wire.publish(topic, payload, qos=qos, packet_id=packet_id, retain=retain, dup=dup,
                                   version=self.version) for dup in (False, True))
        self.flights[packet_id] = Flight(raw, again, done)
        self.send(raw)
        return True

    def joined(self, present):
        if self.established and not present:
            for flight in self.flights.values():
                flight.released = False
        for packet_id, flight in self.flights.items():  # in the order of their first sending
            self.send(wire.ack(wire.PUBREL, packet_id) if flight.released else flight.again)

    def packet(self, found):
        packet_id = int.from_bytes(found.body[:2], "big")
        reason = found.body[2] if len(found.body) > 2 else 0
        flight = self.flights.get(packet_id)
        if found.type not in (wire.PUBACK, wire.PUBREC, wire.PUBCOMP):
            self.history.fault(f"{self.client_id}: packet type {found.type}, {found.body[:8].hex()}")
        elif flight is None:
            self.history.fault(f"{self.client_id}: answer {found.type} to unknown {packet_id}")
        elif reason not in (0, 0x10, 0x92 if found.type == wire.PUBCOMP else 0):
            self.history.fault(f"{self.client_id}: answer {found.type} with reason {reason:#x}")
        else:
            self.answered(found.type, packet_id, flight)

    def answered(self, kind, packet_id, flight):
        """An acknowledgement of a message on its way."""
        self.established = True
        if kind != wire.PUBCOMP:
            flight.done()
        if kind == wire.PUBREC:
            flight.released = True
            self.send(wire.ack(wire.PUBREL, packet_id))
        else:
            del self.flights[packet_id]


class Subscriber(Client):
    """Holds its answers back for a while now and then; knows open packet identifiers of QoS 2."""

    def __init__(self, history, name, version, topic_filter, qos, chance):
        super().__init__(history, name, version)
        self.filter, self.qos, self.chance, self.moody = topic_filter, qos, chance, True
        self.open, self.held, self.pinged = {}, b"", 0

    def joined(self, present):
        self.held, self.pinged = b"", 0
        if not present:
            self.open.clear()
        if not self.established:
            self.send(wire.subscribe((self.filter, self.qos), version=self.version))

    def packet(self, found):
        packet_id = int.from_bytes(found.body[:2], "big")
        if found.type == wire.PUBLISH:
            self.message(wire.parse_publish(found.flags, found.body, self.version))
        elif found.type == wire.PUBREL:
            self.open.pop(packet_id, None)
            self.held += wire.ack(wire.PUBCOMP, packet_id)
        elif found.type == wire.SUBACK:
            if found.body[-1] != self.qos:
                self.history.fault(f"{self.client_id}: SUBACK {found.body[-1]:#x}")
            self.established = True
            self.history.subscribed(self.client_id, self.filter, self.qos)
        elif found.type == wire.PINGRESP:
            self.pinged -= 1
        else:
            self.history.fault(f"{self.client_id}: packet type {found.type}, {found.body[:8].hex()}")

    def message(self, found):
        """The receiver of 4.3."""
        if found.qos == 2 and found.packet_id in self.open:
            self.history.same_again(self.client_id, found.packet_id, self.open[found.packet_id],
                                    found.payload)
        else:
            self.history.delivered(self.client_id, found.payload, found.topic, found.qos,
                                   f" as {found.packet_id}{' with DUP' if found.dup else ''}")
        if found.qos == 1:
            self.held += wire.ack(wire.PUBACK, found.packet_id)
        elif found.qos == 2:
            self.open[found.packet_id] = found.payload
            self.held += wire.ack(wire.PUBREC, found.packet_id)

    def flush(self):
        if not self.moody or self.chance.random() < 0.7:
            self.outbox += self.held
            self.held = b""
        super().flush()

    def ping(self):
        """Asks for a sign of life."""
        self.pinged += 1
        self.send(wire.packet(wire.PINGREQ << 4))

    def busy(self):
        """Whether a handshake is open or an answer is awaited."""
        return bool(self.open or self.held or self.outbox or self.pinged)


class Load:
    """Three publishers and six subscribers or more on one broker.  crash(): what ends the broker, and the
    disk's part in it; by default kill -9.  shards: numbers to choose from at each restart."""

    MESSAGES = 60  # of each publisher in a round
    BATCH = 25  # rounds after which all is drained, checked and forgotten
    DRAIN_S = 20  # seconds in which something of what is owed must come
    RETAINED_S = 5

    def __init__(self, broker, seed, shards=None, crash=None):
        self.broker, self.seed, self.shards = broker, seed, shards
        self.crash = crash or broker.die
        self.chance, self.history = random.Random(seed), History()
        self.publishers = [Publisher(self.history, *args, self.chance) for args in (
            ("one", wire.V311, (1,)), ("two", wire.V5, (2,)), ("mix", wire.V5, (1, 2)))]
        self.stays = [self.subscriber(*args) for args in (
            ("all2", wire.V311, f"{LIVE}/#", 2), ("all1", wire.V5, f"{LIVE}/#", 1),
            ("some", wire.V5, f"{LIVE}/+/1", 2), ("exact", wire.V311, f"{LIVE}/two/0", 2))]
        self.flaps = self.subscriber("flaps", wire.V5, f"{LIVE}/#", 2)
        self.away = self.subscriber("away", wire.V5, f"{LIVE}/#", 2)
        self.late, self.rounds, self.waits_for = [], 0, None

    def subscriber(self, name, version, topic_filter, qos):
        """A new one."""
        return Subscriber(self.history, name, version, topic_filter, qos, self.chance)

    @property
    def subscribers(self):
        """All of them."""
        return [*self.stays, self.flaps, self.away, *self.late]

    @property
    def clients(self):
        """All of them."""
        return [*self.publishers, *self.subscribers]

    def run(self, rounds):
        """So many deaths.  Returns the faults."""
        for client in self.clients:
            client.join(self.broker.port)
        self.pump(lambda: all(sub.established for sub in self.subscribers), "SUBACK")
        self.away.drop()
        for _ in range(rounds):
            self.one_round()
            if self.history.faults:
                break
            if self.rounds % self.BATCH == 0:
                self.finish()
        self.finish()
        for client in self.clients:
            client.drop()
        return self.history.faults

    def turn(self, seconds=0.005):
        """Sends and receives what goes; who was cut off by a living broker is a fault."""
        online = [client for client in self.clients if client.socket is not None]
        for client in online:
            client.flush()
        writers = [client for client in online if client.outbox]
        for client in select.select(online, writers, [], seconds)[0]:
            if not client.receive():
                self.history.fault(f"{client.client_id}: cut off")
                client.drop()

    def pump(self, condition, what):
        """turn() until the condition holds."""
        deadline = time.monotonic() + self.DRAIN_S
        while not condition():
            if time.monotonic() > deadline:
                self.history.fault(f"not within {self.DRAIN_S} s: {what}")
                return
            self.turn()
            if self.broker.process.poll() is not None:
                raise AssertionError(f"the broker has ended, {self.broker.process.returncode}:\n"
                                     f"{self.broker.log()}")

    def one_round(self):
        """Load until the moment of death; then the broker and the clients come back."""
        self.rounds += 1
        self.history.round = self.rounds
        if self.rounds % 4 == 0:
            self.late.append(self.subscriber(f"late{self.rounds}", self.chance.choice((wire.V311, wire.V5)),
                                             f"{LIVE}/#", self.chance.choice((1, 2))))
        self.load()
        self.die()
        if self.chance.random() < 0.15:  # a second time, while it recovers
            self.start()
            self.wait(self.chance.uniform(0, 0.15))
            self.die()
        self.start()
        if not self.broker.wait_listening():
            raise AssertionError(f"the broker did not start again, {self.broker.process.returncode}:\n"
                                 f"{self.broker.log()}")
        self.check_retained()
        for client in (*self.publishers, *self.stays):
            client.join(self.broker.port)

    def load(self):
        """Half of the deaths come by time, half by what has happened."""
        stop_at = time.monotonic() + self.chance.uniform(0, 0.25)
        enough = self.chance.randrange(1, 1500) if self.chance.random() < 0.5 else None
        wanted = {client: self.MESSAGES for client in self.publishers}
        seen = sum(client.packets for client in self.clients)
        late = self.late[-1] if self.late and not self.late[-1].established else None
        late_after = self.chance.randrange(200)
        while True:
            done = sum(client.packets for client in self.clients) - seen
            if enough is None and time.monotonic() > stop_at or enough and done >= enough:
                return
            if time.monotonic() > stop_at and not any(wanted.values()):
                return
            self.feed(wanted)
            self.come_and_go()
            if late and late.socket is None and done >= late_after:
                late.join(self.broker.port)
            self.turn()

    def feed(self, wanted):
        """A few more messages of each publisher."""
        for client in self.publishers:
            for _ in range(self.chance.randrange(6)):
                if wanted[client] and client.produce():
                    wanted[client] -= 1

    def come_and_go(self):
        """The one that does: with DISCONNECT or without."""
        if self.flaps.socket is None:
            if self.chance.random() < 0.1:
                self.flaps.join(self.broker.port)
        elif self.chance.random() < 0.04:
            if self.chance.random() < 0.5:
                self.flaps.held = b""  # nothing comes after it
                self.flaps.send(wire.packet(wire.DISCONNECT << 4))
                self.flaps.flush()
            self.flaps.drop()

    def die(self):
        """The broker does; what it had sent is read."""
        self.crash()
        for client in self.clients:
            client.read_to_end()

    def start(self):
        """Without waiting."""
        if self.shards:
            self.broker.shards = self.chance.choice(self.shards)
        self.broker.spawn()

    def wait(self, seconds):
        """Time is what is waited for here, not the broker's end."""
        try:
            self.broker.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"the broker has ended, {self.broker.process.returncode}:\n{self.broker.log()}")

    def check_retained(self):
        """A client without a session looks at them, before anything is published again.  Those of other
        shards come when they come."""
        found = {}
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.subscribe(f"{KEPT}/#")

            def all_right():
                while raw.readable(0):
                    message = raw.message()
                    found[message.topic] = message.payload
                return next(self.history.wrong_retained(found), None) is None

            try:
                until(all_right, "the retained messages", self.RETAINED_S)
            except AssertionError:
                pass  # then something is wrong with them
            raw.ping_until_pong()
            all_right()
        self.history.check_retained(found)

    def finish(self):
        """No more deaths: everybody comes and everything is delivered, then it is checked."""
        for client in self.subscribers:
            client.moody = False
        for client in self.clients:
            if client.socket is None:
                client.join(self.broker.port)
        self.pump(lambda: not any(client.flights for client in self.publishers), "all is acknowledged")
        self.pump(self.is_delivered, "all is delivered")
        for client in self.subscribers:
            client.ping()
        self.pump(lambda: not any(client.busy() for client in self.subscribers), "no handshake is open")
        self.check_retained()
        self.history.check()
        self.leave()

    def is_delivered(self):
        """Nothing is missing; looks for what was missing the last time first, as that is quick."""
        if self.waits_for is not None:
            subscriber, name = self.waits_for
            if name not in self.history.inboxes[subscriber].count:
                return False
        self.waits_for = next(self.history.missing(), None)
        return self.waits_for is None

    def leave(self):
        """What was checked is forgotten; the late ones end their sessions."""
        for client in self.late:
            client.drop()
            with wire.Raw(self.broker.port) as raw:
                raw.connected(client.client_id, version=client.version)
                raw.disconnect()
            self.history.inboxes.pop(client.client_id, None)
        self.late.clear()
        for client in (self.flaps, self.away):
            client.drop()
        for client in self.subscribers:
            client.moody = True
        self.history.forget()


def rounds(share=1.0):
    """How often a broker is killed, of SLUICE_KILL_ROUNDS; a part of them for one test."""
    return max(1, round(int(os.environ.get("SLUICE_KILL_ROUNDS", "200")) * share))


def seed():
    """SLUICE_KILL_SEED, or a new one."""
    return int(os.environ.get("SLUICE_KILL_SEED", "0")) or random.randrange(1, 1 << 32)
