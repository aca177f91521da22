// Against the real edge and NATS, on a line where anything happens at any time, while subscriptions come and go, one reads
// slowly, and the application publishes: whatever carries the messages, everything arrives once and in order.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { fallback, polling, sse } from "tailwater/http";
import { startAll } from "./support/edge.js";
import { startHttpProxy } from "./support/http-proxy.js";
import { eventually, freshName, openClient } from "./support/index.js";
import { startProxy } from "./support/proxy.js";

const SECONDS = Number(process.env.CHAOS_SECONDS ?? 6);
const SEED = Number(process.env.CHAOS_SEED ?? 7);

// All clients come from one address.
const { edge, nats } = await startAll({ TAILWATER_LIMITS__HANDSHAKES_PER_ADDRESS_PER_SEC: "0" });

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const upTo = (count) => Array.from({ length: count }, (_, index) => index + 1);

const WAYS = {
  websocket: {},
  sse: { transport: sse },
  polling: { transport: polling },
  auto: { transport: fallback({ patienceMs: 400, moveUpMs: 700 }) },
};

describe(`chaos with the seed ${SEED}`, { concurrency: true }, () => {
  for (const [index, [way, options]] of Object.entries(WAYS).entries()) {
    test(`nothing is lost, doubled or out of order (${way})`, async (t) => {
      let seed = SEED * 31 + index;
      const below = (bound) => (seed = (seed * 48_271) % 2_147_483_647) % bound;
      const http = await startHttpProxy(edge.ws);
      t.after(() => http.stop());
      const tcp = await startProxy(http.url);
      t.after(() => tcp.stop());
      const client = openClient(t, tcp.url, options);
      const base = `deployments.${freshName("chaos")}`;

      const seen = { exact: [], slowly: [], a: [], b: [] };
      const losses = [];
      const subscriptions = [
        client.subscribe(`${base}.exact`, { since: "beginning" }, ({ payload }) => seen.exact.push(payload)),
        client.subscribe(`${base}.of.*`, { since: "beginning" }, ({ payload, subject }) => seen[subject.at(-1)].push(payload)),
      ];
      for (const subscription of subscriptions) subscription.on("lost", (lost) => losses.push(lost));
      const reading = (async () => {
        for await (const { payload } of client.subscribe(`${base}.exact`, { since: "beginning", bound: 50 })) {
          seen.slowly.push(payload);
          if (seen.slowly.length % 97 === 0) await pause(below(60));
        }
      })();

      const end = Date.now() + SECONDS * 1_000;
      const disturbing = (async () => {
        while (Date.now() < end) {
          await pause(50 + below(400));
          const what = below(6);
          if (what < 2) tcp.kill();
          else if (what === 2) {
            http.lets.upgrades = way === "auto" ? ["pass", "refuse", "hang"][below(3)] : "pass";
            http.lets.streams = way === "auto" ? ["pass", "buffer"][below(2)] : "pass";
            tcp.kill();
          } else if (what === 3) {
            tcp.refuse(true);
            await pause(below(300));
            tcp.refuse(false);
          } else {
            const start = below(2) ? { since: "beginning" } : { latest: true };
            const other = client.subscribe(`${base}.other.${below(5)}`, start, () => {});
            setTimeout(() => other.close(), below(500));
          }
        }
        Object.assign(http.lets, { upgrades: "pass", streams: "pass" });
      })();
      const sent = { exact: 0, a: 0, b: 0 };
      const published = [];
      while (Date.now() < end) {
        for (let count = below(20); count >= 0; count -= 1) {
          await nats.publish(`${base}.exact`, (sent.exact += 1));
          const subject = "ab"[below(2)];
          await nats.publish(`${base}.of.${subject}`, (sent[subject] += 1));
        }
        published.push(client.publish(`${base}.mine`, published.length, { timeoutMs: 60_000 }));
        await pause(below(30));
      }
      await disturbing;
      await eventually(() => seen.exact.length >= sent.exact && seen.slowly.length >= sent.exact, { withinMs: 30_000 });
      await eventually(() => seen.a.length >= sent.a && seen.b.length >= sent.b);
      await Promise.all(published);
      assert.deepEqual(seen.exact, upTo(sent.exact));
      assert.deepEqual(seen.slowly, upTo(sent.exact));
      assert.deepEqual([seen.a, seen.b], [upTo(sent.a), upTo(sent.b)]);
      assert.deepEqual(losses, []);
      client.close();
      await reading;
    });
  }
});
