// One scenario of MQTT.js, for Node (`node mqttjs.js URL VERSION`) and for a page that has loaded it
// beside mqtt.min.js: all QoS, a large message, attribute filters, a session that waits,
// a will, and clean ends.
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

// What passes a filter comes, what does not stays away; a bad one is refused, and MQTT 5 hears why.
async function filters(mqtt, url, version, more) {
    const top = `js-filters/${version}`, v5 = version === 5;
    const client = await connected(mqtt, url, "js-filters", version, more);
    const subscribe = (filter) => v5
        ? client.subscribeAsync(`${top}/+`, {qos: 1, properties: {userProperties: {filter}}})
        : client.subscribeAsync(`$filter/${encodeURIComponent(filter)}/${top}/+`, {qos: 1});
    const publish = (temp, site) => client.publishAsync(`${top}/${site}`, `{"temp": ${temp}}`,
        {qos: 1, properties: v5 ? {userProperties: {site}} : undefined});

    const coming = messages(client, 2);
    await subscribe(v5 ? "site LIKE 'p%' AND payload.temp > 30" : "topic[2] LIKE 'p%' AND payload.temp > 30");
    await publish(31, "paris");
    await publish(31, "rome");
    await publish(30, "paris");
    await publish(30.5, "porto");
    check((await coming).map((m) => m.topic).join() === `${top}/paris,${top}/porto`, "filter");

    const answer = new Promise((resolve) => client.on("packetreceive", (packet) => {
        if (packet.cmd === "suback") resolve(packet);
    }));
    const error = await subscribe("site LIKE paris").then(() => null, (reason) => reason);
    check(error, "a bad filter is refused");
    const {granted, reasonCodes, properties} = await answer;
    check((granted || reasonCodes)[0] === (v5 ? 0x83 : 0x80), `refusal: ${granted || reasonCodes}`);
    if (v5) {
        check(properties.reasonString === "filter: column 11: LIKE needs a string literal", properties.reasonString);
        check(properties.userProperties["filter-error"] === "parse", "filter-error");
    }
    await client.endAsync();
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

    await filters(mqtt, url, version, more);

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
