// Builds `dist`: modules and types by tsc, and of each entry for pages one minified module, for those without a bundler.

import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";
import { publicTypes } from "./types.js";

/** What compresses best afterwards, by trial. */
const COMPRESS = {
  ecma: 2020,
  hoist_funs: true,
  inline: 1,
  lhs_constants: false,
  passes: 2,
  pure_getters: true,
  unsafe_arrows: true,
};

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = `${root}dist`;

cpSync(`${root}../../LICENSE`, `${root}LICENSE`);
rmSync(dist, { recursive: true, force: true });
execFileSync(process.execPath, [`${root}node_modules/typescript/bin/tsc`, "--project", root], { stdio: "inherit" });

const reached = publicTypes();
for (const file of readdirSync(dist)) {
  if (file.endsWith(".d.ts") && !reached.has(file.slice(0, -".d.ts".length))) rmSync(`${dist}/${file}`);
}

for (const [entry, name] of [["index", "tailwater"], ["http", "tailwater-http"]]) {
  const bundle = await build({
    entryPoints: [`${dist}/${entry}.js`],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    minifySyntax: true,
  });
  const { code } = await minify(bundle.outputFiles[0].text, { module: true, compress: COMPRESS });
  writeFileSync(`${dist}/${name}.min.js`, code);
}
