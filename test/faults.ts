// `bun run faults [name]`: injects failures that were found in use, on real servers, and shows for each whether users keep
// their data and their uptime. Each is a test of the suite; this runs it alone.

import { join, resolve } from "node:path";

/** By name: what is checked, the test file, and a pattern for its titles. */
const FAULTS: Record<string, readonly [checked: string, file: string, titles: string]> = {
  commit: ["a handler's own COMMIT leaves no half of a run that counts as done", "db/writing", "commits by itself"],
  restore: ["an older inbox beside newer effects: no run is done without its effects", "db/writing", "restored inbox"],
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
    "Postgres is away, frozen, read-only, or loses connections",
    "db/postgres",
    "outage|connection that is lost|stall",
  ],
  health: ["damaged pages, a held disk, a commit without an answer", "inbox/health", ""],
  empty: ["an empty inbox.db beside effects is not taken for a new one", "inbox/startup", "inbox.db is empty"],
  inspector: ["the inspector opens to a token only", "inspector/server", "token"],
};

const ROOT = resolve(import.meta.dir, "..");

const [wanted] = process.argv.slice(2);
if (wanted !== undefined && !(wanted in FAULTS)) {
  console.error(`There is no fault ${wanted}. There are: ${Object.keys(FAULTS).join(", ")}`);
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
  const isFine = exitCode === 0 && passed > 0;
  const seconds = ((performance.now() - began) / 1_000).toFixed(1);
  console.log(`${isFine ? "✓" : "✗"} ${name.padEnd(10)} ${checked} (${passed} tests, ${seconds} s)`);
  if (isFine) continue;
  console.log(output);
  process.exitCode = 1;
}
