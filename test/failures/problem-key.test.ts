// Failures with the same cause get the same problem, and others do not.

import { expect, test } from "bun:test";

import { generalize, problemOf, withProblem } from "../../src/failures/problem-key.ts";
import type { Outcome } from "../../src/inbox/inbox.ts";
import { record } from "../inbox/box.ts";

test("removes from a message whatever differs from event to event", () => {
  const general: Record<string, string> = {
    "order_7 of user_12 in step 3 of job_v2": "order_… of user_… in step … of job_v2",
    "user_29w83sxmDNGwOuEthce5gg56FcC has no primary e-mail address": "user_… has no primary e-mail address",
    "connect ECONNREFUSED 10.0.0.1:5432": "connect ECONNREFUSED …",
    "org_abc123XYZ of 3f2b8c9e-1234-4321-aaaa-0123456789ab": "org_… of …",
    "ayse@example.com is taken": "… is taken",
    "no plan 'Ayşe Yılmaz' (user 4711)": "no plan '…' (user …)",
    'HubSpot answered 503: {"status":"error","message":"Service unavailable","id":"ab12-99"}':
      'HubSpot answered 503: {"status":"error","message":"…","id":"…"}',
    "rate limited: 429, retry in 30s": "rate limited: 429, retry in …s",
    'duplicate key value violates unique constraint "users_pkey"':
      'duplicate key value violates unique constraint "users_pkey"',
    "undefined is not an object (evaluating 'data.public_metadata.plan')":
      "undefined is not an object (evaluating 'data.public_metadata.plan')",
    "can't reach it, don't ask": "can't reach it, don't ask",
    "took\n  1.5   s": "took … s",
  };
  for (const [message, expected] of Object.entries(general)) expect(generalize(message)).toBe(expected);
  expect(generalize("x ".repeat(9_999)).length).toBeLessThanOrEqual(300);
  expect(generalize("")).toBe("");
});

function throwAt(message: string): Error {
  try {
    throw new TypeError(message);
  } catch (error) {
    return error as Error;
  }
}

function throwElsewhere(message: string): Error {
  try {
    throw new TypeError(message);
  } catch (error) {
    return error as Error;
  }
}

const keyOf = ({ name, message, stack }: Error, handler = "user.created") =>
  problemOf(handler, { name, message, stack: stack! });

test("groups by handler, name, message and place", () => {
  const key = keyOf(throwAt("user_123456789 failed"));
  expect(key.id).toMatch(/^p_[\da-f]{12}$/);
  expect(key).toMatchObject({
    name: "TypeError",
    message: "user_… failed",
    place: expect.stringMatching(/^test\/failures\/problem-key\.test\.ts:\d+$/),
    source: null,
  });
  expect(keyOf(throwAt("user_987654321 failed")).id).toBe(key.id);
  expect(keyOf(throwAt("user_987654321 failed"), "user.updated").id).not.toBe(key.id);
  expect(keyOf(throwAt("org_987654321 failed")).id).not.toBe(key.id);
  expect(keyOf(throwElsewhere("user_123456789 failed")).id).not.toBe(key.id);
  expect(keyOf(Object.assign(throwAt("user_123456789 failed"), { name: "MailError" })).id).not.toBe(key.id);
});

test("an edit that moves the line changes no problem", () => {
  const at = (line: number) => problemOf("user.created", { name: "Error", message: "no", stack: frame(line) });
  const frame = (line: number) => `Error: no\n    at send (/app/handlers/_lib/mail.ts:${line}:9)`;
  expect(at(12).id).toBe(at(7).id);
  expect(at(12).place).toBe("/app/handlers/_lib/mail.ts:12");
});

test("a directory for each deploy changes no problem", () => {
  const of = (release: number) => {
    const stack = `Error: no\n    at send (/srv/${release}/handlers/_lib/mail.ts:7:9)`;
    return problemOf("user.created", { name: "Error", message: "no", stack }, "handlers/_lib/mail.ts").id;
  };
  expect(of(2)).toBe(of(1));
});

test("a message that looks like a stack frame gives no place", () => {
  const error = throwAt("no\n    at read (/etc/passwd:1:1)");
  expect(keyOf(error).place).toStartWith("test/failures/");
  expect(problemOf("user.created", { name: "Error", message: "no" }).place).toBeNull();
});

test("a failure gets its problem with the line of code as it was when it threw", async () => {
  const error = { name: "Error", message: "no", stack: "Error: no\n    at f (/app/x.ts:3:1)" };
  const failure: Outcome = { kind: "dead", reason: "enough", record: { ...record, error } };
  const found = {
    file: "handlers/x.ts",
    line: 3,
    source: [2, 3].map((number) => ({ number, text: `  line ${number}` })),
  };
  const key = async (frame: () => Promise<any>) => {
    const outcome = await withProblem("user.created", failure, frame);
    return "problem" in outcome ? outcome.problem : undefined;
  };
  expect(await key(async () => found)).toMatchObject({ place: "handlers/x.ts:3", source: "line 3" });
  // The file was saved since.
  expect(await key(async () => ({ ...found, changed: true }))).toMatchObject({
    place: "handlers/x.ts:3",
    source: null,
  });
  for (const frame of [async () => null, () => Promise.reject(new Error("EIO"))])
    expect(await key(frame)).toMatchObject({ place: "/app/x.ts:3", source: null });
  for (const other of [{ kind: "done", record } as const, { kind: "released" } as const])
    expect(await withProblem("user.created", other, undefined)).toBe(other);
});

test("a failure keeps two lines around the one that threw, without secrets; in a changed file, none", async () => {
  const error = { name: "Error", message: "no", stack: "Error: no\n    at f (/app/x.ts:5:1)" };
  const failure: Outcome = { kind: "retry", delay: 5_000, exclusive: false, record: { ...record, error } };
  const source = [2, 3, 4, 5, 6, 7, 8].map((number) => ({
    number,
    text: number === 4 ? 'const key = "sk_live_abcdefgh12345678";' : `line ${number}`,
  }));
  const found = { file: "handlers/x.ts", line: 5, column: 1, source };
  const stored = async (frame: object) => {
    const outcome = await withProblem("user.created", failure, async () => frame as typeof found);
    return "record" in outcome ? outcome.record.error : undefined;
  };
  expect(await stored(found)).toEqual({
    ...error,
    frame: {
      file: "handlers/x.ts",
      line: 5,
      column: 1,
      source: [
        { number: 3, text: "line 3" },
        { number: 4, text: 'const key = "•••";' },
        { number: 5, text: "line 5" },
        { number: 6, text: "line 6" },
        { number: 7, text: "line 7" },
      ],
    },
  });
  expect(await stored({ ...found, changed: true })).toEqual(error);
});
