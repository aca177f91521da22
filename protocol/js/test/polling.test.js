// Long polling, against a server that always has something to say.

import assert from "node:assert/strict";
import { getEventListeners, once } from "node:events";
import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import { test } from "node:test";
import { polling } from "tailwater/http";
import { connected } from "./support/fake-server.js";
import { eventually, openClient } from "./support/index.js";

/** A server of a live channel `a`, each of whose answers has so many updates. */
async function serve(t, updates) {
  const server = createServer(async (request, response) => {
    if (request.method === "POST") {
      const commands = await json(request);
      return response.end(JSON.stringify(commands.map(({ id }) => ({ type: "published", id }))));
    }
    const messages = [connected(), { type: "subscribed", channel: "a", durable: false }];
    for (let index = 0; index < updates; index += 1) messages.push({ type: "update", channel: "a", payload: index });
    response.end(JSON.stringify({ messages, cursor: "" }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `ws://127.0.0.1:${server.address().port}/ws`;
}

test("of requests that are done nothing stays behind, however long a client polls", async (t) => {
  const signals = new Set();
  const { addEventListener } = AbortSignal.prototype;
  AbortSignal.prototype.addEventListener = function (...args) {
    signals.add(this);
    return addEventListener.apply(this, args);
  };
  t.after(() => (AbortSignal.prototype.addEventListener = addEventListener));
  // Those that bring much are made at once, those that bring little after a pause.
  for (const [updates, polls] of [[60, 200], [1, 10]]) {
    const client = openClient(t, await serve(t, updates), { transport: polling });
    let seen = 0;
    client.subscribe("a", {}, () => (seen += 1));
    for (let count = 0; count < 20; count += 1) await client.publish("a", count);
    await eventually(() => seen >= updates * polls);
    const most = Math.max(...[...signals].map((signal) => getEventListeners(signal, "abort").length));
    assert.ok(most < 5, `${most} listeners`);
  }
});
