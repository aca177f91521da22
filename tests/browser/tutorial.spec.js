// The client of every WebSocket tutorial, unchanged, against a publish by a NATS client that is not ours.

import WebSocket from "ws";
import { expect, freshName, openPlainPage, test } from "./fixtures.js";

test.use({ bypassCSP: true }); // the tutorial has its script inside the page

const LIVE = { id: 7, state: "live" };

const tutorialPage = (url) => `<!doctype html><title>tutorial</title><script>
  window.received = [];
  const socket = new WebSocket(${JSON.stringify(url)});
  socket.onopen = () => {
    socket.send(JSON.stringify({"type":"subscribe","channel":"deployments"}));
  };
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    window.received.push(message);
  };
</script>`;

const ofType = (messages, type) => messages.filter((message) => message.type === type);

test("the tutorial client in a page receives what a NATS client publishes", async ({ page, server, nats }) => {
  await openPlainPage(page, server, tutorialPage(server.ws));
  const received = () => page.evaluate(() => window.received);

  await expect.poll(async () => ofType(await received(), "subscribed").length).toBe(1);
  await nats.publish("deployments", '{"id":7,"state":"live"}');
  await expect.poll(async () => ofType(await received(), "update").length).toBe(1);

  const messages = await received();
  expect(messages[0]).toMatchObject({ type: "connected", message: "Welcome!" });
  expect(ofType(messages, "update")[0]).toMatchObject({ type: "update", channel: "deployments", payload: LIVE });
});

test("the same client on Node's ws receives it too", async ({ server, nats }) => {
  const messages = [];
  const socket = new WebSocket(server.ws);
  socket.on("open", () => socket.send(JSON.stringify({ type: "subscribe", channel: "deployments" })));
  socket.on("message", (data) => messages.push(JSON.parse(data)));

  await expect.poll(() => ofType(messages, "subscribed").length).toBe(1);
  await nats.publish("deployments", '{"id":7,"state":"live"}');
  await expect.poll(() => ofType(messages, "update").length).toBe(1);

  expect(messages[0]).toMatchObject({ type: "connected", message: "Welcome!" });
  expect(ofType(messages, "update")[0]).toMatchObject({ type: "update", channel: "deployments", payload: LIVE });
  socket.close();
});

test("a client that asks for tailwater.v1.json is answered with it", async ({ server }) => {
  const socket = new WebSocket(server.ws, ["tailwater.v1.json"]);
  await expect.poll(() => socket.readyState).toBe(WebSocket.OPEN);
  expect(socket.protocol).toBe("tailwater.v1.json");
  socket.close();
});

test("an update by a wildcard subscription names its subject", async ({ server, nats }) => {
  const id = freshName("x");
  const messages = [];
  const socket = new WebSocket(server.ws);
  socket.on("open", () => socket.send(JSON.stringify({ type: "subscribe", channel: `metrics.*.${id}`, id: 1 })));
  socket.on("message", (data) => messages.push(JSON.parse(data)));

  await expect.poll(() => ofType(messages, "subscribed").length).toBe(1);
  await nats.publish(`metrics.web.${id}`, { cpu: 0.5 });
  await expect.poll(() => ofType(messages, "update")).toEqual([
    expect.objectContaining({ channel: `metrics.*.${id}`, subject: `metrics.web.${id}`, payload: { cpu: 0.5 } }),
  ]);
  socket.close();
});
