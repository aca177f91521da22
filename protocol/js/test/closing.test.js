// The advice on close codes stands in Rust and in TypeScript. This holds the two together.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { EXPIRED, FINAL, REFUSED } from "../dist/closing.js";

const source = readFileSync(new URL("../../src/close.rs", import.meta.url), "utf8");
const codes = new Map([...source.matchAll(/^ {4}(\w+) = (\d+),/gm)].map(([, name, code]) => [name, Number(code)]));
const [, body] = source.match(/pub fn reconnect\(self\)[^]*?match self \{([^]*?)\n {8}\}/);

function advised(advice) {
  const arms = body.replaceAll(/\{\s*Reconnect::(\w+)\s*\}/g, "Reconnect::$1,").split(/(?<=Reconnect::\w+),/);
  const arm = arms.find((text) => text.includes(`Reconnect::${advice}`));
  return [...arm.matchAll(/Self::(\w+)/g)].map(([, name]) => codes.get(name)).sort();
}

test("the client stays away, or asks for a token, after the codes for which the server's side says so", () => {
  assert.equal(codes.size, 18);
  assert.deepEqual([...FINAL].sort(), advised("Never"));
  assert.deepEqual([...REFUSED, ...EXPIRED].sort(), advised("WithNewToken"));
});
