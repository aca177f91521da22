// A stream of events, read from an answer that the test makes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { sse } from "tailwater/http";
import { connected } from "./support/fake-server.js";
import { eventually, next, openClient } from "./support/index.js";

test("a stream that is not wanted any more is cancelled, since to some runtimes an abort is not its end", async (t) => {
  let cancelled = 0;
  t.mock.method(globalThis, "fetch", async () => {
    const messages = [connected(), { type: "subscribed", channel: "a", durable: false }];
    const events = messages.map((message) => `data: ${JSON.stringify(message)}\n\n`).join("");
    const body = new ReadableStream({
      start: (stream) => stream.enqueue(new TextEncoder().encode(events)),
      cancel: () => void (cancelled += 1),
    });
    return new Response(body);
  });
  const client = openClient(t, "ws://127.0.0.1/ws", { transport: sse });
  await next(client.subscribe("a"), "subscribed");
  assert.equal(cancelled, 0);
  // Another channel takes another stream.
  client.subscribe("b");
  await eventually(() => cancelled === 1);
  client.close();
  await eventually(() => cancelled === 2);
});
