import { expect, test } from "bun:test";

import { createProgress, drawBar } from "../../src/cli/progress.ts";
import { logMissed } from "../../src/log.ts";
import type { Logger } from "../../src/logger.ts";

test("the progress bar shows the finished part, and without a terminal a line is printed every 2 seconds", () => {
  expect(drawBar(0, 20)).toBe(`[${"░".repeat(30)}]   0 %  0 of 20`);
  expect(drawBar(10, 20)).toBe(`[${"█".repeat(15)}${"░".repeat(15)}]  50 %  10 of 20`);
  expect(drawBar(2_000, 2_000)).toBe(`[${"█".repeat(30)}] 100 %  2,000 of 2,000`);
  let text = "";
  let now = 0;
  const progress = createProgress(20, { write: (more: string) => (text += more) }, () => now);
  for (now = 0; now <= 5_000; now += 100) progress.show(now / 500);
  progress.end();
  expect(text).toBe("4 of 20\n8 of 20\n");
});

test("a count of missed deliveries that reached its limit is logged as a minimum", () => {
  const messages: string[] = [];
  const log = { info: (message: string) => messages.push(message) } as unknown as Logger;
  const handler = { name: "[...event]", file: "[...event].ts", event: "*", lane: "[...event]", options: {} };
  logMissed(log, handler, { found: 10_000, stale: 0, wiped: 0, gone: 0, more: true });
  logMissed(log, handler, { found: 0, stale: 3, wiped: 1, gone: 0, more: false });
  expect(messages).toEqual([
    "10,000 or more stored deliveries never went through [...event]. To run them: bun replay --handler '[...event]' --missing",
  ]);
});
