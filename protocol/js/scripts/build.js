// Builds `dist`: modules and types by tsc, and one minified module for pages without a bundler.

import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";
import { publicTypes } from "./types.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = `${root}dist`;

cpSync(`${root}../../LICENSE`, `${root}LICENSE`);
rmSync(dist, { recursive: true, force: true });
execFileSync(process.execPath, [`${root}node_modules/typescript/bin/tsc`, "--project", root], { stdio: "inherit" });

const reached = publicTypes();
for (const file of readdirSync(dist)) {
  if (file.endsWith(".d.ts") && !reached.has(file.slice(0, -".d.ts".length))) rmSync(`${dist}/${file}`);
}

const bundle = await build({
  entryPoints: [`${dist}/index.js`],
  bundle: true,
  write: false,
  format: "esm",
  target: "es2022",
});
const { code } = await minify(bundle.outputFiles[0].text, {
  module: true,
  compress: { ecma: 2020, hoist_funs: true, passes: 3, pure_getters: true, unsafe_arrows: true },
});
writeFileSync(`${dist}/tailwater.min.js`, code);
