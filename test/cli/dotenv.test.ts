import { expect, setDefaultTimeout, test } from "bun:test";
import { chmod, lstat, mkdir, readdir, readFile, rename, stat, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";

import { ensureDevSecret, watchEnvFile } from "../../src/cli/dotenv.ts";
import type { Config } from "../../src/config.ts";
import { UserError } from "../../src/errors.ts";
import { SECRET, temporaryFolder, until } from "../harness.ts";

// The machine may be busy.
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

test("a secret that is set under either name is not replaced", async () => {
  await using env = await envFile();
  expect(ensureDevSecret({ CLERK_WEBHOOK_SIGNING_SECRET: SECRET }, env.file, env.template)).toEqual({});
  expect(ensureDevSecret({ CLERK_WEBHOOK_SECRET: SECRET }, env.file, env.template)).toEqual({});
  expect(await Bun.file(env.file).exists()).toBe(false);
});

test("the secret is added to an existing .env, which keeps its lines and becomes readable by its owner only", async () => {
  await using env = await envFile("OTHER=1");
  const { CLERK_WEBHOOK_SIGNING_SECRET: made } = ensureDevSecret({}, env.file, env.template);
  const text = await readFile(env.file, "utf8");
  expect(text).toStartWith("OTHER=1\n");
  expect(text).toEndWith(`CLERK_WEBHOOK_SIGNING_SECRET=${made}\n`);
  expect((await stat(env.file)).mode & 0o777).toBe(0o600);
});

test(".env is replaced atomically, also behind a link, and no temporary file remains", async () => {
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
  // The inode is another one: a crash leaves the old file or the new one.
  expect(after.ino).not.toBe(before.ino);
  expect(await readFile(env.file, "utf8")).toMatch(/^OTHER=\$1\$&\n# Made by/);
  expect(await readFile(env.file, "utf8")).toContain(`\nCLERK_WEBHOOK_SIGNING_SECRET=${made}\n`);
  expect((await readdir(folder)).toSorted()).toEqual([".env", "shared.env"]);
});

test("a variable that refers to another one is expanded as Bun does it, and is not mistaken for the shell's", async () => {
  const file = (secret: string) =>
    `SECRET=${secret}\nCLERK_WEBHOOK_SIGNING_SECRET=$SECRET\nWEBHOOK_PATH=\${PREFIX}/hooks\nPREFIX=/api\n`;
  await using env = await envFile(file(SECRET));
  const configs: Config[] = [];
  const notes: string[] = [];
  const started = { CLERK_WEBHOOK_SIGNING_SECRET: SECRET, SECRET, WEBHOOK_PATH: "/api/hooks", PREFIX: "/api" };
  const callbacks = {
    onConfig: (config: Config) => void configs.push(config),
    onNote: (note: string) => void notes.push(note),
  };
  const stop = watchEnvFile(started, callbacks, env.file);
  await Bun.sleep(300);
  await Bun.write(env.file, file(OTHER));
  await until("the change", () => configs.length || undefined);
  expect(configs[0]?.secrets).toEqual([Buffer.alloc(24, 9)]);
  expect(notes).toEqual([]);
  stop();
});

test("a .env that can't be read or written is an error without a stack, with its remedy", async () => {
  await using env = await envFile();
  // A directory fails for root, too.
  await mkdir(env.file);
  expect(() => ensureDevSecret({}, env.file, env.template)).toThrow(UserError);
  expect(() => ensureDevSecret({}, env.file, env.template)).toThrow(
    /^No signing secret is set, and bun dev can't write one to .*\.env: .*set CLERK_WEBHOOK_SIGNING_SECRET in the shell/s,
  );
});

test("a new .env is readable by its owner only", async () => {
  await using env = await envFile();
  ensureDevSecret({}, env.file, env.template);
  expect((await stat(env.file)).mode & 0o777).toBe(0o600);
});

test("a change of .env takes effect, or the reason why it does not is reported", async () => {
  await using env = await envFile(`CLERK_WEBHOOK_SIGNING_SECRET=${SECRET}\nPORT=3000\nLOG_LEVEL=info\n`);
  const configs: Config[] = [];
  const notes: string[] = [];
  const shell = { CLERK_WEBHOOK_SIGNING_SECRET: SECRET, PORT: "3000", LOG_LEVEL: "warn" };
  const stop = watchEnvFile(
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
  stop();
});

test("a change of CLERK_WEBHOOK_SECRET takes effect too", async () => {
  await using env = await envFile(`CLERK_WEBHOOK_SECRET=${SECRET}\n`);
  const configs: Config[] = [];
  const callbacks = { onConfig: (config: Config) => void configs.push(config), onNote: () => undefined };
  const stop = watchEnvFile({ CLERK_WEBHOOK_SECRET: SECRET }, callbacks, env.file);
  await Bun.sleep(300);
  await Bun.write(env.file, `CLERK_WEBHOOK_SECRET=${OTHER}\n`);
  await until("the change", () => configs.length || undefined);
  expect(configs[0]?.secrets).toEqual([Buffer.alloc(24, 9)]);
  stop();
});

test("a new secret saved together with an invalid setting takes effect once that setting is fixed", async () => {
  await using env = await envFile(`CLERK_WEBHOOK_SIGNING_SECRET=${SECRET}\n`);
  const configs: Config[] = [];
  const notes: string[] = [];
  const callbacks = {
    onConfig: (config: Config) => void configs.push(config),
    onNote: (note: string) => void notes.push(note),
  };
  const stop = watchEnvFile({ CLERK_WEBHOOK_SIGNING_SECRET: SECRET }, callbacks, env.file);
  await Bun.sleep(300);
  await Bun.write(env.file, `CLERK_WEBHOOK_SIGNING_SECRET=${OTHER}\nPORT=abc\n`);
  await until("the note about PORT", () => notes.some((note) => note.includes('is "abc"')));
  expect(configs).toEqual([]);
  await Bun.write(env.file, `CLERK_WEBHOOK_SIGNING_SECRET=${OTHER}\nPORT=4000\n`);
  await until("the change", () => configs.length || undefined);
  expect(configs[0]?.secrets).toEqual([Buffer.alloc(24, 9)]);
  stop();
});
