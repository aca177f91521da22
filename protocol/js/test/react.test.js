// The hooks in both Reacts, drawn by Chromium, against the real edge and, where it cannot be brought to it, a server
// that says what the test wants.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { TailwaterProvider, useChannel, useConnectionState, useLatest } from "tailwater/react";
import { startEdge } from "./support/edge.js";
import { startFakeServer } from "./support/fake-server.js";
import { eventually, freshName, openNats } from "./support/index.js";
import { startProxy } from "./support/proxy.js";
import { openApp, REACTS, startBrowser } from "./support/react-page.js";

let edge, nats, browser;
before(async () => {
  edge = await startEdge();
  nats = await openNats(edge.nats);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await nats?.close();
  await edge?.stop();
});

/** A test for each React. */
function reactTest(name, run) {
  for (const version of Object.keys(REACTS)) {
    test(`React ${version}: ${name}`, async (t) => {
      const { page, problems } = await openApp(t, browser, edge, version);
      await run({ t, page, problems, text: () => page.innerText("main") });
      assert.deepEqual(problems, []);
    });
  }
}

async function startFake(t, options) {
  const server = await startFakeServer(options);
  t.after(() => server.stop());
  return server;
}

const ofType = (connection, type) => connection.commands.filter((command) => command.type === type);

/** In the page: a component that shows what a hook gives, in a provider. */
const show = (page, url, hook, ...terms) =>
  page.evaluate(
    ({ url, hook, terms }) => {
      const { React, root, connect, TailwaterProvider } = app;
      const client = (window.client ??= connect(url, { backoff: { firstMs: 20, longestMs: 200 } }));
      window.renders = 0;
      function Shown() {
        const { updates, latest, value, lost, state, name, error } = app[hook](...terms);
        window.renders += 1;
        const payloads = updates?.map(({ payload }) => payload) ?? (latest && [...latest].map(([key, { payload }]) => [key, payload]));
        return JSON.stringify({ payloads, value, lost: lost?.map(({ reason }) => reason), state: state ?? name, error: error?.code });
      }
      root.render(React.createElement(TailwaterProvider, { client }, React.createElement(Shown)));
    },
    { url, hook, terms },
  );

reactTest("a list shows what is stored and what comes, and goes on where it was when the connection breaks", async ({ t, page, text }) => {
  const proxy = await startProxy(edge.ws);
  t.after(() => proxy.stop());
  const channel = `deployments.${freshName("list")}`;
  await nats.publish(channel, 1, 2);
  await show(page, proxy.url, "useChannel", channel, { since: "beginning" });
  await eventually(async () => (await text()) === '{"payloads":[1,2],"lost":[],"state":"live"}');

  proxy.refuse(true);
  proxy.kill();
  await eventually(async () => (await text()) === '{"payloads":[1,2],"lost":[],"state":"waiting"}');
  await nats.publish(channel, 3, 4);
  proxy.refuse(false);
  await eventually(async () => (await text()) === '{"payloads":[1,2,3,4],"lost":[],"state":"live"}');
});

reactTest("a burst of a thousand updates is drawn in a few frames, in order, and the newest are kept", async ({ page, text }) => {
  const channel = `deployments.${freshName("burst")}`;
  const numbers = Array.from({ length: 1_000 }, (_, number) => number);
  await show(page, edge.ws, "useChannel", channel, { limit: 10 });
  await eventually(async () => (await text()).includes("live"));
  await page.evaluate(() => (window.renders = 0));
  await nats.publish(channel, ...numbers);
  await eventually(async () => (await text()) === JSON.stringify({ payloads: numbers.slice(-10), lost: [], state: "live" }));
  const renders = await page.evaluate(() => window.renders);
  assert.ok(renders < 50, `${renders} renders`);
});

reactTest("where no frames are drawn, changes are shown all the same", async ({ page, text }) => {
  await page.evaluate(() => (window.requestAnimationFrame = () => 0));
  const channel = `deployments.${freshName("hidden")}`;
  const numbers = Array.from({ length: 3_500 }, (_, number) => number);
  await show(page, edge.ws, "useChannel", channel, { limit: 2_000 });
  await eventually(async () => (await text()).includes("live"));
  await nats.publish(channel, ...numbers);
  await eventually(async () => (await text()) === JSON.stringify({ payloads: numbers.slice(-2_000), lost: [], state: "live" }));
});

reactTest("the last value of each subject is kept, whatever was stored before", async ({ page, text }) => {
  const name = freshName("latest");
  const channel = `deployments.${name}.*`;
  await nats.publish(`deployments.${name}.a`, 1, 2);
  await nats.publish(`deployments.${name}.b`, 3);
  await show(page, edge.ws, "useLatest", channel);
  const shown = (...payloads) => JSON.stringify({ payloads: payloads.map(([last, payload]) => [`deployments.${name}.${last}`, payload]), lost: [], state: "live" });
  await eventually(async () => (await text()) === shown(["a", 2], ["b", 3]));
  await nats.publish(`deployments.${name}.c`, 4);
  await nats.publish(`deployments.${name}.a`, 5);
  await eventually(async () => (await text()) === shown(["a", 5], ["b", 3], ["c", 4]));
});

reactTest("the last values of a live channel are those that came", async ({ page, text }) => {
  const channel = `chat.${freshName("latest")}`;
  await show(page, edge.ws, "useLatest", channel);
  await eventually(async () => (await text()) === '{"payloads":[],"lost":[],"state":"live"}');
  await nats.publish(channel, 1, 2);
  await eventually(async () => (await text()) === JSON.stringify({ payloads: [[channel, 2]], lost: [], state: "live" }));
});

reactTest("a subject that the stream dropped leaves, and beyond the limit the first seen", async ({ t, page, text }) => {
  const server = await startFake(t, {});
  await show(page, server.url, "useLatest", "a.*", { limit: 2 });
  await eventually(async () => (await text()).includes("live"));
  const update = (subject, payload, more) => server.last.send({ type: "update", channel: "a.*", subject, payload, ...more });
  for (const subject of ["a.1", "a.2", "a.3"]) update(subject, 0);
  await eventually(async () => (await text()).includes('[["a.2",0],["a.3",0]]'));
  update("a.2", "", { deleted: "purge" });
  await eventually(async () => (await text()).includes('[["a.3",0]]'));
});

reactTest("StrictMode subscribes once, and an unmount unsubscribes", async ({ t, page, text }) => {
  const server = await startFake(t, {});
  await page.evaluate((url) => {
    const { React, root, connect, TailwaterProvider, useChannel } = app;
    const client = connect(url);
    const Shown = () => useChannel("a.b", { since: "beginning" }).state;
    window.render = (mounted) => {
      const inside = React.createElement(TailwaterProvider, { client }, mounted && React.createElement(Shown));
      root.render(React.createElement(React.StrictMode, null, inside));
    };
    // Once while it connects, once on a connection that stands.
    window.render(true);
  }, server.url);
  await eventually(async () => (await text()) === "live");
  for (const times of [1, 2]) {
    assert.equal(ofType(server.last, "subscribe").length, times);
    assert.equal(ofType(server.last, "unsubscribe").length, times - 1);
    await page.evaluate(() => window.render(false));
    await eventually(() => ofType(server.last, "unsubscribe").length === times);
    if (times === 2) break;
    await page.evaluate(() => window.render(true));
    await eventually(async () => (await text()) === "live");
  }
  assert.equal(server.connections.length, 1);
});

reactTest("components that ask for the same share one subscription, and who comes later sees what is there", async ({ t, page, text }) => {
  const server = await startFake(t, {});
  await page.evaluate((url) => {
    const { React, root, connect, TailwaterProvider, useChannel } = app;
    const client = connect(url);
    const List = () => `${JSON.stringify(useChannel("a.b", { since: "beginning" }).updates.map(({ payload }) => payload))} `;
    window.render = (lists) =>
      root.render(React.createElement(TailwaterProvider, { client }, ...lists.map((key) => React.createElement(List, { key }))));
    window.render(["one", "two"]);
  }, server.url);
  await eventually(() => ofType(server.last ?? { commands: [] }, "subscribe").length === 1);
  server.last.send({ type: "update", channel: "a.b", payload: 1 });
  await eventually(async () => (await text()).trim() === "[1] [1]");
  await page.evaluate(() => window.render(["two", "three"]));
  await eventually(async () => (await text()).trim() === "[1] [1]");
  assert.deepEqual(server.last.commands.map(({ type }) => type), ["subscribe"]);
});

reactTest("a reducer gets updates and losses in order, and what it throws reaches the error boundary", async ({ t, page, problems, text }) => {
  const server = await startFake(t, {});
  await page.evaluate((url) => {
    const { React, root, connect, TailwaterProvider, useChannelReducer } = app;
    const client = connect(url);
    class Boundary extends React.Component {
      state = {};
      static getDerivedStateFromError = (error) => ({ error });
      render = () => this.state.error?.message ?? this.props.children;
    }
    function Reduced() {
      const reduce = (words, item) => {
        if (item.payload === "bad") throw new Error("cannot reduce");
        return `${words} ${item.payload ?? item.reason}`;
      };
      const { value, state } = useChannelReducer("a.b", reduce, "so far:");
      return `${state} ${value}`;
    }
    root.render(React.createElement(TailwaterProvider, { client }, React.createElement(Boundary, null, React.createElement(Reduced))));
  }, server.url);
  await eventually(async () => (await text()) === "live so far:");
  const { last } = server;
  last.send({ type: "update", channel: "a.b", payload: 1 });
  last.send({ type: "lost", channel: "a.b", count: 3, reason: "edge_overloaded" });
  last.send({ type: "update", channel: "a.b", payload: 5 });
  await eventually(async () => (await text()) === "live so far: 1 edge_overloaded 5");
  last.send({ type: "update", channel: "a.b", payload: "bad" });
  await eventually(async () => (await text()) === "cannot reduce");
  await eventually(() => ofType(last, "unsubscribe").length === 1);
  // React reports what a boundary has caught.
  problems.length = 0;
});

reactTest("the list of a stream that began anew begins anew", async ({ t, page, text }) => {
  const server = await startFake(t, {
    answer: ({ type, channel }) =>
      type === "subscribe" && { type: "subscribed", channel, durable: true, recovered: true, offset: 0, epoch: "1" },
  });
  await show(page, server.url, "useChannel", "a.b", { since: "beginning" });
  await eventually(async () => (await text()).includes("live"));
  const { last } = server;
  const update = (offset, payload) => last.send({ type: "update", channel: "a.b", offset, payload });
  update(1, "old");
  await eventually(async () => (await text()).includes('["old"]'));
  update(2, "old");
  last.send({ type: "lost", channel: "a.b", reason: "epoch_changed" });
  last.send({ type: "position", channel: "a.b", offset: 0, epoch: "2" });
  update(1, "new");
  await eventually(async () => (await text()) === '{"payloads":["new"],"lost":["epoch_changed"],"state":"live"}');
});

reactTest("a channel that is refused says why", async ({ page, text }) => {
  await show(page, edge.ws, "useChannel", "nosuchnamespace!");
  await eventually(async () => /"state":"closed","error":"[a-z_]+"/.test(await text()));
});

reactTest("without a channel nothing is subscribed, and another channel takes the place of the first", async ({ page, text }) => {
  const [one, two] = [`deployments.${freshName("one")}`, `deployments.${freshName("two")}`];
  await nats.publish(one, 1);
  await nats.publish(two, 2);
  const nothing = '{"payloads":[],"lost":[],"state":"waiting"}';
  await show(page, edge.ws, "useChannel", null, { since: "beginning" });
  await eventually(async () => (await text()) === nothing);
  for (const [channel, payload] of [[one, 1], [two, 2]]) {
    await show(page, edge.ws, "useChannel", channel, { since: "beginning" });
    await eventually(async () => (await text()) === `{"payloads":[${payload}],"lost":[],"state":"live"}`);
  }
});

reactTest("the connection's state is followed", async ({ t, page, text }) => {
  const proxy = await startProxy(edge.ws);
  t.after(() => proxy.stop());
  await show(page, proxy.url, "useConnectionState");
  await eventually(async () => (await text()) === '{"state":"connected"}');
  proxy.refuse(true);
  proxy.kill();
  await eventually(async () => /waiting|connecting/.test(await text()));
  proxy.refuse(false);
  await eventually(async () => (await text()) === '{"state":"connected"}');
  await page.evaluate(() => client.close());
  await eventually(async () => (await text()) === '{"state":"closed"}');
});

reactTest("a client that comes later, and another one after it, are taken up", async ({ page, text }) => {
  const channel = `deployments.${freshName("client")}`;
  await nats.publish(channel, 1);
  await page.evaluate(({ url, channel }) => {
    const { React, root, connect, TailwaterProvider, useChannel } = app;
    const Shown = () => {
      const { state, updates } = useChannel(channel, { since: "beginning" });
      return `${state} ${updates.length}`;
    };
    window.render = (isThere) => {
      const client = isThere ? connect(url) : undefined;
      root.render(React.createElement(TailwaterProvider, { client }, React.createElement(Shown)));
    };
    window.render(false);
  }, { url: edge.ws, channel });
  await eventually(async () => (await text()) === "waiting 0");
  for (const _ of [1, 2]) {
    await page.evaluate(() => window.render(true));
    await eventually(async () => (await text()) === "live 1");
  }
});

reactTest("components that a transition draws slowly never disagree", async ({ page, text }) => {
  const channel = `chat.${freshName("tearing")}`;
  await page.evaluate(({ url, channel }) => {
    const { React, root, connect, TailwaterProvider, useChannel } = app;
    const client = connect(url);
    window.disagreed = 0;
    function Slow({ round }) {
      const { updates, state } = useChannel(channel, { limit: 10_000 });
      for (const until = performance.now() + 3; performance.now() < until; );
      return React.createElement("li", { "data-round": round }, `${state} ${updates.length}`);
    }
    function App() {
      const [round, setRound] = React.useState(0);
      window.next = () => React.startTransition(() => setRound((round) => round + 1));
      React.useLayoutEffect(() => {
        const texts = new Set([...document.querySelectorAll("li")].map((item) => item.textContent));
        if (texts.size > 1) window.disagreed += 1;
      });
      return Array.from({ length: 20 }, (_, key) => React.createElement(Slow, { key, round }));
    }
    root.render(React.createElement(TailwaterProvider, { client }, React.createElement(App)));
  }, { url: edge.ws, channel });
  await eventually(async () => (await text()).startsWith("live 0"));
  for (let sent = 0; sent < 50; sent += 1) {
    await page.evaluate(() => window.next());
    await nats.publish(channel, sent);
  }
  await eventually(async () => (await text()).split("\n").every((line) => line === "live 50"));
  assert.equal(await page.evaluate(() => window.disagreed), 0);
});

test("on a server the hooks give what they give before the first connection", () => {
  function Shown() {
    const views = [useChannel("a.b"), useLatest("a.*")];
    return [...views.map(({ state }) => state), useConnectionState().name].join(" ");
  }
  assert.equal(renderToString(createElement(TailwaterProvider, { client: undefined }, createElement(Shown))), "waiting waiting connecting");
  assert.throws(() => renderToString(createElement(Shown)), /TailwaterProvider/);
});
