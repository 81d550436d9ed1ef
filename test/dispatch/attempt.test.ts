import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";

import { type HandlerFunction, type HandlerOptions, NonRetriableError, RetryAfterError } from "../../src/bellhop.ts";
import { runAttempt } from "../../src/dispatch/attempt.ts";
import { openEffects } from "../../src/dispatch/effects.ts";
import { afterCrash, nextAttempt } from "../../src/dispatch/retry.ts";
import { createTimeouts } from "../../src/dispatch/timeout.ts";
import { currentRun } from "../../src/handlers/context.ts";
import type { Misfit } from "../../src/handlers/exports.ts";
import type { Handler } from "../../src/handlers/loader.ts";
import type { LogLine, Outcome, Ticket } from "../../src/inbox/inbox.ts";
import { temporaryFolder } from "../harness.ts";
import { at } from "../inbox/contract.ts";
import { tableOf } from "./dispatching.ts";

const NOW = Date.UTC(2026, 5, 1);

function ticketOf(more: Partial<Ticket> = {}): Ticket {
  const event = { type: "user.created", object: "event", data: { id: "user_1" }, timestamp: at(0) / 1_000 };
  return {
    run: 1,
    attempt: 1,
    handler: "user.created",
    spent: 0,
    interrupted: 0,
    alone: false,
    replay: "",
    stale: false,
    delivery: {
      id: "msg_1",
      type: "user.created",
      subject: "user_1",
      receivedAt: at(1),
      receipts: 2,
      sample: false,
      at: at(0),
    },
    body: new TextEncoder().encode(JSON.stringify(event)),
    ...more,
  };
}

interface Made {
  options?: HandlerOptions;
  ticket?: Partial<Ticket>;
  shutdown?: AbortSignal;
  print?: (line: LogLine) => void;
  misfit?: Misfit;
  onLate?: (says: string) => void;
}

const folder = await temporaryFolder();
afterAll(() => folder[Symbol.asyncDispose]());

/** One attempt of a handler that is a function. */
async function attempt(run: HandlerFunction, made: Made = {}): Promise<Outcome> {
  const { options = {}, ticket, shutdown = new AbortController().signal, misfit } = made;
  const { print = () => undefined, onLate = () => undefined } = made;
  const handler = tableOf({ "user.created": [options, run] }).get("user.created")!;
  const timeouts = createTimeouts(shutdown);
  await using effects = await openEffects({ kind: "sqlite", filename: join(folder.path, "app.db") });
  const outcome = await runAttempt({
    ticket: ticketOf(ticket),
    handler,
    code: { ...handler.code!, ...(misfit && { misfit }) },
    clerk: undefined,
    effects,
    timeouts,
    watchdog: { enter: (_, call) => call(), running: () => () => undefined, stop: () => undefined },
    shutdown,
    now: () => NOW,
    print,
    onLate,
  });
  if (!outcome) throw new Error("nobody knows how it ended");
  return outcome;
}

const handlerWith = (options: HandlerOptions): Pick<Handler, "options"> => ({ options });

test("a handler is given its event, its delivery and its run", async () => {
  let given: Parameters<HandlerFunction>[0] | undefined;
  const outcome = await attempt((context) => (given = context), {
    ticket: { spent: 2, attempt: 7, stale: true, replay: "r1" },
  });
  expect(outcome).toMatchObject({ kind: "done", record: { startedAt: NOW } });
  expect(given?.event).toMatchObject({ type: "user.created", timestamp: at(0) });
  expect(given?.data).toBe(given?.event.data as never);
  expect(given?.delivery).toEqual({ id: "msg_1", receivedAt: new Date(at(1)), receipts: 2, sample: false });
  // Attempts that a shutdown gave back are not counted.
  expect(given?.run).toEqual({ attempt: 3, replay: true, stale: true, idempotencyKey: "msg_1/user.created/r1" });
  expect(given?.signal.aborted).toBe(false);
});

test("the idempotency key is the same for every attempt, and another one for a replay", async () => {
  const keys: string[] = [];
  for (const ticket of [{}, { spent: 3, attempt: 9 }, { replay: "r1" }, { handler: "user.created/crm" }])
    await attempt(({ run }) => keys.push(run.idempotencyKey), { ticket });
  expect(keys).toEqual(["msg_1/user.created", "msg_1/user.created", "msg_1/user.created/r1", "msg_1/user.created/crm"]);
});

test("clerk without its key says which variable to set", async () => {
  const outcome = await attempt(({ clerk }) => clerk);
  expect(outcome).toMatchObject({
    kind: "retry",
    record: { error: { message: expect.stringContaining("CLERK_SECRET_KEY") } },
  });
});

test("what a handler logs is printed at once, and kept whether it succeeds or fails", async () => {
  const printed: LogLine[] = [];
  const log = [
    { level: "info", message: "hello [ 1 ] 5" },
    { level: "error", message: "bad" },
  ];
  const say: HandlerFunction = ({ log }) => {
    log.info("hello", [1], 5);
    log.error("bad");
  };
  const print = (line: LogLine) => printed.push(line);
  const good = await attempt(say, { print });
  const bad = await attempt(
    (context) => {
      say(context);
      throw new Error("no");
    },
    { print },
  );
  expect(good).toMatchObject({ kind: "done", record: { log } });
  expect(bad).toMatchObject({ kind: "retry", record: { log } });
  expect(printed).toEqual([...log, ...log] as LogLine[]);
});

test("an error is kept with its name, its message, its stack and its time", async () => {
  class MailerError extends Error {
    override name = "MailerError";
  }
  const outcome = await attempt(async () => {
    await Bun.sleep(20);
    throw new MailerError("the mailer is down");
  });
  expect(outcome).toMatchObject({
    kind: "retry",
    record: {
      startedAt: NOW,
      error: { name: "MailerError", message: "the mailer is down", stack: expect.stringContaining("attempt.test.ts") },
    },
  });
  expect((outcome as { record: { took: number } }).record.took).toBeWithin(19, 1_000);
});

test("a stack ends with the handler: how it came to be called is left out", async () => {
  const failing = () => {
    throw new Error("no");
  };
  for (const handler of [failing, async () => failing(), () => Bun.sleep(1).then(failing)]) {
    const outcome = (await attempt(handler)) as { record: { error: { stack: string } } };
    const lines = outcome.record.error.stack.split("\n");
    expect(lines[0]).toBe("Error: no");
    expect(lines.length).toBeGreaterThan(1);
    expect(lines.filter((line) => /src\/dispatch|async_hooks/.test(line))).toEqual([]);
  }
});

test("what lies beside Bellhop's source is the user's own, whatever its name begins with", async () => {
  const own = join(import.meta.dir, "../../src-lib/mail.ts");
  const stack = `Error: no\n    at send (${own}:1:1)`;
  const outcome = await attempt(() => Promise.reject(Object.assign(new Error("no"), { stack })));
  expect(outcome).toMatchObject({ record: { error: { stack } } });
});

const hostile: [string, () => unknown, { name: string; message?: string }][] = [
  ["a string", () => "no", { name: "Thrown", message: '"no"' }],
  ["undefined", () => undefined, { name: "Thrown", message: "undefined" }],
  ["null", () => null, { name: "Thrown", message: "null" }],
  ["a number", () => 42, { name: "Thrown", message: "42" }],
  ["a symbol", () => Symbol("no"), { name: "Thrown", message: "Symbol(no)" }],
  ["an object", () => ({ code: 7 }), { name: "Thrown" }],
  ["a function", () => () => 1, { name: "Thrown" }],
  [
    "an error whose message is a number",
    () => Object.assign(new Error(), { message: 5 }),
    { name: "Error", message: "5" },
  ],
  ["an error whose name is a BigInt", () => Object.assign(new Error("x"), { name: 10n }), { name: "10", message: "x" }],
  [
    "an error whose stack is an object",
    () => Object.assign(new Error("x"), { stack: {} }),
    { name: "Error", message: "x" },
  ],
  [
    "an error whose message throws",
    () =>
      Object.defineProperty(new Error("x"), "message", {
        get() {
          throw new Error("y");
        },
      }),
    { name: "Thrown" },
  ],
  [
    "a proxy that throws whenever it is looked at",
    () =>
      new Proxy(new Error("x"), {
        get() {
          throw new Error("y");
        },
        getPrototypeOf() {
          throw new Error("z");
        },
      }),
    { name: "Thrown" },
  ],
  [
    "an object that cannot be printed",
    () => ({
      [Symbol.for("nodejs.util.inspect.custom")]() {
        throw new Error("y");
      },
    }),
    { name: "Thrown" },
  ],
];

test.each(hostile)("a handler that throws %s has failed, and its run goes on", async (_, make, error) => {
  for (const run of [
    () => {
      throw make();
    },
    () => Promise.reject(make()),
  ]) {
    const outcome = await attempt(run);
    expect(outcome).toMatchObject({ kind: "retry", record: { error } });
    expect(() => JSON.stringify(outcome)).not.toThrow();
  }
});

test("an error of megabytes is cut", async () => {
  const huge = "x".repeat(5_000_000);
  const outcome = await attempt(() => {
    throw Object.assign(new Error(huge), { name: huge, stack: huge });
  });
  expect(JSON.stringify(outcome).length).toBeLessThan(50_000);
});

test("NonRetriableError is dead at once", async () => {
  const outcome = await attempt(() => {
    throw new NonRetriableError("no such plan");
  });
  expect(outcome).toMatchObject({
    kind: "dead",
    reason: "NonRetriableError",
    record: { error: { message: "no such plan" } },
  });
});

test.each([
  ["milliseconds", 1_500, 1_500],
  ["words", "30s", 30_000],
  ["a Date", new Date(NOW + 60_000), 60_000],
  ["a Date that is over", new Date(0), 0],
  ["30 days", "30d", 30 * 86_400_000],
])("RetryAfterError with %s picks its own time", async (_, when, delay) => {
  const outcome = await attempt(() => {
    throw new RetryAfterError("later", when);
  });
  expect(outcome).toMatchObject({
    kind: "retry",
    delay,
    record: { error: { name: "RetryAfterError", message: "later" } },
  });
});

test.each([["soon"], [-1], [Number.NaN], [Number.POSITIVE_INFINITY], [new Date("never")], [undefined], [10n], [{}]])(
  "RetryAfterError with %p, which nobody can read, goes again after the usual time",
  async (when) => {
    const outcome = await attempt(() => {
      throw new RetryAfterError("later", when as never);
    });
    expect(outcome.kind).toBe("retry");
    expect((outcome as { delay: number }).delay).toBeWithin(4_000, 6_001);
  },
);

test("an attempt that takes too long fails, and its signal is aborted with the reason", async () => {
  let reason: unknown;
  const outcome = await attempt(
    async ({ signal }) => {
      signal.addEventListener("abort", () => (reason = signal.reason));
      await new Promise(() => {});
    },
    { options: { timeout: "60ms" } },
  );
  expect(outcome).toMatchObject({
    kind: "retry",
    record: { error: { name: "TimeoutError", message: expect.stringContaining("took longer than 60 ms") } },
  });
  expect(reason).toMatchObject({ name: "TimeoutError" });
});

test("what a handler does after its time-out changes nothing, not even its throw", async () => {
  const woken = Promise.withResolvers<void>();
  const outcome = await attempt(
    async ({ log }) => {
      await Bun.sleep(120);
      log.info("late");
      woken.resolve();
      throw new Error("late");
    },
    { options: { timeout: 40 } },
  );
  expect(outcome).toMatchObject({ kind: "retry", record: { error: { name: "TimeoutError" } } });
  await woken.promise;
  await Bun.sleep(5);
  expect(JSON.stringify(outcome)).not.toContain("late");
});

test("at a shutdown the attempt is given back, and its signal is aborted", async () => {
  const shutdown = new AbortController();
  const begun = Promise.withResolvers<void>();
  let aborted = false;
  const running = attempt(
    async ({ signal }) => {
      signal.addEventListener("abort", () => (aborted = true));
      begun.resolve();
      await new Promise(() => {});
    },
    { shutdown: shutdown.signal },
  );
  await begun.promise;
  shutdown.abort();
  expect(await running).toEqual({ kind: "released" });
  expect(aborted).toBe(true);
  let called = false;
  expect(await attempt(() => (called = true), { shutdown: shutdown.signal })).toEqual({ kind: "released" });
  expect(called).toBe(false);
});

test("a stale event is skipped where its handler asks for that, but never when somebody asked for the run", async () => {
  const options = { stale: "skip" } as const;
  expect(await attempt(() => 1, { options, ticket: { stale: true } })).toMatchObject({ kind: "skipped" });
  expect(await attempt(() => 1, { options, ticket: { stale: false } })).toMatchObject({ kind: "done" });
  expect(await attempt(() => 1, { options, ticket: { stale: true, replay: "r1" } })).toMatchObject({ kind: "done" });
  expect(await attempt(() => 1, { ticket: { stale: true } })).toMatchObject({ kind: "done" });
});

test("an event that does not fit the handler's schema is dead before the handler is called", async () => {
  let called = false;
  const misfit = (data: unknown) => `data.plan: expected string, got ${JSON.stringify((data as { id: string }).id)}`;
  const outcome = await attempt(() => (called = true), { misfit });
  const reason = 'data.plan: expected string, got "user_1"';
  expect(outcome).toMatchObject({ kind: "dead", reason, record: { error: { name: "DataError", message: reason } } });
  expect(called).toBe(false);
  expect(await attempt(() => (called = true), { misfit: () => undefined })).toMatchObject({ kind: "done" });
  expect(called).toBe(true);
});

test("an error that nobody caught stands on the run while it goes on, and is told when it has ended", async () => {
  const late: string[] = [];
  let fail: ((says: string) => void) | undefined;
  const outcome = await attempt(
    () => {
      fail = currentRun.getStore()?.fail;
      fail?.("meanwhile");
    },
    { onLate: (says) => late.push(says) },
  );
  expect(JSON.stringify(outcome)).toContain("not caught: meanwhile");
  expect(late).toEqual([]);
  fail?.("afterwards");
  expect(late).toEqual(["afterwards"]);
});

test("a run whose one-time code is gone is dead, and says so", async () => {
  let called = false;
  const outcome = await attempt(() => (called = true), { ticket: { body: null } });
  expect(outcome).toMatchObject({ kind: "dead", reason: expect.stringContaining("wiped") });
  expect(called).toBe(false);
});

test("a body that begins with a byte order mark is read all the same", async () => {
  const body = new TextEncoder().encode('\uFEFF{"type":"user.created","data":{"id":"user_1"}}');
  expect(await attempt(() => 1, { ticket: { body } })).toMatchObject({ kind: "done" });
});

test("a run goes again until its attempts are spent", () => {
  const after = (spent: number, options: HandlerOptions = {}, interrupted = 0) =>
    nextAttempt({ spent, interrupted }, handlerWith(options), new Error("no"), NOW);
  expect(after(0)).toMatchObject({ alone: false });
  expect(after(6)).toMatchObject({ alone: false });
  expect(after(7)).toEqual({ reason: "gave up after 8 attempts" });
  expect(after(0, { attempts: 1 })).toEqual({ reason: "gave up after 1 attempt" });
  expect(after(1, { attempts: 3 })).toMatchObject({ alone: false });
  expect(after(2, { attempts: 3 })).toEqual({ reason: "gave up after 3 attempts" });
});

test("the last attempt of a run that was ever interrupted goes alone", () => {
  const after = (spent: number, interrupted: number) =>
    nextAttempt({ spent, interrupted }, handlerWith({ attempts: 4 }), new Error("no"), NOW);
  expect(after(1, 1)).toMatchObject({ alone: false });
  expect(after(2, 1)).toMatchObject({ alone: true });
  expect(after(2, 0)).toMatchObject({ alone: false });
});

test("after a crash a run goes again at once, the second time after a while", () => {
  const handler = tableOf({ "user.created": () => 1 }).get("user.created");
  expect(afterCrash(ticketOf(), handler, NOW)).toEqual({ kind: "interrupted", delay: 0, alone: false });
  const second = afterCrash(ticketOf({ spent: 1, interrupted: 1 }), handler, NOW);
  expect(second).toMatchObject({ kind: "interrupted", alone: false });
  expect((second as { delay: number }).delay).toBeWithin(4_000, 6_001);
});

test("a run is given up on after a crash only when it went alone", () => {
  const handler = tableOf({ "user.created": [{ attempts: 3 }, () => 1] }).get("user.created");
  const crash = (more: Partial<Ticket>) => afterCrash(ticketOf(more), handler, NOW);
  expect(crash({ spent: 0 })).toMatchObject({ kind: "interrupted", alone: false });
  expect(crash({ spent: 1, interrupted: 1 })).toMatchObject({ kind: "interrupted", alone: true });
  expect(crash({ spent: 2, interrupted: 2 })).toMatchObject({ kind: "interrupted", alone: true });
  expect(crash({ spent: 1, interrupted: 1, alone: true })).toMatchObject({ kind: "interrupted", alone: true });
  expect(crash({ spent: 2, interrupted: 2, alone: true })).toMatchObject({
    kind: "dead",
    reason: expect.stringContaining("died 3 times"),
    record: { startedAt: NOW, error: { name: "Crash" } },
  });
});

test("a run with a single attempt is not blamed for one crash either", () => {
  const handler = tableOf({ "user.created": [{ attempts: 1 }, () => 1] }).get("user.created");
  expect(afterCrash(ticketOf(), handler, NOW)).toEqual({ kind: "interrupted", delay: 0, alone: true });
  expect(afterCrash(ticketOf({ spent: 1, interrupted: 1, alone: true }), handler, NOW)).toMatchObject({ kind: "dead" });
});

test("a run whose file has gone meanwhile is interrupted like any other", () => {
  expect(afterCrash(ticketOf(), undefined, NOW)).toMatchObject({ kind: "interrupted", delay: 0 });
});

test("a run that crashes interrupt again and again never waits for longer than 24 s", () => {
  const many = tableOf({ "user.created": [{ attempts: 50 }, () => 1] }).get("user.created");
  for (const interrupted of [2, 3, 20]) {
    const outcome = afterCrash(ticketOf({ spent: interrupted, interrupted }), many, NOW);
    if (outcome.kind !== "interrupted") throw new Error(outcome.kind);
    expect(outcome.delay).toBeGreaterThan(15_000);
    expect(outcome.delay).toBeLessThanOrEqual(24_000);
  }
});

test("one that had to go alone still has to when its file does not load after the crash", () => {
  expect(afterCrash(ticketOf({ spent: 1, interrupted: 1, alone: true }), undefined, NOW)).toMatchObject({
    alone: true,
  });
  expect(afterCrash(ticketOf({ spent: 1, interrupted: 1 }), undefined, NOW)).toMatchObject({ alone: false });
});
