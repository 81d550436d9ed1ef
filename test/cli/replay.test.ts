// Each starts processes of its own, which takes its time where others work as well.
setDefaultTimeout(20_000);

// `bun replay --handler … --missing`, as a person meets it: a server, a file that comes late, and the command.

import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";

import { createProgress, drawBar } from "../../src/cli/progress.ts";
import type { Environment } from "../../src/config.ts";
import { type Logger, logMissed } from "../../src/log.ts";
import {
  environment,
  freePort,
  post,
  runCommand,
  spawnServer,
  temporaryFolder,
  until,
  writeHandlers,
} from "../harness.ts";

const CRM = "user.created/crm";
const MISSING = ["replay", "--handler", CRM, "--missing"];

/** Writes down what it was given, in order. */
const handlerIn = (folder: string, body = "") => `
  import { appendFileSync } from "node:fs";
  export default async ({ delivery }) => {
    ${body}
    appendFileSync(${JSON.stringify(join(folder, "seen.txt"))}, delivery.id + "\\n");
  };`;

async function devWith(files: Record<string, string>, env: Environment = {}) {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  await mkdir(join(path, "handlers"));
  await writeHandlers(path, files);
  const port = await freePort();
  const server = opened.use(await spawnServer(path, { mode: "dev", port, env }));
  const held = opened.move();
  const event = (id: number, subject: string, type: string) => ({
    type,
    object: "event",
    data: { id: subject },
    timestamp: Date.UTC(2026, 0, 1) + id,
  });
  return {
    path,
    server,
    bellhop: (...words: string[]) => runCommand(path, words, { PORT: String(port), ...env }),
    async send(from: number, to: number, { subject = "user_1", type = "user.created" } = {}) {
      for (let n = from; n <= to; n += 1) await post(server.url, event(n, subject, type), { id: `msg_${n}` });
    },
    /** Saves the file while the server runs, and waits until it is live. */
    async add(name: string, text: string) {
      await writeHandlers(path, { [name]: text });
      await until(`${name} to be told`, () => server.output().match(`/${RegExp.escape(name)}[ :]`) ?? undefined);
    },
    said: (text: string | RegExp) => until(`the server to say ${text}`, () => server.output().match(text)?.[0]),
    seen: async () => (await readFile(join(path, "seen.txt"), "utf8").catch(() => "")).split("\n").filter(Boolean),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

const numbered = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => `msg_${from + n}`);

test.concurrent(
  "events that came before their handler are told when it goes live, and run through it once, in order",
  async () => {
    await using dev = await devWith({});
    await dev.send(1, 20);
    await dev.send(21, 23, { type: "user.updated" });
    await dev.add(`${CRM}.ts`, handlerIn(dev.path));
    const line = await dev.said(/20 stored deliveries of user\.created never went through user\.created\/crm.*$/m);
    expect(line).toContain(`bun ${MISSING.join(" ")}`);

    const first = await dev.bellhop(...MISSING, "--yes");
    expect(first).toMatchObject({ exitCode: 0, stderr: "" });
    expect(first.stdout).toBe(
      "20 stored deliveries of user.created never went through user.created/crm.\n20 done, 0 dead, 0 waiting\n",
    );
    expect(await dev.seen()).toEqual(numbered(1, 20));

    const second = await dev.bellhop(...MISSING, "--yes");
    expect(second).toMatchObject({ exitCode: 0, stderr: "" });
    expect(second.stdout).toStartWith("0 stored deliveries");
    expect(await dev.seen()).toHaveLength(20);
  },
  20_000,
);

test.concurrent(
  "--dry-run counts, --since leaves out what is older, and without a terminal nothing runs unasked",
  async () => {
    await using dev = await devWith({});
    await dev.send(1, 5);
    await dev.add(`${CRM}.ts`, handlerIn(dev.path));
    const counted = await dev.bellhop(...MISSING, "--dry-run");
    expect(counted).toMatchObject({ exitCode: 0, stderr: "" });
    expect(counted.stdout).toBe("5 stored deliveries of user.created never went through user.created/crm.\n");

    const unasked = await dev.bellhop(...MISSING);
    expect(unasked.exitCode).toBe(1);
    expect(unasked.stderr).toContain("add --yes to run them, or --dry-run");
    expect((await dev.bellhop(...MISSING, "--dry-run", "--since", "7d")).stdout).toStartWith("5 stored");
    expect((await dev.bellhop(...MISSING, "--dry-run", "--since", "1ms")).stdout).toBe(
      "0 stored deliveries of user.created of the last 1ms never went through user.created/crm.\n",
    );
    expect(await dev.seen()).toEqual([]);
  },
  20_000,
);

test.concurrent(
  "--since runs only what came since",
  async () => {
    await using dev = await devWith({});
    await dev.send(1, 3);
    await Bun.sleep(20);
    const since = new Date(Date.now() - 10).toISOString();
    await dev.send(4, 5);
    await dev.add(`${CRM}.ts`, handlerIn(dev.path));
    const ran = await dev.bellhop(...MISSING, "--yes", "--since", since);
    expect(ran.stdout).toContain("2 done, 0 dead, 0 waiting");
    expect(await dev.seen()).toEqual(["msg_4", "msg_5"]);
  },
  20_000,
);

test.concurrent(
  "live deliveries go before them",
  async () => {
    await using dev = await devWith({}, { CONCURRENCY: "1" });
    for (let n = 1; n <= 20; n += 1) await dev.send(n, n, { subject: `user_${n}` });
    await dev.add(`${CRM}.ts`, handlerIn(dev.path, "await Bun.sleep(60);"));
    const running = dev.bellhop(...MISSING, "--yes");
    await until("the first to be done", async () => (await dev.seen()).length > 0 || undefined);
    await dev.send(99, 99, { subject: "user_20" });
    await dev.server.ended("msg_99");
    expect((await dev.seen()).length).toBeLessThan(15);
    expect((await running).stdout).toContain("20 done, 0 dead, 0 waiting");
    const seen = await dev.seen();
    expect(seen.filter((id) => id !== "msg_99").toSorted()).toEqual(numbered(1, 20).toSorted());
    expect(seen).toHaveLength(21);
  },
  20_000,
);

test.concurrent(
  "what fails is told, with an exit code, and the rest is run",
  async () => {
    await using dev = await devWith({});
    for (let n = 1; n <= 4; n += 1) await dev.send(n, n, { subject: `user_${n}` });
    const fails = `import { NonRetriableError } from "bellhop";
    export default ({ delivery }) => {
      if (delivery.id === "msg_1") throw new NonRetriableError("no such customer");
      if (delivery.id === "msg_2") throw new Error("try again");
    };`;
    await dev.add(`${CRM}.ts`, fails);
    const ran = await dev.bellhop(...MISSING, "--yes");
    expect(ran.exitCode).toBe(1);
    expect(ran.stdout).toContain("2 done, 1 dead, 1 waiting for a retry");
  },
  20_000,
);

test.concurrent(
  "a handler that is not there, or does not load, is named; a pattern's name can be pasted into any shell",
  async () => {
    await using dev = await devWith({ "user.deleted.ts": "export default () => {};" });
    await dev.send(1, 1);
    const unknown = await dev.bellhop("replay", "--handler", "user.delete", "--missing", "--dry-run");
    expect(unknown).toMatchObject({ exitCode: 1, stdout: "" });
    expect(unknown.stderr).toContain("There is no handler user.delete; did you mean user.deleted?");
    await dev.add(`${CRM}.ts`, "export default (1 +;");
    const broken = await dev.bellhop(...MISSING, "--yes");
    expect(broken).toMatchObject({ exitCode: 1, stdout: "" });
    expect(broken.stderr).toContain(`${CRM} does not load, so it can't run:\n\n    ${CRM}.ts:1:`);

    await dev.add("user.[action].ts", handlerIn(dev.path));
    const line = await dev.said(/1 stored delivery of user\.\* .*$/m);
    expect(line).toContain("bun replay --handler 'user.[action]' --missing");
    const ran = await dev.bellhop("replay", "--handler", "user.[action]", "--missing", "--yes");
    expect(ran.stdout).toContain("1 done, 0 dead, 0 waiting");
  },
  20_000,
);

test.concurrent(
  "when the server stops meanwhile that is said, and its next start runs what it had stored",
  async () => {
    await using dev = await devWith({}, { CONCURRENCY: "1" });
    for (let n = 1; n <= 9; n += 1) await dev.send(n, n, { subject: `user_${n}` });
    await dev.add(`${CRM}.ts`, handlerIn(dev.path, "await Bun.sleep(100);"));
    const running = dev.bellhop(...MISSING, "--yes");
    await until("the first to be done", async () => (await dev.seen()).length > 0 || undefined);
    dev.server.process.kill("SIGKILL");
    const { exitCode, stderr } = await running;
    expect(stderr).toMatch(
      /^The server failed \(.+\)\. It runs the replays it has stored; for the rest, run this command again\.$/m,
    );
    expect(exitCode).toBe(1);
    await using again = await spawnServer(dev.path);
    for (let n = 1; n <= 9; n += 1) expect((await again.ended(`msg_${n}`)).runs).toMatchObject([{ state: "done" }]);
  },
  20_000,
);

test.concurrent(
  "words that make no sense together are refused with a sentence",
  async () => {
    await using folder = await temporaryFolder();
    const cases: [string[], RegExp][] = [
      [[], /^Which deliveries\?[^]*bun replay msg_…/],
      [["--yes"], /^Which deliveries\?[^]*--dead/],
      [["msg_1", "--handler", CRM, "--missing"], /^msg_1 is one delivery, --missing is for many/],
      [["msg_1", "--dead"], /^msg_1 is one delivery, --dead is for many/],
      [["--missing"], /^--missing needs a --handler/],
      [["msg_1", "--since", "7d"], /^msg_1 is one delivery, --since is for many/],
      [["--handler", CRM, "--missing", "--dead"], /^--dead can't be combined with --missing/],
      [["--dead", "--rate", "fast"], /^--rate is fast, expected a number per second/],
      [["--dead", "--until", "soon"], /^--until is soon, expected how long ago/],
      [["--handler", CRM, "--missing", "--yes", "--dry-run"], /^--dry-run runs nothing/],
      [["--handler", CRM, "--missing", "--since", "a week"], /^--since is a week, expected how long ago \(7d/],
      [["--handler", CRM, "--missing", "--yes"], /^No server runs on .*bun dev/],
    ];
    for (const [words, says] of cases) {
      const { exitCode, stdout, stderr } = await runCommand(folder.path, ["replay", ...words]);
      expect(stderr, words.join(" ")).toMatch(says);
      expect(stderr).not.toMatch(/\n +at /);
      expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    }
  },
  20_000,
);

test.concurrent(
  "on a terminal it asks first, and shows a bar while they run",
  async () => {
    await using dev = await devWith({});
    for (let n = 1; n <= 6; n += 1) await dev.send(n, n, { subject: `user_${n}` });
    await dev.add(`${CRM}.ts`, handlerIn(dev.path, "await Bun.sleep(150);"));
    const declined = await onTerminal(dev.path, MISSING, "\n");
    expect(declined.text).toContain("Run them now? [y/N]");
    expect(declined.text).toContain("Nothing was run.");
    expect(declined.exitCode).toBe(1);
    expect(await dev.seen()).toEqual([]);

    const agreed = await onTerminal(dev.path, MISSING, "y\n");
    expect(agreed.text).toMatch(/\[[█░]{30}\] +\d+ % {2}\d of 6/);
    expect(agreed.text).toContain("6 done, 0 dead, 0 waiting");
    expect(agreed.exitCode).toBe(0);
  },
  20_000,
);

test.concurrent(
  "--rate spaces the runs evenly",
  async () => {
    await using dev = await devWith({});
    for (let n = 1; n <= 80; n += 1) await dev.send(n, n, { subject: `user_${n}` });
    const body = `appendFileSync(${JSON.stringify(join(dev.path, "times.txt"))}, Date.now() + "\\n");`;
    await dev.add(`${CRM}.ts`, handlerIn(dev.path, body));
    for (const words of [MISSING, ["replay", "--type", "user.created", "--handler", CRM]]) {
      await Bun.write(join(dev.path, "times.txt"), "");
      const ran = await dev.bellhop(...words, "--yes", "--rate", "40");
      expect(ran.stdout).toContain("80 done, 0 dead, 0 waiting");
      const text = await readFile(join(dev.path, "times.txt"), "utf8");
      const times = text
        .split("\n")
        .filter(Boolean)
        .map(Number)
        .toSorted((a, b) => a - b);
      expect(times).toHaveLength(80);
      // 20 steps of 4 runs: 100 ms apart.
      expect(times.at(-1)! - times[0]!).toBeWithin(1_800, 2_600);
      const startedWithin = (ms: number) =>
        Math.max(...times.map((from) => times.filter((time) => time >= from && time < from + ms).length));
      expect(startedWithin(1_000)).toBeWithin(32, 49);
      expect(startedWithin(250)).toBeLessThanOrEqual(20);
    }
  },
  30_000,
);

test.concurrent(
  "the bar is as long as the part that has ended, and without a terminal there are lines now and then",
  () => {
    expect(drawBar(0, 20)).toBe(`[${"░".repeat(30)}]   0 %  0 of 20`);
    expect(drawBar(10, 20)).toBe(`[${"█".repeat(15)}${"░".repeat(15)}]  50 %  10 of 20`);
    expect(drawBar(2_000, 2_000)).toBe(`[${"█".repeat(30)}] 100 %  2,000 of 2,000`);
    let text = "";
    let now = 0;
    const progress = createProgress(20, { write: (more: string) => (text += more) }, () => now);
    for (now = 0; now <= 5_000; now += 100) progress.show(now / 500);
    progress.end();
    expect(text).toBe("4 of 20\n8 of 20\n");
  },
);

test.concurrent("when there are very many, the line says so without having counted them all", () => {
  const lines: string[] = [];
  const log = { info: (line: string) => lines.push(line) } as unknown as Logger;
  const handler = { name: "[...event]", file: "[...event].ts", event: "*", lane: "[...event]", options: {} };
  logMissed(log, handler, { found: 10_000, stale: 0, wiped: 0, gone: 0, more: true });
  logMissed(log, handler, { found: 0, stale: 3, wiped: 1, gone: 0, more: false });
  expect(lines).toEqual([
    "10,000 or more stored deliveries never went through [...event]. To run them: bun replay --handler '[...event]' --missing",
  ]);
});

test.concurrent("Ctrl-C ends the command, and the server adds no further runs", async () => {
  await using dev = await devWith({});
  for (let number = 1; number <= 30; number += 1) await dev.send(number, number, { subject: `user_${number}` });
  await dev.add(`${CRM}.ts`, handlerIn(dev.path));
  const main = resolve(import.meta.dir, "../../src/main.ts");
  const child = Bun.spawn([process.execPath, main, ...MISSING, "--yes", "--rate", "5"], {
    cwd: dev.path,
    env: { PATH: process.env.PATH, HOME: dev.path, ...environment(dev.path) },
    stdout: "ignore",
    stderr: "ignore",
  });
  await until("the first run", async () => (await dev.seen()).length > 0 || undefined);
  child.kill("SIGINT");
  expect(await child.exited).toBe(130);
  // A request that adds runs may be in flight when the job is stopped.
  await Bun.sleep(400);
  const ran = (await dev.seen()).length;
  await Bun.sleep(800);
  expect(await dev.seen()).toHaveLength(ran);
  expect(ran).toBeLessThan(15);
});

/** Runs a command on a terminal of its own, and answers its question. */
async function onTerminal(folder: string, words: string[], answer: string) {
  let text = "";
  const decoder = new TextDecoder();
  const child = Bun.spawn([process.execPath, resolve(import.meta.dir, "../../src/main.ts"), ...words], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, ...environment(folder) },
    terminal: { cols: 100, rows: 30, data: (_, bytes) => void (text += decoder.decode(bytes, { stream: true })) },
  });
  await until("the question", () => text.includes("[y/N]") || undefined);
  child.terminal?.write(answer);
  const exitCode = await child.exited;
  return { text, exitCode };
}
