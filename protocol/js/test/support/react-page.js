// Pages with a real React in a real browser, on the edge's own origin. `app` is there in `page.evaluate`: React, its
// `createRoot`, the client and the hooks, and `root`, where to render.

import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { build } from "esbuild";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What esbuild is to take for "react" and "react-dom". */
export const REACTS = {
  18: { react: `${root}test/react-18/node_modules/react`, "react-dom": `${root}test/react-18/node_modules/react-dom` },
  19: {},
};

const APP = `
  export * from "tailwater";
  export * from "tailwater/react";
  export * as React from "react";
  import { createRoot } from "react-dom/client";
  export const root = createRoot(document.body.appendChild(document.createElement("main")));`;

/** One script of this source and all that it imports. */
export async function bundle(contents, alias, options = {}) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: root, loader: "jsx" },
    jsx: "automatic",
    bundle: true,
    write: false,
    logLevel: "error",
    alias,
    ...options,
  });
  return outputFiles[0].text;
}

export function startBrowser() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
}

/** What browsers say of a network that is broken on purpose, and of pages without an icon. */
const NETWORK = /^(WebSocket connection to|Failed to load resource)/;

/** Opens an empty page of the edge with a script in it. What goes wrong in it is in `problems`. */
export async function openPage(t, browser, edge, script) {
  const page = await browser.newPage({ bypassCSP: true });
  t.after(() => page.close());
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !NETWORK.test(message.text())) problems.push(message.text());
  });
  await page.goto(`${edge.http}/console/info.json`);
  await page.setContent(`<!doctype html><title>react</title><div id="root"></div>`);
  await page.addScriptTag({ content: script });
  return { page, problems };
}

/** A page with `app`, by the number of the React. */
export async function openApp(t, browser, edge, version) {
  scripts[version] ??= bundle(APP, REACTS[version], { format: "iife", globalName: "app" });
  return openPage(t, browser, edge, await scripts[version]);
}

const scripts = {};
