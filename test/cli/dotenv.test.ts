import { expect, test } from "bun:test";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";

import { ensureDevSecret, watchEnvFile } from "../../src/cli/dotenv.ts";
import type { Config } from "../../src/config.ts";
import { SECRET, temporaryFolder, until } from "../harness.ts";

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
    `PORT has changed in ${env.file}: start again to use it`,
    `LOG_LEVEL has changed in ${env.file}, but the shell or another .env file sets it too, and that wins`,
  ]);
  await Bun.write(env.file, `CLERK_WEBHOOK_SIGNING_SECRET="sk_test_nope"\nPORT=4000\nLOG_LEVEL=debug\n`);
  await until("the note", () => notes[2]);
  expect(notes[2]).toContain("begins with sk_test_, so it is an API key");
  expect(configs).toHaveLength(1);
  end();
});
