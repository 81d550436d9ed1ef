// `bun pause` and `bun resume`, by a running server, without one, and for all servers of an inbox in Postgres.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { describePauses } from "../../src/cli/pause.ts";
import { send, sharedInbox, WRITE } from "../cluster/servers.ts";
import { post, runCommand, serverWith, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { noPostgres, type Postgres, startPostgres } from "../postgres.ts";

setDefaultTimeout(30_000);
if (noPostgres) console.log(`skipped: ${noPostgres}`);

const HANDLERS = { "user.created.ts": "export default () => 1;", "user.created/crm.ts": "export default () => 1;" };
const CRM = "user.created/crm";
const user = { type: "user.created", object: "event", data: { id: "user_1" } };

test("a handler is paused and resumed while the server runs, and stays paused over a restart", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, HANDLERS);
  const crm = async (server: {
    get(id: string): Promise<{ runs: { handler: string; state: string }[] } | undefined>;
  }) => (await server.get("msg_1"))?.runs.find(({ handler }) => handler === CRM)?.state;
  {
    await using server = await spawnServer(folder.path);
    const paused = await runCommand(folder.path, ["pause", CRM, "--reason", "the CRM migrates"]);
    expect([paused.exitCode, paused.stderr]).toEqual([0, ""]);
    expect(paused.stdout).toContain(`To continue: bun resume ${CRM}`);
    await post(server.url, user, { id: "msg_1" });
    await until("the other handler to run", async () =>
      (await server.get("msg_1"))?.runs.some(({ state }) => state === "done"),
    );
    expect(await crm(server)).toBe("waiting");
    expect(server.output()).toContain(`${CRM} is paused by a person: the CRM migrates`);
    for (const command of ["pause", "handlers"])
      expect((await runCommand(folder.path, [command])).stdout).toContain("the CRM migrates");
  }
  const offline = await runCommand(folder.path, ["pause", "--json"]);
  expect(JSON.parse(offline.stdout)).toMatchObject([{ handler: CRM, cause: "person", probeAt: null }]);
  await using server = await spawnServer(folder.path);
  await post(server.url, user, { id: "msg_2" });
  await until("the other handler to run", async () =>
    (await server.get("msg_2"))?.runs.some(({ state }) => state === "done"),
  );
  expect(await crm(server)).toBe("waiting");
  const resumed = await runCommand(folder.path, ["resume", CRM]);
  expect(resumed.stdout).toContain(`${CRM} continues`);
  await server.ended("msg_1");
  expect(await crm(server)).toBe("done");
});

test("a name that no handler has is refused, with the nearest one", async () => {
  await using server = await serverWith(HANDLERS);
  const run = (...args: string[]) => runCommand(server.folder, args);
  const paused = await run("pause", "user.created/crn");
  expect([paused.exitCode, paused.stderr]).toEqual([1, expect.stringContaining(`did you mean ${CRM}?`)]);
  const resumed = await run("resume", CRM);
  expect([resumed.exitCode, resumed.stderr]).toEqual([1, expect.stringContaining("No handler is.")]);
});

test("the list names who paused each handler, and when a run is tried", () => {
  const since = Date.UTC(2026, 0, 1);
  const pause = { handler: CRM, reason: "10 runs failed", since };
  const text = describePauses(
    [
      { ...pause, cause: "breaker", probeAt: since + 30_000 },
      { ...pause, cause: "person", probeAt: null },
    ],
    since + 10_000,
  );
  expect(text).toMatch(/by the breaker .* tries a run in 20 s .* 10 runs failed\n.* by a person/);
  expect(describePauses([])).toBe("No handler is paused.");
});

test("a server whose breaker trips reports it once, in its log and in the list of handlers", async () => {
  await using server = await serverWith(
    { "user.created.ts": `export default () => { throw new Error("the CRM answered 503"); };` },
    { BREAKER_AFTER: "2" },
  );
  for (const id of ["user_1", "user_2", "user_3"]) await server.post({ ...user, data: { id } });
  const logged = () => server.lines.filter(({ msg }) => String(msg).includes("is paused by the breaker"));
  await until("the handler to be paused", () => logged().length > 0);
  expect(String(logged()[0]!.msg)).toContain("the CRM answered 503");
  const problems = await runCommand(server.folder, ["problems"]);
  expect(problems.stdout).toContain("user.created is paused by the breaker");
  const listed = await runCommand(server.folder, ["pause", "--json"]);
  expect(JSON.parse(listed.stdout)).toMatchObject([{ handler: "user.created", cause: "breaker" }]);
  expect(logged()).toHaveLength(1);
});

describe.skipIf(noPostgres !== undefined)("an inbox in Postgres", () => {
  let postgres: Postgres;
  beforeAll(async () => void (postgres = await startPostgres()));
  afterAll(() => postgres[Symbol.asyncDispose](), 60_000);

  test("a pause is in effect on all servers, and so is its end", async () => {
    await using inbox = await sharedInbox(postgres);
    const files = { "user.created.ts": `${WRITE} export default write;`, "user.updated.ts": "export default () => 1;" };
    const servers = [await inbox.start("first", files), await inbox.start("second", files)] as const;
    const [first, second] = servers;
    const paused = await runCommand(first.folder, ["pause", "user.created"], { INBOX_URL: inbox.url });
    expect([paused.exitCode, paused.stderr]).toEqual([0, ""]);
    for (const server of servers)
      await until("both to notice", () => server.output().includes("user.created is paused by a person"));
    await Promise.all(servers.map((server, n) => send(server, "user.created", `msg_${n}`)));
    for (const { folder } of servers) {
      const list = await runCommand(folder, ["deliveries"], { INBOX_URL: inbox.url });
      expect(list.stdout.match(/… user\.created paused by a person/g)).toHaveLength(2);
      expect(list.stdout).toContain("To continue: bun resume user.created");
      const one = await runCommand(folder, ["deliveries", "msg_0"], { INBOX_URL: inbox.url });
      expect(one.stdout).toMatch(/… user\.created waits\n +user\.created is paused by a person/);
    }
    await send(second, "user.updated", "other");
    await second.ended("other");
    expect(await inbox.calls()).toEqual([]);
    await runCommand(second.folder, ["resume", "user.created"], { INBOX_URL: inbox.url });
    for (const id of ["msg_0", "msg_1"]) await first.ended(id);
    expect(await inbox.calls()).toHaveLength(2);
    for (const server of servers)
      await until("both to notice", () => server.output().includes("user.created continues"));
  });
});
