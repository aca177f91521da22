// What the tests share.

import { connect as connectNats } from "nats";
import WebSocket from "ws";
import { connect } from "tailwater";

/** Short waits, so that a test of many reconnects takes no minute. */
export const BACKOFF = { firstMs: 20, longestMs: 200 };

/** A client that is closed when the test ends. */
export function openClient(test, url, options = {}) {
  const client = connect(url, { WebSocket, backoff: BACKOFF, ...options });
  test.after(() => client.close());
  return client;
}

/** Waits until `check` gives something. */
export async function eventually(check, { withinMs = 15_000 } = {}) {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${check}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** Waits for the next event. */
export const next = (emitter, name) =>
  new Promise((done) => {
    const off = emitter.on(name, (detail) => {
      off();
      done(detail);
    });
  });

let names = 0;
/** A channel that no other test uses. */
export const freshName = (prefix) => `${prefix}-${Date.now().toString(36)}-${names++}`;

/** Publishes as a service does. */
export async function openNats(url) {
  const nats = await connectNats({ servers: url });
  return {
    /** Publishes, and waits until the server has it. */
    async publish(subject, ...payloads) {
      for (const payload of payloads) nats.publish(subject, JSON.stringify(payload));
      await nats.flush();
    },
    connection: nats,
    close: () => nats.close(),
  };
}
