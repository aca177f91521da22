// The examples of the README, word for word: the first in a program of its own, React's in a page.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, symlink, mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { startEdge } from "./support/edge.js";
import { eventually, freshName, openNats } from "./support/index.js";
import { bundle, openPage, REACTS, startBrowser } from "./support/react-page.js";

test("the example of the README prints what services publish", async (t) => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const [, code] = readme.match(/```js\n([^]*?)```/);
  const edge = await startEdge();
  t.after(() => edge.stop());
  const nats = await openNats(edge.nats);
  t.after(() => nats.close());
  const name = freshName("readme");
  await nats.publish(`deployments.${name}`, { id: 7 });

  const folder = await mkdtemp(join(tmpdir(), "tailwater-readme-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await mkdir(join(folder, "node_modules"));
  await symlink(fileURLToPath(new URL("..", import.meta.url)), join(folder, "node_modules/tailwater"));
  // What Node 20 lacks.
  const socket = `import { WebSocket } from ${JSON.stringify(import.meta.resolve("ws"))};\nglobalThis.WebSocket ??= WebSocket;\n`;
  await writeFile(join(folder, "socket.mjs"), socket);
  await writeFile(join(folder, "example.mjs"), code.replace("ws://127.0.0.1:8080/ws", edge.ws));
  const child = spawn(process.execPath, ["--import", "./socket.mjs", "example.mjs"], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill());
  const lines = createInterface({ input: child.stdout });
  const { value } = await lines[Symbol.asyncIterator]().next();
  assert.equal(value, `deployments.${name} { id: 7 }`);
});

/** Opens the page that a README's list makes, and gives the lines that it shows of `service`. */
async function openList(t, file, version) {
  const readme = await readFile(new URL(file, import.meta.url), "utf8");
  const [, code] = readme.match(/```jsx\n([^]*?)```/);
  const edge = await startEdge();
  t.after(() => edge.stop());
  const nats = await openNats(edge.nats);
  t.after(() => nats.close());
  const browser = await startBrowser();
  t.after(() => browser.close());
  const script = await bundle(code.replace("ws://127.0.0.1:8080/ws", edge.ws), REACTS[version]);
  const { page, problems } = await openPage(t, browser, edge, script);
  const lines = async (service) => (await page.locator("#root li").allInnerTexts()).filter((line) => line.startsWith(service));
  return { nats, problems, lines };
}

for (const version of Object.keys(REACTS)) {
  test(`the list of the README lives in React ${version}`, async (t) => {
    const { nats, problems, lines } = await openList(t, "../README.md", version);
    await nats.publish("deployments.7", { state: "building" });
    await eventually(async () => (await lines("deployments.7")).length === 1);
    await nats.publish("deployments.7", { state: "live" });
    await eventually(async () => (await lines("deployments.7")).length === 2);
    assert.deepEqual(await lines("deployments.7"), ["deployments.7: building", "deployments.7: live"]);
    assert.deepEqual(problems, []);
  });
}

test("the list of the main README shows the demo's deployments, and one's own", async (t) => {
  const { nats, problems, lines } = await openList(t, "../../../README.md", 19);
  await eventually(async () => (await lines("")).length > 3, { withinMs: 40_000 });
  await nats.publish("deployments.7.status", { service: "mine", phase: "done" });
  await eventually(async () => (await lines("mine")).length === 1);
  assert.deepEqual(problems, []);
});
