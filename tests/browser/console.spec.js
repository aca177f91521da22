// The developer console against the real server.

import AxeBuilder from "@axe-core/playwright";
import { channelRow, expect, freshName, messageRows, openConsole, test } from "./fixtures.js";

test("a published message appears with its channel, payload, size and age", async ({ page, server, nats }) => {
  const channel = freshName("orders");
  await openConsole(page, server, channel);
  await nats.publish(channel, { id: 7, state: "live", ts: Date.now() });

  const row = messageRows(page).first();
  await expect(row.locator(".subject")).toHaveText(channel);
  await expect(row.locator(".payload")).toContainText('"state":"live"');
  await expect(row.locator(".size")).toHaveText(/^\d+ B$/);
  await expect(row.locator(".age")).toHaveText(/ms$/);
  await expect(channelRow(page, channel).locator(".channel-count")).toHaveText("1");
  await expect(page.locator("#round-trip")).toHaveText(/ms$/);
});

test("a channel where nothing happens yet shows how to publish to it", async ({ page, server }) => {
  const channel = freshName("quiet");
  await openConsole(page, server, channel);
  await expect(page.locator("#messages-empty pre")).toContainText(`nats pub ${channel} '{"id":7,"state":"live"}'`);
});

test("the rate rises while messages arrive", async ({ page, server, nats }) => {
  const channel = freshName("ticks");
  await openConsole(page, server, channel);
  const ticking = setInterval(() => nats.connection.publish(channel, "{}"), 20);
  try {
    await expect.poll(async () => Number(await page.locator("#rate").textContent())).toBeGreaterThan(5);
    await expect.poll(() => channelRow(page, channel).locator(".channel-rate").textContent()).not.toBe("0/s");
  } finally {
    clearInterval(ticking);
  }
});

test("a wildcard subscription shows the concrete subject", async ({ page, server, nats }) => {
  const id = freshName("run");
  await openConsole(page, server, `jobs.*.${id}`);
  await nats.publish(`jobs.nightly.${id}`, { ok: true });
  await expect(messageRows(page).first().locator(".subject")).toHaveText(`jobs.nightly.${id}`);
});

test("text that is not JSON is shown as text, and markup stays text", async ({ page, server, nats }) => {
  const channel = freshName("notes");
  await openConsole(page, server, channel);
  await nats.publish(channel, "<img src=x onerror=alert(1)>");
  await messageRows(page).first().click();
  await expect(page.locator("#inspector .raw")).toHaveText("<img src=x onerror=alert(1)>");
  await expect(page.locator("#view img")).toHaveCount(0);
});

test("a selected message is shown as a tree and can be copied", async ({ page, server, nats }) => {
  const channel = freshName("orders");
  await openConsole(page, server, channel);
  await nats.publish(channel, { id: 7, items: [{ sku: "a" }] });
  await messageRows(page).first().click();
  await expect(page.locator("#inspector .json-key")).toHaveText(["id", "items", "sku"]);
  await page.locator("#inspector").getByRole("button", { name: "Copy" }).click();
  expect(JSON.parse(await page.evaluate(() => navigator.clipboard.readText()))).toEqual({ id: 7, items: [{ sku: "a" }] });
});

test("a message published in the page arrives in the page", async ({ page, server }) => {
  await openConsole(page, server, "chat.room");
  const text = freshName("hello");
  await page.locator("#payload").fill(JSON.stringify({ text }));
  await page.locator("#publish").click();
  await expect(page.locator("#publish-result")).toContainText("Published to chat.room");
  await expect(messageRows(page).filter({ hasText: text })).toHaveCount(1);
});

test("publishing outside chat.> shows forbidden, and how a service publishes", async ({ page, server }) => {
  await openConsole(page, server);
  await page.locator("#publish-channel").fill("deployments");
  await page.locator("#publish").click();
  const result = page.locator("#publish-result");
  await expect(result.locator(".code")).toHaveText("forbidden");
  await expect(result.locator("pre")).toContainText("nats pub deployments");
  await page.screenshot({ path: "screenshots/console-forbidden.png" });
});

test("a subscription that is refused says why beside the channel", async ({ page, server }) => {
  await openConsole(page, server);
  await page.locator("#channel").fill("*.status");
  await page.locator("#channel").press("Enter");
  const row = channelRow(page, "*.status");
  await expect(row).toHaveAttribute("data-status", "refused");
  await expect(row.locator(".code")).toHaveText(/^[a-z_]+$/);
});

test("frames of both directions are shown raw", async ({ page, server, nats }) => {
  const channel = freshName("orders");
  await openConsole(page, server, channel);
  await nats.publish(channel, { id: 7 });
  await page.locator("#tab-frames").click();
  await expect(page.locator("#frames .line.sent").filter({ hasText: '"type":"subscribe"' })).toContainText(channel);
  await expect(page.locator("#frames .line.received").filter({ hasText: '"type":"connected"' })).toHaveCount(1);
  await expect(page.locator("#frames .line.received").filter({ hasText: '"type":"update"' }).locator(".size")).toHaveText(/^\d+ B$/);
  await expect(page.locator("#frames .line").filter({ hasText: '"type":"ping"' })).toHaveCount(0);
  await page.locator("#hide-pings").uncheck();
  await expect(page.locator("#frames .line.sent").filter({ hasText: '"type":"ping"' })).not.toHaveCount(0);
});

test("a channel switched off receives nothing until it is on again", async ({ page, server, nats }) => {
  const channel = freshName("orders");
  const other = freshName("marks");
  await openConsole(page, server, channel, other);
  await channelRow(page, channel).getByRole("switch").click();
  await expect(channelRow(page, channel)).toHaveAttribute("data-status", "off");
  await page.locator("#tab-frames").click();
  await expect(page.locator("#frames .line.received").filter({ hasText: '"type":"unsubscribed"' })).toHaveCount(1);
  await page.locator("#tab-messages").click();

  await nats.publish(channel, { unheard: true });
  await nats.publish(other, { mark: 1 });
  await expect(messageRows(page)).toHaveCount(1); // the mark came later, so the other did not come at all

  await channelRow(page, channel).getByRole("switch").click();
  await expect(channelRow(page, channel)).toHaveAttribute("data-status", "on");
  await nats.publish(channel, { heard: true });
  await expect(messageRows(page).first()).toContainText("heard");
});

test("the address carries the channels to another page", async ({ page, server, context }) => {
  await openConsole(page, server);
  for (const name of ["orders.>", "chat.room"]) {
    await page.locator("#channel").fill(name);
    await page.locator("#channel").press("Enter");
  }
  await channelRow(page, "chat.room").getByRole("switch").click();
  const other = await context.newPage();
  await other.goto(page.url());
  await expect(channelRow(other, "orders.>").getByRole("switch")).toHaveAttribute("aria-checked", "true");
  await expect(channelRow(other, "chat.room").getByRole("switch")).toHaveAttribute("aria-checked", "false");
});

test("the filter keeps rare matches while the rest floods by", async ({ page, server, nats }) => {
  const channel = freshName("flood");
  await openConsole(page, server, channel);
  await page.locator("#filter").fill("needle");
  await nats.publish(channel, { needle: 1 });
  for (let n = 0; n < 2_000; n += 1) nats.connection.publish(channel, JSON.stringify({ n }));
  await nats.connection.flush();
  await expect(page.locator("#total")).toHaveText("2,001");
  await expect(messageRows(page)).toHaveCount(1);
});

test("a pause holds the list, counts on, and clearing empties it", async ({ page, server, nats }) => {
  const channel = freshName("orders");
  await openConsole(page, server, channel);
  await nats.publish(channel, { n: 1 });
  await expect(messageRows(page)).toHaveCount(1);
  await page.locator("#pause").click();
  await nats.publish(channel, { n: 2 });
  await expect(page.locator("#pause")).toHaveText("Resume (1)");
  await expect(messageRows(page)).toHaveCount(1);
  await page.locator("#pause").click();
  await expect(messageRows(page)).toHaveCount(2);
  await page.locator("#clear").click();
  await expect(messageRows(page)).toHaveCount(0);
  await expect(page.locator("#total")).toHaveText("0");
});

test("twenty thousand messages in a burst are counted and leave few rows", async ({ page, server, nats }) => {
  const channel = freshName("burst");
  await openConsole(page, server, channel);
  for (let sent = 0; sent < 20_000; sent += 500) {
    for (let n = 0; n < 500; n += 1) nats.connection.publish(channel, JSON.stringify({ n: sent + n, ts: Date.now() }));
    await nats.connection.flush();
  }
  await expect(page.locator("#total")).toHaveText("20,000");
  await expect(messageRows(page).first()).toContainText('"n":19999');
  expect(await page.locator("#messages .line").count()).toBeLessThan(80);
  await expect(page.locator("#messages .line").first()).toHaveAttribute("aria-setsize", "500");
});

test("the quick start names the NATS server that is really there", async ({ page, server, nats }) => {
  await openConsole(page, server);
  await page.locator("#tab-start").click();
  await expect(page.locator("#pane-start")).toContainText("nats pub deployments");
  await expect(page.locator("#pane-start")).toContainText(new URL(server.nats).host);
  await page.getByRole("button", { name: "Subscribe to deployments" }).click();
  await expect(channelRow(page, "deployments")).toHaveAttribute("data-status", "on");
  await page.locator("#tab-messages").click();
  await nats.publish("deployments", { id: 7, state: "live" });
  await expect(messageRows(page).first()).toContainText('"state":"live"');
});

for (const colorScheme of ["light", "dark"]) {
  test(`no accessibility rule is broken in ${colorScheme}`, async ({ page, server, nats }) => {
    await page.emulateMedia({ colorScheme });
    await openConsole(page, server, freshName("quiet"), "deployments.>");
    await page.locator("#channel").fill("*.status");
    await page.locator("#channel").press("Enter");
    await nats.publish("deployments.42.status", { id: "42", ok: true, at: null, tags: ["a", 1] });
    await messageRows(page).first().click();
    expect(await violations(page)).toEqual([]);
    await page.locator("#tab-frames").click();
    expect(await violations(page)).toEqual([]);
    await page.locator("#tab-start").click();
    expect(await violations(page)).toEqual([]);
  });
}

async function violations(page) {
  const { violations: found } = await new AxeBuilder({ page }).analyze();
  return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("; ")}`);
}
