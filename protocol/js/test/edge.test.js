// Against the real edge and NATS: what a client can do there.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TailwaterError } from "tailwater";
import { startAll } from "./support/edge.js";
import { eventually, freshName, next, openClient } from "./support/index.js";
import { startProxy } from "./support/proxy.js";

const { edge, nats } = await startAll();

const fresh = (name) => `deployments.${freshName(name)}`;
const upTo = (count) => Array.from({ length: count }, (_, index) => index + 1);

test("a listener gets what is published, bytes as bytes", async (t) => {
  const client = openClient(t, edge.ws);
  const channel = `chat.${freshName("room")}`;
  const seen = [];
  const subscription = client.subscribe(channel, {}, ({ payload }) => seen.push(payload));
  await next(subscription, "subscribed");
  await client.publish(channel, { text: "hello" });
  await client.publish(channel, new Uint8Array([0, 255]));
  await eventually(() => seen.length === 2);
  assert.deepEqual(seen, [{ text: "hello" }, new Uint8Array([0, 255])]);
});

test("what is published before there is a connection waits for it", async (t) => {
  const client = openClient(t, edge.ws);
  const channel = fresh("early");
  const { offset } = await client.publish(channel, 1);
  const { publications, epoch } = await client.history(channel);
  assert.deepEqual(publications.map(({ payload, offset }) => [payload, offset]), [[1, offset]]);
  assert.equal(typeof epoch, "string");
});

test("a page of history leads to the next one, and to where the live updates begin", async (t) => {
  const client = openClient(t, edge.ws);
  const channel = fresh("pages");
  await nats.publish(channel, ...upTo(25));
  const pages = [];
  let since = "beginning";
  for (;;) {
    const page = await client.history(channel, { since, order: "oldest", limit: 10 });
    pages.push(page.publications.map(({ payload }) => payload));
    if (page.next === undefined) break;
    since = { offset: page.next, epoch: page.epoch };
  }
  assert.deepEqual(pages.flat(), upTo(25));
});

test("latest gives the last value of each subject", async (t) => {
  const client = openClient(t, edge.ws);
  const prefix = fresh("latest");
  for (const subject of ["a", "b", "c"]) await nats.publish(`${prefix}.${subject}`, 1, 2, `${subject} is last`);
  const all = await client.latest(`${prefix}.*`);
  assert.deepEqual(all.map(({ payload }) => payload).sort(), ["a is last", "b is last", "c is last"]);
  assert.deepEqual((await client.latest(`${prefix}.a`)).map(({ payload }) => payload), ["a is last"]);
  assert.deepEqual(await client.latest(`${prefix}.nothing`), []);
});

test("subscriptions of one channel each get what they asked for, once and in order", async (t) => {
  const client = openClient(t, edge.ws);
  const channel = fresh("shared");
  await nats.publish(channel, 1, 2, 3);
  const seen = { all: [], now: [], last: [], two: [] };
  const listen = async (name, options) =>
    next(client.subscribe(channel, options, ({ payload }) => seen[name].push(payload)), "subscribed");
  await listen("all", { since: "beginning" });
  await listen("now", {});
  await nats.publish(channel, 4);
  await eventually(() => seen.now.length === 1);
  await listen("last", { latest: true });
  await nats.publish(channel, 5);
  await listen("two", { since: { last: 2 } });
  await nats.publish(channel, 6);
  await eventually(() => Object.values(seen).every((payloads) => payloads.at(-1) === 6));
  assert.deepEqual(seen, { all: [1, 2, 3, 4, 5, 6], now: [4, 5, 6], last: [4, 5, 6], two: [4, 5, 6] });
});

test("who wants only what is new gets none of the history that another subscription reads", async (t) => {
  const client = openClient(t, edge.ws);
  const channel = fresh("both");
  await nats.publish(channel, ...upTo(5_000));
  const all = [];
  const now = [];
  client.subscribe(channel, { since: "beginning" }, ({ payload }) => all.push(payload));
  await next(client.subscribe(channel, {}, ({ payload }) => now.push(payload)), "subscribed");
  await nats.publish(channel, "new");
  await eventually(() => all.length === 5_001);
  assert.deepEqual(now, ["new"]);
});

test("of many subscriptions that begin at once each gets all, also after a reconnect", async (t) => {
  const proxy = await startProxy(edge.ws);
  t.after(() => proxy.stop());
  const client = openClient(t, proxy.url);
  const prefix = fresh("many");
  await nats.publish(`${prefix}.a`, 1, 2);
  const starts = [{ since: "beginning" }, { since: "beginning" }, {}, { latest: true }, { since: { last: 1 } }, {}];
  const seen = starts.map(() => []);
  const standing = starts.map((options, index) =>
    next(client.subscribe(`${prefix}.*`, options, ({ payload }) => seen[index].push(payload)), "subscribed"),
  );
  await Promise.all(standing);
  await nats.publish(`${prefix}.a`, 3);
  await eventually(() => seen.every((payloads) => payloads.at(-1) === 3));
  proxy.kill();
  await nats.publish(`${prefix}.a`, 4);
  await eventually(() => seen.every((payloads) => payloads.at(-1) === 4));
  assert.deepEqual(seen, [[1, 2, 3, 4], [1, 2, 3, 4], [3, 4], [2, 3, 4], [2, 3, 4], [3, 4]]);
});

test("a live channel is shared too, and refuses who asks for history", async (t) => {
  const client = openClient(t, edge.ws);
  const channel = `chat.${freshName("room")}`;
  const seen = [[], []];
  await next(client.subscribe(channel, {}, ({ payload }) => seen[0].push(payload)), "subscribed");
  await next(client.subscribe(channel, {}, ({ payload }) => seen[1].push(payload)), "subscribed");
  const error = await next(client.subscribe(channel, { since: "beginning" }), "closed");
  assert.equal(error.code, "not_durable");
  await nats.publish(channel, 1);
  await eventually(() => seen.flat().length === 2);
});

test("a refused subscription ends with the server's error, thrown where it is iterated", async (t) => {
  const client = openClient(t, edge.ws);
  const reading = async () => {
    for await (const _ of client.subscribe("nowhere.at.all"));
  };
  await assert.rejects(reading, (error) => error instanceof TailwaterError && error.code === "no_such_channel");
  await assert.rejects(client.latest("chat.room"), { code: "not_durable" });
  await assert.rejects(client.publish("deployments.*", 1), { code: "bad_message" });
  await assert.rejects(client.publish(fresh("big"), 1n), TypeError);
});

test("a subscription that nobody holds any more is given up at the server", async (t) => {
  const client = openClient(t, edge.ws);
  const channel = fresh("left");
  const first = client.subscribe(channel);
  await next(first, "subscribed");
  first.close();
  const seen = [];
  await next(client.subscribe(channel, { since: "beginning" }, ({ payload }) => seen.push(payload)), "subscribed");
  await nats.publish(channel, 1);
  await eventually(() => seen.length === 1);
});

test("a repeated publication with the same key has the same place", async (t) => {
  const proxy = await startProxy(edge.ws);
  t.after(() => proxy.stop());
  const client = openClient(t, proxy.url);
  const channel = fresh("key");
  await client.publish(channel, 0);
  const sent = upTo(20).map((number) => client.publish(channel, number));
  proxy.kill();
  const answers = await Promise.all(sent);
  assert.equal(answers.filter(({ offset }) => offset > 0).length, 20);
  const { publications } = await client.history(channel, { limit: 1_000 });
  const payloads = new Set(publications.map(({ payload }) => payload));
  assert.deepEqual([...payloads].sort((a, b) => a - b), [0, ...upTo(20)]);
  await assert.rejects(
    (async () => {
      const once = client.publish(channel, "once", { key: false });
      proxy.kill();
      await once;
    })(),
    { code: "disconnected" },
  );
});

test("signals end subscriptions quietly, and commands with their reason", async (t) => {
  const client = openClient(t, edge.ws);
  const ending = new AbortController();
  const subscription = client.subscribe(fresh("signal"), { signal: ending.signal });
  setTimeout(() => ending.abort(new Error("enough")), 50);
  for await (const _ of subscription);
  await assert.rejects(client.history("deployments.x", { signal: ending.signal }), /enough/);
  await assert.rejects(client.latest("deployments.x", { signal: ending.signal }), /enough/);
});

test("when the client is closed, loops end and commands are rejected", async (t) => {
  const client = openClient(t, edge.ws);
  const subscription = client.subscribe(fresh("closed"));
  await next(subscription, "subscribed");
  const looping = (async () => {
    for await (const _ of subscription);
    return "ended";
  })();
  const asked = client.history("deployments.x");
  client.close();
  assert.equal(await looping, "ended");
  await assert.rejects(asked, { code: /closed|disconnected/ });
  assert.deepEqual(client.state, { name: "closed", error: undefined });
  assert.equal((await next(client.subscribe("deployments.x"), "closed")).code, "closed");
});
