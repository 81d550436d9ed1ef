// `bun run build [--outfile bellhop] [--target bun-linux-arm64]` makes one executable with Bun and Bellhop in it. With a
// `handlers/` folder beside it, it runs on a machine without Bun: handlers are loaded at run time, never built in.

import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { readPage } from "../src/inspector/bundle.ts";

const ROOT = resolve(import.meta.dir, "..");

const { values } = parseArgs({
  options: { outfile: { type: "string", default: "bellhop" }, target: { type: "string" } },
});
const outfile = resolve(values.outfile);

// Otherwise the page is built at the first request, from sources that the executable does not contain.
const page = await readPage();
const texts = JSON.stringify(page, (name, value: unknown) => (name === "gzip" ? undefined : value));
const builtPage = `
  const compressed = ([name, asset]) => [name, { ...asset, gzip: Bun.gzipSync(asset.text, { level: 9 }) }];
  let page;
  export const readPage = async () =>
    (page ??= Object.fromEntries(Object.entries(${texts}).map(compressed)));`;

// The bundler does not follow `new Worker(new URL("./x.worker.ts", import.meta.url))`.
const workers = [...new Bun.Glob("src/**/*.worker.ts").scanSync({ cwd: ROOT, absolute: true })];

await Bun.build({
  entrypoints: [join(ROOT, "src/main.ts"), ...workers],
  files: { [join(ROOT, "src/inspector/bundle.ts")]: builtPage },
  // All in one directory, where `new URL("./x.worker.ts", import.meta.url)` finds the workers.
  naming: { entry: "[name].[ext]" },
  // The adapters import what the user may not have installed. In one chunk, such an import would fail at the start.
  splitting: true,
  // Handlers and adapters share the copy in the `node_modules` of the directory in which the executable is started.
  external: ["drizzle-orm", "kysely"],
  compile: {
    outfile,
    ...(values.target && { target: values.target as Bun.Build.CompileTarget }),
    // As in a clone: the JSX settings of the handlers apply, and no package is fetched from the registry at run time.
    autoloadTsconfig: true,
    autoloadPackageJson: true,
    autoloadBunfig: false,
    execArgv: ["--no-install"],
  },
});

const { size } = Bun.file(outfile);
console.log(`Wrote ${values.outfile} (${(size / 1_000_000).toFixed(0)} MB). Beside a handlers folder: ./bellhop start`);
