// All file descriptors used up by connections that send nothing. Bun closes those after 12 s, which no setting changes:
// until then nobody new gets in, and then everything is as before.

import { expect, test } from "bun:test";
import { connect } from "node:net";
import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { environment, folderWithHandlers, freePort, post, until } from "../harness.ts";

test("when silent connections have used up all file descriptors, deliveries get in again within 15 seconds", async () => {
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
  const isUp = () =>
    fetch(`http://127.0.0.1:${port}/health`, { keepalive: false, signal: AbortSignal.timeout(300) })
      .then(({ ok }) => ok || undefined)
      .catch(() => undefined);
  await until("the server to listen", isUp);
  const began = performance.now();
  const sockets = Array.from({ length: 300 }, () =>
    connect(port, "127.0.0.1")
      .on("error", () => undefined)
      .resume(),
  );
  await until("all file descriptors to be used", async () => ((await isUp()) ? undefined : true));
  await until("the server to answer again", isUp, 20_000);
  expect(performance.now() - began).toBeLessThan(15_000);
  for (const socket of sockets) socket.destroy();
  for (let n = 0; n < 20; n += 1)
    expect((await post(`http://127.0.0.1:${port}/api/webhooks`, sample("user.created"))).status).toBe(200);
  server.kill("SIGKILL");
  await server.exited;
}, 40_000);
