// Writes `types/`: the declarations of the package's exports, and of everything that they refer to.
// Run by `npm pack`. Published with the sources, because an application's own compiler would check a `.ts` file of a
// package by the application's settings, and refuse its imports of `.ts` files.

import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";

import { exports } from "../package.json";

const ROOT = resolve(import.meta.dir, "..");
const TYPES = join(ROOT, "types");

const sources = Object.values(exports).flatMap((entry) => (typeof entry === "string" ? [] : [join(ROOT, entry.bun)]));
const folder = await mkdtemp(join(tmpdir(), "bellhop-types-"));
try {
  const options = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--skipLibCheck"];
  const config = join(folder, "tsconfig.json");
  const compilerOptions = {
    rootDir: join(ROOT, "src"),
    outDir: join(folder, "types"),
    typeRoots: [join(ROOT, "node_modules/@types"), join(ROOT, "node_modules")],
  };
  await Bun.write(
    config,
    JSON.stringify({
      extends: join(ROOT, "tsconfig.json"),
      compilerOptions,
      files: sources,
      include: [join(ROOT, "src/**/*.d.ts")],
      references: [],
    }),
  );
  const { exitCode } = Bun.spawnSync([process.execPath, "x", "tsc", "-p", config, ...options], {
    cwd: ROOT,
    stdout: "inherit",
    stderr: "inherit",
  });
  if (exitCode !== 0) process.exit(exitCode);
  await rm(TYPES, { recursive: true, force: true });
  const entries = sources.map((source) => relative(join(ROOT, "src"), source).replace(/\.ts$/, ".d.ts"));
  for (const file of await reachable(join(folder, "types"), entries))
    await cp(join(folder, "types", file), join(TYPES, file));
} finally {
  await rm(folder, { recursive: true });
}

/** The declarations that `entries` import, at any depth, and the entries. */
async function reachable(dir: string, entries: readonly string[]): Promise<Set<string>> {
  const found = new Set(entries);
  // A set that grows while it is iterated.
  for (const file of found) {
    const text = await Bun.file(join(dir, file)).text();
    for (const [, path = ""] of text.matchAll(/(?:from|import\()\s*"(\.[^"]+)\.ts"/g))
      found.add(join(dirname(file), `${path}.d.ts`));
  }
  return found;
}
