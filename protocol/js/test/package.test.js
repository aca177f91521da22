// The package as it is published, in Chromium: on a page of its own and in an application that Vite has built.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { build } from "vite";
import { startEdge } from "./support/edge.js";
import { eventually, freshName, openNats } from "./support/index.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const TYPES = { ".html": "text/html", ".js": "text/javascript" };

let folder, edge, nats, site, browser;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "tailwater-package-"));
  if (!process.env.PACKAGE) execFileSync("npm", ["pack", "--ignore-scripts", "--pack-destination", folder], { cwd: root });
  const packed = process.env.PACKAGE ?? join(folder, (await readdir(folder))[0]);
  execFileSync("tar", ["xzf", packed, "-C", folder]);
  await mkdir(join(folder, "app/node_modules"), { recursive: true });
  await cp(join(folder, "package"), join(folder, "app/node_modules/tailwater"), { recursive: true });

  edge = await startEdge();
  nats = await openNats(edge.nats);
  site = await serve(folder, edge.ws);
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
});
after(async () => {
  await browser?.close();
  site?.closeAllConnections();
  site?.close();
  await nats?.close();
  await edge?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Serves the folder, and passes WebSockets on to the edge, as an ingress does: so the page and they have one origin. */
async function serve(folder, ws) {
  const { hostname, port } = new URL(ws);
  const server = createServer(async (request, response) => {
    const path = join(folder, new URL(request.url, "http://site").pathname);
    if (!existsSync(path)) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "text/plain" }).end(await readFile(path));
  });
  server.on("upgrade", (request, socket, head) => {
    const upstream = connect(Number(port), hostname);
    const lines = [`${request.method} ${request.url} HTTP/1.1`];
    for (let index = 0; index < request.rawHeaders.length; index += 2) {
      lines.push(`${request.rawHeaders[index]}: ${request.rawHeaders[index + 1]}`);
    }
    upstream.write(`${lines.join("\r\n")}\r\n\r\n`);
    upstream.write(head);
    for (const [from, to] of [[socket, upstream], [upstream, socket]]) {
      from.pipe(to);
      from.on("error", () => to.destroy());
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

async function open(t, path) {
  const page = await browser.newPage();
  t.after(() => page.close());
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  await page.goto(`http://127.0.0.1:${site.address().port}/${path}`);
  return { page, problems };
}

const script = (module, channel) => `
  import { connect } from ${JSON.stringify(module)};
  const tw = connect("/ws");
  tw.on("state", ({ name }) => (document.title = name));
  for await (const { payload } of tw.subscribe(${JSON.stringify(channel)}, { since: "beginning" })) {
    document.body.append(payload + " ");
  }`;

test("a plain page imports the one minified module", async (t) => {
  const channel = `deployments.${freshName("plain")}`;
  const html = `<!doctype html><title></title><body><script type="module">${script("./package/dist/tailwater.min.js", channel)}</script>`;
  await writeFile(join(folder, "plain.html"), html);
  const { page, problems } = await open(t, "plain.html");
  await nats.publish(channel, "one", "two");
  await eventually(async () => (await page.innerText("body")).trim() === "one two");
  assert.equal(await page.title(), "connected");
  assert.deepEqual(problems, []);
});

test("the modules of the package work in a page as they are", async (t) => {
  const channel = `deployments.${freshName("modules")}`;
  const html = `<!doctype html><title></title><body><script type="module">${script("./package/dist/index.js", channel)}</script>`;
  await writeFile(join(folder, "modules.html"), html);
  const { page } = await open(t, "modules.html");
  await nats.publish(channel, "one");
  await eventually(async () => (await page.innerText("body")).trim() === "one");
});

test("an application that Vite has built works, also after the page was frozen", async (t) => {
  const channel = `deployments.${freshName("vite")}`;
  const app = join(folder, "app");
  await writeFile(join(app, "index.html"), `<!doctype html><title></title><body><script type="module" src="main.js"></script>`);
  await writeFile(join(app, "main.js"), script("tailwater", channel));
  await build({ root: app, base: "./", logLevel: "error", configFile: false, build: { target: "es2022" } });
  const { page, problems } = await open(t, "app/dist/index.html");
  await nats.publish(channel, "one");
  await eventually(async () => (await page.innerText("body")).trim() === "one");

  const tools = await page.context().newCDPSession(page);
  await tools.send("Page.setWebLifecycleState", { state: "frozen" });
  await nats.publish(channel, "two", "three");
  await tools.send("Page.setWebLifecycleState", { state: "active" });
  await eventually(async () => (await page.innerText("body")).trim() === "one two three");
  assert.deepEqual(problems, []);
});
