// The vectors that hold every implementation of the protocol together.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { json } from "../dist/codec.js";
import { msgpack } from "tailwater/msgpack";

const read = (file) => JSON.parse(readFileSync(new URL(`../../vectors/${file}.json`, import.meta.url), "utf8"));
const server = ["replies", "pushes", "errors", "payloads"].flatMap(read);
const commands = read("commands");

/** The vectors' form of bytes, as ours. */
function ours(value) {
  if (Array.isArray(value)) return value.map(ours);
  if (value === null || typeof value !== "object") return value;
  if ("$bin" in value) return new Uint8Array(Buffer.from(value.$bin, "base64"));
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, ours(inner)]));
}

/** MessagePack gives bytes as a view into the frame. */
const plain = (value) => (value instanceof Uint8Array ? new Uint8Array(value) : value);
const withPlainBytes = (message) => {
  const copy = { ...message };
  if ("payload" in copy) copy.payload = plain(copy.payload);
  copy.publications &&= copy.publications.map(withPlainBytes);
  return copy;
};

const frame = (hex) => new Uint8Array(Buffer.from(hex, "hex")).buffer;

test("every server message in JSON reads as its value", () => {
  assert.ok(server.length > 60);
  for (const { name, json: text, value, one_way } of server) {
    // The value of a one-way vector is what MessagePack leads to.
    if (!one_way) assert.deepEqual(json.decode(text), ours(value), name);
    else assert.equal(json.decode(text).type, value.type, name);
  }
});

test("every server message in MessagePack reads as its value", () => {
  for (const { name, msgpack_hex, value } of server) {
    assert.deepEqual(withPlainBytes(msgpack.decode(frame(msgpack_hex))), ours(value), name);
  }
});

test("every command is written in JSON as the server reads it", () => {
  for (const { name, json: text, value } of commands) {
    assert.deepEqual(JSON.parse(json.encode(ours(value))), JSON.parse(text), name);
  }
});

test("every command is written in MessagePack byte for byte", () => {
  for (const { name, msgpack_hex, value } of commands) {
    assert.equal(Buffer.from(msgpack.encode(ours(value))).toString("hex"), msgpack_hex, name);
  }
});

test("what is undefined does not travel", () => {
  const command = { type: "subscribe", channel: "a", since: undefined, latest: undefined };
  assert.equal(json.encode(command), '{"type":"subscribe","channel":"a"}');
  assert.deepEqual(msgpack.decode(msgpack.encode(command)), { type: "subscribe", channel: "a" });
});
