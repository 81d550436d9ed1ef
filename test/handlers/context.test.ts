import { expect, test } from "bun:test";

import { createLog } from "../../src/handlers/context.ts";
import type { LogLine } from "../../src/inbox/inbox.ts";
import type { HandlerLog } from "../../src/index.ts";
import { attempt } from "../dispatch/attempting.ts";

const LIMIT = 65_536;

/** The stored and the printed lines of an attempt's log. */
function log(write: (log: HandlerLog) => void): { stored: LogLine[]; printed: LogLine[]; bytes: number } {
  const printed: LogLine[] = [];
  const { lines, log } = createLog((line) => printed.push(line));
  write(log);
  return { stored: lines, printed, bytes: Buffer.byteLength(lines.map(({ message }) => message).join("")) };
}

test("stores a line with its level and arguments, and prints it as stored", () => {
  const { stored, printed } = log(({ debug, info, warn, error }) => {
    debug("a", 1);
    info("b", { x: null });
    warn("c", "d", true);
    error("", undefined);
  });
  expect(stored.map(({ level }) => level)).toEqual(["debug", "info", "warn", "error"]);
  expect(stored[0]?.message).toBe("a 1");
  expect(stored[1]?.message.replaceAll(/\s+/g, " ")).toBe("b { x: null, }");
  expect(stored[2]?.message).toBe("c d true");
  expect(printed).toEqual(stored);
});

test("an error in the log has the frames of the handler, and none of Bellhop", async () => {
  const { lines, log } = createLog(() => undefined);
  await attempt(() => {
    const error = Object.assign(new Error("boom", { cause: new TypeError("inner") }), { code: "E_BUSY" });
    log.error("it failed", error, { error });
  });
  const text = lines[0]?.message ?? "";
  for (const part of ["it failed", "boom", "TypeError: inner", "E_BUSY", "context.test.ts:"])
    expect(text).toContain(part);
  expect(text).not.toMatch(/src\/dispatch|async_hooks/);
});

test("stores 64 KB of a handler that logs in a loop, with a note that the rest is dropped", () => {
  const { stored, printed, bytes } = log(({ info }) => {
    for (let n = 0; n < 10_000; n += 1) info(`${n} ${"x".repeat(100)}`);
  });
  expect(bytes).toBeWithin(LIMIT / 2, LIMIT + 200);
  expect(stored.at(-1)?.message).toContain("the rest of this run's log is dropped");
  expect(printed).toEqual(stored);
});

test("truncates a line of several megabytes", () => {
  const { stored, bytes } = log(({ info }) => {
    info("short");
    info("ä".repeat(5_000_000));
    info("never seen");
  });
  expect(stored).toHaveLength(2);
  expect(bytes).toBeWithin(LIMIT - 10, LIMIT + 200);
  expect(stored[1]?.message).toMatch(/^ä+\uFFFD?… \(the rest/);
});

test("truncates a line that exceeds the space that is left", () => {
  const { bytes } = log(({ info }) => {
    info("x".repeat(LIMIT - 200));
    info("y".repeat(LIMIT));
  });
  expect(bytes).toBeLessThan(LIMIT + 200);
});

test("limits the number of empty lines", () => {
  const { stored } = log(({ info }) => {
    for (let n = 0; n < 1_000_000; n += 1) info("");
  });
  expect(stored.length).toBeLessThan(5_000);
});
