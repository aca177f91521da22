// A browser over TLS: the console's page and a WebSocket beside it, from a server with a certificate of the test's own.

import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "nats";
import { expect, test } from "./fixtures.js";
import { startServer } from "./server.js";

test.use({ ignoreHTTPSErrors: true }); // nobody vouches for the certificate

/** Subscribes, and gives the first update. */
const firstUpdate = (url) => new Promise((done, fail) => {
  const socket = new WebSocket(url);
  socket.onerror = () => fail(new Error("the WebSocket failed"));
  socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", channel: "tls.page" }));
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.type === "subscribed") document.title = "subscribed";
    if (message.type === "update") done(message.payload);
  };
});

test("a page that came by https receives what a NATS client publishes", async ({ page }) => {
  const folder = await mkdtemp(join(tmpdir(), "tailwater-tls-"));
  const [certificate, key] = [join(folder, "edge.pem"), join(folder, "edge.key")];
  const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-subj", "/CN=edge"];
  execFileSync("openssl", [...request, "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key], { stdio: "ignore" });
  const server = await startServer({ settings: { TAILWATER_TLS__CERTIFICATE: certificate, TAILWATER_TLS__KEY: key } });
  const nats = await connect({ servers: server.nats });
  try {
    expect(server.http).toMatch(/^https:/);
    expect(server.ws).toMatch(/^wss:/);
    await page.goto(`${server.http}/`);
    const update = page.evaluate(firstUpdate, server.ws);
    await expect(page).toHaveTitle("subscribed");
    nats.publish("tls.page", JSON.stringify("x".repeat(100_000)));
    expect(await update).toHaveLength(100_000);
  } finally {
    // The console in the page would try to come back.
    await page.close();
    await nats.close();
    await server.stop();
    await rm(folder, { recursive: true });
  }
});
