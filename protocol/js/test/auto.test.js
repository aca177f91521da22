// Against the real edge behind proxies that let less through than they should: the client finds the way that works, and
// comes back to the better one.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { auto, fallback } from "tailwater/http";
import { PRICES, startAll, startSecondEdge } from "./support/edge.js";
import { startHttpProxy } from "./support/http-proxy.js";
import { eventually, freshName, openClient } from "./support/index.js";

const { dev, edge, nats } = await startAll(PRICES);

const upTo = (count) => Array.from({ length: count }, (_, index) => index + 1);

/** A client behind such a proxy, and what it receives of a durable channel from its beginning. */
async function open(t, lets, transport = auto) {
  const proxy = await startHttpProxy(edge.ws, lets);
  t.after(() => proxy.stop());
  const client = openClient(t, proxy.url, { transport });
  const channel = `deployments.${freshName("auto")}`;
  const states = [];
  client.on("state", (state) => states.push(state));
  const seen = [];
  const losses = [];
  const subscription = client.subscribe(channel, { since: "beginning" }, ({ payload }) => seen.push(payload));
  subscription.on("lost", (lost) => losses.push(lost));
  return { proxy, client, channel, states, seen, losses };
}

const connectedOver = (client, transport) => () => client.state.name === "connected" && client.state.transport === transport;

describe("auto", { concurrency: true }, () => {
  test("where a WebSocket gets through, it is used", async (t) => {
    const { proxy, client } = await open(t, {});
    await eventually(connectedOver(client, "websocket"));
    assert.deepEqual(proxy.requests, ["UPGRADE /ws"]);
  });

  test("where WebSockets are refused, a stream is used after two attempts", async (t) => {
    const { proxy, client, channel, seen } = await open(t, { upgrades: "refuse" });
    await nats.publish(channel, 1, 2);
    await eventually(connectedOver(client, "sse"));
    assert.deepEqual(proxy.requests.slice(0, 2), ["UPGRADE /ws", "UPGRADE /ws"]);
    await client.publish(channel, 3);
    await eventually(() => seen.length === 3);
    assert.deepEqual(seen, [1, 2, 3]);
  });

  test("where WebSockets hang and streams are kept back, it polls after twice five seconds", async (t) => {
    const began = Date.now();
    const { client, channel, seen } = await open(t, { upgrades: "hang", streams: "buffer" });
    await nats.publish(channel, 1);
    await eventually(connectedOver(client, "polling"));
    const tookMs = Date.now() - began;
    assert.ok(tookMs > 9_900 && tookMs < 13_000, `${tookMs} ms`);
    await nats.publish(channel, 2);
    await eventually(() => seen.length === 2);
  });

  test("on the way up again nothing is lost, doubled or out of order", async (t) => {
    const transport = fallback({ patienceMs: 400, moveUpMs: 300 });
    const { proxy, client, channel, seen, losses } = await open(t, { upgrades: "refuse", streams: "buffer" }, transport);
    let sent = 0;
    let isPublishing = true;
    const publishing = (async () => {
      while (isPublishing) {
        await nats.publish(channel, (sent += 1));
        await new Promise((done) => setTimeout(done, 2));
      }
    })();
    for (const [transport, lets] of [
      ["polling", {}],
      ["sse", { streams: "pass" }],
      ["websocket", { upgrades: "pass" }],
    ]) {
      Object.assign(proxy.lets, lets);
      await eventually(connectedOver(client, transport));
      const { length } = seen;
      await eventually(() => seen.length > length + 20);
    }
    isPublishing = false;
    await publishing;
    await eventually(() => seen.length >= sent);
    assert.deepEqual(seen, upTo(sent));
    assert.deepEqual(losses, []);
  });

  test("it moves up only when what was asked has been answered", async (t) => {
    const transport = fallback({ moveUpMs: 200 });
    const { proxy, client } = await open(t, { upgrades: "refuse" }, transport);
    await eventually(connectedOver(client, "sse"));
    const service = nats.connection.subscribe("prices.late");
    t.after(() => service.unsubscribe());
    const answer = client.request("prices.late", 1);
    proxy.lets.upgrades = "pass";
    const tried = () => proxy.requests.filter((request) => request.startsWith("UPGRADE")).length > 2;
    await eventually(tried);
    assert.equal(client.state.transport, "sse");
    for await (const message of service) {
      message.respond(JSON.stringify("here"));
      break;
    }
    assert.equal(await answer, "here");
    await eventually(connectedOver(client, "websocket"));
  });

  test("a server that is away for a moment is no reason to leave the WebSocket", async (t) => {
    let second = await startSecondEdge(dev.nats);
    t.after(() => second.stop());
    const listen = new URL(second.ws).host;
    const client = openClient(t, second.ws, { transport: auto });
    await eventually(connectedOver(client, "websocket"));
    const attempts = [];
    client.on("state", ({ name }) => name === "connecting" && attempts.push(name));
    await second.stop();
    await eventually(() => attempts.length >= 4);
    second = await startSecondEdge(dev.nats, listen);
    await eventually(() => client.state.name === "connected");
    await eventually(connectedOver(client, "websocket"));
  });

  test("after a server was away for long the client is soon on the WebSocket again", async (t) => {
    const proxy = await startHttpProxy(edge.ws);
    t.after(() => proxy.stop());
    const client = openClient(t, proxy.url, { transport: fallback({ patienceMs: 300 }) });
    const states = [];
    client.on("state", (state) => states.push(state));
    client.subscribe(`deployments.${freshName("away")}`);
    await eventually(connectedOver(client, "websocket"));
    // As if nothing but streams came back at first.
    proxy.lets.upgrades = "refuse";
    proxy.cut();
    await eventually(connectedOver(client, "sse"));
    assert.ok(states.filter(({ name }) => name === "connecting").length >= 5, "four attempts first");
    proxy.lets.upgrades = "pass";
    await eventually(connectedOver(client, "websocket"), { withinMs: 2_000 });
  });
});

// By themselves, since all would see what they change.
test("when the network comes back the better transport is tried at once", async (t) => {
  const page = new EventTarget();
  for (const name of ["addEventListener", "removeEventListener"]) globalThis[name] = page[name].bind(page);
  t.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  });
  const { proxy, client } = await open(t, { upgrades: "refuse" });
  await eventually(connectedOver(client, "sse"));
  page.dispatchEvent(new Event("online"));
  await eventually(() => proxy.requests.filter((request) => request.startsWith("UPGRADE")).length === 3);
  assert.equal(client.state.transport, "sse", "it is still in use if the other does not get through");
  proxy.lets.upgrades = "pass";
  await eventually(() => {
    page.dispatchEvent(new Event("online"));
    return connectedOver(client, "websocket")();
  });
});

test("what worked is remembered for the page session", async (t) => {
  const texts = new Map([["tailwater:transport", "sse"]]);
  globalThis.sessionStorage = { getItem: (key) => texts.get(key) ?? null, setItem: (key, text) => texts.set(key, text) };
  t.after(() => delete globalThis.sessionStorage);
  const { proxy, client } = await open(t, {});
  delete globalThis.sessionStorage;
  await eventually(connectedOver(client, "sse"));
  assert.ok(proxy.requests[0].startsWith("GET /sse"), proxy.requests[0]);
});
