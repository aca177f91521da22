// Everything in the console can be done without a mouse.

import { channelRow, expect, freshName, messageRows, openConsole, test } from "./fixtures.js";

test("a channel is subscribed, a message read and copied by keys alone", async ({ page, server, nats }) => {
  const channel = freshName("orders");
  await openConsole(page, server);
  await page.keyboard.press("/");
  await expect(page.locator("#channel")).toBeFocused();
  await page.keyboard.type(channel);
  await page.keyboard.press("Enter");
  await expect(channelRow(page, channel)).toHaveAttribute("data-status", "on");
  await page.keyboard.press("Escape");
  await expect(page.locator("#channel")).not.toBeFocused();

  await nats.publish(channel, { n: 1 });
  await nats.publish(channel, { n: 2 });
  await expect(messageRows(page)).toHaveCount(2);
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await expect(page.locator("#inspector .json-number")).toHaveText("1");
  await page.keyboard.press("c");
  await expect.poll(() => page.evaluate(() => navigator.clipboard.readText())).toContain('"n": 1');
  await page.keyboard.press("Escape");
  await expect(page.locator("#inspector")).toBeHidden();
});

test("p and space pause, digits choose the view, x clears", async ({ page, server }) => {
  await openConsole(page, server, freshName("orders"));
  const pause = page.locator("#pause");
  await page.keyboard.press("p");
  await expect(pause).toHaveAttribute("aria-pressed", "true");
  await page.keyboard.press(" ");
  await expect(pause).toHaveAttribute("aria-pressed", "false");
  await page.keyboard.press("2");
  await expect(page.locator("#pane-frames")).toBeVisible();
  await expect(page.locator("#frames .line").first()).toBeVisible();
  await page.keyboard.press("x");
  await expect(page.locator("#frames .line")).toHaveCount(0);
  await page.keyboard.press("1");
  await expect(page.locator("#pane-messages")).toBeVisible();
});

test("keys typed into a field are text, not shortcuts", async ({ page, server }) => {
  await openConsole(page, server);
  await page.keyboard.press("f");
  await page.keyboard.type("px?2");
  await expect(page.locator("#filter")).toHaveValue("px?2");
  await expect(page.locator("#pause")).toHaveAttribute("aria-pressed", "false");
  await expect(page.locator("#help")).toBeHidden();
});

test("a question mark opens the help, where single keys can be switched off", async ({ page, server }) => {
  await openConsole(page, server);
  await page.keyboard.press("?");
  await expect(page.locator("#help")).toBeVisible();
  await page.getByLabel("Single-key shortcuts").uncheck();
  await page.keyboard.press("Escape");
  await expect(page.locator("#help")).toBeHidden();
  await page.locator("#view").click({ position: { x: 2, y: 2 } });
  await page.keyboard.press("p");
  await expect(page.locator("#pause")).toHaveAttribute("aria-pressed", "false");
});

test("the list is walked by arrows and tells which row is active", async ({ page, server, nats }) => {
  const channel = freshName("orders");
  await openConsole(page, server, channel);
  for (let n = 0; n < 100; n += 1) nats.connection.publish(channel, JSON.stringify({ n }));
  await expect(page.locator("#total")).toHaveText("100");
  await expect(messageRows(page).first()).toContainText('"n":99');
  await page.locator("#messages").focus();
  for (let step = 0; step < 60; step += 1) await page.keyboard.press("ArrowDown");
  const active = page.locator("#messages .line[aria-selected=true]");
  await expect(active).toContainText('"n":40');
  await expect(active).toBeInViewport();
  await expect(page.locator("#messages")).toHaveAttribute("aria-activedescendant", await active.getAttribute("id"));
});

test("the first stop of the Tab key skips to the messages", async ({ page, server }) => {
  await openConsole(page, server);
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to messages" })).toBeFocused();
});

test("a chosen theme stays after a reload", async ({ page, server }) => {
  await page.emulateMedia({ colorScheme: "light" });
  await openConsole(page, server);
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await background();
  await page.keyboard.press("t");
  await page.keyboard.press("t");
  await expect(page.locator("#theme")).toHaveAttribute("aria-label", "Theme: dark");
  expect(await background()).not.toBe(light);
  await page.reload();
  await expect(page.locator("#theme")).toHaveAttribute("aria-label", "Theme: dark");
});
