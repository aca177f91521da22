// What happens when an application reads more slowly than updates come.

import assert from "node:assert/strict";
import { test } from "node:test";
import WebSocket from "ws";
import { startEdge } from "./support/edge.js";
import { startFakeServer } from "./support/fake-server.js";
import { eventually, freshName, next, openClient, openNats } from "./support/index.js";

const upTo = (count) => Array.from({ length: count }, (_, index) => index + 1);

async function flood(t, options) {
  const server = await startFakeServer();
  t.after(() => server.stop());
  const client = openClient(t, server.url);
  const subscription = client.subscribe("a", options);
  await next(subscription, "subscribed");
  for (const payload of upTo(100)) server.last.send({ type: "update", channel: "a", payload });
  // Behind the flood.
  await client.publish("b", 0);
  return { subscription, server, client };
}

test("a full iterator of a live channel drops the oldest, and says how many in their place", async (t) => {
  const { subscription } = await flood(t, { bound: 10, losses: true });
  const told = [];
  subscription.on("lost", (lost) => told.push(lost));
  const items = [];
  for await (const item of subscription) {
    items.push(item.payload ?? item);
    if (item.payload === 100) break;
  }
  const lost = { type: "lost", channel: "a", count: 90, reason: "slow_consumer" };
  assert.deepEqual(items, [lost, ...upTo(100).slice(90)]);
  assert.deepEqual(told, [lost]);
});

test("without `losses` the loop sees updates alone, and the listener is told all the same", async (t) => {
  const { subscription } = await flood(t, { bound: 10 });
  const told = [];
  subscription.on("lost", ({ count }) => told.push(count));
  const payloads = [];
  for await (const { payload } of subscription) {
    payloads.push(payload);
    if (payload === 100) break;
  }
  assert.deepEqual([payloads, told], [upTo(100).slice(90), [90]]);
});

test("a full iterator that is to close gives what it has, then throws", async (t) => {
  const { subscription } = await flood(t, { bound: 10, whenFull: "close" });
  const payloads = [];
  const reading = async () => {
    for await (const { payload } of subscription) payloads.push(payload);
  };
  await assert.rejects(reading, { code: "overflow" });
  assert.deepEqual(payloads, upTo(10));
});

test("leaving the loop ends the subscription at the server", async (t) => {
  const { subscription, server } = await flood(t, {});
  for await (const _ of subscription) break;
  await eventually(() => server.last.commands.some(({ type, channel }) => type === "unsubscribe" && channel === "a"));
});

/** Counts the updates that arrive. */
class CountingSocket extends WebSocket {
  static updates = 0;

  constructor(...args) {
    super(...args);
    this.addEventListener("message", ({ data }) => (CountingSocket.updates += data.startsWith('{"type":"update"')));
  }
}

test("a slow reader of a durable channel misses nothing, and nothing is sent over and over", async (t) => {
  const edge = await startEdge();
  t.after(() => edge.stop());
  const nats = await openNats(edge.nats);
  t.after(() => nats.close());
  for (const pattern of [false, true]) {
    const channel = `deployments.${freshName("slow")}`;
    const subjects = pattern ? ["a", "b"].map((name) => `${channel}.${name}`) : [channel];
    for (const subject of subjects) await nats.publish(subject, ...upTo(2_000));
    const total = subjects.length * 2_000;
    CountingSocket.updates = 0;
    const client = openClient(t, edge.ws, { WebSocket: CountingSocket });
    const subscription = client.subscribe(pattern ? `${channel}.*` : channel, { since: "beginning", bound: 100 });
    let began = 0;
    subscription.on("subscribed", () => (began += 1));
    const seen = Object.fromEntries(subjects.map((subject) => [subject, []]));
    let count = 0;
    for await (const { subject = channel, payload } of subscription) {
      seen[subject].push(payload);
      count += 1;
      if (count % 100 === 0) await new Promise((done) => setTimeout(done, 5));
      // What comes while it reads on is there in the end too, and so is what comes when it is back.
      if (count === total / 2) for (const subject of subjects) await nats.publish(subject, 2_001);
      if (count === total + subjects.length) for (const subject of subjects) await nats.publish(subject, 2_002);
      if (count === total + 2 * subjects.length) break;
    }
    for (const subject of subjects) assert.deepEqual(seen[subject], upTo(2_002));
    assert.ok(began > 1, "it was full, and came back");
    assert.ok(CountingSocket.updates < total * 2, `${CountingSocket.updates} updates were sent`);
    client.close();
  }
});
