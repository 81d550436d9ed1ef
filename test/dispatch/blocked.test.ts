// A thread that stays blocked ends its process, so that a supervisor restarts it.

import { expect, setDefaultTimeout, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import {
  environment,
  freePort,
  post,
  readDelivery,
  spawnServer,
  temporaryFolder,
  until,
  writeHandlers,
} from "../harness.ts";

// Each test waits until a process ends by itself, or for as long as it must not end.
setDefaultTimeout(90_000);
const WAIT_MS = 60_000;
const ROOT = join(import.meta.dir, "../..");

const ENDLESS = `import { on } from "bellhop";
  export default on("user.created", { attempts: 2 }, () => { while (true) {} });`;
/** Blocks the thread until the test removes the file. */
const UNTIL_REMOVED = `import { existsSync } from "node:fs";
  export default () => { while (existsSync("blocked")) {} };`;

test.concurrent("a handler that never ends is dead after restarts, and other handlers continue", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": ENDLESS, "user.deleted.ts": "export default () => 1;" });
  await using supervised = await supervise(folder.path, { BLOCKED_SECONDS: "1" });
  await supervised.accepted("user.created", "msg_1");
  await supervised.accepted("user.deleted", "msg_2");
  const stateOf = (id: string, state: string) =>
    until(
      `${id} to be ${state}`,
      async () => {
        const delivery = await supervised.get(id);
        return delivery?.runs[0]?.state === state ? delivery.runs[0] : undefined;
      },
      WAIT_MS,
    );
  await stateOf("msg_2", "done");
  const { attempts } = await stateOf("msg_1", "dead");
  expect(attempts.map(({ outcome }) => outcome)).toEqual(["interrupted", "dead"]);
  expect(attempts[1]!.error).toMatchObject({ name: "Crash" });
  expect(supervised.ends()).toEqual(["SIGKILL", "SIGKILL"]);
  const errors = supervised.output().match(/"level":50.*/g);
  expect(errors).toEqual([
    expect.stringMatching(/user\.created has blocked the thread for \d+ s: this process ends now.*BLOCKED_SECONDS/),
    expect.stringContaining("user.created has blocked the thread"),
  ]);
});

test.concurrent(
  "a timer that a handler has left ends the process, too, without a line if LOG_LEVEL=silent",
  async () => {
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, {
      "user.created.ts": "export default () => void setTimeout(() => { while (true) {} }, 300);",
    });
    await using server = await spawnServer(folder.path, { env: { BLOCKED_SECONDS: "1", LOG_LEVEL: "silent" } });
    await post(server.url, sample("user.created"), { id: "msg_1" });
    await server.ended("msg_1");
    await server.process.exited;
    expect(server.process.signalCode).toBe("SIGKILL");
    expect(server.output()).toBe("");
  },
);

test.concurrent("a process that is stopped for longer than BLOCKED_SECONDS continues", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": UNTIL_REMOVED });
  await using server = await spawnServer(folder.path, { env: { BLOCKED_SECONDS: "4" } });
  const blocked = join(folder.path, "blocked");
  await Bun.write(blocked, "");
  await post(server.url, sample("user.created"), { id: "msg_1" });
  await until("the block", () => server.output().includes("blocked the thread for a second"), WAIT_MS);
  server.process.kill("SIGSTOP");
  await Bun.sleep(5_000);
  server.process.kill("SIGCONT");
  // The handler still blocks, and the watchdog's thread checks the time.
  await Bun.sleep(700);
  await rm(blocked);
  const { runs } = await server.ended("msg_1", WAIT_MS);
  expect(runs[0]).toMatchObject({ state: "done", attempts: [{ outcome: "done" }] });
  expect(server.process.exitCode).toBeNull();
});

test.concurrent("bun dev never ends because of a blocked thread", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": UNTIL_REMOVED });
  await using server = await spawnServer(folder.path, { mode: "dev", env: { BLOCKED_SECONDS: "1" } });
  const blocked = join(folder.path, "blocked");
  await Bun.write(blocked, "");
  await post(server.url, sample("user.created"), { id: "msg_1" });
  await until("the block", () => server.output().includes("blocked the thread for a second"), WAIT_MS);
  await Bun.sleep(2_000);
  await rm(blocked);
  expect((await server.ended("msg_1", WAIT_MS)).runs[0]!.state).toBe("done");
});

/** A script with a watchdog that ends the process after a second. */
const script = (body: string) => `
  import { createWatchdog } from "./src/dispatch/watchdog.ts";
  const watchdog = createWatchdog({ logFormat: "json", logLevel: "info", blockedSeconds: 1 });
  watchdog.running("user.created");
  ${body}`;

// Root, or user namespaces, are needed to make a process the first one of its namespace.
const unshare = ["unshare", ...(process.getuid?.() === 0 ? [] : ["--map-root-user"]), "--pid", "--fork"];
const canUnshare = Bun.which("unshare") !== null && Bun.spawnSync([...unshare, "true"]).success;
if (!canUnshare) console.log("skipped: a process can't be made the first one of a container (unshare --pid)");

test.concurrent.skipIf(!canUnshare)("the first process of a container ends itself with 137", async () => {
  const endless = script(`watchdog.enter("user.created", () => { while (true) {} });`);
  const command = [...unshare, "--kill-child", "--mount-proc", process.execPath, "-e", endless];
  const child = Bun.spawn(command, { cwd: ROOT, stdout: "pipe", timeout: WAIT_MS, killSignal: "SIGKILL" });
  expect(await child.exited).toBe(137);
  expect(child.signalCode).toBeNull();
  expect(await new Response(child.stdout).text()).toContain("this process ends now");
});

test.concurrent.skipIf(process.platform !== "linux")(
  "a thread that waits for a disk does not end the process",
  async () => {
    await using folder = await temporaryFolder();
    const source = join(folder.path, "wait.c");
    // In vfork, the thread waits as for a disk: uninterruptibly, until the child has ended.
    await Bun.write(
      source,
      `int vfork(void); unsigned sleep(unsigned); void _exit(int);
     void wait_like_a_disk(int seconds) { if (vfork() == 0) { sleep(seconds); _exit(0); } }`,
    );
    const waiting = script(`
    import { cc } from "bun:ffi";
    const { symbols } = cc({ source: "${source}", symbols: { wait_like_a_disk: { args: ["int"], returns: "void" } } });
    watchdog.enter("user.created", () => symbols.wait_like_a_disk(4));
    process.exit(0);`);
    await using child = Bun.spawn([process.execPath, "-e", waiting], { cwd: ROOT, stdout: "pipe", stderr: "inherit" });
    expect(await child.exited).toBe(0);
    expect(await new Response(child.stdout).text()).toBe("");
  },
);

/** Starts `bun start` each time it ends, as a supervisor does. */
async function supervise(folder: string, env: Record<string, string>) {
  const port = await freePort();
  const ends: unknown[] = [];
  let output = "";
  let isStopping = false;
  let child: Bun.Subprocess | undefined;
  async function run() {
    while (!isStopping) {
      const started = Bun.spawn([process.execPath, join(ROOT, "src/main.ts"), "start"], {
        cwd: folder,
        env: { PATH: process.env.PATH, HOME: folder, ...environment(folder, { PORT: String(port), ...env }) },
        stdout: "pipe",
        stderr: "inherit",
      });
      child = started;
      output += await new Response(started.stdout).text();
      await started.exited;
      if (!isStopping) ends.push(started.signalCode ?? started.exitCode);
    }
  }
  const running = run();
  return {
    ends: () => ends,
    output: () => output,
    get: (id: string) => readDelivery(join(folder, "data"), id).catch(() => undefined),
    /** Sends an event until it is answered 200, as Svix does. */
    accepted: (type: "user.created" | "user.deleted", id: string) =>
      until(
        `${id} to be accepted`,
        async () => {
          const answer = await Promise.race([
            post(`http://127.0.0.1:${port}/api/webhooks`, sample(type), { id }).catch(() => undefined),
            Bun.sleep(1_000),
          ]);
          return answer?.ok;
        },
        WAIT_MS,
      ),
    async [Symbol.asyncDispose]() {
      isStopping = true;
      child?.kill("SIGKILL");
      await running;
    },
  };
}
