// The README's client that misses nothing, word by word, while its connection breaks.

import { readFile } from "node:fs/promises";
import { expect, freshName, openPlainPage, test } from "./fixtures.js";

test.use({ bypassCSP: true, expectsOutage: true });

/** The script of the README, with another address and channel. */
async function script(url, channel) {
  const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
  const [, code] = readme.match(/```js\n(const channel = [^]*?)```/);
  return code.replace("ws://127.0.0.1:8080/ws", url).replace("deployments.42", channel);
}

test("the client of the README gets every publication once, whatever breaks", async ({ page, server, nats }) => {
  const channel = `deployments.${freshName("resume")}`;
  const sockets = [];
  await page.routeWebSocket("**/ws", (socket) => {
    sockets.push(socket);
    socket.connectToServer();
  });
  const printed = [];
  page.on("console", (message) => printed.push(message.text()));
  await openPlainPage(page, server, `<!doctype html><title>resume</title><script>${await script(server.ws, channel)}</script>`);
  const publish = (number) => nats.publish(channel, `"number ${number}"`);
  const seen = () => printed.filter((line) => line.startsWith("number"));

  await expect.poll(async () => (await publish(0), seen().length)).toBeGreaterThan(0);
  const before = seen().length;
  for (const outage of [1, 2]) {
    await sockets.at(-1).close({ code: 1012, reason: "a break" });
    for (let number = 1; number <= 20; number += 1) await publish(outage * 100 + number);
    await expect.poll(() => seen().at(-1), { timeout: 15_000 }).toBe(`number ${outage * 100 + 20}`);
  }
  const numbers = [1, 2].flatMap((outage) => Array.from({ length: 20 }, (_, index) => `number ${outage * 100 + index + 1}`));
  expect(seen().slice(before).filter((line) => line !== "number 0")).toEqual(numbers);
  expect(printed.filter((line) => line.includes("gone"))).toEqual([]);
});
