// Whatever a handler throws, its attempt fails with a readable error record.

import { expect, test } from "bun:test";
import { join } from "node:path";

import { ClerkAPIResponseError } from "@clerk/backend/errors";

import { errorLines, errorSummary, placeOf } from "../../src/failures/error-record.ts";
import type { ErrorRecord } from "../../src/inbox/inbox.ts";
import { attempt, NOW } from "./attempting.ts";

test("records an error with its name, message, stack and time", async () => {
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
      error: {
        name: "MailerError",
        message: "the mailer is down",
        stack: expect.stringContaining("attempt-errors.test.ts"),
      },
    },
  });
  expect((outcome as { record: { took: number } }).record.took).toBeWithin(19, 60_000);
});

test("a recorded stack ends at the handler, without the frames of Bellhop", async () => {
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

test("keeps frames of files whose path only starts like Bellhop's source", async () => {
  const path = join(import.meta.dir, "../../src-lib/mail.ts");
  const stack = `Error: no\n    at send (${path}:1:1)`;
  const outcome = await attempt(() => Promise.reject(Object.assign(new Error("no"), { stack })));
  expect(outcome).toMatchObject({ record: { error: { stack } } });
});

const recordOf = async (thrown: unknown) =>
  ((await attempt(() => Promise.reject(thrown))) as { record: { error: ErrorRecord } }).record.error;

test("records an error with its class and causes, each with its line in the user's code", async () => {
  class NotFound extends Error {}
  const stack =
    "Error: b\n    at f (/app/node_modules/x/y.js:1:2)\n    at async g (/app/my (own) handlers/[...event].ts:3:4)";
  const inner = Object.assign(new TypeError("c", { cause: "text" }), { stack: "TypeError: c" });
  const middle = Object.assign(new NotFound("b", { cause: inner }), { stack });
  const error = await recordOf(new Error("a", { cause: middle }));
  expect(error.causes).toEqual([
    { name: "NotFound", message: "b", at: "/app/my (own) handlers/[...event].ts:3:4" },
    { name: "TypeError", message: "c" },
    { name: "Thrown", message: '"text"' },
  ]);
  expect((await recordOf(new NotFound("a"))).name).toBe("NotFound");
  const lines = errorLines({ ...error, stack: "Error: a" });
  expect(lines).toEqual([
    "Error: a",
    "caused by NotFound: b (at /app/my (own) handlers/[...event].ts:3:4)",
    "caused by TypeError: c",
    'caused by Thrown: "text"',
  ]);
  expect(errorSummary({ ...error, stack: "Error: a" })).toBe(
    'a; caused by NotFound: b; caused by TypeError: c; caused by Thrown: "text" (at /app/my (own) handlers/[...event].ts:3:4)',
  );
});

test("records the errors of an AggregateError", async () => {
  const thrown = await Promise.any([Promise.reject(new Error("one")), Promise.reject(new TypeError("two"))]).catch(
    (error: unknown) => error,
  );
  const error = await recordOf(thrown);
  expect(error).toMatchObject({ name: "AggregateError", message: "2 errors" });
  expect(
    error.causes?.map(({ name, message, at }) => [name, message, at?.includes("attempt-errors.test.ts:")]),
  ).toEqual([
    ["Error", "one", true],
    ["TypeError", "two", true],
  ]);
});

test("records the reasons of an error of Clerk's API", async () => {
  const reasons = [
    { code: "form_param_unknown", message: "is unknown", long_message: "nickname is not a valid parameter", meta: {} },
    { code: "form_param_missing", message: "is missing", meta: {} },
  ];
  const error = await recordOf(new ClerkAPIResponseError("Unprocessable Entity", { data: reasons, status: 422 }));
  expect(error).toMatchObject({ name: "ClerkAPIResponseError", message: "Unprocessable Entity" });
  expect(error.causes).toEqual([
    { name: "form_param_unknown", message: "nickname is not a valid parameter" },
    { name: "form_param_missing", message: "is missing" },
  ]);
});

test("an error without a message, and a thrown object, each have one line", async () => {
  const empty = await recordOf(new RangeError(""));
  expect(errorSummary(empty)).toMatch(/^RangeError \(at /);
  const thrown = await recordOf({ status: 500, body: { code: "busy", tries: [1, 2] } });
  expect(thrown.message).toBe('{ status: 500, body: { code: "busy", tries: [ 1, 2 ] } }');
});

test("limits the recorded causes, and omits causes that throw when read", async () => {
  const circular: Error = new Error("circular");
  circular.cause = circular;
  expect((await recordOf(circular)).causes).toBeUndefined();
  const many = new AggregateError(Array.from({ length: 100 }, () => new Error("x".repeat(5_000))));
  const { causes = [] } = await recordOf(many);
  expect(causes).toHaveLength(8);
  expect(causes[0]?.message).toHaveLength(1_000);
  const hostileCause = Object.defineProperty(new Error("a", { cause: new Error("b") }), "errors", {
    get() {
      throw new Error("c");
    },
  });
  expect(await recordOf(hostileCause)).toMatchObject({ name: "Error", message: "a" });
});

test("records a query that was not awaited with the line that created it", async () => {
  const outcome = await attempt(({ db }) => void db`select 1`);
  const { error } = (outcome as { record: { error: ErrorRecord } }).record;
  expect(error.message).toContain("not awaited");
  expect(placeOf(error)).toContain("attempt-errors.test.ts:");
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
    "a proxy that throws on every access",
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

test.each(hostile)("a run whose handler throws %s is retried with an error record", async (_, make, error) => {
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

test("truncates an error of several megabytes", async () => {
  const huge = "x".repeat(5_000_000);
  const outcome = await attempt(() => {
    throw Object.assign(new Error(huge), { name: huge, stack: huge });
  });
  expect(JSON.stringify(outcome).length).toBeLessThan(50_000);
});
