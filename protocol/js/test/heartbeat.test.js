// In a file of its own because it takes as long as the client's patience.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { sse } from "tailwater/http";
import { startEdge } from "./support/edge.js";
import { eventually, freshName, next, openClient, openNats } from "./support/index.js";
import { startProxy } from "./support/proxy.js";

const WAYS = [
  // Two intervals of 2 s, and 10 s for an answer.
  { way: "socket", options: {}, leastMs: 10_000, mostMs: 20_000 },
  // An interval and a fifth, since comments come on it, and 10 s more.
  { way: "stream", options: { transport: sse }, leastMs: 9_000, mostMs: 18_000 },
];

/** A client whose connection can be made silent, and what it receives. */
async function open(t, options) {
  const edge = await startEdge({ TAILWATER_WEBSOCKET__PING_INTERVAL_SECS: "2" });
  t.after(() => edge.stop());
  const nats = await openNats(edge.nats);
  t.after(() => nats.close());
  const proxy = await startProxy(edge.ws);
  t.after(() => proxy.stop());
  const channel = `deployments.${freshName("hole")}`;
  const client = openClient(t, proxy.url, options);
  const seen = [];
  const subscription = client.subscribe(channel, { since: "beginning" }, ({ payload }) => seen.push(payload));
  await next(subscription, "subscribed");
  await nats.publish(channel, 1);
  await eventually(() => seen.length === 1);
  return { proxy, seen, publish: (payload) => nats.publish(channel, payload) };
}

describe("silence", { concurrency: true }, () => {
  for (const { way, options, leastMs, mostMs } of WAYS) {
    test(`a ${way} on which nothing arrives any more is noticed and replaced`, async (t) => {
      const { proxy, seen, publish } = await open(t, options);
      proxy.blackhole();
      const began = Date.now();
      await publish(2);
      await eventually(() => seen.length === 2, { withinMs: 25_000 });
      const tookMs = Date.now() - began;
      assert.ok(tookMs > leastMs && tookMs < mostMs, `${tookMs} ms`);
    });
  }

  test("a stream on which nothing but comments comes is kept", async (t) => {
    const { proxy, seen, publish } = await open(t, { transport: sse });
    // Longer than it takes to give a silent one up.
    await new Promise((done) => setTimeout(done, 14_000));
    await publish(2);
    await eventually(() => seen.length === 2);
    assert.equal(proxy.accepted, 1);
  });
});
