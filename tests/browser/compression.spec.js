// Clients that are not ours agree to compression and read what comes of it: a browser, and Node's `ws`. What goes over the
// wire is watched by a proxy between them and the server.

import { createServer, connect as dial } from "node:net";
import WebSocket from "ws";
import { expect, freshName, openPlainPage, test as base } from "./fixtures.js";
import { startServer } from "./server.js";

const NAMESPACE = { TAILWATER_NAMESPACE__PACKED__CHANNELS: "packed.>", TAILWATER_NAMESPACE__PACKED__ANONYMOUS: "true", TAILWATER_NAMESPACE__PACKED__PUBLISH: "true", TAILWATER_NAMESPACE__PACKED__COMPRESS: "true" };

const test = base.extend({
  server: [async ({}, use) => {
    const server = await startServer({ settings: NAMESPACE });
    await use(server);
    await server.stop();
  }, { scope: "worker", timeout: 150_000 }],

  /** Passes bytes on: `url` to connect to, and `fromServer` and `fromClient`, the heads and frames of all connections. */
  wire: async ({ server }, use) => {
    const { hostname, port, pathname } = new URL(server.ws);
    const directions = { fromServer: [], fromClient: [] };
    const sockets = new Set();
    const listener = createServer((client) => {
      const upstream = dial(Number(port), hostname);
      for (const [from, to, seen] of [[client, upstream, directions.fromClient], [upstream, client, directions.fromServer]]) {
        sockets.add(from);
        const chunks = [];
        seen.push(chunks);
        from.on("data", (chunk) => (chunks.push(chunk), to.write(chunk)));
        from.on("end", () => to.end());
        from.on("error", () => to.destroy());
      }
    });
    await new Promise((done) => listener.listen(0, "127.0.0.1", done));
    await use({
      url: `ws://127.0.0.1:${listener.address().port}${pathname}`,
      fromServer: () => directions.fromServer.map(framesOf),
      fromClient: () => directions.fromClient.map(framesOf),
    });
    for (const socket of sockets) socket.destroy();
    listener.close();
  },
});

/** The head of a connection's one direction, and its frames: the first byte and the length of each. */
function framesOf(chunks) {
  const bytes = Buffer.concat(chunks);
  const end = bytes.indexOf("\r\n\r\n") + 4;
  const frames = [];
  for (let at = end; at + 2 <= bytes.length;) {
    const [first, second] = bytes.subarray(at);
    const short = second & 0x7f;
    const extended = { 126: 2, 127: 8 }[short] ?? 0;
    if (at + 2 + extended > bytes.length) break;
    const length = extended === 2 ? bytes.readUInt16BE(at + 2) : extended === 8 ? Number(bytes.readBigUInt64BE(at + 2)) : short;
    frames.push({ first, length });
    at += 2 + extended + (second & 0x80 ? 4 : 0) + length;
  }
  return { head: bytes.subarray(0, end).toString(), frames };
}

const DEFLATED_TEXT = 0xc1;
const isCompressed = ({ first }) => first === DEFLATED_TEXT;
const text = (number) => `${number}: ${"compressible ".repeat(100)}`;

test.use({ bypassCSP: true });

test("a browser reads compressed publications, and what it compresses is read", async ({ page, server, nats, wire }) => {
  const channel = `packed.${freshName("browser")}`;
  const script = `
    const socket = new WebSocket("${wire.url}");
    socket.onmessage = (event) => console.log(event.data);
    socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", channel: "${channel}" }));`;
  const printed = [];
  page.on("console", (message) => message.type() === "log" && printed.push(JSON.parse(message.text())));
  await openPlainPage(page, server, `<!doctype html><title>compression</title><script>${script}</script>`);
  await expect.poll(() => printed.map(({ type }) => type)).toEqual(["connected", "subscribed"]);
  for (let number = 0; number < 50; number += 1) await nats.publish(channel, JSON.stringify(text(number)));
  await nats.publish(channel, '"short"');
  await page.evaluate((command) => socket.send(command), JSON.stringify({ type: "publish", id: 9, channel, payload: text(50) }));
  await expect.poll(() => printed.length).toBe(2 + 50 + 1 + 2);
  const payloads = printed.filter(({ type }) => type === "update").map(({ payload }) => payload);
  const numbers = Array.from({ length: 50 }, (_, number) => text(number));
  expect(payloads).toEqual([...numbers, "short", text(50)]);
  expect(printed.filter(({ type }) => type === "published")).toHaveLength(1);

  const [client] = wire.fromClient().filter(({ head }) => head.includes("Upgrade"));
  const [fromServer] = wire.fromServer().filter(({ head }) => head.startsWith("HTTP/1.1 101"));
  expect(client.head).toContain("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits");
  expect(fromServer.head.toLowerCase()).toContain("sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n");
  const compressed = fromServer.frames.filter(isCompressed);
  expect(compressed).toHaveLength(51);
  expect(Math.max(...compressed.map(({ length }) => length))).toBeLessThan(250);
  expect(client.frames.some(isCompressed), "the browser compresses too").toBe(true);
});

for (const perMessageDeflate of [{ threshold: 0 }, { threshold: 0, clientNoContextTakeover: true, serverNoContextTakeover: true }, { threshold: 0, serverMaxWindowBits: 15 }, { threshold: 0, serverMaxWindowBits: 9 }, false]) {
  test(`Node's ws gets every publication with ${JSON.stringify(perMessageDeflate)}`, async ({ nats, wire }) => {
    const channel = `packed.${freshName("node")}`;
    const agrees = perMessageDeflate !== false && perMessageDeflate.serverMaxWindowBits !== 9;
    const socket = new WebSocket(wire.url, { perMessageDeflate });
    const messages = [];
    socket.on("message", (data) => messages.push(JSON.parse(data)));
    await new Promise((done, fail) => socket.once("open", done).once("error", fail));
    expect(socket.extensions).toBe(agrees ? "permessage-deflate" : "");
    socket.send(JSON.stringify({ type: "subscribe", channel }));
    await expect.poll(() => messages.length).toBe(2);
    for (let number = 0; number < 50; number += 1) await nats.publish(channel, JSON.stringify(text(number)));
    // In fragments, all of them compressed as one message.
    const command = JSON.stringify({ type: "publish", channel, payload: text(50) });
    socket.send(command.slice(0, 100), { fin: false });
    socket.send(command.slice(100));
    await expect.poll(() => messages.filter(({ type }) => type === "update").length).toBe(51);
    const payloads = messages.filter(({ type }) => type === "update").map(({ payload }) => payload);
    expect(payloads).toEqual(Array.from({ length: 51 }, (_, number) => text(number)));
    const closed = new Promise((done) => socket.once("close", done));
    socket.close(1000);
    expect(await closed).toBe(1000);
    expect(wire.fromServer()[0].frames.filter(isCompressed)).toHaveLength(agrees ? 51 : 0);
    expect(wire.fromClient()[0].frames.some(({ first }) => (first & 0x40) !== 0)).toBe(agrees);
  });
}
