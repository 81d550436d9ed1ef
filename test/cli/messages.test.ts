// Errors in settings and of the machine: the message names the cause and has no stack.

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import {
  environment,
  folderWithHandlers,
  freePort,
  runCommand,
  spawnServer,
  temporaryFolder,
  until,
} from "../harness.ts";

// Each test starts processes.
setDefaultTimeout(30_000);

test("messages show the path of HANDLERS_DIR, also with spaces and brackets", async () => {
  await using folder = await temporaryFolder();
  const HANDLERS_DIR = join(folder.path, "my (old) handlers-src");
  await Bun.write(join(HANDLERS_DIR, "user.created.ts"), "export const x = 1;");
  await Bun.write(join(HANDLERS_DIR, "user.updated.ts"), "const a = 1;\n\nthrow new Error('no luck');");
  const { stdout } = await runCommand(folder.path, ["handlers"], { HANDLERS_DIR });
  expect(stdout).toContain("user.created.ts must export a function by default");
  expect(stdout).not.toContain(" handlers/");
  expect(stdout).toContain(`✗ ${HANDLERS_DIR}/user.updated.ts:3:11`);
});

test("a HANDLERS_DIR that is a file ends bun start, and bun dev's message repeats no part of the path", async () => {
  await using folder = await temporaryFolder();
  await Bun.write(join(folder.path, "handlers"), "");
  const env = { HANDLERS_DIR: "handlers" };
  const started = await runCommand(folder.path, ["start"], env);
  expect(started.stderr).toBe("HANDLERS_DIR is handlers, which is a file; expected the directory of your handlers\n\n");
  expect(started.exitCode).toBe(78);
  await using server = await spawnServer(folder.path, { env, mode: "dev" });
  expect(server.output()).not.toContain("handlers/handlers");
});

test("an invalid HOST, and a DATA_DIR without sockets, give messages without a stack", async () => {
  for (const HOST of ["nonsense", "not an address", "300.1.1.1"]) {
    await using folder = await folderWithHandlers();
    const { stderr, exitCode } = await runCommand(folder.path, ["start"], { HOST });
    expect(stderr).toContain(`This machine has no address ${HOST}`);
    expect(stderr).not.toMatch(/\n +at /);
    expect(exitCode).toBe(1);
  }
  await using folder = await folderWithHandlers();
  // A directory at the socket's path simulates a file system without sockets.
  await Bun.write(join(folder.path, "data/bellhop.sock/x"), "");
  const port = await freePort();
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "../../src/main.ts"), "start"], {
    cwd: folder.path,
    env: { PATH: process.env["PATH"], HOME: folder.path, ...environment(folder.path, { PORT: String(port) }) },
    stdout: "pipe",
    stderr: "pipe",
  });
  const isUp = async () => (await fetch(`http://127.0.0.1:${port}/health`).catch(() => undefined))?.ok;
  await until("the server", async () => (await isUp()) || child.exitCode !== null || undefined);
  child.kill();
  const [out, error] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  expect(out).toContain("commands can't reach this server");
  expect(out + error).not.toMatch(/\n +at /);
});

test("the log shows an IPv6 address in brackets", async () => {
  await using folder = await folderWithHandlers();
  await using server = await serverOn(folder.path, "::1");
  expect(server.output()).toMatch(/listening on http:\/\/\[::1\]:\d+\/api\/webhooks/);
});

async function serverOn(folder: string, HOST: string) {
  const port = await freePort();
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "../../src/main.ts"), "start"], {
    cwd: folder,
    env: { PATH: process.env["PATH"], HOME: folder, ...environment(folder, { PORT: String(port), HOST }) },
    stdout: "pipe",
  });
  let text = "";
  const drained = (async () => {
    for await (const chunk of child.stdout) text += new TextDecoder().decode(chunk);
  })();
  await until("the log line", () => text.includes("listening") || child.exitCode !== null || undefined);
  return {
    output: () => text,
    async [Symbol.asyncDispose]() {
      child.kill();
      await drained;
    },
  };
}
