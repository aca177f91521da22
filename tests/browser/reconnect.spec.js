// The edge goes and comes back on the same port: who reconnects with back-off is served again.

import { connect } from "nats";
import { expect, freshName, messageRows, openConsole, openPlainPage, test } from "./fixtures.js";
import { startServer } from "./server.js";

test.use({ expectsOutage: true, bypassCSP: true });

/** The usual wrapper: 1 s doubling to 30 s, reset on open. */
const wrapperPage = (url, channel) => `<!doctype html><title>wrapper</title><script>
  window.opened = 0;
  window.received = [];
  let delay = 1000;
  function open() {
    const socket = new WebSocket(${JSON.stringify(url)});
    socket.onopen = () => {
      delay = 1000;
      window.opened += 1;
      socket.send(JSON.stringify({ type: "subscribe", channel: ${JSON.stringify(channel)} }));
    };
    socket.onmessage = (event) => window.received.push(JSON.parse(event.data));
    socket.onclose = () => {
      setTimeout(open, delay);
      delay = Math.min(30000, delay * 2);
    };
  }
  open();
</script>`;

async function restart(server, signal) {
  await server.stop(signal);
  return startServer({ listen: new URL(server.http).host });
}

async function publishOnce(server, subject, payload) {
  const nats = await connect({ servers: server.nats });
  nats.publish(subject, JSON.stringify(payload));
  await nats.drain();
}

test("a wrapper with exponential back-off gets back in after the edge was killed and restarted", async ({ page }) => {
  test.setTimeout(120_000);
  let server = await startServer();
  try {
    const channel = freshName("deployments");
    await openPlainPage(page, server, wrapperPage(server.ws, channel));
    const subscribed = () => page.evaluate(() => window.received.filter(({ type }) => type === "subscribed").length);
    await expect.poll(subscribed).toBe(1);

    server = await restart(server, "SIGKILL");
    await expect.poll(subscribed, { timeout: 45_000 }).toBe(2);
    expect(await page.evaluate(() => window.opened)).toBe(2);

    await publishOnce(server, channel, { back: true });
    await expect.poll(() => page.evaluate(() => window.received.at(-1))).toMatchObject({ type: "update", channel, payload: { back: true } });
  } finally {
    await server.stop();
  }
});

test("the console says that it reconnects, and subscribes again by itself", async ({ page }) => {
  test.setTimeout(120_000);
  let server = await startServer();
  let running = true;
  try {
    const channel = freshName("orders");
    await openConsole(page, server, channel);

    await server.stop();
    running = false;
    await expect(page.locator("#state-text")).toHaveText(/^Reconnecting( in \d+ s)?$/);
    await expect(page.locator("#announce")).toContainText("Connection lost");
    await expect(page.locator(".channel")).toHaveAttribute("data-status", "waiting");
    await page.screenshot({ path: "screenshots/console-reconnecting.png" });

    server = await startServer({ listen: new URL(server.http).host });
    running = true;
    await expect(page.locator("#state-text")).toHaveText("Connected", { timeout: 45_000 });
    await expect(page.locator(".channel")).toHaveAttribute("data-status", "on");
    await publishOnce(server, channel, { text: "after the restart" });
    await expect(messageRows(page).first()).toContainText("after the restart");
  } finally {
    if (running) await server.stop();
  }
});
