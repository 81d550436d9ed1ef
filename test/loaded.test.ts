import { expect, test } from "bun:test";
import { resolve } from "node:path";

import { environment, folderWithHandlers, writeHandlers } from "./harness.ts";

const MAIN = resolve(import.meta.dir, "../src/main.ts");

/** Opens a server in a process of its own, and prints the files that it has loaded: at the start, and after a command. */
const SCRIPT = `
  const { openServer } = await import(${JSON.stringify(MAIN)});
  const { readConfig } = await import(${JSON.stringify(resolve(MAIN, "../config.ts"))});
  const { createLogger } = await import(${JSON.stringify(resolve(MAIN, "../logger.ts"))});
  const { config } = readConfig(process.env, "start");
  const server = await openServer(config, await createLogger({ ...config, logLevel: "silent" }));
  const atStart = Object.keys(require.cache);
  const answer = await fetch("http://server/api/server", { unix: config.dataDir + "/bellhop.sock" });
  const loaded = { atStart, status: answer.status, afterCommand: Object.keys(require.cache) };
  await Bun.write(Bun.stdout, JSON.stringify(loaded));
  await server.stop();
  process.exit(0);
`;

/** Each of these takes milliseconds to load, and is needed later, or by few servers. */
const LATER = [
  "src/api/app.ts",
  "src/api/routes/",
  "src/inspector/",
  "src/mcp/",
  "src/mount/create-bellhop.ts",
  "src/adapters/",
  "src/cli/send.ts",
  "src/clerk/check.ts",
  "src/clerk/generated/",
  "src/clerk/requests.ts",
  "node_modules/@clerk/",
  "node_modules/pino-pretty/",
  "node_modules/prom-client/",
  "node_modules/nodemailer/",
  "node_modules/@opentelemetry/",
];

test("bun start loads what commands, the inspector and other features need when they are used", async () => {
  await using folder = await folderWithHandlers();
  await writeHandlers(folder.path, {
    "user.created.ts": `import { on } from "bellhop";\nexport default on("user.created", () => {});\n`,
  });
  const child = Bun.spawn([process.execPath, "--no-install", "-e", SCRIPT], {
    cwd: folder.path,
    env: { PATH: process.env.PATH, HOME: folder.path, ...environment(folder.path) },
    stdin: "ignore",
    stderr: "inherit",
  });
  const { atStart, status, afterCommand } = JSON.parse(await child.stdout.text()) as Record<string, string[]>;
  const loaded = (files: string[] | undefined) => LATER.filter((part) => files?.some((file) => file.includes(part)));
  expect(atStart?.some((file) => file.endsWith("src/receive/server.ts"))).toBe(true);
  expect(loaded(atStart)).toEqual([]);
  expect(Number(status)).toBe(200);
  expect(loaded(afterCommand)).toEqual(["src/api/app.ts", "src/api/routes/"]);
}, 60_000);
