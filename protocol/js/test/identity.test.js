// Against the real edge with an issuer of tokens: who the client is, and stays, whatever carries its messages.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { polling, sse } from "tailwater/http";
import { ISSUER, mintToken, startAll } from "./support/edge.js";
import { eventually, freshName, next, openClient } from "./support/index.js";

const { edge, nats } = await startAll({ ...ISSUER, TAILWATER_IDENTITY__GRACE_SECS: "1" });

const fresh = () => `private.${freshName("mine")}`;
const WAYS = {
  websocket: {},
  sse: { transport: sse },
  polling: { transport: polling },
};

// All at once, because most of it is waiting.
describe("identity", { concurrency: true }, () => {
  for (const [way, options] of Object.entries(WAYS)) {
    test(`a token says who the client is and what it may do (${way})`, async (t) => {
      const client = openClient(t, edge.ws, { ...options, token: () => mintToken() });
      const channel = fresh();
      const seen = [];
      await next(client.subscribe(channel, {}, ({ payload }) => seen.push(payload)), "subscribed");
      const { name, user, transport } = client.state;
      assert.deepEqual([name, user, transport], ["connected", "ann", way]);
      await nats.publish(channel, 1);
      await eventually(() => seen.length === 1);
      await assert.rejects(client.publish(channel, 2), { code: "forbidden" });
      // What may not be had ends alone.
      const { code } = await next(client.subscribe("elsewhere.x"), "closed");
      assert.equal(code, "no_such_channel");
      await nats.publish(channel, 3);
      await eventually(() => seen.length === 2);
    });

    test(`the token is replaced before it expires, and what is subscribed goes on (${way})`, async (t) => {
      let asked = 0;
      const token = () => {
        asked += 1;
        return mintToken("--expires", "7s");
      };
      const client = openClient(t, edge.ws, { ...options, token });
      const states = [];
      client.on("state", ({ name }) => states.push(name));
      const channel = fresh();
      const seen = [];
      const subscription = client.subscribe(channel, {}, ({ payload }) => seen.push(payload));
      subscription.on("lost", (lost) => seen.push(lost));
      await next(subscription, "subscribed");
      // Longer than the first token and its grace allow.
      const deadline = Date.now() + 9_500;
      let sent = 0;
      while (Date.now() < deadline) {
        await nats.publish(channel, (sent += 1));
        await eventually(() => seen.length === sent);
        await new Promise((done) => setTimeout(done, 50));
      }
      assert.ok(asked >= 2, `${asked}`);
      assert.deepEqual(states, ["connected"]);
      assert.deepEqual(seen, Array.from({ length: sent }, (_, index) => index + 1));
    });

    test(`a client that only publishes keeps its token fresh too (${way})`, async (t) => {
      let asked = 0;
      const token = () => {
        asked += 1;
        return mintToken("--expires", "7s", "--publish", "private.>");
      };
      const client = openClient(t, edge.ws, { ...options, token });
      const states = [];
      client.on("state", ({ name }) => states.push(name));
      const channel = fresh();
      const deadline = Date.now() + 9_500;
      let sent = 0;
      while (Date.now() < deadline) {
        sent += 1;
        // What may not be repeated shows that nothing broke off.
        await client.publish(channel, sent, { key: false });
        await new Promise((done) => setTimeout(done, 100));
      }
      const { publications } = await client.history(channel, { limit: 1_000 });
      assert.equal(publications.length, sent);
      assert.ok(asked >= 2, `${asked}`);
      assert.deepEqual(states, ["connected"]);
    });

    test(`a token that is refused ends the client, which does not come again (${way})`, async (t) => {
      let asked = 0;
      const token = async () => {
        asked += 1;
        return (await mintToken()).slice(0, -4) + "AAAA";
      };
      const client = openClient(t, edge.ws, { ...options, token });
      const { code } = await next(client.subscribe(fresh()), "closed");
      assert.equal(code, "unauthenticated");
      assert.equal(client.state.error.code, "unauthenticated");
      await new Promise((done) => setTimeout(done, 300));
      assert.equal(asked, 1);
    });

    test(`a client whose token has expired comes back with a new one (${way})`, async (t) => {
      let asked = 0;
      // The first one expires before the client would replace it.
      const token = () => mintToken("--expires", (asked += 1) === 1 ? "2s" : "1h");
      const client = openClient(t, edge.ws, { ...options, token });
      const channel = fresh();
      const seen = [];
      await next(client.subscribe(channel, {}, ({ payload }) => seen.push(payload)), "subscribed");
      await nats.publish(channel, 1);
      await eventually(() => asked === 2 && client.state.name === "connected");
      await nats.publish(channel, 2);
      await eventually(() => seen.length === 2);
      assert.deepEqual(seen, [1, 2]);
    });
  }
});
