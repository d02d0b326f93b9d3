"""MQTT 5 properties from a publisher to subscribers, as mosquitto's clients send and print them."""
import json

import wire
from broker import BrokerCase, main
from clients import Sub, publish, run_sub


def published(*pairs):
    """-D publish for each (name, value ...)."""
    args = []
    for pair in pairs:
        args += ["-D", "publish", *pair]
    return args


class Properties(BrokerCase):
    """Each test has a topic of its own."""

    options = {"shards": 2}

    def test_all_of_them(self):
        """User properties in order with duplicates, content type, response topic, correlation data, format,
        expiry."""
        with Sub(self.broker.port, "-V", "5", "-q", "1", "-t", "p1", form="%t %p %P|%C|%R|%D|%F|%E") as sub:
            publish(self.broker.port, "-V", "5", "-q", "1", "-t", "p1", "-m", "42",
                    *published(("user-property", "site", "paris"), ("user-property", "b", "2"),
                               ("user-property", "a", "1"), ("user-property", "site", "rome"),
                               ("content-type", "application/json"), ("response-topic", "answers/7"),
                               ("correlation-data", "c0ffee"), ("payload-format-indicator", "1"),
                               ("message-expiry-interval", "600")))
            self.assertEqual(sub.wait_messages(1), [
                "p1 42 site:paris b:2 a:1 site:rome|application/json|answers/7|c0ffee|1|600"])

    def test_odd_user_properties(self):
        """Spaces, quotes, UTF-8, empty key and value, long ones."""
        long_value = "v" * 5000
        pairs = [("with space", "it's >= \"quoted\""), ("größe", "東京🚀"), ("empty", ""), ("long", long_value)]
        with Sub(self.broker.port, "-V", "5", "-t", "p2", form="%P") as sub:
            publish(self.broker.port, "-V", "5", "-t", "p2", "-m", "x",
                    *published(*(("user-property", *pair) for pair in pairs)))
            self.assertEqual(sub.wait_messages(1), [" ".join(f"{key}:{value}" for key, value in pairs)])

    def test_many_user_properties(self):
        """Class 2 of the hardening rules: 5,000 of them pass in order and in no time."""
        block = b"".join(wire.user_property(f"k{i}", str(i)) for i in range(5000))
        with wire.Raw(self.broker.port) as raw:
            raw.connected("p3")
            raw.subscribe("p3")
            raw.publish("p3", b"x", props=block)
            self.assertEqual(raw.message().properties, block)

    def test_json_output(self):
        """mosquitto_sub -F %j."""
        with Sub(self.broker.port, "-V", "5", "-q", "1", "-t", "p4", form="%j") as sub:
            publish(self.broker.port, "-V", "5", "-q", "1", "-t", "p4", "-m", '{"t":1}',
                    *published(("user-property", "k", "v"), ("content-type", "x/y")))
            found = json.loads(sub.wait_messages(1)[0])
            self.assertEqual((found["topic"], found["qos"], found["retain"], found["payload"]),
                             ("p4", 1, 0, '{"t":1}'))
            self.assertEqual(found["properties"]["content-type"], "x/y")
            self.assertEqual(found["properties"]["user-properties"], {"k": "v"})

    def test_subscription_identifiers(self):
        """[MQTT-3.3.4-3]: the identifier of the subscription that matched; all of them where several do."""
        with Sub(self.broker.port, "-V", "5", "-t", "p5/#", "-D", "subscribe", "subscription-identifier", "7",
                 form="%t %S") as sub:
            publish(self.broker.port, "-t", "p5/x", "-m", "x")
            self.assertEqual(sub.wait_messages(1), ["p5/x 7"])
        with wire.Raw(self.broker.port) as raw:
            raw.connected("p5")
            raw.subscribe("p5/+", props=b"\x0b\x01")
            raw.subscribe("p5/x", props=b"\x0b\x81\x01")
            raw.publish("p5/x", b"y")
            self.assertIn(raw.message().properties, (b"\x0b\x01\x0b\x81\x01", b"\x0b\x81\x01\x0b\x01"))

    def test_older_clients_get_the_message_without_them(self):
        """A 3.1.1 subscriber of a message with properties, and a 5 one of a message without."""
        with Sub(self.broker.port, "-V", "mqttv311", "-t", "p6", form="%p") as old, \
                Sub(self.broker.port, "-V", "5", "-t", "p6", form="%p [%P]") as new:
            publish(self.broker.port, "-V", "5", "-t", "p6", "-m", "five",
                    *published(("user-property", "k", "v")))
            publish(self.broker.port, "-V", "mqttv311", "-t", "p6", "-m", "three")
            self.assertEqual(old.wait_messages(2), ["five", "three"])
            self.assertEqual(new.wait_messages(2), ["five [k:v]", "three []"])

    def test_topic_alias_of_a_publisher(self):
        """[MQTT-3.3.2-10]: alias set once, then used without the topic; 0 and above the maximum refused."""
        alias = wire.u16_property(0x23, 5)
        with wire.Raw(self.broker.port) as raw:
            self.assertIn(wire.u16_property(0x22, 10), raw.connect("p7").properties)
            raw.subscribe("p7")
            raw.publish("p7", b"1", props=alias)
            raw.publish("", b"2", props=alias)
            self.assertEqual([(m.topic, m.payload) for m in (raw.message(), raw.message())],
                             [("p7", b"1"), ("p7", b"2")])
        for number in (0, 11):
            with wire.Raw(self.broker.port) as raw:
                raw.connected("p7")
                raw.publish("p7", b"x", props=wire.u16_property(0x23, number))
                raw.expect_disconnect(0x94)

    def test_topic_alias_towards_a_subscriber(self):
        """A client that allows aliases gets the topic once, then the alias alone."""
        with wire.Raw(self.broker.port) as raw:
            raw.connected("p8", props=wire.u16_property(0x22, 5))
            raw.subscribe("p8/long/topic")
            for payload in (b"1", b"2", b"3"):
                raw.publish("p8/long/topic", payload)
            found = [raw.message() for _ in range(3)]
            self.assertEqual([m.topic for m in found], ["p8/long/topic", "", ""])
            self.assertEqual([m.properties for m in found], [wire.u16_property(0x23, 1)] * 3)

    def test_request_and_response(self):
        """A request, and the answer on its response topic with its correlation data."""
        with Sub(self.broker.port, "-V", "5", "-t", "p9/ask", form="%R %D") as server:
            publish(self.broker.port, "-V", "5", "-t", "p9/ask", "-m", "?",
                    *published(("response-topic", "p9/answer"), ("correlation-data", "abc")))
            topic, data = server.wait_messages(1)[0].split()
            with Sub(self.broker.port, "-V", "5", "-t", "p9/answer", form="%p %D") as asker:
                publish(self.broker.port, "-V", "5", "-t", topic, "-m", "!",
                        *published(("correlation-data", data)))
                self.assertEqual(asker.wait_messages(1), ["! abc"])

    def test_connack_announces_mosquittos_order(self):
        """CONTRACT section 1: Topic Alias Maximum, Assigned Client Identifier, Maximum Packet Size, Receive
        Maximum; no Maximum QoS when it is 2."""
        with wire.Raw(self.broker.port) as raw:
            found = raw.connect("", keep_alive=60).properties
            assigned = found[4:6 + found[5]] if found[3] == 0x12 else b""
            self.assertRegex(assigned, rb"\A\x00.auto-[0-9A-Z]+\Z")
            self.assertEqual(found, wire.u16_property(0x22, 10) + b"\x12" + assigned +
                             wire.u32_property(0x27, 2000000) + wire.u16_property(0x21, 20))

    def test_forms_that_cannot_be_fulfilled_are_refused(self):
        """Replay, queues, filters that are none: never taken for something else; 0x83, 3.1.1 0x80."""
        forms = ("$replay/never/x", "$queue/unknown", "$filter/a >/b")
        for version, code in ((wire.V311, 0x80), (wire.V5, 0x83)):
            with wire.Raw(self.broker.port) as raw:
                raw.connected("", version=version)
                self.assertEqual(raw.subscribe(*forms, "plain"), [code] * 3 + [0])
        with wire.Raw(self.broker.port) as raw:
            raw.connected("")
            for key, value in (("filter", "a >"), ("replay", "never"), ("ack-deadline", "soon")):
                self.assertEqual(raw.subscribe("x", props=wire.user_property(key, value)), [0x83])
            for topic, code in (("$delayed/soon/x", 0x90), ("$queue/a", 0x90), ("$queue/a/nack", 0x83),
                                ("$dead/x", 0x90), ("$pub/a/x", 0x90)):
                raw.publish(topic, b"x", qos=1)
                self.assertEqual(raw.expect(wire.PUBACK).body[2], code, topic)

    def test_attributes_in_the_topic_of_mosquitto_pub(self):
        """A 3.1.1 publisher says site and temperature; a filter asks for them, and -F shows them."""
        with Sub(self.broker.port, "-V", "5", "-q", "1", "-t", "env/#", "-D", "subscribe", "user-property", "filter",
                 "site = 'paris' AND temp > 30", form="%t %p %P %E") as sub:
            for temp in (29, 31):
                publish(self.broker.port, "-V", "311", "-q", "1", "-t", f"$pub/site=paris&temp={temp}&ttl=60/env/1",
                        "-m", str(temp))
            self.assertEqual(sub.wait_messages(1), ["env/1 31 site:paris temp:31 60"])

    def test_filters_of_mosquitto_sub(self):
        """By prefix from 3.1.1, by property from 5: each gets what passes, and waits for no more."""
        for version, args in (("311", ("-t", "$filter/payload.temp > 30/f/#")),
                              ("5", ("-t", "f/#", "-D", "subscribe", "user-property", "filter",
                                     "payload.temp > 30"))):
            publish(self.broker.port, "-t", "f/1", "-m", '{"temp": 29}', "-r")
            publish(self.broker.port, "-t", "f/2", "-m", '{"temp": 31}', "-r")
            done = run_sub(self.broker.port, "-V", version, *args, "-v", "-C", "1")
            self.assertEqual((done.returncode, done.stdout), (0, 'f/2 {"temp": 31}\n'))

    def test_denied_subscription_with_mosquitto_sub(self):
        """It says so and ends."""
        done = run_sub(self.broker.port, "-V", "5", "-t", "x", "-D", "subscribe", "user-property", "filter",
                       "a >")
        self.assertEqual((done.returncode, done.stderr), (0, "All subscription requests were denied.\n"))


if __name__ == "__main__":
    main()
