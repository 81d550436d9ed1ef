// `deliver`, used as in the test of a handler.

import { afterEach, expect, expectTypeOf, mock, spyOn, test } from "bun:test";
import { join, resolve } from "node:path";

import type { UserJSON } from "@clerk/backend";
import { type ClerkEvent, NonRetriableError, on, t } from "bellhop";
import { deliver, testBellhop } from "bellhop/test";

import { type Files, temporaryFolder, writeHandlers } from "../harness.ts";
import { rejection } from "../rejection.ts";

afterEach(() => mock.restore());

async function directoryWith(files: Files) {
  const directory = await temporaryFolder();
  await writeHandlers(directory.path, files);
  return { handlers: join(directory.path, "handlers"), [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

test("tests a handler in three lines", async () => {
  const { runs } = await deliver("user.created", { first_name: "Ada" });
  expect(runs["user.created"]).toMatchObject({ state: "done", attempts: 1 });
  expect(runs["user.created"]?.log).toEqual(["a profile for Ada"]);
});

test("merges the given data into the sample and keeps the rest", async () => {
  const seen = mock((_data: UserJSON) => undefined);
  const handler = on("user.created", ({ data }) => seen(data));
  const data = { first_name: "Ada", public_metadata: { plan: "pro" } };
  const { id, answer, event } = await deliver("user.created", data, { handlers: { "user.created": handler } });
  expect(seen).toHaveBeenCalledWith(event.data);
  expect(event.data).toMatchObject({ ...data, object: "user", id: expect.stringMatching(/^user_/) });
  expect(answer).toEqual({ status: 200, body: { id, status: "accepted" } });
});

test("delivers a raw event unchanged, even of an unknown type", async () => {
  const seen = mock((_data: object) => undefined);
  const event = { type: "passkey.created", data: { id: "passkey_1" } };
  const handlers = { "*": ({ data }: { data: object }) => seen(data) };
  const { runs, event: sent } = await deliver(event, { name: "phone" }, { handlers });
  expect(sent).toEqual({ type: "passkey.created", data: { id: "passkey_1", name: "phone" } } as never);
  expect(runs).toMatchObject({ "*": { state: "done" } });
  expect(seen).toHaveBeenCalledWith({ id: "passkey_1", name: "phone" });
});

test("answers 422 to a body that is not an event, like the server", async () => {
  const { answer, runs } = await deliver({ type: "user.created" } as never);
  expect(answer).toEqual({ status: 422, body: { error: "not_an_event" } });
  expect(runs).toEqual({});
});

test("stores an event without a handler and runs nothing", async () => {
  const { answer, runs } = await deliver("session.created", {}, { handlers: { "user.created": () => undefined } });
  expect(answer.status).toBe(200);
  expect(runs).toEqual({});
});

test("runs all handlers of the directory or only the given one, and does not load handlers for other events", async () => {
  await using directory = await directoryWith({
    "user.created.ts": "export default ({ log }) => log.info('first')",
    "user.created/crm.ts": "import { name } from '../_lib'; export default () => console.log(name, 1)",
    "user.[action].ts": "export default ({ run }) => { if (run.attempt === 1) throw new Error('not yet') }",
    "_lib.ts": "export const name = 'crm'",
    "session.created.ts": "globalThis.sessionLoaded = true; export default () => undefined",
  });
  const { runs } = await deliver("user.created", {}, directory);
  expect(runs).toMatchObject({
    "user.created": { state: "done", log: ["first"] },
    "user.created/crm": { state: "done", log: ["crm 1"] },
    "user.[action]": { state: "waiting", attempts: 1, error: { message: "not yet" } },
  });
  expect(globalThis).not.toHaveProperty("sessionLoaded");
  const one = await deliver("user.created", {}, { ...directory, handler: "user.created/crm" });
  expect(Object.keys(one.runs)).toEqual(["user.created/crm"]);
});

test("the directory's migrations and _schema.sql create the tables, and `schema` takes their place", async () => {
  const writes = "export default async ({ data, db }) => { await db`insert into profiles (id) values (${data.id})`; };";
  await using directory = await directoryWith({
    "user.created.ts": writes,
    "_migrations/0001_profiles.sql": "create table profiles (id text);",
    "_schema.sql": "create index if not exists profiles_id on profiles (id);",
  });
  await using bellhop = await testBellhop(directory);
  await bellhop.deliver("user.created", { id: "user_1" });
  expect(await bellhop.db`select id from profiles`.values()).toEqual([["user_1"]]);
  await using own = await testBellhop({
    ...directory,
    schema: "create table profiles (id text, plan text default 'free');",
  });
  await own.deliver("user.created", { id: "user_2" });
  expect(await own.db`select id, plan from profiles`.values()).toEqual([["user_2", "free"]]);
});

test("applies the options of on()", async () => {
  const data = t.Object({ public_metadata: t.Object({ plan: t.String() }) });
  const withPlan = on("user.created", { data }, ({ data, log }) => log.info(data.public_metadata.plan));
  const twice = on("user.created", { attempts: 1 }, () => Promise.reject(new Error("down")));
  const handlers = { "user.created": withPlan, "user.created/twice": twice } as const;
  const { runs } = await deliver("user.created", { public_metadata: { plan: null } }, { handlers });
  expect(runs["user.created"]).toMatchObject({ state: "dead", log: [] });
  expect(runs["user.created"]?.reason).toStartWith("data.public_metadata.plan: expected string");
  expect(runs["user.created/twice"]).toMatchObject({ state: "dead", reason: "gave up after 1 attempt" });
});

test("a NonRetriableError makes the run dead at once, also from a file, and _dead.ts is called", async () => {
  const fails = () => Promise.reject(new NonRetriableError("no such plan"));
  const { runs } = await deliver("user.created", {}, { handlers: { "user.created": fails } });
  expect(runs["user.created"]).toMatchObject({ state: "dead", error: { message: "no such plan" } });
  await using directory = await directoryWith({
    "user.created.ts":
      "import { NonRetriableError } from 'bellhop'; export default () => { throw new NonRetriableError('x') }",
    "_dead.ts": "export default ({ run }) => { globalThis.deadHandler = run.handler }",
  });
  expect((await deliver("user.created", {}, directory)).runs["user.created"]).toMatchObject({ state: "dead" });
  expect(globalThis).toHaveProperty("deadHandler", "user.created");
});

test("passes the stand-in for Clerk's client to the handler; without one, an error names the missing key", async () => {
  const updateUserMetadata = mock((_id: string, _params: object) => undefined);
  const handlers = {
    "user.created": on("user.created", async ({ data, clerk }) => {
      await clerk.users.updateUserMetadata(data.id, { publicMetadata: { plan: "free" } });
    }),
  };
  const { event } = await deliver("user.created", {}, { handlers, clerk: { users: { updateUserMetadata } } });
  expect(updateUserMetadata).toHaveBeenCalledWith(event.data.id, { publicMetadata: { plan: "free" } });
  const { runs } = await deliver("user.created", {}, { handlers });
  expect(runs["user.created"]?.error?.message).toContain("CLERK_SECRET_KEY");
});

test("a handler file calls the global fetch that a test has replaced", async () => {
  await using directory = await directoryWith({
    "user.created.ts":
      "export default async ({ log }) => log.info(await (await fetch('https://api.example.com')).text())",
  });
  const fetched = spyOn(globalThis, "fetch").mockImplementation((async () => new Response("sent")) as never);
  const { runs } = await deliver("user.created", {}, directory);
  expect(runs["user.created"]).toMatchObject({ state: "done", log: ["sent"] });
  expect(fetched).toHaveBeenCalledTimes(1);
});

test("a hanging handler fails at its own timeout, or at the timeout that the test sets", async () => {
  const aborted = mock(() => undefined);
  const hanging = on("user.created", { timeout: "20ms" }, () => new Promise(() => undefined));
  const { runs } = await deliver("user.created", {}, { handlers: { "user.created": hanging } });
  expect(runs["user.created"]?.error?.message).toStartWith("took longer than 20 ms");
  const slow = await deliver(
    "user.created",
    {},
    {
      timeout: "30ms",
      handlers: {
        "user.created": ({ signal }) =>
          new Promise(() => {
            signal.addEventListener("abort", aborted);
          }),
      },
    },
  );
  expect(slow.runs["user.created"]?.error?.message).toStartWith("took longer than 30 ms");
  expect(aborted).toHaveBeenCalledTimes(1);
});

test("an uncaught error fails the test, with the handler's name where it is known", async () => {
  const floating = { "user.created": () => void Promise.reject(new Error("not awaited")) } as const;
  expect(await rejection(deliver("user.created", {}, { handlers: floating }))).toContain(
    "not awaited; await the promise, or catch the error",
  );
  await using directory = await directoryWith({
    "user.created.ts":
      "export default () => { setTimeout(() => { throw new Error('too late') }); return Bun.sleep(5) }",
  });
  expect(await rejection(deliver("user.created", {}, directory))).toContain("uncaught error in user.created: too late");
});

test("needs no environment variables and ignores unrelated ones", async () => {
  const env = {
    PATH: process.env.PATH,
    HTTP_PROXY: "http://127.0.0.1:1",
    PORT: "80",
    CLERK_WEBHOOK_SIGNING_SECRET: "x",
  };
  const cwd = resolve(import.meta.dir, "../..");
  const child = Bun.spawn([process.execPath, "test", "./handlers/profiles.test.ts"], { cwd, env, stderr: "pipe" });
  expect(await new Response(child.stderr).text()).toContain("0 fail");
  expect(await child.exited).toBe(0);
});

test("suggests the right name for a misspelled event or handler", async () => {
  expect(await rejection(deliver("user.create" as "user.created"))).toContain("did you mean user.created?");
  const handlers = { "user.created": () => undefined, "user.created/crm": () => undefined } as const;
  expect(await rejection(deliver("user.created", {}, { handlers, handler: "user.created/crn" }))).toContain(
    "Unknown handler user.created/crn; did you mean user.created/crm?",
  );
  expect(await rejection(deliver("session.ended", {}, { handlers, handler: "user.created/crm" }))).toContain(
    "user.created/crm is for user.created, not for session.ended",
  );
  const mismatched = { "user.created": on("user.updated", () => undefined) as never };
  expect(await rejection(deliver("user.created", {}, { handlers: mismatched }))).toContain(
    'calls on("user.updated", …)',
  );
});

test("errors name a missing directory, and the file and line that does not load", async () => {
  expect(await rejection(deliver("user.created", {}, { handlers: "nowhere" }))).toMatch(
    /^The handlers directory .*nowhere does not exist/,
  );
  await using directory = await directoryWith({
    "user.created.ts": "import { a } from './_lib';\nexport default () => a",
    "_lib.ts": "export const a = ;",
    "user.updated.ts": "export default 1",
  });
  expect(await rejection(deliver("user.created", {}, directory))).toMatch(
    /^\S+\/_lib\.ts:1:18 does not load: .*\n\n {4}export const a = ;/,
  );
  expect(await rejection(deliver("user.updated", {}, directory))).toContain("must export a function by default");
  await using bellhop = await testBellhop(directory);
  expect(await rejection(bellhop.deliver("user.created"))).toContain("does not load");
});

test("rejects wrong arguments at compile time", () => {
  const mistakes = async () => {
    // @ts-expect-error Clerk sends no such event.
    await deliver("user.create");
    // @ts-expect-error A name is a string.
    await deliver("user.created", { first_name: 3 });
    // @ts-expect-error A user has no such property.
    await deliver("user.created", { firstname: "Ada" });
    // @ts-expect-error The option is called `handlers`.
    await deliver("user.created", {}, { handler: "user.created", folder: "handlers" });
    // @ts-expect-error Clerk sends no such event.
    await deliver("user.created", {}, { handlers: { "user.create": () => undefined } });
    // @ts-expect-error The handler is for session.created.
    await deliver("user.created", {}, { handlers: { "user.created": on("session.created", () => undefined) } });
    // @ts-expect-error Clerk's client has no such API.
    await deliver("user.created", {}, { clerk: { user: {} } });
  };
  expectTypeOf(mistakes).toBeFunction();
});

test("the result and a handler function have the event's types", async () => {
  const { event, runs } = await deliver(
    "user.created",
    {},
    {
      handlers: {
        "user.created": ({ data }) => expectTypeOf(data).toEqualTypeOf<UserJSON>(),
        "user.created/crm": ({ data }) => expectTypeOf(data).toEqualTypeOf<UserJSON>(),
      },
    },
  );
  expectTypeOf(event).toEqualTypeOf<ClerkEvent<"user.created">>();
  expectTypeOf(runs["user.created"]?.log).toEqualTypeOf<string[] | undefined>();
});
