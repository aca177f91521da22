// The README's EventSource, word by word, while its connection breaks.

import { readFile } from "node:fs/promises";
import { expect, freshName, openPlainPage, test } from "./fixtures.js";
import { startCutter } from "./cutter.js";

test.use({ bypassCSP: true, expectsOutage: true });

/** The script of the README, with another address and channel. */
async function script(url, channel) {
  const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
  const [, code] = readme.match(/```js\n(const stream = new EventSource[^]*?)```/);
  return code.replace("http://127.0.0.1:8080", url).replace("deployments.42", channel);
}

test("an EventSource gets every publication once, whatever breaks", async ({ page, server, nats }) => {
  const channel = `deployments.${freshName("events")}`;
  const cutter = await startCutter(server.http);
  const printed = [];
  page.on("console", (message) => message.type() === "log" && printed.push(message.text()));
  const publish = (number) => nats.publish(channel, `"number ${number}"`);
  await publish(0);
  await openPlainPage(page, { http: cutter.http }, `<!doctype html><title>events</title><script>${await script(cutter.http, channel)}</script>`);
  await expect.poll(() => printed).toEqual(["number 0"]);
  let last = 0;
  for (let outage = 0; outage < 3; outage += 1) {
    cutter.cut();
    for (let count = 0; count < 20; count += 1) await publish(++last);
    await expect.poll(() => printed.at(-1), { timeout: 15_000 }).toBe(`number ${last}`);
  }
  expect(printed).toEqual(Array.from({ length: last + 1 }, (_, number) => `number ${number}`));
  await cutter.stop();
});
