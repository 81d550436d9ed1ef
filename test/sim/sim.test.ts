// Some seeds in every run of the tests; CI and `bun run sim` play thousands.

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

setDefaultTimeout(60_000);

const main = join(import.meta.dir, "main.ts");

async function sim(...args: string[]) {
  // A process of its own, whose clock and randomness are the simulation's.
  const child = Bun.spawn([process.execPath, main, ...args], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { stdout, stderr, exitCode: await child.exited };
}

test.concurrent("no seed breaks a promise", async () => {
  const from = Math.floor(Math.random() * 1_000_000_000);
  const { stdout, stderr, exitCode } = await sim("--seeds", "60", "--from", String(from), "--workers", "1");
  console.log(`sim from ${from}: ${stdout.trim()}`);
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
  expect(stdout).toStartWith("60 seeds, ");
});

test.concurrent("one seed plays one history, to the letter", async () => {
  const [one, two, other] = await Promise.all([
    sim("--seed", "7", "--trace"),
    sim("--seed", "7", "--trace"),
    sim("--seed", "8", "--trace"),
  ]);
  expect(one.stdout.split("\n").length).toBeGreaterThan(20);
  expect(two.stdout).toBe(one.stdout);
  expect(other.stdout).not.toBe(one.stdout);
});
