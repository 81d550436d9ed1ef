// Searches for texts and people, what changed between two events, dry runs, edited events, and what a filter selects.

import { expect, test } from "bun:test";

import { diffPayloads } from "../../src/api/payload-diff.ts";
import { matcher } from "../../src/api/search.ts";
import type {
  BulkJobJson,
  ChangesJson,
  DeliveryJson,
  ListJson,
  PeopleJson,
  SearchJson,
  SentJson,
  TriedJson,
} from "../../src/api/types.ts";
import { whoOf } from "../../src/api/who.ts";
import { sample } from "../../src/clerk/samples.ts";
import { until } from "../harness.ts";
import { inspected } from "../inspector/inspected.ts";

const USER = "user_2abcdefghijklmnopqrstuvwxyz";
const EMAIL = "ada@analytical.example";

const user = (type: "user.created" | "user.updated", data: object = {}) =>
  sample(type, {
    overrides: {
      data: {
        id: USER,
        first_name: "Ada",
        last_name: "Lovelace",
        email_addresses: [{ email_address: EMAIL }],
        ...data,
      },
    } as never,
  });

test("finds a person by id, address and name, and what names them by any of these", async () => {
  await using bellhop = await inspected();
  await bellhop.post(user("user.created"), { id: "msg_user" });
  await bellhop.post(sample("session.created", { overrides: { data: { user_id: USER } } }), { id: "msg_session" });
  await bellhop.post(sample("user.created", { overrides: { data: { first_name: "Ada" } } }), { id: "msg_other" });
  const people = async (text: string) =>
    (await bellhop.json<PeopleJson>(`/api/people?text=${encodeURIComponent(text)}`)).people;
  for (const text of [USER, EMAIL.toUpperCase(), "ada lovelace"])
    expect(
      (await people(text)).map(({ id }) => id),
      text,
    ).toEqual([USER]);
  expect((await people("ada")).length).toBe(2);
  expect((await people(USER))[0]?.names).toContain(EMAIL);
  const also = encodeURIComponent(`${USER}\nnothing`);
  const found = await bellhop.json<SearchJson>(`/api/search?text=${EMAIL}&also=${also}`);
  expect(found.deliveries.map(({ id }) => id)).toEqual(["msg_session", "msg_user"]);
  expect(found).toMatchObject({ searched: 3, next: null });
  expect(found.deliveries[1]?.who).toMatchObject({ name: "Ada Lovelace", user: USER });
});

test("shows what changed since the previous event of the subject, and no secret", async () => {
  await using bellhop = await inspected();
  const plan = (value: string) => ({ public_metadata: { plan: value }, private_metadata: { iban: value } });
  const event = user("user.created", plan("free"));
  await bellhop.post(event, { id: "msg_1" });
  const later = { ...event, type: "user.updated", timestamp: Date.now(), data: { ...event.data, ...plan("pro") } };
  await bellhop.post(later, { id: "msg_2" });
  const changes = await bellhop.json<ChangesJson>("/api/deliveries/msg_2/changes");
  expect(changes.previous?.id).toBe("msg_1");
  expect(changes.changes).toContainEqual({ path: "data.public_metadata.plan", before: '"free"', after: '"pro"' });
  expect(JSON.stringify(changes.changes.find(({ path }) => path === "data.private_metadata"))).not.toContain("pro");
  expect(await bellhop.json<ChangesJson>("/api/deliveries/msg_1/changes")).toEqual({ previous: null, changes: [] });
});

test("a dry run shows the log and the queries, and writes nothing", async () => {
  const files = {
    "user.created.ts": `export default async ({ db, log, data }) => {
  log.info("hello", data.first_name);
  await db\`create table kept (id text)\`;
  if (data.last_name === "Lovelace") throw new Error("not today");
};`,
    "user.updated.ts": "export default () => { const x = ; };",
  };
  await using bellhop = await inspected(files);
  await bellhop.post(user("user.created"), { id: "msg_1" });
  await until("the attempt", async () => (await bellhop.get("/api/deliveries/msg_1")).ok);
  const tried = async (handler: string) => await bellhop.write(`/api/deliveries/msg_1/try?handler=${handler}`);
  const result = (await (await tried("user.created")).json()) as TriedJson;
  expect(result).toMatchObject({
    outcome: "failed",
    log: [{ level: "info", message: "hello Ada" }],
    error: { message: "not today" },
    frame: { file: "handlers/user.created.ts", line: 4 },
  });
  expect(result.sql.map(({ text }) => text)).toEqual(["create table kept (id text)"]);
  // The table would exist now if the first run had been committed.
  expect(((await (await tried("user.created")).json()) as TriedJson).sql[0]?.error).toBeNull();
  expect((await tried("user.updated")).status).toBe(409);
});

test("an edited event is a delivery of its own, and a request for curl is signed", async () => {
  await using bellhop = await inspected({ "user.created.ts": "export default () => {};" });
  const event = user("user.created");
  await bellhop.post(event, { id: "msg_1" });
  const edited = { ...event, data: { ...event.data, first_name: "Grace" } };
  const sent = (await (await bellhop.write("/api/deliveries/msg_1/edited", { event: edited })).json()) as SentJson;
  expect(sent.status).toBe(200);
  expect(sent.id).toMatch(/^msg_edited_\w+$/);
  const stored = await bellhop.json<DeliveryJson>(`/api/deliveries/${sent.id}?payload=true`);
  expect(stored.payload).toContain("Grace");
  expect(stored.headers?.["user-agent"]).toContain("edited from msg_1");
  expect((await bellhop.write("/api/deliveries/msg_1/edited", { event: { type: 1 } })).status).toBe(422);

  const { command } = await bellhop.json<{ command: string }>("/api/deliveries/msg_1/curl");
  const child = Bun.spawn(["sh", "-c", command.replace("curl ", "curl --noproxy '*' -s ")]);
  expect(JSON.parse(await new Response(child.stdout).text())).toMatchObject({ status: "accepted" });
});

test("the server decides which changed deliveries a filter selects", async () => {
  await using bellhop = await inspected({ "user.created.ts": "export default () => {};" });
  await bellhop.post(user("user.created"), { id: "msg_1" });
  await bellhop.post(sample("session.created"), { id: "msg_2" });
  await bellhop.ended("msg_1");
  const matching = async (query: string) => {
    const response = await bellhop.write(`/api/deliveries/matching?${query}`, { ids: ["msg_1", "msg_2", "msg_3"] });
    return ((await response.json()) as { ids: string[] }).ids;
  };
  expect(await matching("")).toEqual(["msg_1", "msg_2"]);
  expect(await matching("state=done")).toEqual(["msg_1"]);
  expect(await matching("state=unhandled")).toEqual(["msg_2"]);
  expect(await matching("text=lovelace")).toEqual(["msg_1"]);
  expect(await matching("id=msg_2&type=session.*")).toEqual(["msg_2"]);
});

test("a bulk replay of named deliveries runs on the server, in the handlers that died", async () => {
  const files = {
    "user.created.ts": "export default () => {};",
    "user.created/crm.ts": `import { NonRetriableError } from "bellhop";
export default ({ run }) => { if (!run.replay) throw new NonRetriableError("no"); };`,
  };
  await using bellhop = await inspected(files);
  for (const id of ["msg_1", "msg_2"]) await bellhop.post(user("user.created", { id: `user_${id}` }), { id });
  for (const id of ["msg_1", "msg_2"]) await bellhop.ended(id);
  const list = await bellhop.json<ListJson>("/api/deliveries?state=dead");
  expect(list.deliveries[0]?.runs.find(({ state }) => state === "dead")?.error).toBe("NonRetriableError: no");
  const body = { ids: ["msg_1", "msg_gone", "msg_2"] };
  const { id } = (await (await bellhop.write("/api/bulk/deliveries?dead=true", body)).json()) as BulkJobJson;
  const job = await until("the end", async () => {
    const { job: found } = await bellhop.json<{ job: BulkJobJson }>(`/api/bulk?job=${id}`);
    return found.isFinished ? found : undefined;
  });
  expect(job).toMatchObject({ added: 2, reason: null, runs: { done: 2, dead: 0 } });
});

test("a search ignores case and finds escaped letters; ids are compared exactly", () => {
  const content = (text: string) => ({ id: "msg_1", type: "user.created", subject: null, body: Buffer.from(text) });
  expect(matcher(["Zoë"])(content(String.raw`{"first_name":"ZO\u00cb"}`))).toBe(true);
  expect(matcher([USER])(content(`{"user_id":"${USER}"}`))).toBe(true);
  expect(matcher([USER])(content(`{"user_id":"${USER.toUpperCase()}"}`))).toBe(false);
  expect(matcher(["MSG_1"])(content("{}"))).toBe(true);
});

test("a diff has new, removed and changed fields, and leaves the envelope out", () => {
  const before = JSON.stringify({ timestamp: 1, data: { a: 1, b: [1, 2], gone: true, __proto__x: 1 } });
  const after = JSON.stringify({ timestamp: 2, data: { a: 2, b: [1], fresh: {}, __proto__x: 1 } });
  expect(diffPayloads(before, after)).toEqual([
    { path: "data.a", before: "1", after: "2" },
    { path: "data.b.1", before: "2", after: null },
    { path: "data.gone", before: "true", after: null },
    { path: "data.fresh", before: null, after: "{}" },
  ]);
});

test("reads whom an event is about from the shapes of Clerk's events", () => {
  const about = { first_name: "Ada", last_name: null, identifier: EMAIL, user_id: USER };
  const membership = { public_user_data: about, organization: { id: "org_1", name: "Acme" } };
  expect(whoOf("organizationMembership.created", membership)).toEqual({
    name: "Ada",
    email: EMAIL,
    user: USER,
    organization: "org_1",
  });
  expect(whoOf("email.created", { to_email_address: EMAIL, user_id: USER })).toMatchObject({
    email: EMAIL,
    user: USER,
  });
  expect(whoOf("organization.created", { id: "org_1", name: "Acme" })).toMatchObject({
    name: "Acme",
    organization: "org_1",
  });
  expect(whoOf("x.y", { id: 5, email_addresses: "no" })).toBeNull();
});
