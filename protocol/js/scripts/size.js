// Fails if a module, minified and compressed as servers do it, is larger than it may be.

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

/** The core, and the transports over HTTP, which include what they share with it. */
const MOST_BYTES = { tailwater: 5 * 1024, "tailwater-http": 5.5 * 1024 };

for (const [name, mostBytes] of Object.entries(MOST_BYTES)) {
  const module = readFileSync(new URL(`../dist/${name}.min.js`, import.meta.url));
  const bytes = gzipSync(module, { level: 9 }).length;
  console.log(`${name}.min.js: ${module.length} bytes minified, ${bytes} with gzip, ${mostBytes} allowed`);
  if (bytes > mostBytes) process.exitCode = 1;
}
