// The package as it is published, in Chromium: on a page of its own and in an application that Vite has built.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, request as forward } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { build } from "vite";
import { ISSUER, mintToken, startEdge, startSecondEdge } from "./support/edge.js";
import { passUpgrade } from "./support/http-proxy.js";
import { eventually, freshName, openNats } from "./support/index.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const TYPES = { ".html": "text/html", ".js": "text/javascript" };

let folder, edge, strict, nats, site, browser;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "tailwater-package-"));
  if (!process.env.PACKAGE) execFileSync("npm", ["pack", "--ignore-scripts", "--pack-destination", folder], { cwd: root });
  const packed = process.env.PACKAGE ?? join(folder, (await readdir(folder))[0]);
  execFileSync("tar", ["xzf", packed, "-C", folder]);
  await mkdir(join(folder, "app/node_modules"), { recursive: true });
  await cp(join(folder, "package"), join(folder, "app/node_modules/tailwater"), { recursive: true });

  edge = await startEdge();
  nats = await openNats(edge.nats);
  strict = await startSecondEdge(edge.nats, "127.0.0.1:0", { ...ISSUER, TAILWATER_ORIGIN__ALLOW: "loopback" });
  site = await serve(folder, edge.ws);
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
});
after(async () => {
  await browser?.close();
  site?.closeAllConnections();
  site?.close();
  await nats?.close();
  await strict?.stop();
  await edge?.stop();
  await rm(folder, { recursive: true, force: true });
});

/**
 * Serves the folder, and passes all that is for the edge on to it, as an ingress does: so the page and that have one
 * origin. Under `/blocked/` no WebSocket gets through, under `/buffered/` no stream either.
 */
async function serve(folder, ws) {
  const { hostname, port } = new URL(ws);
  const server = createServer(async (request, response) => {
    const { method, url, headers } = request;
    const [, way, place] = url.match(/^\/(blocked\/|buffered\/)?((?:sse|poll|command)\b.*)$/) ?? [];
    if (place) {
      // Never answered.
      if (way === "buffered/" && place.startsWith("sse")) return;
      const upstream = forward({ hostname, port, method, path: `/${place}`, headers, agent: false });
      upstream.on("error", () => response.destroy());
      upstream.on("response", (answer) => {
        answer.on("error", () => response.destroy());
        response.writeHead(answer.statusCode, answer.headers);
        response.flushHeaders();
        answer.pipe(response);
      });
      response.on("close", () => upstream.destroy());
      return request.pipe(upstream);
    }
    const path = join(folder, new URL(request.url, "http://site").pathname);
    if (!existsSync(path)) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "text/plain" }).end(await readFile(path));
  });
  server.on("upgrade", (request, socket, head) => {
    if (request.url !== "/ws") return socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
    passUpgrade(ws, request, socket, head);
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

const script = (module, channel, { transports = "", url = "/ws", options = "{}" } = {}) => `
  import { connect } from ${JSON.stringify(module)};
  ${transports && `import { auto, fallback, polling, sse } from ${JSON.stringify(transports)};`}
  const tw = connect(${JSON.stringify(url)}, ${options});
  tw.on("state", ({ name, transport }) => (document.title = transport && transport !== "websocket" ? name + " over " + transport : name));
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

/** Writes a page that shows what comes on the channel, and opens it. */
async function show(t, name, channel, more) {
  const module = "./package/dist/tailwater.min.js";
  const code = script(module, channel, { transports: "./package/dist/tailwater-http.min.js", ...more });
  await writeFile(join(folder, name), `<!doctype html><title></title><body><script type="module">${code}</script>`);
  return open(t, name);
}

const says = (page, text) => async () => (await page.innerText("body")).trim() === text;

for (const transport of ["sse", "polling"]) {
  test(`a page receives over ${transport}, also after it was frozen`, async (t) => {
    const channel = `deployments.${freshName(transport)}`;
    const { page, problems } = await show(t, `over-${transport}.html`, channel, { options: `{ transport: ${transport} }` });
    await nats.publish(channel, "one");
    await eventually(says(page, "one"));
    assert.equal(await page.title(), `connected over ${transport}`);
    const tools = await page.context().newCDPSession(page);
    await tools.send("Page.setWebLifecycleState", { state: "frozen" });
    await nats.publish(channel, "two", "three");
    await tools.send("Page.setWebLifecycleState", { state: "active" });
    await eventually(says(page, "one two three"));
    assert.deepEqual(problems, []);
  });

  test(`a page of another origin receives over ${transport}, with a token in a header`, async (t) => {
    const channel = `private.${freshName(transport)}`;
    const token = await mintToken();
    const options = `{ transport: ${transport}, token: () => "${token}" }`;
    const { page, problems } = await show(t, `far-${transport}.html`, channel, { url: strict.ws, options });
    await nats.publish(channel, "one");
    await eventually(says(page, "one"));
    assert.deepEqual(problems, []);
  });
}

test("behind a proxy that lets nothing else through a page ends up polling, and remembers that", async (t) => {
  const channel = `deployments.${freshName("buffered")}`;
  const more = { url: "/buffered/ws", options: "{ transport: fallback({ patienceMs: 2_000 }) }" };
  const { page } = await show(t, "buffered.html", channel, more);
  await nats.publish(channel, "one");
  await eventually(says(page, "one"));
  assert.equal(await page.title(), "connected over polling");
  await page.reload();
  await eventually(says(page, "one"));
  assert.equal(await page.evaluate(() => sessionStorage.getItem("tailwater:transport")), "polling");
  const asked = await page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => new URL(name).pathname));
  assert.ok(asked.includes("/buffered/poll") && !asked.includes("/buffered/sse"), `${asked}`);
});

test("where only WebSockets are refused, a page of auto gets a stream", async (t) => {
  const channel = `deployments.${freshName("blocked")}`;
  const { page } = await show(t, "blocked.html", channel, { url: "/blocked/ws", options: "{ transport: auto }" });
  await nats.publish(channel, "one");
  await eventually(says(page, "one"));
  assert.equal(await page.title(), "connected over sse");
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
