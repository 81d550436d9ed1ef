// `bun replay` of many deliveries, mostly with `--missing`: the handler was added after its events.

import { expect, setDefaultTimeout, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";

import type { Environment } from "../../src/config.ts";
import { environment, post, runCommand, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { devWith } from "./dev-server.ts";

// Each test starts processes, which is slow on a busy machine.
setDefaultTimeout(20_000);

const CRM = "user.created/crm";
const MISSING = ["replay", "--handler", CRM, "--missing"];

/** A handler that appends the delivery's id to `seen.txt`. */
const handlerIn = (folder: string, body = "") => `
  import { appendFileSync } from "node:fs";
  export default async ({ delivery }) => {
    ${body}
    appendFileSync(${JSON.stringify(join(folder, "seen.txt"))}, delivery.id + "\\n");
  };`;

async function startDev(files: Record<string, string>, env: Environment = {}) {
  const dev = await devWith(files, env);
  const event = (id: number, subject: string, type: string) => ({
    type,
    object: "event",
    data: { id: subject },
    timestamp: Date.UTC(2026, 0, 1) + id,
  });
  return {
    ...dev,
    async send(from: number, to: number, { subject = "user_1", type = "user.created" } = {}) {
      for (let n = from; n <= to; n += 1) await post(dev.server.url, event(n, subject, type), { id: `msg_${n}` });
    },
    /** Saves the file while the server runs, and waits until the server has logged it. */
    async add(name: string, text: string) {
      await writeHandlers(dev.path, { [name]: text });
      const line = new RegExp(`/${RegExp.escape(name)}[ :]`);
      await until(`the log line about ${name}`, () => line.test(dev.server.output()));
    },
    /** Waits for a text in the server's output. */
    logged: (text: RegExp) => until(`the log line ${text}`, () => dev.server.output().match(text)?.[0]),
    seen: async () => (await readFile(join(dev.path, "seen.txt"), "utf8").catch(() => "")).split("\n").filter(Boolean),
  };
}

const numbered = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => `msg_${from + n}`);

test.concurrent(
  "a new handler logs how many stored deliveries it never saw, and --missing runs each once, in order",
  async () => {
    await using dev = await startDev({});
    await dev.send(1, 20);
    await dev.send(21, 23, { type: "user.updated" });
    await dev.add(`${CRM}.ts`, handlerIn(dev.path));
    const line = await dev.logged(/20 stored deliveries of user\.created never went through user\.created\/crm.*$/m);
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
  "--dry-run counts, --since leaves out older deliveries, and without a terminal nothing runs before --yes",
  async () => {
    await using dev = await startDev({});
    await dev.send(1, 5);
    await dev.add(`${CRM}.ts`, handlerIn(dev.path));
    const counted = await dev.bellhop(...MISSING, "--dry-run");
    expect(counted).toMatchObject({ exitCode: 0, stderr: "" });
    expect(counted.stdout).toBe("5 stored deliveries of user.created never went through user.created/crm.\n");

    const unconfirmed = await dev.bellhop(...MISSING);
    expect(unconfirmed.exitCode).toBe(1);
    expect(unconfirmed.stderr).toContain("add --yes to run them, or --dry-run");
    expect((await dev.bellhop(...MISSING, "--dry-run", "--since", "7d")).stdout).toStartWith("5 stored");
    expect((await dev.bellhop(...MISSING, "--dry-run", "--since", "1ms")).stdout).toBe(
      "0 stored deliveries of user.created of the last 1ms never went through user.created/crm.\n",
    );
    expect(await dev.seen()).toEqual([]);
  },
  20_000,
);

test.concurrent(
  "--since runs only the deliveries received since then",
  async () => {
    await using dev = await startDev({});
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
  "live deliveries run before replays",
  async () => {
    await using dev = await startDev({}, { CONCURRENCY: "1" });
    for (let n = 1; n <= 20; n += 1) await dev.send(n, n, { subject: `user_${n}` });
    await dev.add(`${CRM}.ts`, handlerIn(dev.path, "await Bun.sleep(60);"));
    const running = dev.bellhop(...MISSING, "--yes");
    await until("the first replay", async () => (await dev.seen()).length > 0 || undefined);
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
  "failed runs are counted and set the exit code, and the others run",
  async () => {
    await using dev = await startDev({});
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
  "an unknown handler and one that does not load give an error, and a pattern's name is quoted for the shell",
  async () => {
    await using dev = await startDev({ "user.deleted.ts": "export default () => {};" });
    await dev.send(1, 1);
    const unknown = await dev.bellhop("replay", "--handler", "user.delete", "--missing", "--dry-run");
    expect(unknown).toMatchObject({ exitCode: 1, stdout: "" });
    expect(unknown.stderr).toContain("Unknown handler user.delete; did you mean user.deleted?");
    await dev.add(`${CRM}.ts`, "export default (1 +;");
    const broken = await dev.bellhop(...MISSING, "--yes");
    expect(broken).toMatchObject({ exitCode: 1, stdout: "" });
    expect(broken.stderr).toContain(`${CRM} does not load, so it can't run:\n\n    ${CRM}.ts:1:`);

    await dev.add("user.[action].ts", handlerIn(dev.path));
    const line = await dev.logged(/1 stored delivery of user\.\* .*$/m);
    expect(line).toContain("bun replay --handler 'user.[action]' --missing");
    const ran = await dev.bellhop("replay", "--handler", "user.[action]", "--missing", "--yes");
    expect(ran.stdout).toContain("1 done, 0 dead, 0 waiting");
  },
  20_000,
);

test.concurrent(
  "reports a server that stops during the replay, and its next start runs the stored runs",
  async () => {
    await using dev = await startDev({}, { CONCURRENCY: "1" });
    for (let n = 1; n <= 9; n += 1) await dev.send(n, n, { subject: `user_${n}` });
    await dev.add(`${CRM}.ts`, handlerIn(dev.path, "await Bun.sleep(100);"));
    const running = dev.bellhop(...MISSING, "--yes");
    await until("the first replay", async () => (await dev.seen()).length > 0 || undefined);
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
  "arguments that contradict each other are rejected with a message",
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
    for (const [args, message] of cases) {
      const { exitCode, stdout, stderr } = await runCommand(folder.path, ["replay", ...args]);
      expect(stderr, args.join(" ")).toMatch(message);
      expect(stderr).not.toMatch(/\n +at /);
      expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    }
  },
  20_000,
);

test.concurrent(
  "on a terminal the command asks for confirmation, and shows a progress bar",
  async () => {
    await using dev = await startDev({});
    for (let n = 1; n <= 6; n += 1) await dev.send(n, n, { subject: `user_${n}` });
    await dev.add(`${CRM}.ts`, handlerIn(dev.path, "await Bun.sleep(150);"));
    const declined = await onTerminal(dev.path, MISSING, "\n");
    expect(declined.text).toContain("Run them now? [y/N]");
    expect(declined.text).toContain("Nothing was run.");
    expect(declined.exitCode).toBe(1);
    expect(await dev.seen()).toEqual([]);

    const confirmed = await onTerminal(dev.path, MISSING, "y\n");
    expect(confirmed.text).toMatch(/\[[█░]{30}\] +\d+ % {2}\d of 6/);
    expect(confirmed.text).toContain("6 done, 0 dead, 0 waiting");
    expect(confirmed.exitCode).toBe(0);
  },
  20_000,
);

test.concurrent(
  "--rate spaces the runs evenly",
  async () => {
    await using dev = await startDev({});
    for (let n = 1; n <= 80; n += 1) await dev.send(n, n, { subject: `user_${n}` });
    const body = `appendFileSync(${JSON.stringify(join(dev.path, "times.txt"))}, Date.now() + "\\n");`;
    await dev.add(`${CRM}.ts`, handlerIn(dev.path, body));
    for (const args of [MISSING, ["replay", "--type", "user.created", "--handler", CRM]]) {
      await Bun.write(join(dev.path, "times.txt"), "");
      const ran = await dev.bellhop(...args, "--yes", "--rate", "40");
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

test.concurrent("Ctrl-C ends the command, and the server adds no further runs", async () => {
  await using dev = await startDev({});
  for (let number = 1; number <= 30; number += 1) await dev.send(number, number, { subject: `user_${number}` });
  await dev.add(`${CRM}.ts`, handlerIn(dev.path));
  const main = resolve(import.meta.dir, "../../src/main.ts");
  const child = Bun.spawn([process.execPath, main, ...MISSING, "--yes", "--rate", "5"], {
    cwd: dev.path,
    env: { PATH: process.env.PATH, HOME: dev.path, ...environment(dev.path) },
    stdout: "ignore",
    stderr: "ignore",
  });
  await until("the first run", async () => (await dev.seen()).length > 0);
  child.kill("SIGINT");
  expect(await child.exited).toBe(130);
  // A request that adds runs may be in flight when the job is stopped.
  await Bun.sleep(400);
  const ran = (await dev.seen()).length;
  await Bun.sleep(800);
  expect(await dev.seen()).toHaveLength(ran);
  expect(ran).toBeLessThan(15);
});

/** Runs a command on a terminal, and answers its question. */
async function onTerminal(folder: string, args: string[], answer: string) {
  let text = "";
  const decoder = new TextDecoder();
  const child = Bun.spawn([process.execPath, resolve(import.meta.dir, "../../src/main.ts"), ...args], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, ...environment(folder) },
    terminal: { cols: 100, rows: 30, data: (_, bytes) => void (text += decoder.decode(bytes, { stream: true })) },
  });
  await until("the question", () => text.includes("[y/N]") || undefined);
  child.terminal?.write(answer);
  const exitCode = await child.exited;
  return { text, exitCode };
}
