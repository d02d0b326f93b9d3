// One scenario of MQTT.js, for Node (`node mqttjs.js URL VERSION`) and for a page that has loaded it
// beside mqtt.min.js: all QoS, a large message, a session that waits, a will, and clean ends.
"use strict";

function check(truth, what) {
    if (!truth) throw new Error(what);
}

async function connected(mqtt, url, name, version, more) {
    return mqtt.connectAsync(url, {
        clientId: `${name}-${version}`, protocolVersion: version, protocolId: version === 3 ? "MQIsdp" : "MQTT",
        reconnectPeriod: 0, connectTimeout: 20000, ...more,
    });
}

// Resolves with the next `count` messages.
function messages(client, count) {
    return new Promise((resolve) => {
        const found = [];
        const take = (topic, payload, packet) => {
            found.push({topic, payload, packet});
            if (found.length === count) {
                client.removeListener("message", take);
                resolve(found);
            }
        };
        client.on("message", take);
    });
}

async function scenario(mqtt, url, version, more) {
    const top = `js/${version}`;
    const client = await connected(mqtt, url, `js-${Math.random().toString(16).slice(2)}`, version, more);
    await client.subscribeAsync(`${top}/#`, {qos: 2});

    let coming = messages(client, 3);
    for (const qos of [0, 1, 2]) await client.publishAsync(`${top}/qos`, `qos ${qos}`, {qos});
    const found = (await coming).map((m) => `${m.payload}`).sort();
    check(found.join() === "qos 0,qos 1,qos 2", `qos: ${found}`);

    const large = new Uint8Array(1 << 20);
    for (let i = 0; i < large.length; i++) large[i] = (i * 7 + (i >> 8)) & 255;
    coming = messages(client, 1);
    await client.publishAsync(`${top}/large`, mqtt.Buffer ? mqtt.Buffer.from(large) : Buffer.from(large), {qos: 1});
    const [echo] = await coming;
    check(echo.payload.length === large.length, `large: ${echo.payload.length}`);
    check(large.every((byte, i) => echo.payload[i] === byte), "large: other bytes");

    coming = messages(client, 500);
    await Promise.all(Array.from({length: 500}, (_, i) => client.publishAsync(`${top}/many`, `${i}`, {qos: 1})));
    check((await coming).every((m, i) => `${m.payload}` === `${i}`), "many: order");

    if (version === 5) {
        coming = messages(client, 1);
        const properties = {userProperties: {site: "paris"}, contentType: "text/plain", messageExpiryInterval: 60};
        await client.publishAsync(`${top}/properties`, "x", {qos: 1, properties});
        const [{packet}] = await coming;
        check(packet.properties.userProperties.site === "paris", "properties");
        check(packet.properties.contentType === "text/plain", "properties");
    }

    const keeps = {clean: false, ...more, properties: version === 5 ? {sessionExpiryInterval: 60} : undefined};
    let away = await connected(mqtt, url, "js-away", version, keeps);
    await away.subscribeAsync(`${top}-away`, {qos: 1});
    await away.endAsync();
    await client.publishAsync(`${top}-away`, "while away", {qos: 1});
    away = mqtt.connect(url, {...keeps, clientId: `js-away-${version}`, protocolVersion: version,
                              protocolId: version === 3 ? "MQIsdp" : "MQTT", reconnectPeriod: 0});
    check(`${(await messages(away, 1))[0].payload}` === "while away", "session");

    coming = messages(client, 1);
    const dying = await connected(mqtt, url, "js-dying", version, {...more, will: {topic: `${top}/will`, payload: "gone", qos: 1}});
    dying.end(true); // without DISCONNECT
    check(`${(await coming)[0].payload}` === "gone", "will");

    await away.endAsync();
    await client.endAsync();
    return "good";
}

if (typeof module !== "undefined" && require.main === module) {
    const more = process.env.CAFILE ? {ca: require("fs").readFileSync(process.env.CAFILE)} : {};
    scenario(require("mqtt"), process.argv[2], Number(process.argv[3]), more)
        .then((text) => { console.log(text); process.exit(0); }) // timers of ended clients would hold us
        .catch((error) => { console.error(error); process.exit(1); });
}
