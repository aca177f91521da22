// The parser of event streams, and how far the channels of a link over HTTP have come. No server.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createEventParser } from "../dist/event-stream.js";
import { createHttpChannels } from "../dist/http-channels.js";

const encoder = new TextEncoder();

/** What a stream says when its bytes come in these pieces. */
function parse(pieces) {
  const parser = createEventParser();
  const decoder = new TextDecoder();
  return pieces.flatMap((piece) => parser.push(decoder.decode(piece, { stream: true })));
}

const event = (data, retryMs) => ({ data, retryMs });

const STREAM = [
  "\ufeff: a comment\n\n",
  "retry: 2000\n\n",
  "data: {\"text\":\"käse 🧀\"}\n\n",
  "id: 7-0.1\r\ndata:no space\r\n\r\n",
  "data: one\rdata:  two\rdata\r\r",
  ":\n\n",
  "id: 7-0.2\n\n",
  "event: x\nretry: soon\nretry: 300\ndata: {\"type\":\"close\"}\n\n",
  "data: unfinished",
].join("");
const EXPECTED = [
  event(undefined, 2_000),
  event('{"text":"käse 🧀"}', undefined),
  event("no space", undefined),
  event("one\n two\n", undefined),
  event('{"type":"close"}', 300),
];

test("a stream says the same however its bytes are cut", () => {
  const bytes = encoder.encode(STREAM);
  assert.deepEqual(parse([bytes]), EXPECTED);
  for (let first = 0; first <= bytes.length; first += 1) {
    for (let second = first; second <= Math.min(bytes.length, first + 24); second += 1) {
      const pieces = [bytes.slice(0, first), bytes.slice(first, second), bytes.slice(second)];
      assert.deepEqual(parse(pieces), EXPECTED, `${first}, ${second}`);
    }
  }
  assert.deepEqual(parse(Array.from(bytes, (byte) => Uint8Array.of(byte))), EXPECTED);
});

test("any lines, with any ends, cut anywhere, say what they say as a whole", () => {
  let seed = 7;
  const below = (bound) => (seed = (seed * 48_271) % 2_147_483_647) % bound;
  const lines = ["data: a", "data:b: c", "data", ": x", "id: 1", "retry: 5", "", "", "", "datax: y", "däta: z", ":", "data:\ud83e\uddc0"];
  for (let round = 0; round < 300; round += 1) {
    let text = "";
    const blocks = [];
    for (let count = below(30); count >= 0; count -= 1) {
      const line = lines[below(lines.length)];
      blocks.push(line);
      text += line + ["\n", "\r\n", "\r"][below(3)];
    }
    // A CR in front of a LF that was meant as another end is one end: only the number of empty lines differs.
    const expected = parse([encoder.encode(text)]);
    const data = (events) => events.map((one) => one.data).filter((one) => one !== undefined).join("|");
    const plain = parse([encoder.encode(`${blocks.join("\n")}\n`)]);
    assert.ok(data(plain).startsWith(data(expected)) || text.includes("\r\n"), text);
    const bytes = encoder.encode(text);
    const pieces = [];
    for (let from = 0; from < bytes.length; ) {
      const length = 1 + below(5);
      pieces.push(bytes.slice(from, from + length));
      from += length;
    }
    assert.deepEqual(parse(pieces), expected, JSON.stringify(text));
  }
});

test("a line of many pieces takes no longer than its length", () => {
  const parser = createEventParser();
  parser.push("data: ");
  const piece = "x".repeat(64);
  const began = performance.now();
  for (let count = 0; count < 100_000; count += 1) parser.push(piece);
  const [{ data }] = parser.push("\n\n");
  assert.equal(data.length, 6_400_000);
  assert.ok(performance.now() - began < 5_000);
});

function channels(losesOnce = false) {
  const told = [];
  const all = createHttpChannels((message) => told.push(message), losesOnce);
  let id = 0;
  return {
    all,
    told,
    subscribe: (channel, start) => all.subscribe({ type: "subscribe", id: (id += 1), channel, ...start }),
    query: () => decodeURIComponent(all.query().toString()),
  };
}
const durable = (channel, offset, epoch = "7-0", more) => ({ type: "subscribed", channel, durable: true, offset, epoch, ...more });
const update = (channel, offset, subject) => ({ type: "update", channel, payload: 0, offset, ...(subject && { subject }) });

test("a query asks for each channel from where it has come to", () => {
  const { all, subscribe, query, told } = channels();
  subscribe("a.b", { since: "beginning" });
  subscribe("a.*", { since: { last: 3 } });
  subscribe("c", {});
  subscribe("d", { latest: true });
  subscribe("e", { since: { time: "2026-01-02T03:04:05Z" } });
  subscribe("f", { since: { offset: 5, epoch: "6.1-0" } });
  assert.equal(
    query(),
    "channel=a.b&since=beginning&channel=a.*&since=last:3&channel=c&channel=d&latest=true&channel=e&since=2026-01-02T03:04:05Z&channel=f&since=6.1-0.5",
  );
  all.take(durable("a.b", 0));
  all.take(update("a.b", 9));
  all.take(durable("a.*", 4));
  all.take(update("a.*", 9, "a.x"));
  all.take({ type: "subscribed", channel: "c", durable: false });
  all.take(durable("d", 8));
  all.take(update("d", 8));
  all.take(durable("e", 2));
  all.take(durable("f", 5, "6.1-0", { recovered: true }));
  assert.equal(
    query(),
    "channel=a.b&since=7-0.9&channel=a.*&since=7-0.4&channel=c&channel=d&latest=true&channel=e&since=7-0.2&channel=f&since=6.1-0.5",
    "a pattern from its last position, and last values once more while they may not all be there",
  );
  for (const offset of [9, 12]) all.take({ type: "position", channel: "a.*", offset, epoch: "7-0" });
  assert.match(query(), /channel=a\.\*&since=7-0\.4/, "nothing counts before the channel stands on this request");
  all.take(durable("d", 8));
  all.take({ type: "position", channel: "d", offset: 8, epoch: "7-0" });
  assert.equal(all.awaitLatest(), false);
  assert.match(query(), /channel=d&since=7-0\.8/);
  assert.deepEqual(told.filter(({ type }) => type === "subscribed").map(({ id }) => id), [1, 2, 3, 4, 5, 6], "each told once");
});

test("what an old request still brings is not passed on", () => {
  const { all, subscribe, query, told } = channels();
  subscribe("a", {});
  query();
  all.take(update("a", 1));
  assert.deepEqual(told, []);
  all.take(durable("a", 1));
  all.take(update("a", 2));
  query();
  all.take(update("a", 3));
  all.unsubscribe("a");
  all.take(update("a", 4));
  assert.deepEqual(told.map(({ type, offset }) => [type, offset]), [["subscribed", 1], ["update", 2]]);
});

test("a channel that is begun again is not taken for begun by what the request before says of it", () => {
  const { all, subscribe, query, told } = channels();
  subscribe("a", {});
  query();
  all.unsubscribe("a");
  subscribe("a", { since: { offset: 3, epoch: "7-0" } });
  all.take(durable("a", 40));
  all.take(update("a", 41));
  assert.deepEqual(told, []);
  assert.equal(query(), "channel=a&since=7-0.3");
  all.take(durable("a", 3));
  all.take(update("a", 4));
  assert.deepEqual(told.map(({ type, offset }) => [type, offset]), [["subscribed", 3], ["update", 4]]);
});

test("of a live channel each gap is told on a stream, and the first one when polling", () => {
  for (const [losesOnce, expected] of [[false, 3], [true, 1]]) {
    const { all, subscribe, query, told } = channels(losesOnce);
    subscribe("a", {});
    for (let request = 0; request < 4; request += 1) {
      query();
      all.take({ type: "subscribed", channel: "a", durable: false });
    }
    assert.deepEqual(told.map(({ type }) => type), ["subscribed", ...Array(expected).fill("lost")]);
  }
});

test("after a change of epoch the client knows where it goes on", () => {
  const { all, subscribe, query, told } = channels();
  subscribe("a", {});
  query();
  all.take(durable("a", 40));
  query();
  all.take(durable("a", 0, "8-0", { recovered: false }));
  all.take({ type: "lost", channel: "a", reason: "epoch_changed" });
  all.take(update("a", 1));
  assert.deepEqual(told.slice(1).map(({ type, offset, epoch }) => [type, offset, epoch]), [
    ["lost", undefined, undefined],
    ["position", 0, "8-0"],
    ["update", 1, undefined],
  ]);
  assert.match(query(), /since=8-0\.1/);
});

test("a channel that is refused is taken out; one that stood and cannot be had just now is not", () => {
  const { all, subscribe, query, told } = channels();
  subscribe("a", {});
  subscribe("b", {});
  query();
  const error = (channel, code) => ({ type: "error", channel, code, message: "no" });
  assert.equal(all.take(error("a", "forbidden")), true);
  all.take(durable("b", 1));
  query();
  assert.equal(all.take(error("b", "unavailable")), false);
  assert.equal(all.take(error("b", "forbidden")), true);
  assert.equal(all.size, 0);
  assert.deepEqual(told.map(({ type, id, code }) => [type, id, code]), [
    ["error", 1, "forbidden"],
    ["subscribed", 2, undefined],
    ["unsubscribed", undefined, undefined],
  ]);
});

test("a request that is refused takes down what was new in it, and only the channel that it names", () => {
  const { all, subscribe, query, told } = channels();
  subscribe("a", {});
  query();
  all.take(durable("a", 1));
  assert.equal(all.refuse({ type: "error", code: "bad_message", message: "no" }), false);
  subscribe("b", { since: { time: "yesterday" } });
  subscribe("c", {});
  query();
  subscribe("d", {});
  assert.equal(all.refuse({ type: "error", code: "bad_message", message: "no", channel: "b" }), true);
  assert.equal(all.refuse({ type: "error", code: "bad_cursor", message: "no" }), true);
  assert.equal(query(), "channel=a&since=7-0.1&channel=d", "what was not asked for yet stays");
  assert.deepEqual(told.slice(1).map(({ id, channel }) => [id, channel]), [[2, "b"], [3, "c"]]);
});
