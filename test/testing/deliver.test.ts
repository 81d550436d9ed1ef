// What a handler's author writes with `bellhop/test`.

import { afterEach, expect, expectTypeOf, mock, spyOn, test } from "bun:test";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import type { UserJSON } from "@clerk/backend";
import { type ClerkEvent, NonRetriableError, on, RetryAfterError, t } from "bellhop";
import { deliver, testBellhop } from "bellhop/test";

import { eventNames } from "../../src/clerk/events.ts";
import { type Files, temporaryFolder, until, writeHandlers } from "../harness.ts";

afterEach(() => mock.restore());

async function folderWith(files: Files) {
  const folder = await temporaryFolder();
  await writeHandlers(folder.path, files);
  return { handlers: join(folder.path, "handlers"), [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

test("a handler is tested in three lines", async () => {
  const { runs } = await deliver("user.created", { first_name: "Ada" });
  expect(runs["user.created"]).toMatchObject({ state: "done", attempts: 1 });
  expect(runs["user.created"]?.log).toEqual(["a profile for Ada"]);
});

test("the sample has the data that was laid over it, and keeps the rest", async () => {
  const seen = mock((_data: UserJSON) => undefined);
  const handler = on("user.created", ({ data }) => seen(data));
  const data = { first_name: "Ada", public_metadata: { plan: "pro" } };
  const { id, answer, event } = await deliver("user.created", data, { handlers: { "user.created": handler } });
  expect(seen).toHaveBeenCalledWith(event.data);
  expect(event.data).toMatchObject({ ...data, object: "user", id: expect.stringMatching(/^user_/) });
  expect(answer).toEqual({ status: 200, body: { id, status: "accepted" } });
});

test("every one of Clerk's events can be delivered", async () => {
  const seen: string[] = [];
  await using bellhop = await testBellhop({ handlers: { "*": ({ event }) => void seen.push(event.type) } });
  for (const name of eventNames) {
    const { runs, event } = await bellhop.deliver(name);
    expect(runs["*"], name).toMatchObject({ state: "done", attempts: 1, log: [] });
    expect(event.type).toBe(name);
  }
  expect(seen).toEqual([...eventNames]);
});

test("a whole event is delivered as it is, also of a type that nobody knows", async () => {
  const seen = mock((_data: object) => undefined);
  const event = { type: "passkey.created", data: { id: "passkey_1" } };
  const handlers = { "*": ({ data }: { data: object }) => seen(data) };
  const { runs, event: sent } = await deliver(event, { name: "phone" }, { handlers });
  expect(sent).toEqual({ type: "passkey.created", data: { id: "passkey_1", name: "phone" } } as never);
  expect(runs).toMatchObject({ "*": { state: "done" } });
  expect(seen).toHaveBeenCalledWith({ id: "passkey_1", name: "phone" });
});

test("what is no event is refused, as by the server", async () => {
  const { answer, runs } = await deliver({ type: "user.created" } as never);
  expect(answer).toEqual({ status: 422, body: { error: "not_an_event" } });
  expect(runs).toEqual({});
});

test("an event without a handler is stored, and nothing runs", async () => {
  const { answer, runs } = await deliver("session.created", {}, { handlers: { "user.created": () => undefined } });
  expect(answer.status).toBe(200);
  expect(runs).toEqual({});
});

test("the whole folder runs, or the one handler that is asked for, and what is not for the event is not even loaded", async () => {
  await using folder = await folderWith({
    "user.created.ts": "export default ({ log }) => log.info('first')",
    "user.created/crm.ts": "import { name } from '../_lib'; export default () => console.log(name, 1)",
    "user.[action].ts": "export default ({ run }) => { if (run.attempt === 1) throw new Error('not yet') }",
    "_lib.ts": "export const name = 'crm'",
    "session.created.ts": "globalThis.sessionLoaded = true; export default () => undefined",
  });
  const { runs } = await deliver("user.created", {}, folder);
  expect(runs).toMatchObject({
    "user.created": { state: "done", log: ["first"] },
    "user.created/crm": { state: "done", log: ["crm 1"] },
    "user.[action]": { state: "waiting", attempts: 1, error: { message: "not yet" } },
  });
  expect(globalThis).not.toHaveProperty("sessionLoaded");
  const one = await deliver("user.created", {}, { ...folder, handler: "user.created/crm" });
  expect(Object.keys(one.runs)).toEqual(["user.created/crm"]);
});

test("a run that failed waits about five seconds, and the clock can be moved there", async () => {
  const mailer = mock(() => Promise.resolve()).mockRejectedValueOnce(new Error("the mailer is down"));
  await using bellhop = await testBellhop({ handlers: { "user.created": () => mailer() } });
  const { id, runs } = await bellhop.deliver("user.created");
  const failed = runs["user.created"];
  expect(failed).toMatchObject({ state: "waiting", attempts: 1, error: { message: "the mailer is down" } });
  expect(failed?.next).toBeWithin(4_000, 6_001);

  await bellhop.advance("3s");
  expect((await bellhop.runs(id))["user.created"]).toMatchObject({ attempts: 1, next: (failed?.next ?? 0) - 3_000 });
  await bellhop.advance("3s");
  expect((await bellhop.runs(id))["user.created"]).toMatchObject({ state: "done", attempts: 2 });
  expect((await bellhop.runs(id))["user.created"]).not.toHaveProperty("error");
});

test("in a day of the clock a run goes through all of its attempts, each at its time", async () => {
  await using bellhop = await testBellhop({
    handlers: {
      "user.created": ({ run, log }) => {
        log.info(`attempt ${run.attempt}`);
        throw new Error("down");
      },
    },
  });
  const { id } = await bellhop.deliver("user.created");
  await bellhop.advance("40s");
  expect((await bellhop.runs(id))["user.created"]).toMatchObject({ state: "waiting", attempts: 3 });
  await bellhop.advance("1d");
  expect((await bellhop.runs(id))["user.created"]).toMatchObject({
    state: "dead",
    attempts: 8,
    reason: "gave up after 8 attempts",
    log: Array.from({ length: 8 }, (_, index) => `attempt ${index + 1}`),
  });
});

test("a later event of the same subject waits for the earlier one, and another subject does not", async () => {
  const order: string[] = [];
  await using bellhop = await testBellhop({
    handlers: {
      "user.created": ({ run }) => {
        if (run.attempt === 1) throw new RetryAfterError("later", "1m");
        order.push("created");
      },
      "user.updated": ({ data }) => void order.push(`updated ${data.id}`),
    },
  });
  await bellhop.deliver("user.created", { id: "user_1" });
  const { id, runs } = await bellhop.deliver("user.updated", { id: "user_1" });
  expect(runs["user.updated"]).toMatchObject({ state: "waiting", attempts: 0, next: 0 });
  await bellhop.deliver("user.updated", { id: "user_2" });
  await bellhop.advance("1m");
  expect(order).toEqual(["updated user_2", "created", "updated user_1"]);
  expect((await bellhop.runs(id))["user.updated"]).toMatchObject({ state: "done" });
});

test("the same message twice is a duplicate, and runs once", async () => {
  const handler = mock(() => undefined);
  await using bellhop = await testBellhop({ handlers: { "user.created": handler } });
  await bellhop.deliver("user.created", {}, { id: "msg_1" });
  const { answer, runs } = await bellhop.deliver("user.created", {}, { id: "msg_1" });
  expect(answer.body).toMatchObject({ id: "msg_1", status: "duplicate", runs: { "user.created": "done" } });
  expect(runs["user.created"]).toMatchObject({ attempts: 1 });
  expect(handler).toHaveBeenCalledTimes(1);
});

test("the options of on() hold", async () => {
  const data = t.Object({ public_metadata: t.Object({ plan: t.String() }) });
  const withPlan = on("user.created", { data }, ({ data, log }) => log.info(data.public_metadata.plan));
  const twice = on("user.created", { attempts: 1 }, () => Promise.reject(new Error("down")));
  const handlers = { "user.created": withPlan, "user.created/twice": twice } as const;
  const { runs } = await deliver("user.created", { public_metadata: { plan: null } }, { handlers });
  expect(runs["user.created"]).toMatchObject({ state: "dead", log: [] });
  expect(runs["user.created"]?.reason).toStartWith("data.public_metadata.plan: expected string");
  expect(runs["user.created/twice"]).toMatchObject({ state: "dead", reason: "gave up after 1 attempt" });
});

test("a NonRetriableError is dead at once, also from a file, and _dead.ts is told", async () => {
  const fails = () => Promise.reject(new NonRetriableError("no such plan"));
  const { runs } = await deliver("user.created", {}, { handlers: { "user.created": fails } });
  expect(runs["user.created"]).toMatchObject({ state: "dead", error: { message: "no such plan" } });
  await using folder = await folderWith({
    "user.created.ts":
      "import { NonRetriableError } from 'bellhop'; export default () => { throw new NonRetriableError('x') }",
    "_dead.ts": "export default ({ run }) => { globalThis.told = run.handler }",
  });
  expect((await deliver("user.created", {}, folder)).runs["user.created"]).toMatchObject({ state: "dead" });
  expect(globalThis).toHaveProperty("told", "user.created");
});

test("a handler gets the stand-in for Clerk's client, and without one it is told what is missing", async () => {
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

test("a test may put its own fetch in place, and a file calls that one", async () => {
  await using folder = await folderWith({
    "user.created.ts":
      "export default async ({ log }) => log.info(await (await fetch('https://api.example.com')).text())",
  });
  const fetched = spyOn(globalThis, "fetch").mockImplementation((async () => new Response("sent")) as never);
  const { runs } = await deliver("user.created", {}, folder);
  expect(runs["user.created"]).toMatchObject({ state: "done", log: ["sent"] });
  expect(fetched).toHaveBeenCalledTimes(1);
});

test("a handler that hangs fails at its time-out, and at an earlier one when the test says so", async () => {
  const aborted = mock(() => undefined);
  const hangs = on("user.created", { timeout: "20ms" }, () => new Promise(() => undefined));
  const { runs } = await deliver("user.created", {}, { handlers: { "user.created": hangs } });
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

test("an error that nobody caught fails the test, with the handler's name where it is known", async () => {
  const forgets = { "user.created": () => void Promise.reject(new Error("not awaited")) } as const;
  expect(await refusal(deliver("user.created", {}, { handlers: forgets }))).toContain(
    "not awaited; await it, or catch it",
  );
  await using folder = await folderWith({
    "user.created.ts":
      "export default () => { setTimeout(() => { throw new Error('too late') }); return Bun.sleep(5) }",
  });
  expect(await refusal(deliver("user.created", {}, folder))).toContain(
    "user.created threw when nobody was there to catch it: too late",
  );
});

test("an error between two deliveries fails the test at its end", async () => {
  const thrown = Promise.withResolvers<void>();
  const late = () =>
    void setTimeout(() => {
      setTimeout(thrown.resolve);
      throw new Error("too late");
    }, 20);
  const bellhop = await testBellhop({ handlers: { "user.created": late } });
  await bellhop.deliver("user.created");
  await thrown.promise;
  expect(await refusal(bellhop[Symbol.asyncDispose]())).toContain("too late");
});

test("nothing in the environment is needed, and nothing of it is in the way", async () => {
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

test("a name that is wrong is answered with the one that was meant", async () => {
  expect(await refusal(deliver("user.create" as "user.created"))).toContain("did you mean user.created?");
  const handlers = { "user.created": () => undefined, "user.created/crm": () => undefined } as const;
  expect(await refusal(deliver("user.created", {}, { handlers, handler: "user.created/crn" }))).toContain(
    "There is no handler user.created/crn; did you mean user.created/crm?",
  );
  expect(await refusal(deliver("session.ended", {}, { handlers, handler: "user.created/crm" }))).toContain(
    "user.created/crm is for user.created, not for session.ended",
  );
  const misnamed = { "user.created": on("user.updated", () => undefined) as never };
  expect(await refusal(deliver("user.created", {}, { handlers: misnamed }))).toContain('calls on("user.updated", …)');
});

test("a folder that is not there, and a file that does not load, say where", async () => {
  expect(await refusal(deliver("user.created", {}, { handlers: "nowhere" }))).toMatch(
    /no folder of handlers at .*nowhere/,
  );
  await using folder = await folderWith({
    "user.created.ts": "import { a } from './_lib';\nexport default () => a",
    "_lib.ts": "export const a = ;",
    "user.updated.ts": "export default 1",
  });
  expect(await refusal(deliver("user.created", {}, folder))).toMatch(
    /^\S+\/_lib\.ts:1:18 does not load: .*\n\n {4}export const a = ;/,
  );
  expect(await refusal(deliver("user.updated", {}, folder))).toContain("must export a function by default");
  await using bellhop = await testBellhop(folder);
  expect(await refusal(bellhop.deliver("user.created"))).toContain("does not load");
});

test("many at once do not meet, and nothing is left behind", async () => {
  const before = leftovers();
  let ticks = 0;
  const starts = () => void setInterval(() => (ticks += 1), 1);
  const all = await Promise.all(
    Array.from({ length: 20 }, () => deliver("user.created", {}, { handlers: { "user.created": starts } })),
  );
  expect(all.map(({ runs }) => runs["user.created"]?.state)).toEqual(Array.from({ length: 20 }, () => "done" as const));
  expect(new Set(all.map(({ id }) => id)).size).toBe(20);
  const ticked = ticks;
  await until("the sockets to be closed", () => leftovers().sockets <= before.sockets);
  await Bun.sleep(10);
  expect(ticks).toBe(ticked);
  expect(leftovers().folders).toEqual(before.folders);
});

test("what is wrong is wrong while it is written", () => {
  const wrong = async () => {
    // @ts-expect-error Clerk sends no such event.
    await deliver("user.create");
    // @ts-expect-error A name is text.
    await deliver("user.created", { first_name: 3 });
    // @ts-expect-error A user has no such property.
    await deliver("user.created", { firstname: "Ada" });
    // @ts-expect-error There is no such option.
    await deliver("user.created", {}, { handler: "user.created", folder: "handlers" });
    // @ts-expect-error There is no such event to be handled.
    await deliver("user.created", {}, { handlers: { "user.create": () => undefined } });
    // @ts-expect-error A session is no user.
    await deliver("user.created", {}, { handlers: { "user.created": on("session.created", () => undefined) } });
    // @ts-expect-error Clerk's client has no such API.
    await deliver("user.created", {}, { clerk: { user: {} } });
  };
  expectTypeOf(wrong).toBeFunction();
});

test("the result and a function in place of a file have the event's types", async () => {
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

/** What a promise rejects with. */
async function refusal(promise: PromiseLike<unknown>): Promise<string> {
  return promise.then(
    () => "nothing was wrong",
    (error: Error) => error.message,
  ) as Promise<string>;
}

/** Temporary folders and, where the system tells, open sockets of this process. */
function leftovers() {
  const folders = readdirSync(tmpdir()).filter((name) => name.startsWith("bellhop-test-"));
  const sockets = process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0;
  return { folders, sockets };
}

test("a date that a handler waits for is one of the moved clock", async () => {
  const handler = on("user.created", ({ run, delivery }) => {
    const wait = new Date(delivery.receivedAt.getTime() + 60_000);
    if (run.attempt === 1) throw new RetryAfterError("later", wait);
  });
  await using bellhop = await testBellhop({ handlers: { "user.created": handler } });
  await bellhop.advance("1d");
  const { id } = await bellhop.deliver("user.created");
  await bellhop.advance("61s");
  expect((await bellhop.runs(id))["user.created"]).toMatchObject({ state: "done" });
});
