// Runs of a handler that a deploy has removed or renamed are reported, before they are skipped.

import { expect, setDefaultTimeout, test } from "bun:test";
import { rename } from "node:fs/promises";
import { join } from "node:path";

import { startParkedReports } from "../../src/upkeep/missing-handlers.ts";
import { post, runCommand, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";

setDefaultTimeout(60_000);

test("after a deploy that renames a handler, the log and doctor name its runs, and how to run them", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created/crm.ts": `export default () => { throw new Error("down"); };` });
  const data = { type: "user.created", object: "event", data: { id: "user_1" } };
  {
    await using server = await spawnServer(folder.path);
    await post(server.url, data, { id: "msg_1" });
    // A run whose end is not recorded yet is parked by the recovery, after the first round.
    await until("the end of the first attempt to be recorded", async () => {
      const run = (await server.get("msg_1"))?.runs[0];
      return run?.state === "waiting" && run.attempts.length === 1;
    });
  }
  const handlers = join(folder.path, "handlers/user.created");
  await rename(join(handlers, "crm.ts"), join(handlers, "hubspot.ts"));
  await using server = await spawnServer(folder.path);
  const report = "1 run waits for user.created/crm, which no server has";
  await until("the report", () => server.output().includes(report), 30_000);
  expect(server.output()).toContain("replay --handler <its new name> --missing");
  const { exitCode, stdout } = await runCommand(folder.path, ["doctor"]);
  expect(stdout).toContain("✗ parked");
  expect(stdout).toContain("will be skipped after 24 h: user.created/crm");
  expect(exitCode).toBe(1);
});

test("a handler without a file is reported once, until its file is back; a broken file is not", async () => {
  const reported: string[] = [];
  let parked = ["gone", "broken"];
  let rounds = 0;
  const reports = startParkedReports({
    inbox: {
      async parked() {
        rounds += 1;
        return parked.map((handler) => ({ handler, state: "parked" as const, count: 1 }));
      },
    },
    knows: (handler) => handler === "broken",
    onParked: ({ handler }) => void reported.push(handler),
    everyMs: 1,
    delayMs: 0,
  });
  const more = async (goal = rounds + 2) => until("two more rounds", () => rounds >= goal);
  await more();
  expect(reported).toEqual(["gone"]);
  parked = [];
  await more();
  parked = ["gone"];
  await more();
  await reports.stop();
  expect(reported).toEqual(["gone", "gone"]);
});
