// `bun test/install/walk.ts`: installs the packed package on a bare machine in every way that the documentation names, and
// prints the seconds to the first handled event. `--only create,add` walks some of them.

import { mkdir, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { formatTable } from "../../src/cli/format-table.ts";
import { openMachine } from "./machine.ts";
import { type Packages, ways } from "./ways.ts";

const ROOT = resolve(import.meta.dir, "../..");

const { values } = parseArgs({ options: { only: { type: "string", default: "" } } });
const parts = values.only.split(",");
const selected = Object.entries(ways).filter(([name]) => parts.some((part) => name.toLowerCase().includes(part)));

await using machine = await openMachine();
const rows: string[][] = [];

function report(name: string, startedAt: number, endedAt = performance.now()) {
  rows.push([name, `${((endedAt - startedAt) / 1_000).toFixed(1)} s`]);
  console.log(rows.at(-1)?.join(": "));
}

const packages = await pack();
runTool(["publint", packages.bellhop]);
runTool(["publint", packages.create]);
// Bellhop has ES modules only, and its subpaths need a resolver that reads `exports`.
runTool(["attw", packages.bellhop, "--profile", "esm-only"]);

const found = await machine.run("command -v bun || echo none", { cwd: machine.path });
if (found.trim() !== "none") throw new Error(`there is a Bun in PATH: ${found}`);
let startedAt = performance.now();
await machine.run(`npm install -g bun@${Bun.version}`, { cwd: machine.path });
report("npm install -g bun", startedAt);

const empty = join(machine.path, "empty");
await Bun.write(join(empty, "package.json"), "{}");
startedAt = performance.now();
await machine.run(`bun add --production ${packages.bellhop}`, { cwd: empty });
report("bun add bellhop", startedAt);
const megabytes = await machine.run("du -sm node_modules | cut -f1", { cwd: empty });
console.log(`installed: ${megabytes.trim()} MB`);

for (const [index, [name, way]] of selected.entries()) {
  const cwd = join(machine.path, `way-${index}`);
  await mkdir(cwd);
  startedAt = performance.now();
  report(name, startedAt, await way(machine, packages, cwd));
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
  const [create, bellhop] = [true, false].map((isCreate) =>
    files.find((file) => file.includes("create-") === isCreate),
  );
  if (!bellhop || !create) throw new Error(`packed: ${files.join(", ")}`);
  console.log(`the package has ${Math.round(Bun.file(bellhop).size / 1_000)} KB`);
  return { bellhop, create };
}

function runTool(command: string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, "x", ...command], { cwd: ROOT });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}\n${stdout.toString()}${stderr.toString()}`);
}
