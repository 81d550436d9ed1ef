// Log targets that fail or block: the server still answers, and later logs how many lines are missing.

import { expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { createLogOutput } from "../../src/log-output.ts";
import { environment, folderWithHandlers, freePort, post, until } from "../harness.ts";
import { fill, mounts, smallDisk } from "../inbox/small-disk.ts";

const ROOT = join(import.meta.dir, "../..");
const FORMATS = ["json", "pretty"] as const;
const LINE = `${"x".repeat(999)}\n`;

/** Starts a server whose standard output is redirected by the shell. Resolves when it listens. */
async function serverInShell(folder: string, redirection: string, format: (typeof FORMATS)[number]) {
  const port = await freePort();
  const child = Bun.spawn(
    ["bash", "-c", `exec "$0" "$1" start ${redirection}`, process.execPath, join(ROOT, "src/main.ts")],
    {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, ...environment(folder, { PORT: String(port), LOG_FORMAT: format }) },
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    },
  );
  const url = `http://127.0.0.1:${port}/api/webhooks`;
  await until("the server to listen", async () => {
    if (child.exitCode !== null) throw new Error(await new Response(child.stderr).text());
    return (await fetch(`http://127.0.0.1:${port}/health`).catch(() => undefined))?.ok;
  });
  return {
    child,
    health: async () => await (await fetch(`http://127.0.0.1:${port}/health`)).json(),
    send: async () => (await post(url, sample("user.created"))).status,
    async stop() {
      child.kill("SIGTERM");
      return await child.exited;
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

for (const format of FORMATS)
  for (const [target, redirection, reason, health] of [
    ["a full disk", "> /dev/full", "ENOSPC", "the disk is full"],
    // Bun opens /dev/null in its place, so that no database gets descriptor 1.
    ["a closed descriptor", ">&-", undefined, undefined],
    ["a pipe without a reader", "> >(true)", "EPIPE", "its reader is gone"],
    ["a read-only descriptor", "1< /dev/null", "EBADF", "see the log and standard error"],
  ] as const)
    test(`${format} logs to ${target} stop neither deliveries nor the shutdown`, async () => {
      await using folder = await folderWithHandlers();
      await using server = await serverInShell(folder.path, redirection, format);
      for (let n = 0; n < 10; n += 1) expect(await server.send()).toBe(200);
      // The log output retries a failed write after 500 ms.
      await Bun.sleep(700);
      expect(await server.send()).toBe(200);
      const expected = { status: "ok", ...(health && { log: `it can't be written: ${health}` }) };
      await until("the log's state in /health", async () => Bun.deepEquals(await server.health(), expected));
      expect(await server.stop()).toBe(0);
      const report = reason ? `Bellhop's log can't be written to standard output: ${reason}\n` : "";
      expect(await new Response(server.child.stderr).text()).toBe(report);
    }, 20_000);

test("a paused log reader delays no delivery, and the number of missing lines is logged later", async () => {
  await using folder = await folderWithHandlers();
  Bun.spawnSync(["mkfifo", join(folder.path, "log")]);
  // Also opened for writing, so that this does not block. Not read before the deliveries are sent.
  const reader = openSync(join(folder.path, "log"), "r+");
  await Bun.write(
    join(folder.path, "handlers/user.created.ts"),
    `export default ({ log }) => { for (let n = 0; n < 60; n += 1) log.info("x".repeat(1_000)); }`,
  );
  await using server = await serverInShell(folder.path, "> log", "json");
  const times: number[] = [];
  for (let n = 0; n < 40; n += 1) {
    const start = performance.now();
    expect(await server.send()).toBe(200);
    times.push(performance.now() - start);
  }
  expect(Math.max(...times)).toBeLessThan(2_000);

  const lines: string[] = [];
  const cat = Bun.spawn(["cat", join(folder.path, "log")], { stdout: "pipe" });
  closeSync(reader);
  const reading = (async () => {
    let text = "";
    for await (const chunk of cat.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const complete = text.split("\n");
      text = complete.pop() ?? "";
      lines.push(...complete);
    }
  })();
  const missing = await until("the log line about missing lines", () =>
    lines.map((line) => JSON.parse(line)).find(({ msg }) => msg.includes("are missing here")),
  );
  expect(missing).toMatchObject({ level: 50, reason: "its reader paused" });
  expect(missing.count).toBeGreaterThan(500);
  expect(await server.send()).toBe(200);
  expect(await server.stop()).toBe(0);
  await reading;
  // One line per pause, not per missing line. Handlers may still log while the pipe is emptied.
  expect(lines.filter((line) => line.includes("are missing here")).length).toBeWithin(1, 4);
  // Every line is complete, and those of the shutdown are not lost.
  expect(lines.map((line) => JSON.parse(line)).some(({ msg }) => msg.startsWith("stopping"))).toBe(true);
}, 30_000);

test.skipIf(!mounts)(
  "a log file on a full disk continues without a broken line when there is space again",
  async () => {
    await using disk = await smallDisk("256k");
    const path = join(disk.path, "log");
    const fd = openSync(path, "a");
    let report = "";
    const output = createLogOutput({
      fd,
      maxLength: 20_000,
      onDropped: (count, reason) => output.write((report = `${count} dropped: ${reason}\n`)),
    });
    const filler = await fill(disk.path, 8_192);
    for (let n = 0; n < 100; n += 1) {
      output.write(LINE);
      await Bun.sleep(1);
    }
    await Bun.sleep(100);
    rmSync(filler);
    await until("the report", () => report || undefined);
    await new Promise<void>((done) => output.flush(done));
    closeSync(fd);
    const lines = readFileSync(path, "utf8").trimEnd().split("\n");
    expect(report).toMatch(/^\d+ dropped: ENOSPC\n$/);
    expect(lines.at(-1)).toBe(report.trimEnd());
    expect(lines.slice(0, -1).every((line) => `${line}\n` === LINE)).toBe(true);
    expect(lines.length - 1 + Number(report.split(" ")[0])).toBe(100);
  },
);

test("a log socket that is not read delays neither deliveries nor the shutdown", async () => {
  await using folder = await folderWithHandlers();
  const sockets: Socket[] = [];
  const listener = createServer({ pauseOnConnect: true }, (socket) => sockets.push(socket)).listen(0, "127.0.0.1");
  await new Promise((done) => listener.once("listening", done));
  const { port } = listener.address() as AddressInfo;
  await Bun.write(
    join(folder.path, "handlers/user.created.ts"),
    `export default ({ log }) => { for (let n = 0; n < 60; n += 1) log.info("x".repeat(1_000)); }`,
  );
  await using server = await serverInShell(folder.path, `> /dev/tcp/127.0.0.1/${port}`, "json");
  // The log is larger than the socket buffers of both ends.
  for (let n = 0; n < 150; n += 1) expect(await server.send()).toBe(200);
  const start = performance.now();
  expect(await server.stop()).toBe(0);
  expect(performance.now() - start).toBeLessThan(5_000);
  for (const socket of sockets) socket.destroy();
  listener.close();
}, 30_000);

test("output of handler modules outside a run and a warning about a blocked thread do not need a log reader", async () => {
  await using folder = await folderWithHandlers();
  Bun.spawnSync(["mkfifo", join(folder.path, "log")]);
  const reader = openSync(join(folder.path, "log"), "r+");
  await Bun.write(
    join(folder.path, "handlers/user.created.ts"),
    `setInterval(() => console.log("y".repeat(10_000)), 1);
let isFirst = true;
export default () => { if (isFirst) Bun.sleepSync(1_500); isFirst = false; }`,
  );
  await using server = await serverInShell(folder.path, "> log", "json");
  // Until the pipe is full.
  await Bun.sleep(1_000);
  expect(await server.send()).toBe(200);
  await Bun.sleep(1_800);
  for (let n = 0; n < 10; n += 1) expect(await server.send()).toBe(200);
  expect(await server.stop()).toBe(0);
  closeSync(reader);
}, 30_000);
