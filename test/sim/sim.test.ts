// Simulates a few seeds in each test run. CI and `bun run sim` simulate thousands.

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

setDefaultTimeout(60_000);

const main = join(import.meta.dir, "main.ts");

async function sim(...args: string[]) {
  // The simulation replaces the clock and the randomness of its process.
  const child = Bun.spawn([process.execPath, main, ...args], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { stdout, stderr, exitCode: await child.exited };
}

test.concurrent("60 random seeds break no promise", async () => {
  const from = Math.floor(Math.random() * 1_000_000_000);
  const { stdout, stderr, exitCode } = await sim("--seeds", "60", "--from", String(from), "--workers", "1");
  console.log(`sim from ${from}: ${stdout.trim()}`);
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
  expect(stdout).toStartWith("60 seeds, ");
});

test.concurrent("the same seed gives the same trace, and another seed gives another one", async () => {
  const [first, second, other] = await Promise.all([
    sim("--seed", "7", "--trace"),
    sim("--seed", "7", "--trace"),
    sim("--seed", "8", "--trace"),
  ]);
  expect(first.stdout.split("\n").length).toBeGreaterThan(20);
  expect(second.stdout).toBe(first.stdout);
  expect(other.stdout).not.toBe(first.stdout);
});
