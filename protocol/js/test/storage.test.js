// Cursors that outlive the page, where what keeps them fails.

import assert from "node:assert/strict";
import { test } from "node:test";
import { stored } from "tailwater/storage";
import { startFakeServer } from "./support/fake-server.js";
import { eventually, next, openClient } from "./support/index.js";

const EPOCH = "1-0";

/** A client of a server whose channels are durable, and what is thrown without being caught. */
async function open(t) {
  const answer = ({ type, channel }) =>
    type === "subscribe" ? { type: "subscribed", channel, durable: true, offset: 0, epoch: EPOCH } : undefined;
  const server = await startFakeServer({ answer });
  t.after(() => server.stop());
  const uncaught = [];
  // Those of the test runner, which would call it a failure.
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", ({ message }) => uncaught.push(message));
  t.after(() => {
    process.removeAllListeners("uncaughtException");
    for (const listener of listeners) process.on("uncaughtException", listener);
  });
  return { server, client: openClient(t, server.url), uncaught };
}

const update = (channel, offset) => ({ type: "update", channel, offset, payload: offset });

test("a storage that is full is reported, and disturbs no subscription", async (t) => {
  const { server, client, uncaught } = await open(t);
  const storage = stored({
    get: () => null,
    set() {
      throw new Error("the quota has been exceeded");
    },
  });
  const seen = [];
  const first = client.subscribe("a.1", { storage });
  const second = client.subscribe("a.2", { storage }, ({ payload }) => seen.push(payload));
  await Promise.all([next(first, "subscribed"), next(second, "subscribed")]);
  const reading = (async () => {
    for await (const { payload } of first) seen.push(payload);
    return "ended";
  })();
  server.last.send(update("a.1", 1));
  server.last.send(update("a.2", 1));
  await eventually(() => seen.length === 2);
  await eventually(() => uncaught.length === 2);
  server.last.send(update("a.1", 2));
  await eventually(() => seen.length === 3);
  const closed = Promise.all([next(first, "closed"), next(second, "closed")]);
  client.close();
  assert.deepEqual(await closed, [undefined, undefined]);
  assert.equal(await reading, "ended");
  assert.match(uncaught.join(), /quota.*quota/);
});

test("where it is not known how far it had come, a subscription ends and says why", async (t) => {
  const { server, client } = await open(t);
  const storage = stored({
    get() {
      throw new Error("access is denied for this document");
    },
    set: () => {},
  });
  const error = await next(client.subscribe("a.1", { storage }), "closed");
  assert.equal(error.code, "storage");
  assert.match(error.message, /denied/);
  assert.equal(error.channel, "a.1");
  assert.deepEqual(server.last?.commands ?? [], []);
});
