// Fails if the core, minified and compressed as servers do it, is larger than it may be.

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const MOST_BYTES = 5 * 1024;

const module = readFileSync(new URL("../dist/tailwater.min.js", import.meta.url));
const bytes = gzipSync(module, { level: 9 }).length;
console.log(`core: ${module.length} bytes minified, ${bytes} with gzip, ${MOST_BYTES} allowed`);
if (bytes > MOST_BYTES) process.exit(1);
