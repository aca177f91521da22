// Pictures of both pages for people to look at, in `screenshots/`; and that nothing overflows on a phone.

import { expect, messageRows, openConsole, test } from "./fixtures.js";

const LOOKS = [
  { look: "light", colorScheme: "light", viewport: { width: 1360, height: 860 } },
  { look: "dark", colorScheme: "dark", viewport: { width: 1360, height: 860 } },
  { look: "phone-light", colorScheme: "light", viewport: { width: 390, height: 844 } },
  { look: "phone-dark", colorScheme: "dark", viewport: { width: 390, height: 844 } },
];

for (const { look, colorScheme, viewport } of LOOKS) {
  test.describe(look, () => {
    test.use({ colorScheme, viewport });

    const noSidewaysScroll = async (page) =>
      expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBeLessThanOrEqual(0);

    test(`the empty console fits and offers a first step (${look})`, async ({ page, server }) => {
      await openConsole(page, server);
      await expect(page.getByRole("heading", { name: "Subscribe to a channel" })).toBeVisible();
      await noSidewaysScroll(page);
      await page.screenshot({ path: `screenshots/console-empty-${look}.png` });
    });

    test(`the busy console fits (${look})`, async ({ page, server, nats }) => {
      await openConsole(page, server, "deployments.*.status", "deployments.*.log", "chat.room");
      await nats.publish("chat.room", { from: "Maya", text: "web 1.42 goes out at three", ts: Date.now() });
      await expect.poll(() => messageRows(page).count(), { timeout: 45_000 }).toBeGreaterThan(5);
      await noSidewaysScroll(page);
      await page.screenshot({ path: `screenshots/console-busy-${look}.png` });
      await page.locator("#pause").click();
      await messageRows(page).first().click();
      await expect(page.locator("#inspector")).toBeVisible();
      await noSidewaysScroll(page);
      await page.screenshot({ path: `screenshots/console-detail-${look}.png` });
    });

    test(`the demo fits (${look})`, async ({ page, server }) => {
      await page.goto(`${server.http}/demo`);
      await expect(page.locator(".card").first()).toBeVisible({ timeout: 40_000 });
      await expect.poll(() => page.locator(".log-line").count(), { timeout: 45_000 }).toBeGreaterThan(8);
      await noSidewaysScroll(page);
      await page.screenshot({ path: `screenshots/demo-${look}.png`, fullPage: viewport.width < 500 });
    });
  });
}
