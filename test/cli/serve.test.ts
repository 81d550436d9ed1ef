// `bun dev` and `bun start`: the banner, the handlers directory and the signing secret.

import { expect, setDefaultTimeout, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { folderWithHandlers, freePort, runCommand, spawnServer, temporaryFolder, until } from "../harness.ts";
import { devWith } from "./dev-server.ts";

// Each test starts processes, which is slow on a busy machine.
setDefaultTimeout(20_000);

test("without a handlers directory bun start fails and bun dev starts", async () => {
  await using folder = await temporaryFolder();
  const { stderr, exitCode } = await runCommand(folder.path, ["start"], { HANDLERS_DIR: "handlrs" });
  expect(stderr).toStartWith(
    "The handlers directory handlrs does not exist, so no event would be handled. Set HANDLERS_DIR",
  );
  expect(exitCode).toBe(78);
  await using dev = await spawnServer(folder.path, { mode: "dev" });
  expect(dev.process.exitCode).toBeNull();
});

test.concurrent("a misspelled setting is named when the server starts, and when the setting is missing", async () => {
  await using folder = await folderWithHandlers();
  const missing = await runCommand(folder.path, ["start"], {
    CLERK_WEBHOOK_SIGNING_SECRET: undefined,
    CLERK_WEBHOOK_SIGNING_SERCET: "whsec_x",
  });
  expect(missing.stderr).toContain("CLERK_WEBHOOK_SIGNING_SERCET is not a setting of Bellhop");
  expect(missing.exitCode).toBe(78);
  await using server = await spawnServer(folder.path, { env: { RETENTION_DAY: "30" } });
  expect(server.output()).toContain(
    "RETENTION_DAY is not a setting of Bellhop, and is ignored; did you mean RETENTION_DAYS?",
  );
});

test.concurrent("bun dev prints its address, handlers, secret hint and next steps", async () => {
  await using dev = await devWith({
    "user.created.ts": "export default () => {};",
    "user.updated.ts": "export default 1;",
  });
  const output = await until("the banner", () =>
    dev.server.output().includes("ngrok http") ? dev.server.output() : undefined,
  );
  expect(output).toContain(`Bellhop listens on ${dev.server.url}`);
  expect(output).toContain("whsec_dGhp…");
  expect(output).not.toContain("whsec_dGhpc");
  expect(output).toMatch(/✓ .*user\.created\.ts/);
  expect(output).toMatch(/✗ .*user\.updated\.ts +not loaded/);
  expect(output).toContain("bun send user.created");
  expect(output).toContain("bun dev --tunnel");
});

test.concurrent(
  "bun dev creates a secret that works when there is none, and uses a secret pasted into .env at once",
  async () => {
    await using folder = await temporaryFolder();
    await Bun.write(
      join(folder.path, ".env.example"),
      await readFile(join(import.meta.dir, "../../.env.example"), "utf8"),
    );
    const port = await freePort();
    const env = { CLERK_WEBHOOK_SIGNING_SECRET: "", PORT: String(port) };
    await using server = await spawnServer(folder.path, { mode: "dev", env, port });
    expect(server.output()).toContain("made by bun dev");
    const dotenv = join(folder.path, ".env");
    const text = await readFile(dotenv, "utf8");
    expect(text).toMatch(/^CLERK_WEBHOOK_SIGNING_SECRET=whsec_BellhopDevOnly00/m);
    expect(text).toContain("# PORT=3000");

    const fromFile = { CLERK_WEBHOOK_SIGNING_SECRET: undefined, PORT: String(port) };
    expect((await runCommand(folder.path, ["send", "user.created"], fromFile)).stdout).toContain("accepted");
    expect((await runCommand(folder.path, ["start"], { ...fromFile, PORT: "0" })).exitCode).toBe(78);

    const fresh = `whsec_${Buffer.alloc(24, 7).toString("base64")}`;
    await Bun.write(
      dotenv,
      text.replace(/^CLERK_WEBHOOK_SIGNING_SECRET=.*$/m, `CLERK_WEBHOOK_SIGNING_SECRET=${fresh}`),
    );
    await until("the new secret", () => server.output().includes(".env has changed") || undefined);
    expect((await runCommand(folder.path, ["send", "user.created"], fromFile)).stdout).toContain("accepted");
    expect(server.output()).not.toContain(fresh);
  },
  15_000,
);
