// `bun run faults [name]` runs the tests of the suite that inject failures seen in production, and prints for each whether
// data and uptime survive.

import { join, resolve } from "node:path";

/** By name: what is checked, the test file, and a pattern for its titles. */
const FAULTS: Record<string, readonly [checked: string, file: string, titles: string]> = {
  commit: ["a handler's own COMMIT never leaves a done run with half its effects", "db/writing", "commits by itself"],
  restore: ["an older inbox with newer effects: no run is done without its effects", "db/writing", "restored inbox"],
  clock: [
    "a clock that is 400 days ahead or years behind deletes nothing",
    "inbox/sqlite",
    "400 days ahead|years behind",
  ],
  moved: ["DATA_DIR, inbox.db or app.db is removed, renamed or replaced", "inbox/moved", ""],
  lock: ["server.lock is removed: no second server starts", "inbox/startup", "server.lock"],
  chdir: ["a handler changes the working directory", "chdir", ""],
  log: ["the log can't be written, or its reader pauses", "log/output", ""],
  bodies: ["2,000 half-sent bodies of 1 MB", "receive/unverified", ""],
  postgres: [
    "Postgres is down, frozen, read-only, or loses connections",
    "db/postgres",
    "outage|connection that is lost|stall",
  ],
  health: ["damaged pages, a held disk, a commit without an answer", "inbox/health", ""],
  empty: ["an empty inbox.db with existing effects is not taken for a new one", "inbox/startup", "inbox.db is empty"],
  inspector: ["the inspector requires a token", "inspector/server", "token"],
};

const ROOT = resolve(import.meta.dir, "..");

const [wanted] = process.argv.slice(2);
if (wanted !== undefined && !(wanted in FAULTS)) {
  console.error(`There is no fault ${wanted}. The faults are ${Object.keys(FAULTS).join(", ")}`);
  process.exit(1);
}
for (const [name, [checked, file, titles]] of Object.entries(FAULTS)) {
  if (wanted !== undefined && name !== wanted) continue;
  const began = performance.now();
  const path = join(import.meta.dir, `${file}.test.ts`);
  const args = [process.execPath, "test", path, ...(titles ? ["-t", titles] : [])];
  const { exitCode, stderr } = Bun.spawnSync(args, { cwd: ROOT, stdout: "ignore", stderr: "pipe" });
  const output = stderr.toString();
  const passed = Number(/^ *(\d+) pass$/m.exec(output)?.[1] ?? 0);
  const isPassed = exitCode === 0 && passed > 0;
  const seconds = ((performance.now() - began) / 1_000).toFixed(1);
  console.log(`${isPassed ? "✓" : "✗"} ${name.padEnd(10)} ${checked} (${passed} tests, ${seconds} s)`);
  if (isPassed) continue;
  console.log(output);
  process.exitCode = 1;
}
