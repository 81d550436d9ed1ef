// Edits and git commands while `bun dev` runs.

import { expect, setDefaultTimeout, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { post, rawConnection, rawRequest, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { returning } from "./living.ts";

// The machine may be slow, because other processes use it too.
setDefaultTimeout(30_000);

test("bun dev runs the next event with a saved file, without a restart and without closing connections", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "session.created.ts": returning(1) });
  await using server = await spawnServer(folder.path, { mode: "dev" });
  using connection = await rawConnection(Number(new URL(server.url).port));
  connection.write(rawRequest("GET", "/health"));
  expect((await connection.answer()).status).toBe(200);
  const lines = () => server.output().split("\n");

  const began = performance.now();
  await writeHandlers(folder.path, { "user.created.ts": `export default ({ log }) => log.info("one");` });
  await until("the file to be live", () => server.output().includes("user.created.ts is live"));
  console.log(`    bun dev reports it after ${(performance.now() - began).toFixed(0)} ms`);
  await post(server.url, sample("user.created"), { id: "first" });
  expect(await server.ended("first")).toMatchObject({ runs: [{ attempts: [{ log: [{ message: "one" }] }] }] });

  await writeHandlers(folder.path, { "user.created.ts": `export default ({ log }) => log.info("two");` });
  await until("the edit to be live", () => server.output().includes("is live again"));
  await post(server.url, sample("user.created"), { id: "second" });
  expect(await server.ended("second")).toMatchObject({ runs: [{ attempts: [{ log: [{ message: "two" }] }] }] });

  await writeHandlers(folder.path, { "user.created.ts": `const fine = 1;\nexport default ( => fine;\n` });
  await until("the error to be logged", () => server.output().includes("does not load"));
  const errorLine = lines().find((line) => line.includes("does not load"));
  expect(errorLine).toMatch(/user\.created\.ts:2:\d+ does not load, the last good version still runs/);
  expect(server.output()).toContain("export default ( => fine;");
  await post(server.url, sample("user.created"), { id: "third" });
  expect(await server.ended("third")).toMatchObject({ runs: [{ attempts: [{ log: [{ message: "two" }] }] }] });

  await rm(join(folder.path, "handlers/user.created.ts"));
  await until("the file to be gone", () => server.output().includes("user.created.ts is gone"));
  await post(server.url, sample("user.created"), { id: "fourth" });
  expect(await server.get("fourth")).toMatchObject({ runs: [] });

  expect(lines().filter((line) => line.includes("user.created.ts") && line.includes("live"))).toHaveLength(2);
  expect(lines().filter((line) => line.includes("session.created.ts is live"))).toEqual([]);
  connection.write(rawRequest("GET", "/health"));
  expect((await connection.answer()).status).toBe(200);
  expect(server.process.exitCode).toBeNull();
});

test("the table follows git checkout and git stash, and runs wait for a file that comes back", async () => {
  await using folder = await temporaryFolder();
  const git = async (...args: string[]) => {
    const child = Bun.spawn(["git", "-c", "user.name=t", "-c", "user.email=t@example.com", ...args], {
      cwd: folder.path,
      stdout: "ignore",
      stderr: "ignore",
    });
    expect(await child.exited).toBe(0);
  };
  const handler = (message: string) => `export default ({ log }) => log.info("${message}");`;
  await git("init", "-b", "main");
  await Bun.write(join(folder.path, ".gitignore"), ".bun\ndata\n.env\n");
  await writeHandlers(folder.path, { "user.created.ts": handler("main"), "session.created.ts": handler("main") });
  await git("add", ".");
  await git("commit", "-m", "one");
  await git("checkout", "-b", "feature");
  await writeHandlers(folder.path, { "user.created.ts": handler("feature"), "role.created/x.ts": handler("feature") });
  await rm(join(folder.path, "handlers/session.created.ts"));
  await git("add", ".");
  await git("commit", "-m", "two");
  await git("checkout", "main");

  await using server = await spawnServer(folder.path, { mode: "dev", env: { CONCURRENCY: "1" } });
  const logged = (text: string) => until(text, () => server.output().includes(text));
  await git("checkout", "feature");
  await logged("session.created.ts is gone");
  await logged("role.created/x.ts is live");
  await post(server.url, sample("user.created"), { id: "on the branch" });
  expect(await server.ended("on the branch")).toMatchObject({
    runs: [{ attempts: [{ log: [{ message: "feature" }] }] }],
  });

  // The delivery is accepted while its file exists, and the file is removed before the retry.
  await writeHandlers(folder.path, {
    "user.updated.ts": `import { RetryAfterError } from "bellhop"; export default ({ run, log }) => { if (run.attempt === 1) throw new RetryAfterError("later", 2_000); log.info("back"); };`,
  });
  await logged("user.updated.ts is live");
  await post(server.url, sample("user.updated"), { id: "waits" });
  await until("its first attempt", async () => (await server.get("waits"))?.runs[0]?.attempts.length === 1);
  await git("stash", "--include-untracked");
  await logged("user.updated.ts is gone");
  // Past the time of its retry.
  await Bun.sleep(2_200);
  expect(await server.get("waits")).toMatchObject({ runs: [{ state: "waiting", parked: true }] });
  await git("stash", "pop");
  expect(await server.ended("waits")).toMatchObject({
    runs: [{ state: "done", attempts: [{ outcome: "retry" }, { log: [{ message: "back" }] }] }],
  });
});
