// How a connection begins, ends and comes back, against a server that says what the test wants.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TailwaterError } from "tailwater";
import { backoffMs } from "../dist/backoff.js";
import { createCommands } from "../dist/commands.js";
import { startFakeServer } from "./support/fake-server.js";
import { BACKOFF, eventually, next, openClient } from "./support/index.js";

async function open(t, serverOptions = {}, clientOptions = {}) {
  const server = await startFakeServer(serverOptions);
  t.after(() => server.stop());
  const client = openClient(t, server.url, clientOptions);
  return { server, client };
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

test("waits grow from 1 s to 30 s, and are anything below that", () => {
  for (const [attempt, most] of [[0, 1_000], [1, 2_000], [4, 16_000], [5, 30_000], [40, 30_000]]) {
    const waits = Array.from({ length: 200 }, () => backoffMs(attempt));
    assert.ok(Math.max(...waits) <= most && Math.max(...waits) > most * 0.8, `${attempt}`);
    assert.ok(Math.min(...waits) < most * 0.2, `${attempt}`);
  }
});

test("after these closes the client stays away, and says why", async (t) => {
  const expected = { 1000: "closed", 1002: "closed", 1003: "closed", 1007: "closed", 4400: "unauthenticated",
    4401: "unauthenticated", 4403: "unauthenticated", 4408: "unauthenticated", 4410: "closed" };
  for (const [code, error] of Object.entries(expected)) {
    const { server, client } = await open(t);
    const subscription = client.subscribe("a");
    await next(subscription, "subscribed");
    const ended = next(subscription, "closed");
    server.last.socket.close(Number(code), "because");
    assert.equal((await ended).code, error, code);
    assert.equal(client.state.error.code, error);
    assert.match(client.state.error.message, /because/);
    await pause(30);
    assert.equal(server.connections.length, 1, code);
  }
});

test("after these it comes back", async (t) => {
  for (const code of [1001, 1009, 1011, 1012, 1013, 4411, 4413, 4414, 4429, 4499]) {
    const { server, client } = await open(t);
    await eventually(() => client.state.name === "connected");
    server.last.socket.close(code);
    await eventually(() => server.connections.length === 2 && client.state.name === "connected");
    client.close();
  }
});

test("a drain is obeyed: served until the time that it names, then another connection, never two", async (t) => {
  const { server, client } = await open(t);
  const seen = [];
  await next(client.subscribe("a", {}, ({ payload }) => seen.push(payload)), "subscribed");
  const { last } = server;
  last.send({ type: "drain", reconnect_after_ms: 300 });
  const toldAt = Date.now();
  await pause(100);
  last.send({ type: "update", channel: "a", payload: 1 });
  await eventually(() => seen.length === 1);
  await eventually(() => server.connections.length === 2);
  assert.ok(server.last.openedAt - toldAt >= 290, "not before the time");
  assert.equal(last.isOpen, false, "the first one had been closed");
  assert.equal(last.closedWith, 1000);
});

test("a server that closes before the time it named is not asked before it", async (t) => {
  const { server, client } = await open(t);
  await eventually(() => client.state.name === "connected");
  server.last.send({ type: "drain", reconnect_after_ms: 300 });
  const toldAt = Date.now();
  server.last.socket.close(1012);
  await eventually(() => client.state.name === "waiting");
  await eventually(() => server.connections.length === 2);
  assert.ok(server.last.openedAt - toldAt >= 290);
});

test("a clock that is set back makes no wait longer", async (t) => {
  const { server, client } = await open(t);
  const seen = [];
  await next(client.subscribe("a", {}, ({ payload }) => seen.push(payload)), "subscribed");
  server.last.send({ type: "drain", reconnect_after_ms: 300 });
  server.last.send({ type: "update", channel: "a", payload: "behind the drain" });
  await eventually(() => seen.length === 1);
  const waiting = new Promise((done) => client.on("state", (state) => state.name === "waiting" && done(state)));
  const now = Date.now();
  t.mock.method(Date, "now", () => now - 3_600_000);
  server.last.socket.close(1012);
  const { delayMs } = await waiting;
  assert.ok(delayMs <= 300, `${delayMs}`);
});

test("a silent connection is asked for a sign of life after two of the server's intervals", async (t) => {
  const { server, client } = await open(t, { pingIntervalMs: 60 });
  await eventually(() => server.last?.commands.some(({ type }) => type === "ping"));
  assert.equal(client.state.name, "connected");
  assert.equal(server.connections.length, 1);
});

test("network that comes back, and a page that is looked at, end a wait", async (t) => {
  const page = new EventTarget();
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.document = Object.assign(new EventTarget(), { hidden: false });
  t.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.document;
  });
  const { server, client } = await open(t, {}, { backoff: { firstMs: 60_000_000, longestMs: 60_000_000 } });
  for (const [target, name, expected] of [[page, "online", 2], [globalThis.document, "visibilitychange", 3]]) {
    await eventually(() => client.state.name === "connected");
    server.last.socket.terminate();
    await eventually(() => client.state.name === "waiting");
    target.dispatchEvent(new Event(name));
    await eventually(() => server.connections.length === expected);
  }
  await eventually(() => client.state.name === "connected");
  page.dispatchEvent(new Event("offline"));
  await eventually(() => server.last.commands.some(({ type }) => type === "ping"));
});

test("a command that the server puts off is repeated when it said, a publication with its key", async (t) => {
  let times = 0;
  const answer = ({ type }) =>
    type === "publish" && ++times < 3 ? { type: "error", code: "rate_limited", message: "later", retry_after_ms: 60 } : undefined;
  const { server, client } = await open(t, { answer });
  const began = Date.now();
  await client.publish("a", 1);
  assert.ok(Date.now() - began >= 118);
  const keys = server.last.commands.filter(({ type }) => type === "publish").map(({ key }) => key);
  assert.equal(keys.length, 3);
  assert.equal(new Set(keys).size, 1);
  assert.match(keys[0], /^[!-~]{8,64}$/);
});

test("what may have been too large for the server is not sent again, and the client comes back", async (t) => {
  const answer = ({ type, payload }, { socket }) => {
    if (type !== "publish" || payload !== "large") return undefined;
    socket.close(1009);
    return "nothing";
  };
  const { server, client } = await open(t, { answer });
  await assert.rejects(client.publish("a", "large"), { code: "too_large" });
  await client.publish("a", "small");
  assert.equal(server.connections.length, 2);
  const sent = server.connections.flatMap(({ commands }) => commands.map(({ payload }) => payload));
  assert.deepEqual(sent, ["large", "small"]);
});

test("on a channel that is known to be live nothing is sent twice", async (t) => {
  const { server, client } = await open(t, { answer: ({ type }) => (type === "publish" ? "nothing" : undefined) });
  await next(client.subscribe("a"), "subscribed");
  const published = client.publish("a", 1);
  await eventually(() => server.last.commands.some(({ type }) => type === "publish"));
  assert.equal(server.last.commands.at(-1).key, undefined);
  server.last.socket.terminate();
  await assert.rejects(published, { code: "disconnected" });
});

test("a request goes out once, and its answer is what the service said", async (t) => {
  const answer = ({ type, payload }) => (type === "request" ? { type: "reply", payload: { got: payload } } : undefined);
  const { server, client } = await open(t, { answer });
  assert.deepEqual(await client.request("orders.lookup", 17, { timeoutMs: 900 }), { got: 17 });
  const { timeout_ms } = server.last.commands.find(({ type }) => type === "request");
  assert.equal(timeout_ms, 900);
});

test("a command that is not answered in time fails, and the next one does not", async (t) => {
  const { client } = await open(t, { answer: ({ type }) => (type === "request" ? "nothing" : undefined) });
  await assert.rejects(client.request("a", 1, { timeoutMs: 50 }), { code: "timeout" });
  await client.publish("a", 1);
});

test("a subscription that cannot be had now is tried again, and one that ends at the server ends here", async (t) => {
  let times = 0;
  const answer = ({ type, channel }) =>
    type === "subscribe" && ++times === 1
      ? { type: "error", code: "unavailable", message: "later", channel, retry_after_ms: 50 }
      : undefined;
  const { server, client } = await open(t, { answer });
  const subscription = client.subscribe("a");
  await next(subscription, "subscribed");
  assert.equal(times, 2);
  server.last.send({ type: "lost", channel: "a", reason: "nats_refused" });
  await next(subscription, "subscribed");
  assert.equal(times, 3);
  server.last.send({ type: "unsubscribed", channel: "a" });
  assert.equal((await next(subscription, "closed")).code, "forbidden");
});

test("a channel that the server joined itself is begun again where the subscription starts", async (t) => {
  let held = true;
  const answer = ({ type, channel, since }) => {
    if (type === "unsubscribe") held = false;
    if (type !== "subscribe") return undefined;
    const recovered = held ? {} : { recovered: true };
    return { type: "subscribed", channel, durable: true, offset: held ? 9 : since.offset ?? 0, epoch: "e", ...recovered };
  };
  const { server, client } = await open(t, { answer });
  const { recovered } = await next(client.subscribe("a", { since: "beginning" }), "subscribed");
  assert.equal(recovered, true);
  assert.deepEqual(server.last.commands.map(({ type }) => type), ["subscribe", "unsubscribe", "subscribe"]);
});

test("a connection that breaks while the last values come is told, since those between are not to be had", async (t) => {
  let times = 0;
  const answer = ({ type, channel }, connection) => {
    if (type === "ping") {
      times += 1;
      if (times === 1) connection.socket.terminate();
      if (times === 1) return "nothing";
    }
    return type === "subscribe" ? { type: "subscribed", channel, durable: true, offset: 9, epoch: "e" } : undefined;
  };
  const { server, client } = await open(t, { answer });
  const subscription = client.subscribe("a.*", { latest: true });
  const reading = drain(subscription);
  const { reason } = await next(subscription, "lost");
  assert.equal(reason, "disconnected");
  await eventually(() => times === 2);
  assert.deepEqual(server.connections.map(({ commands }) => commands.map(({ type }) => type)), [
    ["unsubscribe", "subscribe", "ping"],
    ["unsubscribe", "subscribe", "ping"],
  ]);
  client.close();
  await reading;
});

async function drain(subscription) {
  for await (const _ of subscription);
}

test("last values that do not come in time are given up, as every other answer", async (t) => {
  const { server, client } = await open(t, { answer: ({ type }) => (type === "subscribe" ? "nothing" : undefined) });
  const asked = client.latest("a", { timeoutMs: 50 });
  await assert.rejects(asked, (error) => error instanceof TailwaterError && error.code === "timeout");
  const ending = new AbortController();
  const given = client.latest("b", { timeoutMs: 50, signal: ending.signal });
  await assert.rejects(given, { code: "timeout" });
  assert.equal(server.connections.length, 1);
});

test("what a service says is wrong can be read", async (t) => {
  const said = { code: "404", description: "no such order" };
  const answer = ({ type, channel }) => {
    if (type !== "request") return undefined;
    return { type: "error", code: "service_error", message: "no", channel, service_error: said, payload_b64: "/w==" };
  };
  const { client } = await open(t, { answer });
  await assert.rejects(client.request("orders.lookup", 17), (error) => {
    assert.equal(error.code, "service_error");
    assert.deepEqual([error.answer.service_error, error.answer.payload], [said, new Uint8Array([255])]);
    return true;
  });
});

test("what cannot be read breaks the connection, not the program", async (t) => {
  const { server, client } = await open(t);
  await eventually(() => client.state.name === "connected");
  server.last.socket.send("{");
  await eventually(() => server.connections.length === 2 && client.state.name === "connected");
});

test("a wait grows with each attempt that fails, and a signal ends it all", async (t) => {
  const server = await startFakeServer({ welcome: false });
  t.after(() => server.stop());
  const ending = new AbortController();
  const client = openClient(t, server.url, { signal: ending.signal, backoff: BACKOFF });
  const attempts = [];
  client.on("state", ({ name, attempt }) => name === "waiting" && attempts.push(attempt));
  for (const expected of [1, 2, 3]) {
    await eventually(() => server.last?.isOpen);
    server.last.socket.terminate();
    await eventually(() => attempts.at(-1) === expected);
  }
  ending.abort();
  assert.deepEqual(client.state, { name: "closed", error: undefined });
});

test("a client may be closed by whoever hears of its state", async (t) => {
  for (const when of ["connecting", "connected", "waiting"]) {
    const server = await startFakeServer();
    t.after(() => server.stop());
    const client = openClient(t, server.url);
    client.on("state", ({ name }) => name === when && client.close());
    await eventually(() => client.state.name !== "connecting");
    for (const { socket } of server.connections) socket.terminate();
    await eventually(() => client.state.name === "closed");
    const { length } = server.connections;
    await pause(100);
    assert.equal(client.state.name, "closed");
    assert.equal(server.connections.length, length);
  }
});

test("what waits for a connection is bounded", async () => {
  const commands = createCommands();
  const waiting = Array.from({ length: 10_000 }, () => commands.request({ type: "ping" }));
  await assert.rejects(commands.request({ type: "ping" }), { code: "limit" });
  commands.close(new TailwaterError("closed", "enough"));
  for (const outcome of await Promise.allSettled(waiting)) assert.equal(outcome.reason.code, "closed");
});
