// Starts a real PgBouncer in transaction mode in front of a test's Postgres, if it is installed.

import { chown, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { SQL } from "bun";

import { freePort } from "./free-port.ts";
import type { Postgres } from "./postgres.ts";
import { until } from "./until.ts";

export interface PgBouncer extends AsyncDisposable {
  /** The same database through the pooler. */
  through(url: string): string;
}

const PROGRAM = Bun.which("pgbouncer", { PATH: `${process.env.PATH}:/usr/sbin` });
// It refuses to run as root, as Postgres does.
const UNPRIVILEGED_UID = 65_534;

/** Why PgBouncer is not available on this machine, or undefined. */
export const noPgBouncer = PROGRAM ? undefined : "PgBouncer is not installed";

export async function startPgBouncer(postgres: Postgres): Promise<PgBouncer> {
  const folder = await mkdtemp(join(tmpdir(), "bellhop-pgbouncer-"));
  const port = await freePort();
  const config = join(folder, "pgbouncer.ini");
  // Few connections, so that each transaction of a client gets another one.
  await Bun.write(
    config,
    `[databases]
* = host=127.0.0.1 port=${postgres.port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 10
max_client_conn = 500
`,
  );
  const user = process.getuid?.() === 0 ? { uid: UNPRIVILEGED_UID, gid: UNPRIVILEGED_UID } : {};
  if (user.uid) for (const path of [folder, config]) await chown(path, user.uid, user.gid);
  const child = Bun.spawn([PROGRAM!, config], { ...user, cwd: folder, stdout: "ignore", stderr: "ignore" });
  const through = (url: string) => {
    const address = new URL(url);
    address.port = String(port);
    return address.href;
  };
  await until("PgBouncer to accept connections", async () => {
    const sql = new SQL(`postgres://postgres@127.0.0.1:${port}/postgres`, { max: 1, prepare: false });
    try {
      await sql`select 1`;
      return true;
    } catch {
      return false;
    } finally {
      await sql.close();
    }
  });
  return {
    through,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
