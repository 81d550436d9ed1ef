import { expect, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

import { readConfig } from "../../src/config.ts";
import { runCommand, SECRET, temporaryFolder } from "../harness.ts";

// `runCommand` sets both, which a new project lacks.
const NONE = { HANDLERS_DIR: "", CLERK_WEBHOOK_SIGNING_SECRET: "" };
/** Without Bun's cache, which is in HOME. */
const listFiles = async (folder: string) =>
  (await readdir(folder, { recursive: true })).filter((file) => !file.startsWith(".bun")).toSorted();
const read = (folder: string, file: string) => Bun.file(join(folder, file)).text();

test("init writes handlers, a test, settings and a secret, and changes nothing when it is repeated", async () => {
  await using folder = await temporaryFolder();
  const first = await runCommand(folder.path, ["init", "--project"], NONE);
  expect(first).toMatchObject({ exitCode: 0, stderr: "" });
  const files = await listFiles(folder.path);
  expect(files).toEqual([
    ".env",
    ".env.example",
    ".gitignore",
    "AGENTS.md",
    "compose.yaml",
    "handlers",
    "handlers/user.created.test.ts",
    "handlers/user.created.ts",
    "tsconfig.json",
  ]);
  for (const file of files) if (file !== "handlers") expect(first.stdout).toContain(`+ ${file}`);
  expect(await read(folder.path, ".env")).toContain("CLERK_WEBHOOK_SIGNING_SECRET=whsec_");
  const list = await runCommand(folder.path, ["handlers", "--check"], NONE);
  expect(list).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("user.created") });

  const texts = () => Promise.all(files.filter((file) => file !== "handlers").map((file) => read(folder.path, file)));
  const before = await texts();
  const { CLERK_WEBHOOK_SIGNING_SECRET: _, ...withoutSecret } = NONE;
  const second = await runCommand(folder.path, ["init", "--project"], { ...withoutSecret });
  expect(second.stdout).toContain("nothing was changed");
  expect(await listFiles(folder.path)).toEqual(files);
  expect(await texts()).toEqual(before);
});

test("init adds lines to an existing project's files, and keeps its handlers", async () => {
  await using folder = await temporaryFolder();
  await Bun.write(join(folder.path, "handlers/user.deleted.ts"), "export default () => {};");
  await Bun.write(join(folder.path, "tsconfig.json"), "{}");
  await Bun.write(join(folder.path, ".gitignore"), "/node_modules\n.env*\ndist");
  await Bun.write(join(folder.path, ".env.example"), "API_KEY=\n");
  await Bun.write(join(folder.path, ".env"), `API_KEY=1\nCLERK_WEBHOOK_SIGNING_SECRET=${SECRET}\n`);
  const { stdout, exitCode } = await runCommand(folder.path, ["init"], { HANDLERS_DIR: "" });
  expect(exitCode).toBe(0);
  expect(await read(folder.path, ".gitignore")).toBe("/node_modules\n.env*\ndist\ndata/\n");
  expect(await read(folder.path, ".env.example")).toBe("API_KEY=\nCLERK_WEBHOOK_SIGNING_SECRET=\n");
  expect(await read(folder.path, ".env")).toBe(`API_KEY=1\nCLERK_WEBHOOK_SIGNING_SECRET=${SECRET}\n`);
  expect((await readdir(join(folder.path, "handlers"))).toSorted()).toEqual(["user.deleted.ts"]);
  expect(stdout).toContain("createBellhop");
  expect(stdout).toContain("bun add -d @types/bun");
});

test("the compose file of a new project is YAML, and its settings are valid in production", async () => {
  await using folder = await temporaryFolder();
  await runCommand(folder.path, ["init", "--project"], NONE);
  const { services } = Bun.YAML.parse(await read(folder.path, "compose.yaml")) as {
    services: { bellhop: { image: string; volumes: string[]; environment: Record<string, string> } };
  };
  const { image, volumes, environment } = services.bellhop;
  expect(image).toBe(`oven/bun:${Bun.version}`);
  expect(volumes).toContain("./handlers:/app/handlers:ro");
  expect(environment.CLERK_WEBHOOK_SIGNING_SECRET).toBe("${CLERK_WEBHOOK_SIGNING_SECRET:?}");
  expect(readConfig({ ...environment, CLERK_WEBHOOK_SIGNING_SECRET: SECRET }, "start")).toHaveProperty("config");
});
