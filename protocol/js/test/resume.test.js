// Against the real edge and NATS: whatever breaks, everything arrives once and in order.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { polling, sse } from "tailwater/http";
import { msgpack } from "tailwater/msgpack";
import { stored } from "tailwater/storage";
import { startEdge, startSecondEdge } from "./support/edge.js";
import { eventually, freshName, next, openClient, openNats } from "./support/index.js";
import { startProxy } from "./support/proxy.js";

let edge, nats;
before(async () => {
  edge = await startEdge();
  nats = await openNats(edge.nats);
});
after(async () => {
  await nats?.close();
  await edge?.stop();
});

const upTo = (count) => Array.from({ length: count }, (_, index) => index + 1);

const WAYS = {
  WebSocket: {},
  "WebSocket and MessagePack": { codec: msgpack },
  "server-sent events": { transport: sse },
  polling: { transport: polling },
};

/** A client whose connections can be cut, and what it receives of one channel from its beginning. */
async function open(t, options, channel, take) {
  const proxy = await startProxy(edge.ws);
  t.after(() => proxy.stop());
  const client = openClient(t, proxy.url, options);
  const subscription = client.subscribe(channel, { since: "beginning" }, take);
  const losses = [];
  subscription.on("lost", (lost) => losses.push(lost));
  return { proxy, client, subscription, losses };
}

/** Cuts every connection once there is one, and waits until the client is back. `between` runs while it is away. */
async function cut(proxy, client, between) {
  const { accepted } = proxy;
  // Not before it is connected: the `fetch` of Node 20 hangs if a connection is reset before it knows of it, and it is
  // 15 s until the client ends that.
  await eventually(() => proxy.open > 0 && client.state.name === "connected");
  proxy.kill();
  await between();
  await eventually(() => proxy.accepted > accepted && client.state.name === "connected");
}

for (const [way, options] of Object.entries(WAYS)) {
  test(`10,000 publications across 20 reconnects: none lost, doubled or out of order (${way})`, async (t) => {
    const channel = `deployments.${freshName("exact")}`;
    const seen = [];
    const { proxy, client, losses } = await open(t, options, channel, ({ payload }) => seen.push(payload));
    let most = 0;
    const count = setInterval(() => (most = Math.max(most, proxy.open)), 1);
    t.after(() => clearInterval(count));
    const publish = (from, count) => nats.publish(channel, ...upTo(count).map((number) => from + number));

    for (let round = 0; round < 20; round += 1) {
      const from = round * 500;
      await publish(from, 250);
      // In the middle of what is on its way.
      if (round % 2) await eventually(() => seen.length > from);
      await cut(proxy, client, () => publish(from + 250, 250));
    }
    await eventually(() => seen.length >= 10_000);
    assert.deepEqual(seen, upTo(10_000));
    assert.deepEqual(losses, []);
    if (!options.transport) assert.equal(most, 1, "never two sockets");
  });

  test(`a pattern resumes without a gap or a double for any of its subjects (${way})`, async (t) => {
    const prefix = `deployments.${freshName("pattern")}`;
    const seen = { a: [], b: [], c: [] };
    const { proxy, client, subscription } = await open(t, options, `${prefix}.*`, ({ subject, payload }) => {
      seen[subject.split(".").at(-1)].push(payload);
    });
    const publish = async (from) => {
      for (const number of upTo(20)) for (const subject of "abc") await nats.publish(`${prefix}.${subject}`, from + number);
    };
    await next(subscription, "subscribed");
    for (let round = 0; round < 10; round += 1) {
      await publish(round * 40);
      await cut(proxy, client, () => publish(round * 40 + 20));
    }
    await eventually(() => "abc".split("").every((subject) => seen[subject].length >= 400));
    for (const subject of "abc") assert.deepEqual(seen[subject], upTo(400));
  });
}

for (const [way, options] of Object.entries(WAYS)) {
  test(`a client of an edge that is stopped and started again misses nothing (${way})`, async (t) => {
    let second = await startSecondEdge(edge.nats);
    t.after(() => second.stop());
    const listen = new URL(second.ws).host;
    const channel = `deployments.${freshName("restart")}`;
    const client = openClient(t, second.ws, options);
    const states = [];
    client.on("state", ({ name, code }) => states.push(code ? `${name} ${code}` : name));
    const seen = [];
    const subscription = client.subscribe(channel, { since: "beginning" }, (update) => seen.push(update.payload));
    await next(subscription, "subscribed");
    await nats.publish(channel, ...upTo(10));
    await eventually(() => seen.length === 10);
    await second.stop();
    await nats.publish(channel, ...upTo(10).map((number) => 10 + number));
    second = await startSecondEdge(edge.nats, listen);
    await nats.publish(channel, ...upTo(10).map((number) => 20 + number));
    await eventually(() => seen.length >= 30);
    assert.deepEqual(seen, upTo(30));
    if (options.transport !== polling) assert.ok(states.includes("waiting 1012"), `${states}`);
  });
}

test("a reloaded page goes on behind what it has read, not behind what it has received", async (t) => {
  const texts = new Map();
  const storage = stored({ get: (key) => texts.get(key), set: (key, text) => texts.set(key, text) });
  for (const channel of [`deployments.${freshName("stored")}`, `deployments.${freshName("stored")}.*`]) {
    const subject = channel.replace("*", "x");
    const first = openClient(t, edge.ws);
    const reading = first.subscribe(channel, { since: "beginning", storage });
    await next(reading, "subscribed");
    await nats.publish(subject, ...upTo(50));
    const before = [];
    for await (const { payload } of reading) {
      before.push(payload);
      // The third was not done with when the page went.
      if (payload === 3) break;
    }
    first.close();
    assert.ok(texts.get(`tailwater:${channel}`));

    const second = openClient(t, edge.ws);
    const after = [];
    second.subscribe(channel, { since: "beginning", storage }, ({ payload }) => after.push(payload));
    await eventually(() => after.length >= 48);
    assert.deepEqual([before, after], [[1, 2, 3], upTo(50).slice(2)]);
    second.close();
  }
});

test("a cursor of another epoch is told, and everything there is follows", async (t) => {
  const channel = `deployments.${freshName("epoch")}`;
  await nats.publish(channel, 1, 2);
  const client = openClient(t, edge.ws);
  const items = [];
  const subscription = client.subscribe(channel, { since: { offset: 900, epoch: "1-1" }, losses: true });
  const subscribed = next(subscription, "subscribed");
  for await (const item of subscription) {
    items.push(item.type === "lost" ? item.reason : item.payload);
    if (items.length === 3) break;
  }
  assert.deepEqual(items, ["epoch_changed", 1, 2]);
  assert.equal((await subscribed).recovered, false);
});

test("what the stream has trimmed is told in its place", async (t) => {
  const settings = { TAILWATER_STREAM__DEPLOYMENTS__MAX_MESSAGES_PER_CHANNEL: "5" };
  const small = await startEdge(settings);
  t.after(() => small.stop());
  const service = await openNats(small.nats);
  t.after(() => service.close());
  let second = await startSecondEdge(small.nats, "127.0.0.1:0", settings);
  t.after(() => second.stop());
  const channel = `deployments.${freshName("trimmed")}`;
  const client = openClient(t, second.ws);
  const subscription = client.subscribe(channel, { since: "beginning", losses: true });
  const told = [];
  subscription.on("lost", ({ reason }) => told.push(reason));
  await next(subscription, "subscribed");
  await service.publish(channel, 1, 2, 3);
  const items = [];
  for await (const item of subscription) {
    items.push(item.type === "lost" ? item.reason : item.payload);
    if (item.payload === 3) {
      // An edge that was there all the time may still have in memory what the stream has not.
      await second.stop();
      await service.publish(channel, ...upTo(20).map((number) => 3 + number));
      second = await startSecondEdge(small.nats, new URL(second.ws).host, settings);
    }
    if (item.payload === 23) break;
  }
  assert.deepEqual(items, [1, 2, 3, "trimmed", 19, 20, 21, 22, 23]);
  assert.deepEqual(told, ["trimmed"]);
});

test("a live channel says what could have been missed while there was no connection", async (t) => {
  const proxy = await startProxy(edge.ws);
  t.after(() => proxy.stop());
  const channel = freshName("orders");
  const client = openClient(t, proxy.url);
  const subscription = client.subscribe(channel, { losses: true });
  await next(subscription, "subscribed");
  await nats.publish(channel, 1);
  const iterator = subscription[Symbol.asyncIterator]();
  assert.equal((await iterator.next()).value.payload, 1);
  proxy.kill();
  await next(subscription, "subscribed");
  await nats.publish(channel, 2);
  assert.deepEqual((await iterator.next()).value, { type: "lost", channel, reason: "disconnected" });
  assert.equal((await iterator.next()).value.payload, 2);
});

test("a client that was there before its server connects when that comes", async (t) => {
  const before = await startSecondEdge(edge.nats);
  const listen = new URL(before.ws).host;
  await before.stop();
  const client = openClient(t, before.ws);
  await eventually(() => client.state.name === "waiting");
  const published = client.publish(`deployments.${freshName("early")}`, 1);
  const server = await startSecondEdge(edge.nats, listen);
  t.after(() => server.stop());
  assert.ok((await published).offset > 0);
});
