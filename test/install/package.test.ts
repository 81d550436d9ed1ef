// The packed package is installed by `bun test/install/walk.ts`, which takes minutes.

import { expect, test } from "bun:test";
import { join, resolve } from "node:path";

import manifest from "../../package.json";
import createManifest from "../../packages/create-bellhop/package.json";
import { documentedFiles, ways } from "./ways.ts";

const ROOT = resolve(import.meta.dir, "../..");

test("the package has its sources and nothing for development", () => {
  const { stdout } = Bun.spawnSync([process.execPath, "pm", "pack", "--dry-run", "--ignore-scripts"], { cwd: ROOT });
  const files = [...stdout.toString().matchAll(/^packed \S+ (\S+)$/gm)].map(([, file = ""]) => file);
  expect(files.filter((file) => !file.startsWith("src/")).toSorted()).toEqual([
    ".env.example",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "package.json",
  ]);
  expect(files).toContain("src/main.ts");
  expect(files.filter((file) => file.endsWith(".test.ts"))).toEqual([]);
});

test("installing the packages runs no script", () => {
  for (const { scripts = {}, private: isPrivate } of [manifest, createManifest] as {
    scripts?: Record<string, string>;
    private?: boolean;
  }[]) {
    expect(isPrivate).toBeUndefined();
    for (const name of ["preinstall", "install", "postinstall", "prepare"]) expect(scripts).not.toHaveProperty(name);
  }
});

test("Node.js and bundlers find each export of the package", async () => {
  const fallback = "./src/mount/resolved-without-bun.js";
  const entries = Object.values(manifest.exports)
    .filter((entry) => typeof entry === "object")
    .filter((entry) => entry.default === fallback);
  expect(Object.keys(manifest.exports)).toHaveLength(entries.length + ["./ensure-user", "./package.json"].length);
  const modules = await Promise.all(entries.map((entry) => import(join(ROOT, entry.bun)) as Promise<object>));
  const { default: _, ...found } = (await import(join(ROOT, fallback))) as Record<string, unknown>;
  expect(Object.keys(found).toSorted()).toEqual(modules.flatMap((module) => Object.keys(module)).toSorted());
  // In Vite's development server on Bun, it is the package.
  expect(found.on).toBe((modules[0] as Record<string, unknown>).on as never);
});

test("each file of docs/mount.md belongs to a framework in which Bellhop is mounted", async () => {
  const page = await Bun.file(join(ROOT, "docs/mount.md")).text();
  const folders = [...page.matchAll(/^```tsx?\n(?:\/\/ (\w+)\/)?/gm)].map(
    ([, folder = "a block without a name"]) => folder,
  );
  expect([...new Set(folders)]).toEqual(["bun", "elysia", "hono", "next", "tanstack"]);
  expect(Object.keys(ways).filter((name) => name.startsWith("mount: "))).toHaveLength(5);
  expect(Object.keys(await documentedFiles("next"))).toContain("app/api/webhooks/route.ts");
});

test("each changeset names the package, a kind of version and a text", async () => {
  const folder = join(ROOT, ".changeset");
  for (const file of new Bun.Glob("*.md").scanSync(folder)) {
    if (file === "README.md") continue;
    expect(await Bun.file(join(folder, file)).text(), file).toMatch(
      /^---\n"bellhop": (?:patch|minor|major)\n---\n\n\S[\s\S]*\n$/,
    );
  }
});
