import { expect, test } from "bun:test";
import { join } from "node:path";

import { freePort, post, type SpawnedServer, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { openRuns } from "./audit.ts";
import { crashCampaign, ended, launch } from "./campaign.ts";

test("a server that is killed ten times under load loses nothing that it answered 200", async () => {
  const { missing, ...figures } = await crashCampaign({ kills: 10, seed: Math.floor(Math.random() * 1_000_000) });
  console.log("crash:", JSON.stringify(figures));
  expect(missing).toEqual([]);
  expect(figures.accepted).toBeGreaterThan(100);
  expect(figures.interrupted).toBeGreaterThan(0);
}, 120_000);

const PEOPLE = 12;
const POISONED = 5;

test("a handler that kills its process is given up on, and its neighbours are not, however few attempts they have", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "user.created.ts": `import { on } from "bellhop"; export default on("user.created", () => Bun.sleep(150));`,
    "user.created/once.ts": `import { on } from "bellhop";
      export default on("user.created", { attempts: 1 }, () => Bun.sleep(150));`,
    "user.created/poison.ts": `import { on } from "bellhop";
      export default on("user.created", { attempts: 2 }, async ({ data }) => {
        await Bun.sleep(50);
        if (data.id === "user_${POISONED}") process.kill(process.pid, "SIGKILL");
        await Bun.sleep(100);
      });`,
  });
  const port = await freePort();
  await using first = await spawnServer(folder.path, { port });
  // The poisoned one comes last, when its neighbours are under way; its answer may die with the process.
  const others = people().filter((person) => person !== POISONED);
  await Promise.all(others.map((person) => postPerson(first.url, person)));
  await postPerson(first.url, POISONED).catch(() => undefined);
  await first.process.exited;

  let deaths = 1;
  for (; deaths < 10; deaths += 1) {
    await using server = launch(folder.path, port);
    await until("the runs or the process to end", () => isDone(folder.path) || ended(server.process), 30_000);
    if (!ended(server.process)) break;
  }
  expect(deaths).toBe(2);

  await using last = await spawnServer(folder.path, { port });
  expect(await standing(last, POISONED)).toEqual({
    "user.created": "done",
    "user.created/once": "done",
    "user.created/poison": "dead: the process died 2 times while it ran, the last time while it ran alone",
  });
  for (const person of others)
    expect(await standing(last, person)).toEqual({
      "user.created": "done",
      "user.created/once": "done",
      "user.created/poison": "done",
    });
}, 60_000);

function people(): number[] {
  return Array.from({ length: PEOPLE }, (_, person) => person);
}

function postPerson(url: string, person: number): Promise<Response> {
  const event = { type: "user.created", object: "event", data: { id: `user_${person}`, object: "user" } };
  return post(url, event, { id: `msg_${person}` });
}

function isDone(folder: string): boolean {
  return openRuns(join(folder, "data")) === 0;
}

async function standing(server: SpawnedServer, person: number): Promise<Record<string, string>> {
  const runs = (await server.get(`msg_${person}`))?.runs ?? [];
  return Object.fromEntries(
    runs.map(({ handler, state, reason }) => [handler, reason ? `${state}: ${reason}` : state]),
  );
}
