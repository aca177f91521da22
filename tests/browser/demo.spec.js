// The demo dashboard: its own deployments for the exact assertions, the simulated ones for the whole.

import AxeBuilder from "@axe-core/playwright";
import { expect, freshName, test } from "./fixtures.js";

const started = "2026-01-01T10:00:00.000Z";

const status = (id, fields) => ({
  id, service: id, version: "v1.42.0", environment: "production", commit: "3f9c2ab", author: "Maya",
  phase: "build", progress: 0.1, message: "compiling", started, ts: "2026-01-01T10:00:05.000Z", ...fields,
});

async function openDemo(page, server) {
  await page.goto(`${server.http}/demo`);
  await expect(page.locator("#state-text")).toHaveText("Connected");
}

/** Publishes until the page has a card for it: only then is the page known to be subscribed. */
async function publishUntilSeen(page, nats, message) {
  const card = page.getByRole("article", { name: message.id, exact: true });
  await expect.poll(async () => {
    await nats.publish(`deployments.${message.id}.status`, message);
    return card.count();
  }).toBe(1);
  return card;
}

test("a page that has heard nothing yet explains itself", async ({ page, server }) => {
  await page.routeWebSocket("**/ws", (socket) => {
    socket.send(JSON.stringify({ type: "connected", session: "s", protocol: 1, message: "Welcome!", ping_interval_ms: 25_000 }));
    socket.onMessage((data) => {
      const { id, type, channel } = JSON.parse(data);
      socket.send(JSON.stringify(type === "ping" ? { type: "pong", id } : { type: "subscribed", id, channel, durable: false }));
    });
  });
  await openDemo(page, server);
  await expect(page.locator("#cards-empty")).toContainText("The next deployment starts within seconds");
  await expect(page.locator("#claim")).toHaveText("No polling: 0 messages received over one WebSocket");
  await page.screenshot({ path: "screenshots/demo-empty.png" });
});

test("a long message stays inside its card", async ({ page, server, nats }) => {
  await openDemo(page, server);
  const id = freshName("long");
  const message = "pod restarts: exit code 137, back-off 10 s ".repeat(6);
  const card = await publishUntilSeen(page, nats, status(id, { phase: "rollout", message, pods: { ready: 3, total: 8 } }));
  const fits = () => card.evaluate((card) => [...card.querySelectorAll("*")].every((part) =>
    part.getBoundingClientRect().right <= card.getBoundingClientRect().right));
  await expect.poll(fits).toBe(true);
});

test("a deployment's card follows it from build to live", async ({ page, server, nats }) => {
  await openDemo(page, server);
  const id = freshName("web");
  const card = await publishUntilSeen(page, nats, status(id));
  const bar = card.getByRole("progressbar");
  await expect(bar).toHaveAttribute("aria-valuenow", "10");
  await expect(card).toContainText("v1.42.0");
  await expect(card).toContainText("Maya");

  await nats.publish(`deployments.${id}.status`, status(id, { phase: "rollout", progress: 0.7, pods: { ready: 3, total: 8 } }));
  await expect(bar).toHaveAttribute("aria-valuenow", "70");
  await expect(card).toContainText("3/8 pods");
  await expect(card.locator('.step[data-state="done"]')).toHaveText(["Build", "Push"]);

  await nats.publish(`deployments.${id}.status`, status(id, { phase: "done", progress: 1, pods: { ready: 8, total: 8 }, ts: "2026-01-01T10:01:05.000Z" }));
  await expect(card.locator(".badge")).toHaveText("Live");
  await expect(card.locator(".elapsed")).toHaveText("1:05");
  await expect(card.locator('.step[data-state="done"]')).toHaveCount(3);
});

test("a failed deployment says so, with its reason", async ({ page, server, nats }) => {
  await openDemo(page, server);
  const id = freshName("api");
  const card = await publishUntilSeen(page, nats, status(id, { phase: "push", progress: 0.5 }));
  // The end of a simulated deployment may take its place at any time.
  await page.locator("#announce").evaluate((region) => {
    globalThis.announced = [];
    new MutationObserver(() => announced.push(region.textContent)).observe(region, { childList: true });
  });
  await nats.publish(`deployments.${id}.status`, status(id, { phase: "failed", progress: 0.5, message: "registry refused the image" }));
  await expect(card.locator(".badge")).toHaveText("Failed");
  await expect(card).toContainText("registry refused the image");
  await expect(card.locator('.step[data-state="broken"]')).toHaveText("Push");
  await expect.poll(() => page.evaluate(() => announced)).toContain(`${id} v1.42.0 failed`);
});

test("a click on a card shows its log alone, a second click shows all", async ({ page, server, nats }) => {
  await openDemo(page, server);
  const [one, two] = [freshName("one"), freshName("two")];
  const card = await publishUntilSeen(page, nats, status(one));
  const line = (id, text) => nats.publish(`deployments.${id}.log`, { id, ts: started, level: "info", phase: "build", line: text });
  await line(one, `first of ${one}`);
  await line(two, `first of ${two}`);
  const lines = page.locator(".log-line");
  await expect(lines.filter({ hasText: `first of ${two}` })).toHaveCount(1);

  await card.getByRole("button").click();
  await expect(lines.filter({ hasText: `first of ${one}` })).toHaveCount(1);
  await expect(lines.filter({ hasText: two })).toHaveCount(0);
  await line(one, "second");
  await expect(lines.last()).toContainText("second");

  await card.getByRole("button").click();
  await expect(lines.filter({ hasText: `first of ${two}` })).toHaveCount(1);
});

test("the log follows its end until the reader scrolls up", async ({ page, server, nats }) => {
  await openDemo(page, server);
  const id = freshName("log");
  const card = await publishUntilSeen(page, nats, status(id));
  await card.getByRole("button").click();
  const lines = async (from, to) => {
    for (let n = from; n < to; n += 1) nats.connection.publish(`deployments.${id}.log`, JSON.stringify({ id, ts: started, level: "info", phase: "build", line: `line ${n}` }));
    await nats.connection.flush();
  };
  await lines(0, 200);
  await expect(page.locator(".log-line").last()).toContainText("line 199");
  await expect(page.locator(".log-line").last()).toBeInViewport();

  await page.locator("#log").hover();
  await page.mouse.wheel(0, -2_000);
  await expect(page.locator(".log-line").last()).not.toBeInViewport();
  await lines(200, 210);
  await expect(page.locator("#follow")).toBeVisible();
  await expect(page.locator(".log-line").last()).not.toBeInViewport();
  await page.locator("#follow").click();
  await expect(page.locator(".log-line").last()).toContainText("line 209");
  await expect(page.locator(".log-line").last()).toBeInViewport();
});

test("at most 12 cards and 500 lines are kept", async ({ page, server, nats }) => {
  await openDemo(page, server);
  const first = freshName("old");
  await publishUntilSeen(page, nats, status(first, { phase: "done", progress: 1 }));
  for (let n = 0; n < 20; n += 1) await nats.publish(`deployments.${first}-${n}.status`, status(`${first}-${n}`));
  for (let n = 0; n < 700; n += 1) nats.connection.publish(`deployments.${first}.log`, JSON.stringify({ id: first, ts: started, level: "info", phase: "build", line: `line ${n}` }));
  await nats.connection.flush();
  await expect(page.locator(".log-line").filter({ hasText: "line 699" })).toHaveCount(1);
  await expect(page.locator(".card")).toHaveCount(12);
  expect(await page.locator(".log-line").count()).toBeLessThanOrEqual(500);
  await expect(page.getByRole("article", { name: first, exact: true })).toHaveCount(0);
});

test("the simulated deployments bring cards and log lines by themselves", async ({ page, server }) => {
  await openDemo(page, server);
  await expect(page.locator(".card").first()).toBeVisible({ timeout: 40_000 });
  await expect(page.locator(".log-line").first()).toBeVisible({ timeout: 40_000 });
  await expect(page.locator("#claim")).toHaveText(/^No polling: [\d,]+ messages? received over one WebSocket$/);
});

for (const colorScheme of ["light", "dark"]) {
  test(`no accessibility rule is broken in ${colorScheme}`, async ({ page, server, nats }) => {
    await page.emulateMedia({ colorScheme });
    await openDemo(page, server);
    const id = freshName("web");
    await publishUntilSeen(page, nats, status(id, { phase: "failed" }));
    for (const level of ["info", "warn", "error"]) await nats.publish(`deployments.${id}.log`, { id, ts: started, level, phase: "build", line: `a line of ${level}` });
    await expect(page.locator(".log-line.error").first()).toBeVisible();
    const { violations } = await new AxeBuilder({ page }).analyze();
    expect(violations.map(({ id: rule, nodes }) => `${rule}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("; ")}`)).toEqual([]);
  });
}
