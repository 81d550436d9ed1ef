// `bun test/install/walk.ts`: installs the packed package on a bare machine in every way that the documentation names, and
// prints the seconds to the first handled event. `--only create,add` walks some of them.

import { mkdir, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { formatTable } from "../../src/cli/format-table.ts";
import { openMachine } from "./machine.ts";
import { type Packages, ways } from "./ways.ts";

const ROOT = resolve(import.meta.dir, "../..");

const { values } = parseArgs({ options: { only: { type: "string" } } });
const selected = Object.keys(ways).filter(
  (name) => !values.only || values.only.split(",").some((part) => name.toLowerCase().includes(part)),
);

await using machine = await openMachine();
const rows: string[][] = [];

async function measure<T>(name: string, work: () => Promise<T>): Promise<T> {
  const startedAt = performance.now();
  const result = await work();
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  console.log(`${name}: ${seconds} s`);
  rows.push([name, `${seconds} s`]);
  return result;
}

const packages = await pack();
const missing = await machine.run("command -v bun || echo none", { cwd: machine.path });
if (missing.trim() !== "none") throw new Error(`there is a Bun in PATH: ${missing}`);
await measure("npm install -g bun", () => machine.run(`npm install -g bun@${Bun.version}`, { cwd: machine.path }));
await measure("bun add bellhop", () => install(packages));
for (const [index, name] of selected.entries()) {
  const cwd = join(machine.path, `way-${index}`);
  await mkdir(cwd);
  await measure(name, async () => await ways[name]?.(machine, packages, cwd));
}
console.log(`\nSeconds to the first handled event:\n\n${formatTable(rows)}`);

/** The tarballs of both packages, as they would be published. */
async function pack(): Promise<Packages> {
  const to = join(machine.path, "packages");
  await mkdir(to);
  for (const cwd of [ROOT, join(ROOT, "packages/create-bellhop")]) {
    const { exitCode, stderr } = Bun.spawnSync([process.execPath, "pm", "pack", "--quiet", "--destination", to], {
      cwd,
    });
    if (exitCode !== 0) throw new Error(`bun pm pack failed: ${stderr.toString()}`);
  }
  const files = (await readdir(to)).map((file) => join(to, file));
  const [bellhop, create] = ["bellhop", "create-bellhop"].map((name) =>
    files.find((file) => file.startsWith(join(to, `${name}-0`))),
  );
  if (!bellhop || !create) throw new Error(`packed: ${files.join(", ")}`);
  console.log(`the package has ${Math.round(Bun.file(bellhop).size / 1_000)} KB`);
  return { bellhop, create };
}

async function install({ bellhop }: Packages) {
  const cwd = join(machine.path, "empty");
  await mkdir(cwd);
  await Bun.write(join(cwd, "package.json"), "{}");
  await machine.run(`bun add --production ${bellhop}`, { cwd });
  console.log(`installed: ${(await machine.run("du -sm node_modules | cut -f1", { cwd })).trim()} MB`);
}
