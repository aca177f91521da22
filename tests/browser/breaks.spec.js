// The connection breaks: both pages say so, come back by themselves, and say what is missing and what is not.

import AxeBuilder from "@axe-core/playwright";
import { channelRow, expect, freshName, messageRows, openConsole, test } from "./fixtures.js";

test.use({ expectsOutage: true });

/** Lets a test cut the page's connections, and mend what it has cut. */
async function breakable(page) {
  const sockets = [];
  let isCut = false;
  await page.routeWebSocket("**/ws", (socket) => {
    if (isCut) return socket.close({ code: 1013, reason: "still broken" });
    sockets.push(socket);
    socket.connectToServer();
  });
  return {
    async cut() {
      isCut = true;
      await sockets.at(-1).close({ code: 1012, reason: "a break" });
    },
    mend() {
      isCut = false;
    },
  };
}

const state = (page) => page.locator("#state-text");
const facts = (page) => page.locator("#connection-facts");

/** Nothing overflows, and everybody can read it. */
async function expectWellMade(page) {
  expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBeLessThanOrEqual(0);
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join("; ")}`)).toEqual([]);
}

const LOOKS = [
  { look: "light", colorScheme: "light", viewport: { width: 1360, height: 860 } },
  { look: "phone-dark", colorScheme: "dark", viewport: { width: 390, height: 844 } },
];

for (const { look, colorScheme, viewport } of LOOKS) {
  test.describe(look, () => {
    test.use({ colorScheme, viewport });

    test(`the console shows what a break has cost: of a durable channel nothing (${look})`, async ({ page, server, nats }) => {
      const { cut, mend } = await breakable(page);
      const [durable, live] = [`deployments.${freshName("kept")}`, `chat.${freshName("passing")}`];
      await openConsole(page, server, durable, live);
      await expect(channelRow(page, durable).locator(".channel-kind")).toBeVisible();
      await expect(channelRow(page, live).locator(".channel-kind")).toBeHidden();
      for (const channel of [durable, live]) await nats.publish(channel, `before the break, ${channel}`);
      await expect(messageRows(page)).toHaveCount(2);

      await cut();
      await expect(state(page)).toHaveText(/^Reconnecting/);
      await expect(channelRow(page, durable)).toHaveAttribute("data-status", "waiting");
      for (const channel of [durable, live]) await nats.publish(channel, `during the break, ${channel}`);
      mend();
      await expect(state(page)).toHaveText("Connected");
      await expect(messageRows(page)).toHaveCount(3);
      await nats.publish(live, "after the break");
      await expect(messageRows(page)).toHaveCount(4);
      await expect(messageRows(page).filter({ hasText: "during the break" }).locator(".subject")).toHaveText(durable);
      const lines = page.locator("#messages .line");
      await expect(lines.filter({ hasText: "connection lost (1012: a break)" })).toHaveCount(1);
      await expect(lines.filter({ hasText: /resumed behind offset [\d,]+: nothing is missing/ }).locator(".subject")).toHaveText(durable, { useInnerText: true });
      await expect(page.locator("#messages .line.lost").locator(".subject")).toHaveText(live);
      await page.screenshot({ path: `screenshots/console-break-${look}.png` });
      await expectWellMade(page);

      await page.locator("#state").click();
      await expect(facts(page)).toContainText("TransportWebSocket, JSON");
      await expect(facts(page)).toContainText("Came backonce");
      await expect(facts(page)).toContainText("Lost1 gap");
      await page.screenshot({ path: `screenshots/console-connection-${look}.png` });
      await expectWellMade(page);
    });

    test(`the demo misses nothing in a break, and says so (${look})`, async ({ page, server, nats }) => {
      const { cut, mend } = await breakable(page);
      await page.goto(`${server.http}/demo`);
      await expect(state(page)).toHaveText("Connected");
      const id = freshName("web");
      const line = (text) => nats.publish(`deployments.${id}.log`, { id, ts: "2026-01-01T10:00:00.000Z", level: "info", phase: "build", line: text });
      const seen = (text) => page.locator(".log-line").filter({ hasText: text });
      await expect.poll(async () => (await line("before the break"), seen("before the break").count())).toBeGreaterThan(0);
      await expect(page.locator("#continuity")).toBeHidden();

      await cut();
      await expect(state(page)).toHaveText(/^Reconnecting/);
      await line("during the break");
      mend();
      await page.locator("#state").click();
      await expect(state(page)).toHaveText("Connected");
      await expect(seen("during the break")).toHaveCount(1);
      await expect(seen("connection lost (1012: a break)")).toHaveCount(1);
      await expect(seen("nothing is missing")).toHaveCount(2);
      await expect(page.locator("#continuity")).toHaveText("The connection came back once; lost: nothing");
      await page.screenshot({ path: `screenshots/demo-break-${look}.png` });
      await expectWellMade(page);
    });
  });
}

test("a connection that was closed by hand is opened anew with the same channels", async ({ page, server, nats }) => {
  const channel = freshName("orders");
  await openConsole(page, server, channel);
  await expect(page.locator("#state-transport")).toHaveText("WebSocket");
  await page.locator("#state").click();
  await page.locator("#disconnect").click();
  await expect(state(page)).toHaveText("Disconnected");
  await expect(page.locator("#state-transport")).toBeEmpty();
  await expect(channelRow(page, channel)).toHaveAttribute("data-status", "waiting");
  await page.locator("#connect").click();
  await expect(state(page)).toHaveText("Connected");
  await expect(channelRow(page, channel)).toHaveAttribute("data-status", "on");
  await nats.publish(channel, { n: 1 });
  await expect(messageRows(page)).toHaveCount(1);
});

test("bytes that are neither JSON nor text are shown as bytes", async ({ page, server, nats }) => {
  const channel = freshName("bytes");
  await openConsole(page, server, channel);
  nats.connection.publish(channel, new Uint8Array([0, 255, 16]));
  await expect(messageRows(page).first().locator(".payload")).toHaveText("bytes 00 ff 10");
  await messageRows(page).first().click();
  await expect(page.locator("#inspector .raw")).toHaveText("bytes 00 ff 10");
});
