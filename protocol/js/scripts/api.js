// The public types of the package in one file, `api.d.ts`, so that a change of the API shows in review. Fails if that
// file is not up to date; `--write` makes it so.

import { readFileSync, writeFileSync } from "node:fs";
import { publicTypes } from "./types.js";

const report = new URL("../api.d.ts", import.meta.url);
const text = [...publicTypes()].map(([name, types]) => `// ${name}.d.ts\n\n${types.trim()}\n`).join("\n");

if (process.argv.includes("--write")) writeFileSync(report, text);
else if (readFileSync(report, "utf8") !== text) {
  console.error("the public types have changed: run `node scripts/api.js --write`, and look at the difference");
  process.exit(1);
}
