// Drives every tool with a real MCP client.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { devWith } from "../cli/dev-server.ts";
import { serverWith, until } from "../harness.ts";
import { TOKEN } from "../inspector/inspected.ts";
import { connectMcp } from "./client.ts";

const HANDLERS = {
  "user.created.ts": `export default ({ data, log }) => {
  log.info("a profile for " + data.first_name);
  throw new Error("no mail to " + data.email_addresses[0].email_address);
};
`,
  "user.created/crm.ts": "export const options = {}; export default () => {};",
  "user.updated.ts": "export default () => {};",
};
const EVENT = sample("user.created", {
  overrides: {
    data: {
      id: "user_1",
      first_name: "Adelheid",
      email_addresses: [{ id: "idn_1", email_address: "adelheid@example.com" } as never],
      private_metadata: { iban: "DE8937040044", nested: { tier: "gold-plus" } },
      unsafe_metadata: { age: 4711 },
    },
  },
});
const PERSONAL = ["Adelheid", "adelheid@example.com", "DE8937040044", "gold-plus", "4711"];

async function serverWithAgent(env: Record<string, string> = {}) {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await serverWith(HANDLERS, { INSPECTOR_TOKEN: TOKEN, ...env }));
  const agent = stack.use(await connectMcp(server.inspectorUrl ?? "", TOKEN));
  const moved = stack.move();
  return { server, agent, [Symbol.asyncDispose]: () => moved.disposeAsync() };
}

test("the client and docs/agents.md list every tool, and the ones that write are marked", async () => {
  await using opened = await serverWithAgent();
  const tools = await opened.agent.tools();
  const docs = await Bun.file(join(import.meta.dir, "../../docs/agents.md")).text();
  expect([...docs.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name)).toEqual(tools.map(({ name }) => name));
  expect(tools.map(({ name }) => name)).toEqual([
    "list_handlers",
    "list_deliveries",
    "list_problems",
    "get_delivery",
    "explain_run",
    "list_refused",
    "doctor",
    "send_sample",
    "try_handler",
    "replay",
  ]);
  const marked = tools.filter(({ description }) => description?.endsWith("Needs MCP_WRITE=1."));
  expect(marked.map(({ name }) => name)).toEqual(["send_sample", "try_handler", "replay"]);
});

test("no tool shows personal data of a payload unless asked", async () => {
  await using opened = await serverWithAgent();
  const { server, agent } = opened;
  await server.post(EVENT, { id: "msg_1" });
  await until("the first attempt", async () => {
    const [run] = (await server.get("msg_1"))?.runs.filter(({ handler }) => handler === "user.created") ?? [];
    return run?.attempts.length === 1;
  });
  const answers = await Promise.all([
    agent.call("list_handlers"),
    agent.call("list_deliveries", { type: "user.*" }),
    agent.call("get_delivery", { id: "msg_1" }),
    agent.call("explain_run", { id: "msg_1" }),
    agent.call("list_refused"),
    agent.call("list_problems"),
  ]);
  for (const { text, isError } of answers) {
    expect([text, isError]).toEqual([expect.any(String), false]);
    for (const value of PERSONAL) expect(text).not.toContain(value);
  }
  const [handlers, list, one, why, refused, problems] = answers.map(({ text }) => text);
  expect(handlers).toContain('"file": "user.created/crm.ts"');
  expect(list).toContain('"msg_1"');
  // Ids, times and the structure remain.
  expect(one).toMatch(/"private_metadata": \{\n.*"iban": "•••"[\s\S]*"email_address": "•••"/);
  expect(one).toContain('"id": "user_1"');
  expect(one).toMatch(/"created_at": \d{13}/);
  expect(why).toContain("a profile for •••");
  expect(why).toMatch(/Error: no mail to •••\n {2}at handlers\/user\.created\.ts:3:13/);
  expect(why).toContain("Why: it failed, and is retried in");
  expect(JSON.parse(refused ?? "")).toMatchObject({ storesDeliveries: true, counts: {} });

  expect(problems).toContain('"message": "no mail to');
  expect(JSON.parse(problems ?? "")).toMatchObject([
    { handler: "user.created", place: "handlers/user.created.ts:3", newestDelivery: "msg_1", runs: { retrying: 1 } },
  ]);

  const full = await agent.call("get_delivery", { id: "msg_1", payload: "full" });
  expect(full.text).toContain("adelheid@example.com");
  expect(full.text).not.toContain("DE8937040044");
});

test("explain_run names what a run waits for, and what to do about a dead one", async () => {
  await using opened = await serverWithAgent();
  const { server, agent } = opened;
  await server.post(EVENT, { id: "msg_1" });
  const updated = sample("user.updated", { overrides: { data: { id: "user_1" } } });
  await server.post({ ...updated, timestamp: Date.now() }, { id: "msg_2" });
  await until("the first attempt", async () =>
    (await agent.call("explain_run", { id: "msg_1", handler: "user.created" })).text.includes("retried in"),
  );
  const waits = await agent.call("explain_run", { id: "msg_2" });
  expect(waits.text).toContain("earlier events of the same subject have not ended");
  expect(waits.text).toContain("msg_1 (user.created)");
  const done = await agent.call("explain_run", { id: "msg_1", handler: "user.created/crm" });
  expect(done.text).toContain("user.created/crm on msg_1, a user.created of user_1: done");
});

test("a read-only server refuses every tool that writes", async () => {
  await using opened = await serverWithAgent();
  const { server, agent } = opened;
  await server.post(EVENT, { id: "msg_1" });
  const calls = [
    ["send_sample", { event: "user.created" }],
    ["try_handler", { id: "msg_1" }],
    ["replay", { id: "msg_1", confirm: true }],
  ] as const;
  for (const [name, args] of calls) {
    const { text, isError } = await agent.call(name, args);
    expect([name, isError]).toEqual([name, true]);
    expect(text).toContain("MCP_WRITE=1");
  }
  const { runs } = (await server.get("msg_1"))!;
  expect(runs.map(({ handler, replay }) => handler + replay).toSorted()).toEqual(["user.created", "user.created/crm"]);
  const { text } = await agent.call("list_deliveries");
  expect((JSON.parse(text) as { deliveries: unknown[] }).deliveries).toHaveLength(1);
});

test("with MCP_WRITE=1, an agent sends a sample, and replays it only after a confirmation", async () => {
  await using opened = await serverWithAgent({ MCP_WRITE: "1" });
  const { server, agent } = opened;
  const sent = await agent.call("send_sample", { event: "user.updated", data: { id: "user_2" } });
  const id = /msg_\w+/.exec(sent.text)?.[0] ?? "";
  expect(sent.text).toContain("answered 200");
  await server.ended(id);

  const asked = await agent.call("replay", { id });
  expect(asked).toMatchObject({ isError: false });
  expect(asked.text).toContain(`this would start 1 runs.`);
  expect((await server.get(id))?.runs).toHaveLength(1);
  const replayed = await agent.call("replay", { id, confirm: true });
  expect(replayed.text).toContain("has started: user.updated");
  await until("the replay", async () => (await server.get(id))?.runs.length === 2);
});

test("with MCP_WRITE=1, the dead runs of a problem are replayed after a confirmation", async () => {
  const dies = `import { NonRetriableError } from "bellhop";
export default () => { throw new NonRetriableError("no"); };`;
  await using server = await serverWith({ "user.created.ts": dies }, { INSPECTOR_TOKEN: TOKEN, MCP_WRITE: "1" });
  await using agent = await connectMcp(server.inspectorUrl ?? "", TOKEN);
  await server.post(EVENT, { id: "msg_1" });
  await server.ended("msg_1");
  const [{ id: problem } = { id: "" }] = JSON.parse((await agent.call("list_problems")).text) as { id: string }[];
  const list = await agent.call("list_deliveries", { problem });
  expect(list.text).toContain('"msg_1"');
  expect((await agent.call("replay", { problem })).text).toContain("this would start 1 runs");
  expect((await server.get("msg_1"))?.runs).toHaveLength(1);
  expect((await agent.call("replay", { problem, confirm: true })).text).toContain("are being replayed");
  await until("the replay", async () => (await server.get("msg_1"))?.runs.length === 2);
});

test("mistakes get a sentence and not the text of an internal error", async () => {
  await using opened = await serverWithAgent({ MCP_WRITE: "1" });
  const { agent } = opened;
  const wrong = [
    ["get_delivery", { id: "msg_none" }, "No such delivery is stored here."],
    ["explain_run", { id: "msg_none" }, "No such delivery is stored here."],
    ["list_deliveries", { since: "yesterday" }, "since is not a time: yesterday"],
    ["replay", { confirm: true }, "Give an id or a problem"],
    ["send_sample", { event: "user.renamed" }, "Clerk has no event user.renamed"],
    ["replay", { id: "msg_none", confirm: true }, "No such delivery is stored here."],
  ] as const;
  for (const [name, args, message] of wrong)
    expect(await agent.call(name, args)).toEqual({ text: message, isError: true });
});

test("try_handler and doctor run in another process, and try_handler rolls back", async () => {
  await using dev = await devWith(
    {
      "user.created.ts": "export default ({ db }) => db`insert into seen (id) values (1)`;",
      "_schema.sql": "create table if not exists seen (id integer);",
    },
    { INSPECTOR_TOKEN: TOKEN, INSPECTOR_PORT: "0", MCP_WRITE: "1" },
  );
  const at = await until(
    "the inspector",
    () => /http:\/\/127\.0\.0\.1:\d+(?=\s)/.exec(inspectorLine(dev.server.output()))?.[0],
  );
  await using agent = await connectMcp(at, TOKEN);
  const sent = await agent.call("send_sample", { event: "user.created" });
  const id = /msg_\w+/.exec(sent.text)?.[0] ?? "";
  await dev.server.ended(id);
  const tried = await agent.call("try_handler", { id, handler: "user.created" });
  expect(tried.text).toContain("✓ done");
  expect(tried.text).toContain("`db` was rolled back");
  const checked = await agent.call("doctor");
  expect(checked).toEqual({ text: expect.stringMatching(/^✓ .*Bun/m), isError: false });
  using app = new Database(join(dev.path, "data/app.db"), { readonly: true });
  expect(app.query("select count(*) from seen").values()).toEqual([[1]]);
});

const inspectorLine = (output: string) => /^ {2}Inspector .*$/m.exec(output)?.[0].concat("\n") ?? "";
