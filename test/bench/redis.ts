// Starts a Redis whose writes wait for the disk, as those of Postgres do, in a temporary directory. It stops when the
// process that started it ends, even when that process is killed.

import { RedisClient } from "bun";

import { freePort, temporaryFolder, until } from "../harness.ts";

export interface Redis extends AsyncDisposable {
  port: number;
  pid: number;
  client: RedisClient;
}

/** Why Redis is not available on this machine, or undefined. */
export const noRedis = Bun.which("redis-server")
  ? undefined
  : "redis-server is not installed (Debian: apt-get install redis-server)";

export async function startRedis(): Promise<Redis> {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const port = await freePort();
  // `read` returns when this process has ended, because its pipe is closed then.
  const script = 'redis-server "$@" & pid=$!; read how; kill -9 $pid; wait $pid';
  const durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
  const where = ["--port", String(port), "--bind", "127.0.0.1", "--dir", path];
  const server = Bun.spawn(["sh", "-c", script, "sh", ...where, ...durable, "--maxmemory-policy", "noeviction"], {
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
  });
  opened.defer(async () => {
    await server.stdin.end();
    await server.exited;
  });
  const client = new RedisClient(`redis://127.0.0.1:${port}`);
  opened.defer(() => client.close());
  await until("Redis to answer", () =>
    client.ping().then(
      () => true as const,
      () => undefined,
    ),
  );
  const moved = opened.move();
  return { port, pid: server.pid, client, [Symbol.asyncDispose]: () => moved.disposeAsync() };
}
