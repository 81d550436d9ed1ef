import { expect, test } from "bun:test";

import { createLog } from "../../src/handlers/context.ts";
import type { LogLine } from "../../src/inbox/inbox.ts";
import type { HandlerLog } from "../../src/index.ts";

const LIMIT = 65_536;

/** The log of one attempt: what was kept, and what was printed. */
function log(write: (log: HandlerLog) => void): { kept: LogLine[]; printed: LogLine[]; bytes: number } {
  const printed: LogLine[] = [];
  const { lines, log } = createLog((line) => printed.push(line));
  write(log);
  return { kept: lines, printed, bytes: Buffer.byteLength(lines.map(({ message }) => message).join("")) };
}

test("a line has its level and its words, and is printed as it is kept", () => {
  const { kept, printed } = log(({ debug, info, warn, error }) => {
    debug("a", 1);
    info("b", { x: null });
    warn("c", "d", true);
    error("", undefined);
  });
  expect(kept.map(({ level }) => level)).toEqual(["debug", "info", "warn", "error"]);
  expect(kept[0]?.message).toBe("a 1");
  expect(kept[1]?.message.replaceAll(/\s+/g, " ")).toBe("b { x: null, }");
  expect(kept[2]?.message).toBe("c d true");
  expect(printed).toEqual(kept);
});

test("a handler that logs in a loop keeps 64 KB, and says that the rest is dropped", () => {
  const { kept, printed, bytes } = log(({ info }) => {
    for (let n = 0; n < 10_000; n += 1) info(`${n} ${"x".repeat(100)}`);
  });
  expect(bytes).toBeWithin(LIMIT / 2, LIMIT + 200);
  expect(kept.at(-1)?.message).toContain("the rest of this run's log is dropped");
  expect(printed).toEqual(kept);
});

test("one line of megabytes is cut", () => {
  const { kept, bytes } = log(({ info }) => {
    info("short");
    info("ä".repeat(5_000_000));
    info("never seen");
  });
  expect(kept).toHaveLength(2);
  expect(bytes).toBeWithin(LIMIT - 10, LIMIT + 200);
  expect(kept[1]?.message).toMatch(/^ä+\uFFFD?… \(the rest/);
});

test("a line that would only just not fit is cut to what is left", () => {
  const { bytes } = log(({ info }) => {
    info("x".repeat(LIMIT - 200));
    info("y".repeat(LIMIT));
  });
  expect(bytes).toBeLessThan(LIMIT + 200);
});

test("empty lines are not for free", () => {
  const { kept } = log(({ info }) => {
    for (let n = 0; n < 1_000_000; n += 1) info("");
  });
  expect(kept.length).toBeLessThan(5_000);
});
