// A running `bun dev` for the tests of commands. Each server has its own directory and port.

import type { Environment } from "../../src/config.ts";
import { type Files, folderWithHandlers, freePort, runCommand, spawnServer, writeHandlers } from "../harness.ts";

export async function devWith(files: Files, env: Environment = {}) {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await folderWithHandlers());
  await writeHandlers(path, files);
  const port = await freePort();
  const server = stack.use(await spawnServer(path, { mode: "dev", port, env }));
  const moved = stack.move();
  return {
    path,
    server,
    /** Runs a command in the server's directory. */
    bellhop: (...args: string[]) => runCommand(path, args, { PORT: String(port), ...env }),
    [Symbol.asyncDispose]: () => moved.disposeAsync(),
  };
}
