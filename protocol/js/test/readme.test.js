// The first example of the README, word for word, in a program of its own.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, symlink, mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { startEdge } from "./support/edge.js";
import { freshName, openNats } from "./support/index.js";

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
