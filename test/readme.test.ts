// The README and the pages with lists (settings, commands, refusals) are held to the code.

import { expect, test } from "bun:test";
import { cp } from "node:fs/promises";
import { join } from "node:path";

import { commandsPage } from "../scripts/generate-commands.ts";
import { commands } from "../src/cli/cli.ts";
import { readConfig } from "../src/config.ts";
import { refusals } from "../src/errors.ts";
import { settings } from "../src/settings.ts";
import { runCommand, SECRET, spawnServer, temporaryFolder, until } from "./harness.ts";
import { blocks, page, ROOT } from "./pages.ts";

const readme = page("README.md");
const envExample = await Bun.file(join(ROOT, ".env.example")).text();

test("the table of refusals matches errors.ts", () => {
  const rows = [...page("docs/http.md").text.matchAll(/^\| `(\w+)` +\| (\d{3}) +\|/gm)].map(([, code, status]) => [
    code,
    Number(status),
  ]);
  expect(rows).toEqual(Object.entries(refusals).map(([code, { status }]) => [code, status]));
});

test("docs/commands.md has every command and option; to write it again: bun scripts/generate-commands.ts", async () => {
  expect(page("docs/commands.md").text).toBe(await commandsPage());
});

test("every command has a script", async () => {
  const { scripts } = (await Bun.file(join(ROOT, "package.json")).json()) as { scripts: Record<string, string> };
  // Adds Bellhop to another project, so a clone has no script for it.
  const names = Object.keys(commands).filter((name) => name !== "init");
  for (const name of names) {
    // Bun reads `.env.production` only with this NODE_ENV.
    expect(scripts[name]).toBe(`${name === "start" ? "NODE_ENV=production " : ""}bun src/main.ts ${name}`);
  }
  const called = Object.values(scripts).flatMap(
    (script) => /^(?:NODE_ENV=production )?bun src\/main\.ts (\w+)$/.exec(script)?.[1] ?? [],
  );
  expect(called.toSorted()).toEqual(names.toSorted());
});

test("the sections Run it and Test it begin with a block of one command", () => {
  for (const heading of ["Run it", "Test it"]) {
    const [block = ""] = readme.text.split(`\n## ${heading}\n`)[1]?.match(/^\s*```sh\n([\s\S]*?)```/) ?? [];
    expect(block.trim().split("\n")).toHaveLength(3);
  }
});

test("the output under Run it is what the commands print", async () => {
  await using folder = await temporaryFolder();
  await cp(join(ROOT, "handlers"), join(folder.path, "handlers"), { recursive: true });
  // Without a secret, `bun dev` writes one into `.env`, and `bun send` reads it there.
  const unset = { CLERK_WEBHOOK_SIGNING_SECRET: undefined };
  const env = { HANDLERS_DIR: "handlers", DATA_DIR: "data", LOG_FORMAT: "pretty", ...unset };
  await using dev = await spawnServer(folder.path, { mode: "dev", env });
  const { port } = new URL(dev.url);
  const [banner = "", answer = ""] = blocks(readme, "text");
  await until("the banner", () => dev.output().includes("Try it"));
  expect(withoutNumbers(dev.output())).toContain(withoutNumbers(banner));
  const name = JSON.stringify({ first_name: "Zoë" });
  const sent = await runCommand(folder.path, ["send", "user.created", "--data", name], { ...env, PORT: port });
  expect(sent.stderr).toBe("");
  expect(withoutNumbers(sent.stdout)).toBe(withoutNumbers(answer));
});

/** Replaces ports, ids, tokens and durations, which differ each time. */
function withoutNumbers(text: string): string {
  return text.replaceAll(/(?<=127\.0\.0\.1:)\d+|(?<=#token=)\w+|(?<=msg_)\w+|\d+(?= ms)|(?<=whsec_)\w+/g, "…");
}

/** The settings of docs/configuration.md with their defaults. */
const listed = [...page("docs/configuration.md").text.matchAll(/^- `([A-Z_]+)` \((.+?)\): /gm)].map(
  ([, name = "", text = ""]) => [name, text] as const,
);

test(".env.example and docs/configuration.md list the settings in the same order", async () => {
  const names = settings.map(({ name }) => name);
  expect([...envExample.matchAll(/^#? ?([A-Z_]+)=/gm)].map(([, name]) => name)).toEqual(names);
  expect(listed.map(([name]) => name)).toEqual(names);
});

test("docs/configuration.md and .env.example show the actual defaults", () => {
  expect(listed).toEqual(settings.map(({ name, default: text }) => [name, text] as const));
  const shown = Object.fromEntries(
    [...envExample.matchAll(/^# ([A-Z_]+)=(\S+)$/gm)].map(([, name, text]) => [name, text]),
  );
  expect(Object.keys(shown)).toHaveLength(settings.length - 1);
  const env = { CLERK_WEBHOOK_SIGNING_SECRET: SECRET };
  // These have no default.
  const unset = {
    CLERK_SECRET_KEY: undefined,
    INBOX_URL: undefined,
    INSPECTOR_TOKEN: undefined,
    METRICS_PORT: undefined,
    HEARTBEAT_URL: undefined,
    ALERT_URLS: undefined,
    ALERT_SECRET: undefined,
  };
  const read = readConfig({ ...env, ...shown, ...unset }, "dev");
  expect(read).toEqual(readConfig(env, "dev"));
  expect(read).toHaveProperty("config");
});
