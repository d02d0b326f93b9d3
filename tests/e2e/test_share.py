"""Shared subscriptions: every message once to the group, spread over members, also as they come and go."""
import wire
from broker import BrokerCase, main, until
from clients import Sub, publish


class Share(BrokerCase):
    """Members are on all four shards."""

    options = {"shards": 4}

    def feed(self, topic, count, qos=1, first=0):
        """Publishes numbers and waits until the broker has them."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            for i in range(first, first + count):
                raw.publish(topic, str(i).encode(), qos=qos, packet_id=i + 1)
                if qos == 1:
                    raw.expect(wire.PUBACK)
                elif qos == 2:
                    raw.expect(wire.PUBREC)
                    raw.send(wire.ack(wire.PUBREL, i + 1))
                    raw.expect(wire.PUBCOMP)
            raw.ping()

    def everything(self, subs):
        """All messages of the members, as sorted numbers."""
        return sorted(int(text) for sub in subs for text in sub.messages())

    def check_spread(self, version, qos):
        """Three mosquitto_sub in a group and one outside it, 120 messages."""
        topic, group = f"spread/{version}/{qos}", f"$share/crew/spread/{version}/{qos}"
        args = ("-V", version, "-q", str(qos))
        subs = [Sub(self.broker.port, *args, "-t", group, form="%p") for _ in range(3)]
        outside = Sub(self.broker.port, *args, "-t", topic, form="%p")
        self.feed(topic, 120, qos)
        until(lambda: len(self.everything(subs)) >= 120, "all messages")
        self.assertEqual(self.everything(subs), list(range(120)))
        for sub in subs:
            self.assertGreaterEqual(len(sub.messages()), 1, [len(s.messages()) for s in subs])
        self.assertEqual(len(outside.wait_messages(120)), 120)
        for sub in (*subs, outside):
            sub.end()

    def test_each_message_once_and_spread(self):
        """QoS 0, 1, 2; 3.1.1 clients may share too."""
        for version, qos in (("5", 0), ("5", 1), ("5", 2), ("mqttv311", 1)):
            with self.subTest(version=version, qos=qos):
                self.check_spread(version, qos)

    def test_the_least_busy_member_is_next(self):
        """Three members that acknowledge nothing: 45 messages are 15 for each."""
        raws = [wire.Raw(self.broker.port).connected(f"even-{i}") for i in range(3)]
        for raw in raws:
            raw.subscribe(("$share/g/even", 1))
        self.feed("even", 45)
        found = [int(raw.message().payload) for raw in raws for _ in range(15)]
        self.assertEqual(sorted(found), list(range(45)))
        for raw in raws:
            raw.ping()  # nothing else has come
        for raw in raws:
            raw.close()

    def test_groups_are_independent(self):
        """Two groups on the same topic: each gets everything."""
        subs = {name: [Sub(self.broker.port, "-V", "5", "-q", "1", "-t", f"$share/{name}/two", form="%p")
                       for _ in range(2)] for name in ("left", "right")}
        self.feed("two", 40)
        for members in subs.values():
            until(lambda members=members: len(self.everything(members)) >= 40, "all messages of a group")
            self.assertEqual(self.everything(members), list(range(40)))
            for sub in members:
                sub.end()

    def test_a_member_that_leaves(self):
        """By DISCONNECT, by UNSUBSCRIBE, by dying: nothing is lost for the others."""
        topic, group = "leave", "$share/g/leave"
        stays = Sub(self.broker.port, "-V", "5", "-q", "1", "-t", group, form="%p")
        leaves = Sub(self.broker.port, "-V", "5", "-q", "1", "-t", group, form="%p")
        self.feed(topic, 20)
        until(lambda: len(self.everything([stays, leaves])) >= 20, "the first 20")
        before = len(leaves.messages())
        self.assertGreater(before, 0)
        leaves.leave()
        self.broker.wait_log(r"Client \S+ disconnected\.")
        self.feed(topic, 20, first=20)
        until(lambda: len(self.everything([stays, leaves])) >= 40, "the next 20")
        self.assertEqual(self.everything([stays, leaves]), list(range(40)))
        self.assertEqual(len(leaves.messages()), before)
        stays.end()
        leaves.end()

    def test_what_a_dead_member_had_not_acknowledged_goes_to_another(self):
        """QoS 1 in flight to a member whose session ends: another member gets it (4.8.2)."""
        with wire.Raw(self.broker.port) as dies, wire.Raw(self.broker.port) as lives:
            dies.connected("share-dies")
            dies.subscribe(("$share/g/dead", 1))
            self.feed("dead", 5)
            self.assertEqual([dies.message().payload for _ in range(5)], [b"0", b"1", b"2", b"3", b"4"])
            lives.connected("share-lives")
            lives.subscribe(("$share/g/dead", 1))
            dies.close()
            found = sorted(lives.acked().payload for _ in range(5))
            self.assertEqual(found, [b"0", b"1", b"2", b"3", b"4"])
            self.feed("dead", 1, first=5)
            self.assertEqual(lives.acked().payload, b"5")

    def test_a_member_with_a_full_window_is_left_out(self):
        """One acknowledges nothing: it gets its window's worth, the other all the rest."""
        with wire.Raw(self.broker.port) as stuck, wire.Raw(self.broker.port) as works:
            stuck.connected("share-stuck", props=wire.u16_property(0x21, 5))
            works.connected("share-works")
            for raw in (stuck, works):
                raw.subscribe(("$share/g/slow", 1))
            self.feed("slow", 10)
            found = [raw.message() for raw in (stuck, works) for _ in range(5)]
            self.assertEqual(sorted(int(m.payload) for m in found), list(range(10)))
            self.feed("slow", 15, first=10)  # works then has its own window of 20 full
            more = [works.message() for _ in range(15)]
            self.assertEqual([int(m.payload) for m in more], list(range(10, 25)))
            for message in found[5:] + more:
                works.send(wire.ack(wire.PUBACK, message.packet_id))
            works.ping()
            self.feed("slow", 20, first=25)
            self.assertEqual([int(works.message().payload) for _ in range(20)], list(range(25, 45)))
            stuck.ping()

    def test_an_offline_member_keeps_its_own(self):
        """A group whose only member is away, with a session: its messages wait."""
        forever = wire.session_expiry(1000)
        raw = wire.Raw(self.broker.port).connected("share-away", props=forever)
        raw.subscribe(("$share/g/away", 1))
        raw.disconnect()
        self.feed("away", 3)
        raw = wire.Raw(self.broker.port)
        self.assertTrue(raw.connect("share-away", clean=False, props=forever).present)
        self.assertEqual([raw.acked().payload for _ in range(3)], [b"0", b"1", b"2"])
        raw.disconnect()

    def test_messages_go_to_members_that_are_there(self):
        """One member away with a session, one connected: the connected one gets all."""
        forever = wire.session_expiry(1000)
        away = wire.Raw(self.broker.port).connected("share-gone", props=forever)
        with wire.Raw(self.broker.port) as here:
            here.connected("share-here")
            away.subscribe(("$share/g/here", 1))
            here.subscribe(("$share/g/here", 1))
            away.disconnect()
            self.feed("here", 10)
            self.assertEqual(sorted(int(here.acked().payload) for _ in range(10)), list(range(10)))

    def test_refused_forms(self):
        """[MQTT-4.8.2-1..2] and No Local on a group [MQTT-3.8.3-4]."""
        for bad in ("$share//t", "$share/g", "$share/g/", "$share/a+b/t", "$share/#/t"):
            with self.subTest(filter=bad), wire.Raw(self.broker.port) as raw:
                raw.connected("")
                raw.send(wire.subscribe((bad, 1)))
                found = raw.read()
                if found.type == wire.SUBACK:
                    self.assertEqual(found.body[-1], 0x8F)
                else:
                    self.assertEqual(found.type, wire.DISCONNECT)
                    self.assertIn(found.body[0], (0x81, 0x82, 0x8F))
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.send(wire.subscribe(("$share/g/t", 0x05)))
            raw.expect_disconnect(0x82)

    def test_publishing_to_share_is_refused(self):
        """CONTRACT section 4: $share/… is not for publishing: 0x90."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            raw.publish("$share/g/t", b"x", qos=1)
            self.assertEqual(raw.expect(wire.PUBACK).body[2], 0x90)
        publish(self.broker.port, "-V", "mqttv311", "-q", "1", "-t", "$share/g/t", "-m", "x")
        self.broker.wait_log(r"publish to \$share/g/t refused", count=2)


if __name__ == "__main__":
    main()
