#!/usr/bin/env bun
// `bun create bellhop my-webhooks` writes package.json, installs Bellhop, and has Bellhop's own `init` write the other
// files, so that they belong to the version that is installed.

import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";

const USAGE = `Usage: bun create bellhop my-webhooks

  --from <package>   the Bellhop to install: a version, a folder or a tarball. Default: the latest one`;

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

function run(args: string[], cwd: string) {
  const { exitCode } = Bun.spawnSync([process.execPath, ...args], { cwd, stdio: ["ignore", "inherit", "inherit"] });
  if (exitCode !== 0) fail(`\nbun ${args.join(" ")} failed in ${cwd}`);
}

const options = { from: { type: "string", default: "latest" }, help: { type: "boolean", short: "h" } } as const;
const { values, positionals } = parseArgs({ options, allowPositionals: true });
const [name, ...more] = positionals;
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
if (name === undefined || more.length > 0) fail(USAGE);
const folder = resolve(name);
if (existsSync(folder) && readdirSync(folder).length > 0) fail(`${folder} is not empty: nothing was changed.`);

mkdirSync(folder, { recursive: true });
const isPath = /^[./~]|^[A-Za-z]:[\\/]|\.tgz$/.test(values.from);
const bellhop = isPath ? resolve(values.from) : `bellhop@${values.from}`;
const manifest = {
  // Names of packages are lower-case words (docs.npmjs.com/cli/configuring-npm/package-json#name).
  name: basename(folder)
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, "-"),
  private: true,
  type: "module",
  scripts: { dev: "bellhop dev", start: "NODE_ENV=production bellhop start" },
  devDependencies: { "@types/bun": `^${Bun.version}` },
};
await Bun.write(join(folder, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
run(["add", "--silent", bellhop], folder);
run([join("node_modules", "bellhop", "src", "main.ts"), "init", "--project"], folder);
console.log(`\nFirst: cd ${name}`);
