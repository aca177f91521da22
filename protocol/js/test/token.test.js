// How a client says who it is, and stays it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TailwaterError } from "tailwater";
import { refreshInMs } from "../dist/token.js";
import { connected, startFakeServer } from "./support/fake-server.js";
import { eventually, openClient } from "./support/index.js";

/** A server that lets anonymous clients in first, as one with anonymous namespaces does. */
async function open(t, { answer, ...clientOptions }) {
  const server = await startFakeServer({ answer });
  t.after(() => server.stop());
  let asked = 0;
  const token = () => Promise.resolve(`token-${(asked += 1)}`);
  const client = openClient(t, server.url, { token, ...clientOptions });
  return { server, client, asked: () => asked };
}

const accept = (more) => (command) =>
  command.type === "connect" ? connected(25_000, { user: "ann", ...more }) : undefined;
const refuse = (code, more) => (command) =>
  command.type === "connect" ? { type: "error", code, message: "no", ...more } : undefined;

test("the token is the first message, and nothing is said before it is accepted", async (t) => {
  const { server, client } = await open(t, { answer: accept(), client: "test/1" });
  const names = [];
  client.on("state", ({ name, user }) => names.push([name, user]));
  await client.publish("a", 1);
  const [first, second] = server.last.commands;
  assert.deepEqual(first, { type: "connect", id: 0, token: "token-1", client: "test/1" });
  assert.equal(second.type, "publish");
  assert.deepEqual(names, [["connected", "ann"]]);
  assert.doesNotMatch(server.last.request.url + server.last.request.headers["sec-websocket-protocol"], /token/);
});

test("where it is asked for, the token travels in the handshake", async (t) => {
  const inUrl = await open(t, { tokenIn: "query" });
  await eventually(() => inUrl.client.state.name === "connected");
  assert.equal(inUrl.server.last.request.url, "/ws?token=token-1");
  const asProtocol = await open(t, { tokenIn: "subprotocol" });
  await eventually(() => asProtocol.client.state.name === "connected");
  assert.equal(asProtocol.server.last.request.headers["sec-websocket-protocol"], "tailwater.v1.json,tailwater.bearer.token-1");
  assert.deepEqual(asProtocol.server.last.commands, []);
});

test("a token that is refused ends it, and is not tried again", async (t) => {
  for (const code of ["unauthenticated", "forbidden"]) {
    const { server, client, asked } = await open(t, { answer: refuse(code) });
    await assert.rejects(client.publish("a", 1), { code });
    assert.equal(client.state.error.code, code);
    assert.equal(server.connections.length, 1);
    assert.equal(asked(), 1);
  }
});

test("when the keys cannot be had, the client comes back when the server said", async (t) => {
  const { server, asked } = await open(t, { answer: refuse("unavailable", { retry_after_ms: 120 }) });
  await eventually(() => server.connections.length === 2);
  assert.ok(server.connections[1].openedAt - server.connections[0].openedAt >= 110);
  assert.ok(asked() >= 2);
});

test("after a session has expired the client comes with a new token", async (t) => {
  const { server, client } = await open(t, { answer: accept() });
  await eventually(() => client.state.name === "connected");
  server.last.socket.close(4401);
  await eventually(() => server.connections.length === 2 && server.last.commands.length === 1);
  assert.equal(server.last.commands[0].token, "token-2");
});

test("when the server says that the token has expired, a new one is sent on the same connection", async (t) => {
  const { server, client } = await open(t, { answer: accept() });
  await eventually(() => client.state.name === "connected");
  server.last.send({ type: "error", code: "token_expired", message: "the token has expired" });
  await eventually(() => server.last.commands.some(({ type, token }) => type === "refresh" && token === "token-2"));
  await client.publish("a", 1);
  assert.equal(server.connections.length, 1);
});

test("a refresh that fails for a while is repeated; one that is refused ends it", async (t) => {
  let times = 0;
  const answer = (command) => {
    if (command.type !== "refresh") return accept()(command);
    times += 1;
    return { type: "error", code: times === 1 ? "unavailable" : "unauthenticated", message: "no" };
  };
  const { server, client } = await open(t, { answer });
  await eventually(() => client.state.name === "connected");
  server.last.send({ type: "error", code: "token_expired", message: "the token has expired" });
  await eventually(() => client.state.name === "closed");
  assert.equal(times, 2);
  assert.equal(client.state.error.code, "unauthenticated");
});

test("a token is replaced half a minute before it expires, never more often than every 5 s", () => {
  const inMs = (ms) => new Date(Date.now() + ms).toISOString();
  const near = (actual, expected) => assert.ok(Math.abs(actual - expected) < 1_000, `${actual} is not ${expected}`);
  near(refreshInMs(inMs(600_000)), 570_000);
  near(refreshInMs(inMs(20_000)), 5_000);
  near(refreshInMs(inMs(-1e9)), 5_000);
  near(refreshInMs(inMs(1e12)), 2 ** 31 - 1);
  near(refreshInMs("soon"), 5_000);
});

test("a token that expires is replaced on the live connection", async (t) => {
  const expires_at = new Date(Date.now() + 6_000).toISOString();
  const { server, client } = await open(t, { answer: accept({ expires_at }) });
  await eventually(() => server.last?.commands.some(({ type }) => type === "refresh"));
  assert.equal(client.state.name, "connected");
  assert.equal(server.connections.length, 1);
});

test("a token function that fails is called again, with back-off; one that knows better ends it", async (t) => {
  let times = 0;
  const token = () => {
    times += 1;
    if (times < 4) throw new TypeError("fetch failed");
    throw new TailwaterError("unauthenticated", "signed out");
  };
  const { server, client } = await open(t, { token });
  await eventually(() => client.state.name === "closed");
  assert.equal(times, 4);
  assert.equal(client.state.error.message, "signed out");
  assert.equal(server.connections.length, 0);
});
