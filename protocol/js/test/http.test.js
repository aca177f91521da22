// Against the real edge and NATS: what is particular to event streams and polls.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { polling, sse } from "tailwater/http";
import { PRICES, startAll, startSecondEdge } from "./support/edge.js";
import { startHttpProxy } from "./support/http-proxy.js";
import { eventually, freshName, next, openClient } from "./support/index.js";

const { dev, edge, nats } = await startAll(PRICES);

const fresh = (name) => `deployments.${freshName(name)}`;
const upTo = (count) => Array.from({ length: count }, (_, index) => index + 1);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

for (const [way, transport] of Object.entries({ sse, polling })) {
  describe(way, { concurrency: 4 }, () => {
    async function open(t, options) {
      const proxy = await startHttpProxy(edge.ws);
      t.after(() => proxy.stop());
      const client = openClient(t, proxy.url, { transport, ...options });
      const path = way === "sse" ? "GET /sse" : "GET /poll";
      return { proxy, client, receiving: () => proxy.requests.filter((request) => request.startsWith(path)) };
    }

    test("many subscriptions that begin together are one request", async (t) => {
      const { client, receiving } = await open(t);
      const prefix = fresh("many");
      const seen = [];
      const standing = upTo(40).map((number) =>
        next(client.subscribe(`${prefix}.${number}`, {}, ({ payload }) => seen.push(payload)), "subscribed"),
      );
      await Promise.all(standing);
      assert.equal(receiving().filter((request) => !request.includes("wait=25")).length, 1, `${receiving()}`);
      for (const number of upTo(40)) await nats.publish(`${prefix}.${number}`, number);
      await eventually(() => seen.length === 40);
      assert.deepEqual(seen.sort((a, b) => a - b), upTo(40));
    });

    test("channels come and go while others run, which lose and double nothing", async (t) => {
      const { client } = await open(t);
      const steady = fresh("steady");
      const seen = [];
      const losses = [];
      const subscription = client.subscribe(steady, {}, ({ payload }) => seen.push(payload));
      subscription.on("lost", (lost) => losses.push(lost));
      await next(subscription, "subscribed");
      let sent = 0;
      for (let round = 0; round < 12; round += 1) {
        await nats.publish(steady, (sent += 1), (sent += 1));
        const other = client.subscribe(fresh("other"), { since: "beginning" }, () => {});
        await nats.publish(steady, (sent += 1));
        if (round % 3) await next(other, "subscribed");
        if (round % 2) other.close();
      }
      await nats.publish(steady, (sent += 1));
      await eventually(() => seen.length >= sent);
      assert.deepEqual(seen, upTo(sent));
      assert.deepEqual(losses, []);
    });

    test("commands go out in order, bytes as bytes, and a slow answer holds up no other", async (t) => {
      const { client } = await open(t);
      const channel = fresh("order");
      const seen = [];
      await next(client.subscribe(channel, {}, ({ payload }) => seen.push(payload)), "subscribed");
      const service = nats.connection.subscribe("prices.slow");
      t.after(() => service.unsubscribe());
      const slow = client.request("prices.slow", { item: 17 });
      const published = await Promise.all(upTo(200).map((number) => client.publish(channel, number)));
      assert.deepEqual(published.map(({ offset }) => offset), [...published.map(({ offset }) => offset)].sort((a, b) => a - b));
      await client.publish(channel, new Uint8Array([0, 255]));
      await eventually(() => seen.length === 201);
      assert.deepEqual(seen, [...upTo(200), new Uint8Array([0, 255])]);
      for await (const message of service) {
        message.respond(JSON.stringify({ amount: 3 }));
        break;
      }
      assert.deepEqual(await slow, { amount: 3 });
      await assert.rejects(client.request("prices.nobody", 1), { code: "no_responders" });
    });

    test("a client that subscribes to nothing can publish and ask", async (t) => {
      const { client, receiving } = await open(t);
      const channel = fresh("asked");
      await client.publish(channel, "a");
      await client.publish(channel, "b");
      assert.deepEqual((await client.history(channel)).publications.map(({ payload }) => payload), ["b", "a"]);
      assert.deepEqual([client.state.name, client.state.transport], ["connected", way]);
      assert.deepEqual(receiving(), []);
    });

    test("latest gives the last value of each subject, and none where there is none", async (t) => {
      const { client } = await open(t);
      const prefix = fresh("latest");
      const large = "x".repeat(2_000);
      for (const subject of upTo(60)) await nats.publish(`${prefix}.${subject}`, 1, `${subject} ${large}`);
      const all = await client.latest(`${prefix}.*`);
      assert.deepEqual(all.map(({ payload }) => Number(payload.split(" ")[0])).sort((a, b) => a - b), upTo(60));
      assert.deepEqual(await client.latest(`${prefix}.nothing`), []);
      const seen = [];
      client.subscribe(`${prefix}.1`, { latest: true }, ({ payload }) => seen.push(payload));
      await eventually(() => seen.length === 1);
      await nats.publish(`${prefix}.1`, "new");
      await eventually(() => seen.length === 2);
    });

    test("a start that cannot be understood, and a channel that is not there, end alone", async (t) => {
      const { client } = await open(t);
      const good = client.subscribe(fresh("good"));
      const closed = await Promise.all([
        next(client.subscribe("nowhere.x"), "closed"),
        next(client.subscribe("chat.room", { since: "beginning" }), "closed"),
      ]);
      assert.deepEqual(closed.map(({ code }) => code), ["no_such_channel", "not_durable"]);
      await eventually(() => client.state.name === "connected");
      for (const start of [{ since: { time: "yesterday" } }, { since: "beginning", latest: true }]) {
        const { code } = await next(client.subscribe(fresh("start"), start), "closed");
        assert.ok(["bad_message", "bad_cursor"].includes(code), code);
      }
      const next1 = good[Symbol.asyncIterator]().next();
      await nats.publish(good.channel, 1);
      assert.equal((await next1).value.payload, 1);
    });

    test("a client that begins with a start that cannot be understood goes on with the others", async (t) => {
      for (const others of [0, 1]) {
        const { client } = await open(t);
        const bad = next(client.subscribe(fresh("bad"), { since: { time: "yesterday" } }), "closed");
        // They were in the same request, and the error names the one.
        const too = upTo(others).map(() => next(client.subscribe(fresh("too")), "subscribed"));
        const { code } = await bad;
        assert.ok(["bad_message", "bad_cursor"].includes(code), code);
        await Promise.all(too);
        await next(client.subscribe(fresh("good")), "subscribed");
      }
    });

    test("channels that are too many for one request end, and the others go on", async (t) => {
      const { client } = await open(t);
      const prefix = `${fresh("long")}.${"x".repeat(150)}`;
      const seen = [];
      const subscribe = (number) => client.subscribe(`${prefix}.${number}`, {}, ({ payload }) => seen.push(payload));
      await Promise.all(upTo(40).map((number) => next(subscribe(number), "subscribed")));
      const more = upTo(60).map((number) => next(subscribe(100 + number), "closed"));
      assert.deepEqual([...new Set((await Promise.all(more)).map(({ code }) => code))], ["limit"]);
      await nats.publish(`${prefix}.1`, 1);
      await eventually(() => seen.length === 1);
    });

    test("who reads slowly misses nothing", async (t) => {
      const { client } = await open(t);
      const channel = fresh("slow");
      await nats.publish(channel, ...upTo(3_000));
      const seen = [];
      for await (const { payload } of client.subscribe(channel, { since: "beginning", bound: 100 })) {
        seen.push(payload);
        if (seen.length === 3_000) break;
        if (seen.length % 500 === 0) await pause(20);
      }
      assert.deepEqual(seen, upTo(3_000));
    });

    test("of a live channel it is told what may have been missed", async (t) => {
      const { client } = await open(t);
      const channel = `chat.${freshName("room")}`;
      const items = [];
      const subscription = client.subscribe(channel, {}, ({ payload }) => items.push(payload));
      subscription.on("lost", ({ reason }) => items.push(reason));
      await next(subscription, "subscribed");
      await next(client.subscribe(fresh("other")), "subscribed");
      await eventually(() => items.length === 1);
      await eventually(async () => {
        await nats.publish(channel, "seen");
        return items.includes("seen");
      });
      assert.equal(items[0], "disconnected");
    });

    test("an answer that the server puts off is waited for as long as it says", async (t) => {
      const strict = await startSecondEdge(dev.nats, "127.0.0.1:0", {
        TAILWATER_LIMITS__HANDSHAKES_PER_ADDRESS_PER_SEC: "1",
        TAILWATER_LIMITS__BURST_SECS: "1",
      });
      t.after(() => strict.stop());
      const states = [];
      const clients = upTo(3).map(() => openClient(t, strict.ws, { transport }));
      for (const client of clients) {
        client.on("state", (state) => states.push(state));
      }
      await Promise.all(clients.map((client) => next(client.subscribe(fresh("late")), "subscribed")));
      const waits = states.filter(({ name }) => name === "waiting").map(({ delayMs }) => delayMs);
      assert.ok(waits.length && waits.every((delayMs) => delayMs >= 900), `${waits}`);
    });
  });
}

test("where a server serves streams only, commands fail and streams go on", async (t) => {
  const streams = await startSecondEdge(dev.nats, "127.0.0.1:0", { TAILWATER_HTTP__TRANSPORTS: "sse" });
  t.after(() => streams.stop());
  const client = openClient(t, streams.ws, { transport: sse });
  const channel = fresh("only");
  const seen = [];
  await next(client.subscribe(channel, {}, ({ payload }) => seen.push(payload)), "subscribed");
  await assert.rejects(client.publish(channel, 1), { code: "unknown_type" });
  await nats.publish(channel, 2);
  await eventually(() => seen.length === 1);
  assert.equal(client.state.name, "connected");
});

test("a message that is too large for the server is refused alone, whatever carries it", async (t) => {
  for (const options of [{}, { transport: sse }, { transport: polling }]) {
    const client = openClient(t, edge.ws, options);
    const channel = fresh("large");
    const seen = [];
    await next(client.subscribe(channel, {}, ({ payload }) => seen.push(payload)), "subscribed");
    await assert.rejects(client.publish(channel, "x".repeat(70_000)), { code: "too_large" });
    await client.publish(channel, "small");
    await eventually(() => seen.length === 1);
  }
});
