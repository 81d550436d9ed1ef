// What `bun dev` prints for an event: one line, as short as it can be.

import { expect, test } from "bun:test";

import pino from "pino";

import { createEventLines } from "../../src/event-lines.ts";
import type { ClaimedRun, Outcome } from "../../src/inbox/inbox.ts";
import type { ReceivedDelivery } from "../../src/receive/server.ts";
import { runCommand, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";

const record = { startedAt: 0, took: 12 };
const error = { name: "Error", message: "the mailer is down" };
const done: Outcome = { kind: "done", record };
const failed: Outcome = { kind: "retry", record: { ...record, error }, delay: 5_000, exclusive: false };
const dead: Outcome = { kind: "dead", record: { ...record, error }, reason: "failed 8 of 8 attempts" };

function printed(waitMs?: number) {
  const lines: string[] = [];
  const log = pino(
    { level: "info", base: null },
    { write: (line: string) => lines.push(`${JSON.parse(line).level} ${JSON.parse(line).msg}`) },
  );
  return { lines, ...createEventLines(log, waitMs === undefined ? {} : { waitMs }) };
}

const delivery = { id: "msg_1", type: "user.created", subject: "user_1", sensitive: false };

function received(handlers: string[], more: object = {}): ReceivedDelivery {
  const runs = handlers.map((handler) => ({ handler, lane: handler, parked: false }));
  return { delivery, runs, status: "accepted", took: 1, event: {}, ...more } as never;
}

const run = (handler: string, more: object = {}): ClaimedRun =>
  ({ handler, replay: "", spent: 0, delivery, ...more }) as never;

test("an event costs one line: sign, type, handlers, milliseconds, ids", () => {
  const { lines, delivered, ended } = printed();
  delivered(received(["user.created", "user.created/crm"]));
  ended(run("user.created/crm"), done);
  expect(lines).toEqual([]);
  ended(run("user.created"), { kind: "done", record: { ...record, took: 34 } });
  expect(lines).toEqual(["30 ✓ user.created  user.created/crm, user.created  34 ms  user_1  msg_1"]);
});

test("what failed is in the same line, with what comes next", () => {
  const { lines, delivered, ended } = printed();
  delivered(received(["user.created", "user.created/crm"]));
  ended(run("user.created"), done);
  ended(run("user.created/crm"), failed);
  ended(run("user.created/crm", { spent: 1 }), done);
  ended(run("user.created/crm", { replay: "abc" }), dead);
  expect(lines).toEqual([
    "40 ✗ user.created  user.created; user.created/crm failed: the mailer is down; retrying in 5 s  12 ms  user_1  msg_1",
    "30 ✓ user.created  user.created/crm (attempt 2)  12 ms  user_1  msg_1",
    expect.stringMatching(
      /^50 ✗ user\.created {2}user\.created\/crm is dead: failed 8 of 8 attempts: .*12 ms {2}user_1 {2}msg_1$/,
    ),
  ]);
});

test("a handler that is named like its event is named once", () => {
  const { lines, delivered, ended } = printed();
  delivered(received(["user.created"]));
  ended(run("user.created"), failed);
  ended(run("user.created", { spent: 1 }), done);
  delivered(received(["user.created"]));
  ended(run("user.created"), done);
  expect(lines).toEqual([
    "40 ✗ user.created  failed: the mailer is down; retrying in 5 s  12 ms  user_1  msg_1",
    "30 ✓ user.created  (attempt 2)  12 ms  user_1  msg_1",
    "30 ✓ user.created  12 ms  user_1  msg_1",
  ]);
});

test("a handler that takes long holds up no line, and gets its own", async () => {
  const { lines, delivered, ended } = printed(20);
  delivered(received(["user.created", "user.created/crm"]));
  ended(run("user.created"), done);
  await until("the line", () => lines.length === 1);
  ended(run("user.created/crm"), done);
  expect(lines).toEqual([
    "30 ✓ user.created  user.created; user.created/crm still running or waiting  12 ms  user_1  msg_1",
    "30 ✓ user.created  user.created/crm  12 ms  user_1  msg_1",
  ]);
});

test("an event without a handler, and one that came again, are a line as well", () => {
  const { lines, delivered } = printed();
  delivered(received([]));
  delivered(received([], { status: "duplicate" }));
  expect(lines).toEqual([
    "30 ○ user.created  stored, no handler for it yet  user_1  msg_1",
    "30 = user.created  duplicate  user_1  msg_1",
  ]);
});

test("bun dev prints no fields, bun start JSON, and a schema that is as it was is no news", async () => {
  for (const level of ["info", "debug"]) {
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, {
      "user.created.ts": "export default ({ log }) => log.info('hello');",
      "_schema.sql": "create table if not exists a (id text);",
    });
    await using dev = await spawnServer(folder.path, { mode: "dev", env: { LOG_FORMAT: "pretty", LOG_LEVEL: level } });
    const PORT = new URL(dev.url).port;
    await runCommand(folder.path, ["send", "user.created", "--id", "msg_1"], { PORT });
    await until("the line", () => dev.output().includes("msg_1") || undefined);
    expect(dev.output()).toMatch(/^\[[\d:]{8}\] INFO: ✓ user\.created {2}\S+ \S+ {2}user_\w+ {2}msg_1/m);
    expect(dev.output()).toContain("INFO: user.created: hello");
    expect(dev.output().includes('{"')).toBe(level === "debug");
    expect(dev.output().includes("_schema.sql is applied")).toBe(level === "debug");
    await Bun.write(`${folder.path}/handlers/_schema.sql`, "create table if not exists b (id text);");
    await until("the change", () => /INFO: .*_schema\.sql is applied/.test(dev.output()) || undefined);
  }
}, 20_000);
