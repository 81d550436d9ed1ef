// The line that `bun dev` prints for an event.

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

/** Event lines, with everything that they log as `level message`. */
function eventLinesWithLog(waitMs?: number) {
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

const runOf = (handler: string, more: object = {}): ClaimedRun =>
  ({ handler, replay: "", spent: 0, delivery, ...more }) as never;

test("an event has one line with its result, type, handlers, milliseconds and ids", () => {
  const { lines, delivered, ended } = eventLinesWithLog();
  delivered(received(["user.created", "user.created/crm"]));
  ended(runOf("user.created/crm"), done);
  expect(lines).toEqual([]);
  ended(runOf("user.created"), { kind: "done", record: { ...record, took: 34 } });
  expect(lines).toEqual(["30 ✓ user.created  user.created/crm, user.created  34 ms  user_1  msg_1"]);
});

test("a failed run is in the same line, with its error and its next attempt", () => {
  const { lines, delivered, ended } = eventLinesWithLog();
  delivered(received(["user.created", "user.created/crm"]));
  ended(runOf("user.created"), done);
  ended(runOf("user.created/crm"), failed);
  ended(runOf("user.created/crm", { spent: 1 }), done);
  ended(runOf("user.created/crm", { replay: "abc" }), dead);
  expect(lines).toEqual([
    "40 ✗ user.created  user.created; user.created/crm failed: the mailer is down; retrying in 5 s  12 ms  user_1  msg_1",
    "30 ✓ user.created  user.created/crm (attempt 2)  12 ms  user_1  msg_1",
    expect.stringMatching(
      /^50 ✗ user\.created {2}user\.created\/crm is dead: failed 8 of 8 attempts: .*12 ms {2}user_1 {2}msg_1$/,
    ),
  ]);
});

test("of many events that only wait, five are named, and the others are counted", async () => {
  const { lines, delivered, ended } = eventLinesWithLog(10);
  for (let number = 1; number <= 1_000; number += 1)
    delivered(received(["user.created"], { delivery: { ...delivery, id: `msg_${number}` } }));
  await until("the number of the others", () => Promise.resolve(lines.some((line) => line.includes("more events"))));
  expect(lines).toEqual([
    ...[1, 2, 3, 4, 5].map((id) => `30 … user.created  user.created still running or waiting  user_1  msg_${id}`),
    "30 … 995 more events still running or waiting",
  ]);
  ended(runOf("user.created"), failed);
  expect(lines.at(-1)).toStartWith("40 ✗ user.created  failed");
});

test("a handler that is named like its event is named once", () => {
  const { lines, delivered, ended } = eventLinesWithLog();
  delivered(received(["user.created"]));
  ended(runOf("user.created"), failed);
  ended(runOf("user.created", { spent: 1 }), done);
  delivered(received(["user.created"]));
  ended(runOf("user.created"), done);
  expect(lines).toEqual([
    "40 ✗ user.created  failed: the mailer is down; retrying in 5 s  12 ms  user_1  msg_1",
    "30 ✓ user.created  (attempt 2)  12 ms  user_1  msg_1",
    "30 ✓ user.created  12 ms  user_1  msg_1",
  ]);
});

test("a slow handler does not delay the line of the others, and gets its own line", async () => {
  const { lines, delivered, ended } = eventLinesWithLog(20);
  delivered(received(["user.created", "user.created/crm"]));
  ended(runOf("user.created"), done);
  await until("the first line", () => lines.length === 1);
  ended(runOf("user.created/crm"), done);
  expect(lines).toEqual([
    "30 ✓ user.created  user.created; user.created/crm still running or waiting  12 ms  user_1  msg_1",
    "30 ✓ user.created  user.created/crm  12 ms  user_1  msg_1",
  ]);
});

test("an event without a handler and a duplicate have a line as well", () => {
  const { lines, delivered } = eventLinesWithLog();
  delivered(received([]));
  delivered(received([], { status: "duplicate" }));
  expect(lines).toEqual([
    "30 ○ user.created  stored, no handler for it yet  user_1  msg_1",
    "30 = user.created  duplicate  user_1  msg_1",
  ]);
});

test("bun dev prints fields and an unchanged schema at the debug level only", async () => {
  for (const level of ["info", "debug"]) {
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, {
      "user.created.ts": "export default ({ log }) => log.info('hello');",
      "_schema.sql": "create table if not exists a (id text);",
    });
    await using dev = await spawnServer(folder.path, { mode: "dev", env: { LOG_FORMAT: "pretty", LOG_LEVEL: level } });
    const PORT = new URL(dev.url).port;
    await runCommand(folder.path, ["send", "user.created", "--id", "msg_1"], { PORT });
    const line = /^\[[\d:]{8}\] INFO: ✓ user\.created {2}\S+ \S+ {2}user_\w+ {2}msg_1/m;
    await until("the line of the event", () => line.test(dev.output()));
    expect(dev.output()).toContain("INFO: user.created: hello");
    expect(dev.output().includes('{"')).toBe(level === "debug");
    expect(dev.output().includes("_schema.sql is applied")).toBe(level === "debug");
    await Bun.write(`${folder.path}/handlers/_schema.sql`, "create table if not exists b (id text);");
    await until("the changed schema", () => /INFO: .*_schema\.sql is applied/.test(dev.output()));
  }
}, 20_000);
