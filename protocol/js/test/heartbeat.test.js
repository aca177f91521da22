// In a file of its own because it takes as long as the client's patience.

import assert from "node:assert/strict";
import { test } from "node:test";
import { startEdge } from "./support/edge.js";
import { eventually, freshName, next, openClient, openNats } from "./support/index.js";
import { startProxy } from "./support/proxy.js";

test("a socket on which nothing arrives any more is noticed and replaced", async (t) => {
  const edge = await startEdge({ TAILWATER_WEBSOCKET__PING_INTERVAL_SECS: "2" });
  t.after(() => edge.stop());
  const nats = await openNats(edge.nats);
  t.after(() => nats.close());
  const proxy = await startProxy(edge.ws);
  t.after(() => proxy.stop());
  const channel = `deployments.${freshName("hole")}`;
  const client = openClient(t, proxy.url);
  const seen = [];
  const subscription = client.subscribe(channel, { since: "beginning" }, ({ payload }) => seen.push(payload));
  await next(subscription, "subscribed");
  await nats.publish(channel, 1);
  await eventually(() => seen.length === 1);
  proxy.blackhole();
  const began = Date.now();
  await nats.publish(channel, 2);
  await eventually(() => seen.length === 2, { withinMs: 25_000 });
  const tookMs = Date.now() - began;
  assert.ok(tookMs > 10_000 && tookMs < 20_000, `two intervals of 2 s, and 10 s for an answer: ${tookMs} ms`);
});
