// On an older Bun, the error names the required version before anything else can fail.

import { expect, test } from "bun:test";
import { join, resolve } from "node:path";

import { engines } from "../package.json";
import { temporaryFolder } from "./harness.ts";

const MAIN = resolve(import.meta.dir, "../src/main.ts");

/** Runs `bun src/main.ts --help` in a Bun that pretends to be the version and lacks an API that is missing before 1.4. */
async function helpOn(version: string) {
  await using folder = await temporaryFolder();
  const preload = join(folder.path, "old.ts");
  await Bun.write(
    preload,
    `Object.defineProperty(process, "versions", { value: { ...process.versions, bun: ${JSON.stringify(version)} } });
     if (${JSON.stringify(version)} < "1.4") delete globalThis.AsyncDisposableStack;`,
  );
  const child = Bun.spawn([process.execPath, "--preload", preload, MAIN, "--help"], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { stdout, stderr, exitCode };
}

test.each(["1.1.38", "1.3.14", "1.4.4"])(
  "on Bun %s the error names the required version and the one in use",
  async (version) => {
    const { stderr, exitCode } = await helpOn(version);
    expect(stderr).toStartWith(`Bellhop needs Bun 1.4.5 or newer, and this one is ${version}: ${process.execPath}\n`);
    expect(stderr).not.toContain(" at ");
    expect(exitCode).toBe(1);
  },
);

test.each(["1.4.5", "1.4.10", "1.5.0", "2.0.0", "1.5.0-canary.1"])("runs on Bun %s", async (version) => {
  expect(await helpOn(version)).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("bun dev") });
});

test("requires the Bun version in package.json", async () => {
  expect(engines.bun).toBe(">=1.4.5");
  expect(await Bun.file(join(MAIN, "../bun-version.ts")).text()).toContain('NEEDED = "1.4.5"');
});
