// What every test here gets: one server a worker, a NATS client that is not ours, and a page in which any
// console error or breach of the content security policy fails the test.

import { test as base, expect } from "@playwright/test";
import { connect } from "nats";
import { startServer } from "./server.js";

export { expect };

export const test = base.extend({
  /** Set where the connection is broken on purpose: the browser then logs what we want to happen. */
  expectsOutage: [false, { option: true }],

  server: [async ({}, use) => {
    const server = await startServer();
    await use(server);
    await server.stop();
  }, { scope: "worker", timeout: 150_000 }],

  nats: [async ({ server }, use) => {
    const nats = await connect({ servers: server.nats });
    await use({
      /** Publishes and waits until the server has it. */
      publish: async (subject, payload) => {
        nats.publish(subject, typeof payload === "string" ? payload : JSON.stringify(payload));
        await nats.flush();
      },
      connection: nats,
    });
    await nats.close();
  }, { scope: "worker" }],

  page: async ({ page, expectsOutage }, use) => {
    const problems = [];
    page.on("pageerror", (error) => problems.push(`uncaught: ${error.message}`));
    page.on("console", (message) => {
      const matters = message.type() === "error" || message.type() === "warning";
      // Browsers ask for it where a document names no icon, as JSON cannot.
      if (matters && !message.location().url.endsWith("/favicon.ico")) problems.push(message.text());
    });
    await page.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
    });
    await use(page);
    if (!expectsOutage) expect(problems, "the page logged errors").toEqual([]);
  },
});

/** A subject that no other test uses. */
export const freshName = (prefix) => `${prefix}-${Date.now().toString(36)}${Math.random().toString(36).slice(2, 6)}`;

/** Opens the console with these channels subscribed. */
export async function openConsole(page, server, ...channels) {
  await page.goto(`${server.http}/${channels.length ? `#channels=${channels.join(",")}` : ""}`);
  await expect(page.locator("#state-text")).toHaveText("Connected");
  for (const channel of channels) await expect(channelRow(page, channel)).toHaveAttribute("data-status", "on");
}

export const channelRow = (page, name) => page.locator(".channel").filter({ has: page.locator(".channel-name").getByText(name, { exact: true }) });
export const messageRows = (page) => page.locator("#messages .line.update");

/**
 * Opens a page of the edge's own origin with this markup and its inline script. It stands on an address that the
 * server really answers, because browsers do not let a page of unknown origin reach the loopback network.
 */
export async function openPlainPage(page, server, html) {
  await page.goto(`${server.http}/console/info.json`);
  await page.setContent(html);
}
