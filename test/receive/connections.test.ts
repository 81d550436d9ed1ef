// Connections that send nothing use up all file descriptors. Bun closes them after 12 s, which is not configurable; until
// then the server accepts no other connection.

import { expect, test } from "bun:test";
import { connect } from "node:net";
import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { environment, folderWithHandlers, freePort, post, until } from "../harness.ts";

test("accepts deliveries again after silent connections have used up all file descriptors", async () => {
  await using folder = await folderWithHandlers();
  const port = await freePort();
  const main = join(import.meta.dir, "../../src/main.ts");
  const server = Bun.spawn(["bash", "-c", `ulimit -n 200; exec "$0" "$1" start`, process.execPath, main], {
    cwd: folder.path,
    env: { PATH: process.env.PATH, HOME: folder.path, ...environment(folder.path, { PORT: String(port) }) },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
  });
  const isHealthy = () =>
    fetch(`http://127.0.0.1:${port}/health`, { keepalive: false, signal: AbortSignal.timeout(300) })
      .then(({ ok }) => ok || undefined)
      .catch(() => undefined);
  await until("the server to listen", isHealthy);
  const sockets = Array.from({ length: 300 }, () =>
    connect(port, "127.0.0.1")
      .on("error", () => undefined)
      .resume(),
  );
  await until("all file descriptors to be used", async () => ((await isHealthy()) ? undefined : true));
  // Bun's 12 s, and time for a busy machine.
  await until("the server to answer again", isHealthy, 40_000);
  for (const socket of sockets) socket.destroy();
  for (let n = 0; n < 20; n += 1)
    expect((await post(`http://127.0.0.1:${port}/api/webhooks`, sample("user.created"))).status).toBe(200);
  server.kill("SIGKILL");
  await server.exited;
}, 60_000);
