// The client as the console and the demo of the edge use it: they are part of the binary, which is built without Node, so
// copies are checked in. Fails if one is not what `dist` has; `--write` makes it so.

import { readFileSync, writeFileSync } from "node:fs";

const COPIES = ["tailwater", "tailwater-http"];

for (const name of COPIES) {
  const copy = new URL(`../../../edge/console/${name}.js`, import.meta.url);
  const module = readFileSync(new URL(`../dist/${name}.min.js`, import.meta.url), "utf8");
  const text = `// The package of protocol/js, made by its \`node scripts/build.js && node scripts/pages.js --write\`.\n${module}\n`;

  if (process.argv.includes("--write")) writeFileSync(copy, text);
  else if (readFileSync(copy, "utf8") !== text) {
    console.error("the pages of the edge have another client: run `node scripts/pages.js --write`");
    process.exit(1);
  }
}
