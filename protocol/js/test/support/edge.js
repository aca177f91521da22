// Starts the real binary for a test, on ports of its own, and ends it by its process id.

import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { openNats } from "./index.js";

/** The first start on a bare machine installs a nats-server. */
const START_DEADLINE_MS = 120_000;
const STOP_DEADLINE_MS = 20_000;

function binary() {
  if (process.env.EDGE_BINARY) return process.env.EDGE_BINARY;
  const found = ["debug", "release"]
    .map((profile) => fileURLToPath(new URL(`../../../../target/${profile}/tailwater`, import.meta.url)))
    .find(existsSync);
  if (!found) throw new Error("there is no tailwater binary: run `cargo build` first, or set EDGE_BINARY");
  return found;
}

/**
 * A running `tailwater dev` with its own NATS: `ws`, `nats` and the rest of what it printed, and `stop()`. Its stream
 * trims nothing unless `settings` says so: however late a slow machine reads, it is all there.
 */
export async function startEdge(settings = {}) {
  const stateDir = await mkdtemp(join(tmpdir(), "tailwater-sdk-"));
  const args = ["dev", "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--state-dir", stateDir, "--json"];
  const edge = await start(args, {
    TAILWATER_STREAM__DEPLOYMENTS__MAX_MESSAGES_PER_CHANNEL: "0",
    TAILWATER_DRAIN__TIMEOUT_SECS: "1",
    ...settings,
  });
  return { ...edge, stop: () => edge.stop().then(() => rm(stateDir, { recursive: true, force: true })) };
}

/** Another edge on the NATS of `dev`, which may be stopped and started again on the same port. */
export function startSecondEdge(nats, listen = "127.0.0.1:0", settings = {}) {
  const config = {
    TAILWATER_LISTEN: listen,
    TAILWATER_ADMIN__LISTEN: "127.0.0.1:0",
    TAILWATER_NATS__URL: nats,
    TAILWATER_NAMESPACE__DEPLOYMENTS__CHANNELS: "deployments.>",
    TAILWATER_NAMESPACE__DEPLOYMENTS__DURABLE: "true",
    TAILWATER_NAMESPACE__DEPLOYMENTS__ANONYMOUS: "true",
    TAILWATER_NAMESPACE__DEPLOYMENTS__PUBLISH: "true",
    TAILWATER_NAMESPACE__CHAT__CHANNELS: "chat.>",
    TAILWATER_NAMESPACE__CHAT__ANONYMOUS: "true",
    TAILWATER_NAMESPACE__CHAT__PUBLISH: "true",
    TAILWATER_DRAIN__LINGER_SECS: "0",
    TAILWATER_DRAIN__WINDOW_SECS: "0",
    TAILWATER_DRAIN__TIMEOUT_SECS: "1",
    ...settings,
  };
  return start(["serve", "--json"], config);
}

/** For the tests of one file: a `dev`, a second edge with `settings` on its NATS, and a service. They end after the last test. */
export async function startAll(settings = {}) {
  const all = {};
  after(async () => {
    await all.nats?.close();
    await all.edge?.stop();
    await all.dev?.stop();
  });
  all.dev = await startEdge();
  all.nats = await openNats(all.dev.nats);
  all.edge = await startSecondEdge(all.dev.nats, "127.0.0.1:0", settings);
  return all;
}

/** Settings of an edge where `prices.>` can be asked for. */
export const PRICES = {
  TAILWATER_NAMESPACE__PRICES__CHANNELS: "prices.>",
  TAILWATER_NAMESPACE__PRICES__ANONYMOUS: "true",
  TAILWATER_NAMESPACE__PRICES__REQUEST: "true",
};

/** Settings of an edge that knows users by tokens, which `mintToken` makes, and lets nobody else subscribe to `private.>`. */
export const ISSUER = {
  TAILWATER_IDENTITY__ISSUER__TEST__ISSUER: "test",
  TAILWATER_IDENTITY__ISSUER__TEST__HMAC_SECRET: "of the tests, and of nobody else: 32 bytes",
  TAILWATER_NAMESPACE__PRIVATE__CHANNELS: "private.>",
  TAILWATER_NAMESPACE__PRIVATE__DURABLE: "true",
  TAILWATER_NAMESPACE__PRIVATE__PUBLISH: "true",
};

/** A token as `tailwater token` makes it, which lets its bearer subscribe to `private.>`. */
export async function mintToken(...args) {
  const env = { ...process.env, ...ISSUER };
  const all = ["token", "--sub", "ann", "--subscribe", "private.>", ...args];
  return (await promisify(execFile)(binary(), all, { env })).stdout.trim();
}

async function start(args, settings) {
  const child = spawn(binary(), args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...settings } });
  let stderr = "";
  child.stderr.on("data", (chunk) => {
    stderr = (stderr + chunk).slice(-8_000);
  });
  const ended = new Promise((done) => child.once("exit", (code, signal) => done(signal ?? code)));
  const ready = await new Promise((done, fail) => {
    const deadline = setTimeout(() => {
      child.kill("SIGKILL");
      fail(new Error(`tailwater was not ready in time; it said:\n${stderr}`));
    }, START_DEADLINE_MS);
    child.once("error", fail);
    ended.then((how) => fail(new Error(`tailwater ended before it was ready (${how}); it said:\n${stderr}`)));
    createInterface({ input: child.stdout }).once("line", (line) => {
      clearTimeout(deadline);
      done(JSON.parse(line));
    });
  });
  const stop = async (signal = "SIGTERM") => {
    child.kill(signal);
    const deadline = setTimeout(() => child.kill("SIGKILL"), STOP_DEADLINE_MS);
    await ended;
    clearTimeout(deadline);
  };
  return { ...ready, stop };
}
