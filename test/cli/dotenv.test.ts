import { expect, setDefaultTimeout, test } from "bun:test";
import { chmod, lstat, readdir, readFile, rename, stat, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";

import { ensureDevSecret, watchEnvFile } from "../../src/cli/dotenv.ts";
import type { Config } from "../../src/config.ts";
import { SECRET, temporaryFolder, until } from "../harness.ts";

// Somebody else may use the machine as well.
setDefaultTimeout(20_000);

const OTHER = `whsec_${Buffer.alloc(24, 9).toString("base64")}`;

async function envFile(text?: string) {
  const folder = await temporaryFolder();
  const file = join(folder.path, ".env");
  if (text !== undefined) await Bun.write(file, text);
  return {
    file,
    template: join(folder.path, ".env.example"),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

test("a secret that is set is left alone, under either name", async () => {
  await using env = await envFile();
  expect(ensureDevSecret({ CLERK_WEBHOOK_SIGNING_SECRET: SECRET }, env.file, env.template)).toEqual({});
  expect(ensureDevSecret({ CLERK_WEBHOOK_SECRET: SECRET }, env.file, env.template)).toEqual({});
  expect(await Bun.file(env.file).exists()).toBe(false);
});

test("an .env that is there keeps its lines, and gets the secret; only its owner may read it", async () => {
  await using env = await envFile("OTHER=1");
  const { CLERK_WEBHOOK_SIGNING_SECRET: made } = ensureDevSecret({}, env.file, env.template);
  const text = await readFile(env.file, "utf8");
  expect(text).toStartWith("OTHER=1\n");
  expect(text).toEndWith(`CLERK_WEBHOOK_SIGNING_SECRET=${made}\n`);
  expect((await stat(env.file)).mode & 0o777).toBe(0o600);
});

test("an .env that gets the secret is replaced whole, also behind a link, and nothing is left beside it", async () => {
  await using env = await envFile("OTHER=$1$&\nCLERK_WEBHOOK_SIGNING_SECRET=\n");
  const folder = dirname(env.file);
  await rename(env.file, join(folder, "shared.env"));
  await symlink("shared.env", env.file);
  await chmod(join(folder, "shared.env"), 0o644);
  const before = await stat(env.file);
  const { CLERK_WEBHOOK_SIGNING_SECRET: made } = ensureDevSecret({}, env.file, env.template);
  expect((await lstat(env.file)).isSymbolicLink()).toBe(true);
  const after = await stat(env.file);
  expect(after.mode & 0o777).toBe(0o600);
  // Another inode: a crash leaves the old file or the new one.
  expect(after.ino).not.toBe(before.ino);
  expect(await readFile(env.file, "utf8")).toMatch(/^OTHER=\$1\$&\n# Made by/);
  expect(await readFile(env.file, "utf8")).toContain(`\nCLERK_WEBHOOK_SIGNING_SECRET=${made}\n`);
  expect((await readdir(folder)).toSorted()).toEqual([".env", "shared.env"]);
});

test("a variable that refers to another one is followed as Bun reads it, and is not taken for the shell's", async () => {
  const file = (secret: string) =>
    `SECRET=${secret}\nCLERK_WEBHOOK_SIGNING_SECRET=$SECRET\nWEBHOOK_PATH=\${PREFIX}/hooks\nPREFIX=/api\n`;
  await using env = await envFile(file(SECRET));
  const configs: Config[] = [];
  const notes: string[] = [];
  const started = { CLERK_WEBHOOK_SIGNING_SECRET: SECRET, SECRET, WEBHOOK_PATH: "/api/hooks", PREFIX: "/api" };
  const told = {
    onConfig: (config: Config) => void configs.push(config),
    onNote: (note: string) => void notes.push(note),
  };
  const end = watchEnvFile(started, told, env.file);
  await Bun.sleep(300);
  await Bun.write(env.file, file(OTHER));
  await until("the change", () => configs.length || undefined, 4_000);
  expect(configs[0]?.secrets).toEqual([Buffer.alloc(24, 9)]);
  expect(notes).toEqual([]);
  end();
});

test("a new .env is for its owner only", async () => {
  await using env = await envFile();
  ensureDevSecret({}, env.file, env.template);
  expect((await stat(env.file)).mode & 0o777).toBe(0o600);
});

test("a change of .env is used, or the reason why not is told", async () => {
  await using env = await envFile(`CLERK_WEBHOOK_SIGNING_SECRET=${SECRET}\nPORT=3000\nLOG_LEVEL=info\n`);
  const configs: Config[] = [];
  const notes: string[] = [];
  const shell = { CLERK_WEBHOOK_SIGNING_SECRET: SECRET, PORT: "3000", LOG_LEVEL: "warn" };
  const end = watchEnvFile(
    shell,
    { onConfig: (config) => configs.push(config), onNote: (note) => notes.push(note) },
    env.file,
  );
  await Bun.sleep(300);
  await Bun.write(env.file, `CLERK_WEBHOOK_SIGNING_SECRET=${OTHER}\nPORT=4000\nLOG_LEVEL=debug\n`);
  await until("the change", () => configs.length || undefined);
  expect(configs[0]?.secrets).toEqual([Buffer.alloc(24, 9)]);
  expect(notes).toEqual([
    `PORT has changed in ${env.file}: restart to use it`,
    `LOG_LEVEL has changed in ${env.file}, but the shell or another .env file sets it too and takes precedence`,
  ]);
  await Bun.write(env.file, `CLERK_WEBHOOK_SIGNING_SECRET="sk_test_nope"\nPORT=4000\nLOG_LEVEL=debug\n`);
  await until("the note", () => notes[2]);
  expect(notes[2]).toContain("begins with sk_test_, so it is an API key");
  expect(configs).toHaveLength(1);
  end();
});

test("a secret under its other name is read again, too", async () => {
  await using env = await envFile(`CLERK_WEBHOOK_SECRET=${SECRET}\n`);
  const configs: Config[] = [];
  const told = { onConfig: (config: Config) => void configs.push(config), onNote: () => undefined };
  const end = watchEnvFile({ CLERK_WEBHOOK_SECRET: SECRET }, told, env.file);
  await Bun.sleep(300);
  await Bun.write(env.file, `CLERK_WEBHOOK_SECRET=${OTHER}\n`);
  await until("the change", () => configs.length || undefined, 4_000);
  expect(configs[0]?.secrets).toEqual([Buffer.alloc(24, 9)]);
  end();
});

test("a secret that was saved beside a mistake counts once that is mended", async () => {
  await using env = await envFile(`CLERK_WEBHOOK_SIGNING_SECRET=${SECRET}\n`);
  const configs: Config[] = [];
  const notes: string[] = [];
  const told = {
    onConfig: (config: Config) => void configs.push(config),
    onNote: (note: string) => void notes.push(note),
  };
  const end = watchEnvFile({ CLERK_WEBHOOK_SIGNING_SECRET: SECRET }, told, env.file);
  await Bun.sleep(300);
  await Bun.write(env.file, `CLERK_WEBHOOK_SIGNING_SECRET=${OTHER}\nPORT=abc\n`);
  await until("the mistake to be told", () => notes.some((note) => note.includes('is "abc"')), 4_000);
  expect(configs).toEqual([]);
  await Bun.write(env.file, `CLERK_WEBHOOK_SIGNING_SECRET=${OTHER}\nPORT=4000\n`);
  await until("the change", () => configs.length || undefined, 4_000);
  expect(configs[0]?.secrets).toEqual([Buffer.alloc(24, 9)]);
  end();
});
