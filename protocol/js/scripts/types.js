// Which declarations an application can reach.

import { readFileSync } from "node:fs";

const ENTRIES = ["index", "http", "msgpack", "react", "storage"];

/** The declarations of `dist` that the entries lead to, by name, in the order in which they are met. */
export function publicTypes() {
  const types = new Map();
  const add = (name) => {
    if (types.has(name)) return;
    const text = readFileSync(new URL(`../dist/${name}.d.ts`, import.meta.url), "utf8");
    types.set(name, text);
    for (const [, imported] of text.matchAll(/from "\.\/([^"]+)\.js"/g)) add(imported);
  };
  ENTRIES.forEach(add);
  return types;
}
