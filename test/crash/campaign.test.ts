import { describe, expect, test } from "bun:test";

import { freePort, post, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { noPostgres } from "../postgres.ts";
import { crashCampaign, describeResult, openRuns } from "./campaign.ts";
import { hasExited, launch } from "./launch.ts";
import { type CampaignStore, openStore, type StoreName } from "./stores.ts";

const KILLS = 8;
const USERS = 12;
const POISONED = "user_5";
const RUNS = "select d.subject, r.handler, r.state, r.reason from run r join delivery d on d.seq = r.seq";
const [DONE, DEAD] = [2, 3];

if (noPostgres) console.log(`skipped: ${noPostgres}`);
describe("SQLite", () => describeCrashes("sqlite"));
describe.skipIf(noPostgres !== undefined)("Postgres", () => describeCrashes("postgres"));

function describeCrashes(name: StoreName) {
  test("a server that is killed under load loses nothing that it answered 200", async () => {
    await using store = await openStore(name);
    const seed = Math.floor(Math.random() * 1_000_000);
    const result = await crashCampaign({ kills: KILLS, seed, store });
    console.log(describeResult(name, seed, result));
    expect(result.violations).toEqual([]);
    expect(result.accepted).toBeGreaterThan(100);
    expect(result.interrupted).toBeGreaterThan(0);
    expect(result.snapshots).toBeGreaterThan(KILLS);
  }, 240_000);

  test("a run that kills its process ends as dead, and concurrent runs do not, even with a single attempt", async () => {
    await using store = await openStore(name);
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, {
      "user.created.ts": `import { on } from "bellhop"; export default on("user.created", () => Bun.sleep(150));`,
      "user.created/once.ts": `import { on } from "bellhop";
      export default on("user.created", { attempts: 1 }, () => Bun.sleep(150));`,
      "user.created/poison.ts": `import { on } from "bellhop";
      export default on("user.created", { attempts: 2 }, async ({ data }) => {
        await Bun.sleep(50);
        if (data.id === "${POISONED}") process.kill(process.pid, "SIGKILL");
        await Bun.sleep(100);
      });`,
    });
    const port = await freePort();
    await postUsers(folder.path, port, store);

    let deaths = 1;
    for (; deaths < 10; deaths += 1) {
      await using server = launch(folder.path, port, store);
      const isFinished = async () => hasExited(server.process) || (await openRuns(store, folder.path)) === 0;
      await until("the runs or the process to end", isFinished, 30_000);
      if (!hasExited(server.process)) break;
    }
    expect(deaths).toBe(2);

    await using reader = await store.openReader(folder.path);
    const [rows = []] = await reader.snapshot([RUNS]);
    const reason = "the process died 2 times while it ran, the last time while nothing else ran";
    expect(rows.filter(({ state }) => state !== DONE)).toEqual([
      { subject: POISONED, handler: "user.created/poison", state: DEAD, reason },
    ]);
    expect(rows.length).toBe(3 * USERS);
  }, 60_000);
}

/** Posts an event for each user, the poisoned one last. Resolves when the server has died. */
async function postUsers(folder: string, port: number, store: CampaignStore) {
  await using server = launch(folder, port, store);
  const url = `http://127.0.0.1:${port}/api/webhooks`;
  const send = (id: string) =>
    post(url, { type: "user.created", object: "event", data: { id, object: "user" } }, { id: `msg_${id}` });
  await until("the server to listen", () => fetch(url).catch(() => undefined), 30_000);
  // The poisoned event is sent when the other runs are running. The process may die before it answers.
  const others = Array.from({ length: USERS }, (_, index) => `user_${index}`).filter((id) => id !== POISONED);
  await Promise.all(others.map(send));
  await send(POISONED).catch(() => undefined);
  await server.process.exited;
}
