import { expect, setDefaultTimeout, test } from "bun:test";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";

import { type Files, freePort, runCommand, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { devWith } from "./dev-server.ts";

// Each test starts processes, which is slow on a busy machine.
setDefaultTimeout(20_000);

const HELLO = `import { on } from "bellhop"; export default on("user.created", ({ data, log }) => log.info("hello " + data.first_name));`;
const FAILS = `import { on } from "bellhop"; export default on("user.created", () => { throw new Error("the mailer is down"); });`;

test.concurrent("bun send prints the server's answer and what each handler did", async () => {
  await using dev = await devWith({ "user.created.ts": HELLO, "user.created/crm.ts": FAILS });
  const sent = await dev.bellhop("send", "user.created", "--data", '{"first_name":"Ada"}');
  expect(sent.stdout).toMatch(/^200 \{"id":"msg_\w{27}","status":"accepted"\}$/m);
  expect(sent.stdout).toMatch(/✓ user\.created done in \d+ ms\n +hello Ada/);
  expect(sent.stdout).toMatch(
    /✗ user\.created\/crm failed in \d+ ms, retrying in [\d.]+ m?s\n +Error: the mailer is down/,
  );
  expect(sent.exitCode).toBe(1);
});

test.concurrent("bun send shows duplicates, refusals and events without a handler", async () => {
  await using dev = await devWith({ "user.created.ts": HELLO });
  await dev.bellhop("send", "user.created", "--id", "msg_twice");
  const again = await dev.bellhop("send", "user.created", "--id", "msg_twice");
  expect(again.stdout).toContain('"status":"duplicate","runs":{"user.created":"done"}');
  expect(again.exitCode).toBe(0);
  const bad = await dev.bellhop("send", "user.created", "--bad-signature");
  expect(bad).toMatchObject({ exitCode: 0, stdout: '400 {"error":"no_match"}\n' });
  const unhandled = await dev.bellhop("send", "session.created");
  expect(unhandled.stdout).toContain("no handler for it yet");
  const many = await dev.bellhop("send", "user.created", "--count", "30");
  expect(many.stdout).toMatch(/^30 of 30 accepted in [\d.]+ m?s\n +30 of 30 runs done\n$/);
});

test.concurrent("bun send sends an event from a file, and to the address of --url", async () => {
  await using dev = await devWith({ "user.created.ts": HELLO });
  const file = join(dev.path, "event.json");
  await Bun.write(file, JSON.stringify({ type: "user.created", object: "event", data: { first_name: "Zoë" } }));
  expect((await dev.bellhop("send", "--file", file)).stdout).toContain("hello Zoë");
  const elsewhere = await dev.bellhop("send", "--file", file, "--url", dev.server.url);
  expect(elsewhere.stdout).toMatch(/^200 \{"id":"msg_\w+","status":"accepted"\}\n$/);
});

test.concurrent("bun replay runs a stored delivery again", async () => {
  await using dev = await devWith({ "user.created.ts": HELLO });
  await dev.bellhop("send", "user.created", "--id", "msg_again", "--data", '{"first_name":"Ada"}');
  const replayed = await dev.bellhop("replay", "msg_again");
  expect(replayed).toMatchObject({ exitCode: 0, stderr: "" });
  expect(replayed.stdout).toContain("hello Ada");
  expect((await dev.server.get("msg_again"))?.runs).toHaveLength(2);
  const unknown = await dev.bellhop("replay", "msg_none");
  expect(unknown).toMatchObject({ exitCode: 1, stdout: "", stderr: "msg_none is not stored here\n\n" });
});

test.concurrent(
  "a wrong argument gives a message without a stack, and exit code 1",
  async () => {
    await using folder = await temporaryFolder();
    const port = String(await freePort());
    const cases: [string[], RegExp][] = [
      [["sned"], /There is no command sned; did you mean send\?/],
      [["send", "user.creatd"], /Clerk has no event user\.creatd; did you mean user\.created\?/],
      [["send"], /Which event\?/],
      [
        ["send", "user.created"],
        /Nothing answers at http:\/\/127\.0\.0\.1:\d+\/api\/webhooks \(ECONNREFUSED\)\. .*bun dev/,
      ],
      [["send", "user.created", "--cuont", "3"], /no option --cuont; did you mean --count\?/],
      [["send", "user.created", "--count", "x"], /--count is x, expected a whole number from 1/],
      [["send", "user.created", "--count", "2", "--id", "msg_1"], /leave out --count/],
      [["send", "user.created", "--data", "{"], /--data is not valid JSON/],
      [["send", "user.created", "--data", "[1]"], /--data is JSON, but not an object/],
      [["send", "--file", "none.json"], /none\.json can't be read/],
      [["send", "user.created", "--url", "nowhere"], /--url is nowhere, expected an address like https:/],
      [["send", "a", "b"], /Unexpected argument: b/],
      [["send", "user.created", "--file", "event.json"], /--file is the event to send: leave user\.created out/],
      [["deliveries", "msg_1", "--state", "dead"], /--state selects deliveries, and msg_1 is one/],
      [["deliveries", "--payload"], /--payload needs a delivery/],
      [["deliveries", "--before", "-1"], /--before is -1, expected a whole number/],
      [["problems", "p_1", "--limit", "3"], /--limit selects problems, and p_1 is one/],
      [["problems", "--mute"], /--mute needs a problem/],
      [["pause", "--reason", "later"], /--reason needs a handler/],
      [["doctor", "--yes"], /--yes needs --fix/],
      [["drift", "--yes"], /--yes needs --fix/],
      [["send", "user.created", "--id"], /--id needs a value/],
      [["new"], /^bun new needs <event>: user\.created, .*\n\n {4}bun new --help/],
      [["try"], /^bun try needs <id>: The delivery: msg_…\n/],
      [["move"], /^bun move needs <to>/],
      [
        ["new", "user.created/a/b"],
        /^user\.created\/a\/b is not a handler name: it is too deep; a handler is at most one folder down: user\.created\/b\.ts/,
      ],
      [
        ["new", "emails/welcome"],
        /^emails\/welcome is not a handler name: the folder's name, emails, is not an event;/,
      ],
      [
        ["new", "user.created/CRM.tsx"],
        /^user\.created\/CRM\.tsx is not a handler name: CRM\.tsx is not a plain name;/,
      ],
      [["new", "user.creatd"], /did you mean user\.created\?/],
      [["replay", "msg_1"], /No server runs on .*bun dev/],
    ];
    for (const [args, message] of cases) {
      const { exitCode, stderr } = await runCommand(folder.path, args, { PORT: port });
      expect(stderr, args.join(" ")).toMatch(message);
      expect(stderr).not.toMatch(/\n +at /);
      expect(exitCode).toBe(1);
    }
  },
  20_000,
);

test.concurrent("all invalid settings are reported together, with exit code 78", async () => {
  await using folder = await temporaryFolder();
  const { exitCode, stderr } = await runCommand(folder.path, ["start"], {
    CLERK_WEBHOOK_SIGNING_SECRET: "",
    PORT: "http",
    LOG_LEVEL: "loud",
  });
  expect(exitCode).toBe(78);
  expect(stderr).toContain("3 settings need a look");
  expect(stderr).toContain("CLERK_WEBHOOK_SIGNING_SECRET is not set");
  expect(stderr).toContain("Clerk Dashboard, Webhooks, your endpoint, Signing Secret");
  expect(stderr).toContain('PORT is "http"');
});

test.concurrent(
  "--version prints the version, and a misspelled command is corrected without the list of all",
  async () => {
    await using folder = await temporaryFolder();
    for (const flag of ["--version", "-v"])
      expect((await runCommand(folder.path, [flag])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    const misspelled = await runCommand(folder.path, ["int"]);
    expect(misspelled).toMatchObject({ exitCode: 1, stderr: "There is no command int; did you mean init?\n\n" });
    expect((await runCommand(folder.path, ["xyzzy"])).stderr).toContain("bun deliveries");
  },
);

test.concurrent("every command has a help text", async () => {
  await using folder = await temporaryFolder();
  const overview = await runCommand(folder.path, []);
  expect(overview.exitCode).toBe(0);
  for (const name of ["dev", "start", "send", "new", "handlers", "replay"]) {
    expect(overview.stdout).toContain(`bun ${name}`);
    const help = await runCommand(folder.path, [name, "--help"]);
    expect(help).toMatchObject({ exitCode: 0, stderr: "" });
    expect(help.stdout).toContain(`bun ${name}`);
  }
});

test.concurrent("bun new writes a typed handler that works for every form of event name", async () => {
  await using folder = await temporaryFolder();
  const written: Record<string, string> = {
    "organization.created": "organization.created.ts",
    "organization.created/crm": "organization.created/crm.ts",
    "user.*": "user.[action].ts",
    "*": "[...event].ts",
    "handlers/user.deleted.ts": "handlers/user.deleted.ts",
    "user.updated.ts": "handlers/user.updated.ts",
  };
  for (const [name, file] of Object.entries(written)) {
    const made = await runCommand(folder.path, ["new", name]);
    expect(made, name).toMatchObject({ exitCode: 0, stderr: "" });
    expect(made.stdout).toContain(file);
  }
  const again = await runCommand(folder.path, ["new", "*"]);
  expect(again.exitCode).toBe(1);
  expect(again.stderr).toContain("exists already");
  expect((await runCommand(folder.path, ["new", "passkey.created", "--force"])).exitCode).toBe(0);

  const unknown = await runCommand(folder.path, ["handlers", "--check"]);
  expect(unknown.stdout).toContain("Clerk has no event passkey.created that Bellhop knows");
  expect(unknown.exitCode).toBe(1);
  await rm(join(folder.path, "handlers/passkey.created.ts"));
  const listed = await runCommand(folder.path, ["handlers", "--check"]);
  expect(listed.stdout).toContain("✓  user.[action].ts");
  expect(listed.exitCode).toBe(0);
  await using server = await spawnServer(folder.path);
  const sent = await runCommand(folder.path, ["send", "organization.created"], { PORT: new URL(server.url).port });
  expect(sent.stdout).toContain("✓ organization.created/crm done");
  expect(sent.exitCode).toBe(0);
});

test.concurrent("bun handlers shows why a file is not loaded", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "user.created.ts": HELLO,
    "user.updated.ts": `import missing from "./nowhere.ts";\nexport default missing;`,
    "user.deleted.ts": `export default (1 +;`,
    "welcome.ts": HELLO,
    "_lib.ts": "export const a = 1;",
  });
  const { stdout, exitCode } = await runCommand(folder.path, ["handlers"]);
  expect(exitCode).toBe(0);
  expect(stdout).toContain("✓  user.created.ts  user.created");
  expect(stdout).toContain("user.deleted.ts:1:20");
  expect(stdout).toContain("export default (1 +;");
  expect(stdout).toContain("Cannot find module './nowhere.ts'");
  expect(stdout).toContain("welcome.ts: the file's name is not an event");
  expect(stdout).toContain("_lib.ts: begins with an underscore");
  const { handlers } = JSON.parse((await runCommand(folder.path, ["handlers", "--json"])).stdout);
  expect(handlers).toHaveLength(3);
});

const SQL_FILES = {
  "_migrations/0001_profiles.sql": "create table profiles (user_id text primary key);\n",
  "_schema.sql": "create table if not exists t (a text);\ncreate trigger r after insert on t begin select 1; end;",
};

test.each<[string, Files | undefined, number, string]>([
  ["good files", { "user.created.ts": HELLO, ...SQL_FILES }, 0, "✓ _migrations/0001_profiles.sql\n✓ _schema.sql"],
  ["a file that does not load", { "user.created.ts": "export default (1 +;" }, 1, "user.created.ts:1:"],
  ["an unknown event", { "user.craeted.ts": "export default () => 1;" }, 1, "did you mean user.created?"],
  ["a file that is not a handler", { "user.created.ts": HELLO, "welcome.ts": HELLO }, 1, "welcome.ts: the file's name"],
  ["a directory without handlers", { "_lib.ts": "" }, 1, "No handlers in"],
  ["no handlers directory", undefined, 1, "is not a directory"],
  [
    "a broken _schema.sql",
    { "user.created.ts": HELLO, ...SQL_FILES, "_schema.sql": "create table t (a text);\ncreat table u (a text);" },
    1,
    '✗ _schema.sql:2: near "creat": syntax error',
  ],
  [
    "a migration that fails",
    { "user.created.ts": HELLO, ...SQL_FILES, "_migrations/0002_plan.sql": "\nalter table profile add plan text;" },
    1,
    "✗ _migrations/0002_plan.sql:2: no such table: profile",
  ],
])("bun handlers --check with %s prints the result and sets the exit code", async (_, files, expected, text) => {
  await using folder = await temporaryFolder();
  if (files) await writeHandlers(folder.path, files);
  const { stdout, stderr, exitCode } = await runCommand(folder.path, ["handlers", "--check"]);
  expect(stdout + stderr).toContain(text);
  expect(exitCode).toBe(expected);
  expect((await readdir(folder.path)).filter((name) => name !== "handlers" && name !== ".bun")).toEqual([]);
});

test.concurrent("bun handlers --check reports a Postgres that can't be reached", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": HELLO, ...SQL_FILES });
  const env = { DATABASE_URL: "postgres://user:hidden@127.0.0.1:1/db" };
  const { stderr, exitCode } = await runCommand(folder.path, ["handlers", "--check"], env);
  expect(stderr).toStartWith("The SQL files can't be tried on DATABASE_URL, which can't be used:");
  expect(stderr).not.toContain("hidden");
  expect(exitCode).toBe(1);
});

test.concurrent("a command reports an inbox in Postgres that can't be reached without a stack", async () => {
  await using folder = await temporaryFolder();
  const env = { INBOX_URL: `postgres://127.0.0.1:${await freePort()}/shop` };
  const { stderr, exitCode } = await runCommand(folder.path, ["deliveries"], env);
  expect(stderr).toMatch(/^The inbox, shop on 127\.0\.0\.1:\d+, can't be opened: .+ Check INBOX_URL\n\n$/);
  expect(exitCode).toBe(1);
});

test.concurrent("bun send reports without a stack that the server stopped before the run finished", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": "export default () => Bun.sleep(10_000);" });
  const port = await freePort();
  await using server = await spawnServer(folder.path, { port });
  const sending = runCommand(folder.path, ["send", "user.created"], { PORT: String(port) });
  await until("the delivery", () => server.output().includes("stored") || undefined);
  server.process.kill("SIGKILL");
  const { stderr, stdout, exitCode } = await sending;
  expect(stdout).toContain("accepted");
  expect(stderr).toContain("The server stopped meanwhile. Accepted deliveries are stored");
  expect(stderr).not.toMatch(/\n +at /);
  expect(exitCode).toBe(1);
});

test.concurrent(
  "bun send does not wait for an earlier run that waits for its retry, and prints the command that shows it",
  async () => {
    const failing = `import { on, RetryAfterError } from "bellhop";
export default on("user.created", () => { throw new RetryAfterError("later", 60_000); });`;
    await using dev = await devWith({ "user.created.ts": failing });
    const args = ["send", "user.created", "--data", '{"id":"user_1"}'];
    expect((await dev.bellhop(...args)).stdout).toContain("retrying in");
    const began = performance.now();
    const second = await dev.bellhop(...args);
    expect(performance.now() - began).toBeLessThan(20_000);
    expect(second.stdout).toContain("user.created waits for its turn");
    expect(second.stdout).toContain("bun deliveries --subject user_1 --state waiting");
    expect(second.exitCode).toBe(1);
  },
  40_000,
);
