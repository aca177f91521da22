// Starts the real binary for a test, on ports of its own, and ends it by its process id.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** The first start on a bare machine installs a nats-server. */
const START_DEADLINE_MS = 120_000;
const STOP_DEADLINE_MS = 20_000;
const KEPT_STDERR_CHARS = 8_000;

function binary() {
  if (process.env.EDGE_BINARY) return process.env.EDGE_BINARY;
  const found = ["release", "debug"].map((profile) => fileURLToPath(new URL(`../../target/${profile}/tailwater`, import.meta.url))).find(existsSync);
  if (!found) throw new Error("there is no tailwater binary: run `cargo build` first, or set EDGE_BINARY");
  return found;
}

/** Room for the bursts of the tests, whatever else this machine does. */
const ROOMY = { TAILWATER_OUTBOX__MAX_BYTES: "16777216", TAILWATER_OUTBOX__MAX_MESSAGES: "100000" };

/** A running `tailwater dev`: `http`, `ws`, `nats` and the rest of what it printed, and `stop()`. */
export async function startServer({ listen = "127.0.0.1:0", settings = {} } = {}) {
  const stateDir = await mkdtemp(join(tmpdir(), "tailwater-browser-"));
  const process_ = spawn(binary(), ["dev", "--listen", listen, "--nats-listen", "127.0.0.1:0", "--state-dir", stateDir, "--json"], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...ROOMY, ...settings },
  });

  let stderr = "";
  process_.stderr.on("data", (chunk) => {
    stderr = (stderr + chunk).slice(-KEPT_STDERR_CHARS);
  });
  const ended = new Promise((done) => process_.once("exit", (code, signal) => done({ code, signal })));

  const ready = await new Promise((done, fail) => {
    const deadline = setTimeout(() => {
      process_.kill("SIGKILL");
      fail(new Error(`tailwater printed no ready line within ${START_DEADLINE_MS / 1000} s; it said:\n${stderr}`));
    }, START_DEADLINE_MS);
    process_.once("error", fail);
    ended.then(({ code, signal }) => fail(new Error(`tailwater ended before it was ready (${signal ?? code}); it said:\n${stderr}`)));
    createInterface({ input: process_.stdout }).once("line", (line) => {
      clearTimeout(deadline);
      try {
        done(JSON.parse(line));
      } catch {
        fail(new Error(`the ready line is not JSON: ${line}`));
      }
    });
  });

  const stop = async (signal = "SIGTERM") => {
    process_.kill(signal);
    const deadline = setTimeout(() => process_.kill("SIGKILL"), STOP_DEADLINE_MS);
    await ended;
    clearTimeout(deadline);
    await rm(stateDir, { recursive: true, force: true });
  };
  return { ...ready, http: withScheme(ready.http, "http"), stop };
}

const withScheme = (address, scheme) => (address.includes("://") ? address : `${scheme}://${address}`).replace(/\/$/, "");
