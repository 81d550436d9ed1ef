// `bun deliveries`, `bun try` and `bun replay --dead`: finding, fixing and replaying failed runs.

import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { describeList } from "../../src/cli/deliveries.ts";
import { readRate, readTime, readWhole } from "../../src/cli/options.ts";
import type { DeliveryList } from "../../src/inbox/views.ts";
import { post, runCommand, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";
import { devWith } from "./dev-server.ts";

// Each test starts processes, which is slow on a busy machine.
setDefaultTimeout(30_000);

const SCHEMA = { "_schema.sql": "create table if not exists welcomes (id text primary key);" };
const handler = (body = "") => `import { on } from "bellhop";
  export default on("user.created", { attempts: 1 }, async ({ data, db, log }) => {
    await db\`insert into welcomes (id) values (\${data.id})\`;
    log.info("welcomed " + data.id);
    ${body}
  });`;
const FAILS = `if (data.first_name === "Eve") throw new Error("no Eves");`;

async function startDev(files: Record<string, string>) {
  const dev = await devWith({ ...SCHEMA, ...files });
  return {
    ...dev,
    send: (id: string, data: object, type = "user.created") =>
      post(
        dev.server.url,
        { type, object: "event", data, timestamp: Date.UTC(2026, 0, 1) + Number(id.slice(4)) },
        { id },
      ),
    welcomed() {
      using db = new Database(join(dev.path, "data", "app.db"), { readonly: true });
      return db.query("select id from welcomes order by id").values().flat();
    },
  };
}

test.concurrent("dead runs are listed, tried with a fixed handler and replayed", async () => {
  await using dev = await startDev({ "user.created.ts": handler(FAILS) });
  for (let n = 1; n <= 4; n += 1) await dev.send(`msg_${n}`, { id: `user_${n}`, first_name: n === 1 ? "Ada" : "Eve" });
  await until("three dead runs", async () => {
    const { stdout } = await dev.bellhop("deliveries", "--state", "dead", "--json");
    return (JSON.parse(stdout) as DeliveryList).deliveries.length === 3 ? true : undefined;
  });
  expect(dev.welcomed()).toEqual(["user_1"]);

  const dead = await dev.bellhop("deliveries", "--state", "dead", "--type", "user.*", "--handler", "user.created");
  expect(dead.stdout.match(/msg_\d/g)).toEqual(["msg_4", "msg_3", "msg_2"]);
  expect(dead.stdout).toContain("✗ user.created dead");
  const ofSubject = await dev.bellhop("deliveries", "--subject", "user_1");
  expect(ofSubject.stdout.match(/msg_\d/g)).toEqual(["msg_1"]);
  expect(ofSubject.stdout).toContain("✓ user.created");

  const failed = await dev.bellhop("try", "msg_2");
  expect(failed.exitCode).toBe(1);
  expect(failed.stdout).toContain("✗ failed");
  expect(failed.stdout).toContain("Error: no Eves");
  expect(failed.stdout).toMatch(/insert into welcomes \(id\) values \('user_2'\) +1 row/);

  await writeHandlers(dev.path, { "user.created.ts": handler() });
  const fixed = await dev.bellhop("try", "msg_2", "user.created");
  expect(fixed.exitCode).toBe(0);
  expect(fixed.stdout).toContain("✓ done");
  expect(fixed.stdout).toContain("welcomed user_2");
  expect(fixed.stdout).toContain("What a handler did elsewhere (clerk, fetch) is not undone.");
  expect(dev.welcomed()).toEqual(["user_1"]);

  await until("the new code to be live", () => (dev.server.output().includes("is live again") ? true : undefined));
  const counted = await dev.bellhop("replay", "--dead", "--dry-run");
  expect(counted).toMatchObject({ exitCode: 0, stdout: "3 runs died.\n" });
  const ran = await dev.bellhop("replay", "--dead", "--yes");
  expect(ran).toMatchObject({ exitCode: 0, stdout: "3 runs died.\n3 done, 0 dead, 0 waiting\n" });
  expect(dev.welcomed()).toEqual(["user_1", "user_2", "user_3", "user_4"]);
  expect((await dev.bellhop("replay", "--dead")).stdout).toBe("No run is dead.\n");
});

test.concurrent("bun deliveries shows one delivery in full, its payload only with --payload", async () => {
  await using dev = await startDev({ "user.created.ts": handler(FAILS) });
  await dev.send("msg_1", { id: "user_1", first_name: "Eve", secret: "in the payload" });
  await dev.server.ended("msg_1");
  const shown = await dev.bellhop("deliveries", "msg_1");
  expect(shown.exitCode).toBe(0);
  for (const part of [
    "msg_1  user.created",
    "subject   user_1",
    "svix-id: msg_1",
    "dead: gave up after 1 attempt",
    "no Eves",
    "welcomed user_1",
  ])
    expect(shown.stdout).toContain(part);
  expect(shown.stdout).not.toContain("in the payload");
  expect((await dev.bellhop("deliveries", "msg_1", "--payload")).stdout).toContain(`"secret": "in the payload"`);
  const json = JSON.parse((await dev.bellhop("deliveries", "msg_1", "--json")).stdout) as {
    payload?: string;
    runs: unknown;
  };
  expect(json.payload).toBeUndefined();
  expect(json.runs).toMatchObject([
    { handler: "user.created", state: "dead", attempts: [{ error: { message: "no Eves" } }] },
  ]);
  expect(await dev.bellhop("deliveries", "msg_2")).toMatchObject({
    exitCode: 1,
    stderr: "msg_2 is not stored here\n\n",
  });
});

test.concurrent(
  "without a server the commands read the files, and explain an argument that they can't use",
  async () => {
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, { ...SCHEMA, "user.created.ts": handler() });
    expect((await runCommand(folder.path, ["deliveries"])).stderr).toMatch(/^There is no inbox in .*bun dev/);
    {
      await using server = await spawnServer(folder.path);
      const event = { type: "user.created", object: "event", data: { id: "user_1" } };
      await post(server.url, event, { id: "msg_1" });
      await server.ended("msg_1");
    }
    expect((await runCommand(folder.path, ["deliveries"])).stdout).toMatch(
      /msg_1 +user\.created +user_1 +✓ user\.created/,
    );
    expect((await runCommand(folder.path, ["deliveries", "--state", "dead"])).stdout).toBe(
      "No stored delivery matches.\n",
    );
    const tried = await runCommand(folder.path, ["try", "msg_1"]);
    expect(tried.stdout).toContain("UNIQUE constraint failed");
    expect((await runCommand(folder.path, ["try", "msg_1", "user.updated"])).stderr).toMatch(
      /No handler user\.updated runs for user\.created\. Handlers that do: user\.created/,
    );
    expect((await runCommand(folder.path, ["deliveries", "--state", "daed"])).stderr).toMatch(/did you mean dead\?/);
  },
);

test.concurrent(
  "a bulk replay leaves out a dead run with a later event that is done, unless --stale is given",
  async () => {
    const handlers = (fails: boolean) => ({
      "user.updated.ts": `import { on } from "bellhop";
      export default on("user.updated", { attempts: 1 }, ({ data }) => { ${fails ? `if (data.n === 1) throw new Error("no");` : ""} });`,
    });
    await using dev = await startDev(handlers(true));
    await dev.send("msg_1", { id: "user_1", n: 1 }, "user.updated");
    await dev.send("msg_2", { id: "user_1", n: 2 }, "user.updated");
    await dev.server.ended("msg_2");
    await writeHandlers(dev.path, handlers(false));
    await until("the new code to be live", () => (dev.server.output().includes("is live again") ? true : undefined));
    const withoutStale = await dev.bellhop("replay", "--dead", "--yes");
    expect(withoutStale.stdout).toBe(
      "No run is dead.\n  1 more left out: a later event is done; --stale includes them\n",
    );
    const withStale = await dev.bellhop("replay", "--dead", "--stale", "--yes", "--rate", "100");
    expect(withStale.stdout).toBe("1 run died.\n1 done, 0 dead, 0 waiting\n");
    const all = await dev.bellhop("replay", "--type", "user.updated", "--since", "1d", "--yes");
    expect(all.stdout).toContain("To replay: 1 run of user.updated of the last 1d.\n  1 more left out");
  },
);

test("times, rates and limits are parsed, or rejected with an example", () => {
  expect(readTime("since", "2026-05-01T12:00Z")).toBe(Date.UTC(2026, 4, 1, 12));
  expect(readTime("since", "1h")).toBeWithin(Date.now() - 3_601_000, Date.now() - 3_599_000);
  expect(readTime("since", undefined)).toBeUndefined();
  expect(() => readTime("until", "yesterday")).toThrow("--until is yesterday, expected how long ago (7d, 12h, 30m)");
  expect(readRate("0.5")).toBe(0.5);
  for (const wrong of ["0", "-1", "x"]) expect(() => readRate(wrong)).toThrow("expected a number per second");
  expect(readWhole("limit", "5", 10)).toBe(5);
  for (const wrong of ["0", "11", "2.5", "x"]) expect(() => readWhole("limit", wrong, 10)).toThrow("from 1 to 10");
});

test("an empty list shows what to do next", () => {
  expect(describeList([], false)).toBe("Nothing is stored yet. Send something: bun send user.created");
  expect(describeList([], true)).toBe("No stored delivery matches.");
});

test("older deliveries are offered only when there are some", async () => {
  await using dev = await startDev({ "user.created.ts": handler() });
  for (const id of ["msg_1", "msg_2"]) await dev.send(id, { id });
  const [newest, all] = await Promise.all(["1", "2"].map((limit) => dev.bellhop("deliveries", "--limit", limit)));
  const [, before] = /Older deliveries: add --before (\d+)/.exec(newest!.stdout) ?? [];
  expect(before).toBeDefined();
  expect(all!.stdout).not.toContain("Older deliveries");
  const last = await dev.bellhop("deliveries", "--limit", "1", "--before", before!);
  expect(last.stdout).toContain("msg_1");
  expect(last.stdout).not.toContain("Older deliveries");
});

test("a run of a paused handler is shown as paused, with how to resume it, with and without a server", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": "export default () => 1;" });
  const expectPaused = async () => {
    const list = await runCommand(folder.path, ["deliveries"]);
    expect(list.stdout).toContain("… user.created paused by a person");
    const one = await runCommand(folder.path, ["deliveries", "msg_1"]);
    expect(one.stdout).toContain("… user.created waits\n");
    for (const { stdout } of [list, one])
      expect(stdout).toContain(
        "user.created is paused by a person (the CRM migrates), and its runs wait. To continue: bun resume user.created",
      );
  };
  {
    await using server = await spawnServer(folder.path);
    await runCommand(folder.path, ["pause", "user.created", "--reason", "the CRM migrates"]);
    await post(server.url, { type: "user.created", object: "event", data: { id: "user_1" } }, { id: "msg_1" });
    await expectPaused();
  }
  await expectPaused();
});

test("without a server, a run that was in progress is shown as interrupted", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "user.created.ts": "export default () => new Promise(() => {});" });
  {
    await using server = await spawnServer(folder.path);
    await post(server.url, { type: "user.created", object: "event", data: { id: "user_1" } }, { id: "msg_1" });
    await until("the run to begin", async () => (await server.get("msg_1"))?.runs[0]?.state === "running" || undefined);
    expect((await runCommand(folder.path, ["deliveries"])).stdout).toContain("… user.created runs");
    server.process.kill("SIGKILL");
    await server.process.exited;
  }
  expect((await runCommand(folder.path, ["deliveries"])).stdout).toContain("… user.created was interrupted");
  expect((await runCommand(folder.path, ["deliveries", "msg_1"])).stdout).toContain(
    "… user.created was interrupted: it runs again when a server starts",
  );
});

test("bun try uses the server's CLERK_API_URL", async () => {
  const requests: string[] = [];
  using api = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch({ url }) {
      requests.push(new URL(url).pathname);
      return Response.json({ id: "user_1", object: "user" });
    },
  });
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "user.created.ts": "export default async ({ clerk, data }) => void (await clerk.users.getUser(data.id));",
  });
  const env = {
    CLERK_SECRET_KEY: "sk_test_c3RhbmRpbi1mb3ItY2xlcms",
    CLERK_API_URL: `http://127.0.0.1:${api.port}`,
    // No request reaches Clerk if CLERK_API_URL is ignored.
    HTTPS_PROXY: "http://127.0.0.1:1",
  };
  {
    await using server = await spawnServer(folder.path, { env });
    await post(server.url, { type: "user.created", object: "event", data: { id: "user_1" } }, { id: "msg_1" });
    await server.ended("msg_1");
  }
  expect(await runCommand(folder.path, ["try", "msg_1"], env)).toMatchObject({ exitCode: 0 });
  expect(requests).toEqual(["/v1/users/user_1", "/v1/users/user_1"]);
});

test("bun try with an unknown handler exits although a handler's module has a running timer", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, {
    "user.created.ts": "setInterval(() => undefined, 1_000); export default () => 1;",
  });
  {
    await using server = await spawnServer(folder.path);
    await post(server.url, { type: "user.created", object: "event", data: { id: "user_1" } }, { id: "msg_1" });
    await server.ended("msg_1");
  }
  expect(await runCommand(folder.path, ["try", "msg_1", "user.craeted"])).toMatchObject({ exitCode: 1 });
});
