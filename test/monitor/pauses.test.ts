// Alerts report a pause by the breaker, its end, and drift, each once.

import { expect, test } from "bun:test";

import pino from "pino";

import type { PauseChange } from "../../src/dispatch/pauses.ts";
import type { Notice } from "../../src/monitor/notices.ts";
import { notifyDrift, observePauses } from "../../src/monitoring.ts";

test("only the server whose breaker paused a handler reports it, and a person's pause is not reported", () => {
  const notices: Notice[] = [];
  const lines: string[] = [];
  const log = pino({}, { write: (line: string) => void lines.push(line) });
  const observer = observePauses(log, (notice) => notices.push(notice));
  const change: PauseChange = {
    handler: "user.created",
    cause: "breaker",
    reason: "20 runs failed",
    pausedMs: 5_000,
    isOwn: true,
  };
  for (const one of [change, { ...change, isOwn: false }, { ...change, cause: "person" as const }]) {
    observer.onPaused(one);
    observer.onResumed(one);
  }
  expect(notices).toEqual([
    { kind: "paused", handler: "user.created", reason: "20 runs failed" },
    { kind: "resumed", handler: "user.created", pausedMs: 5_000 },
  ]);
  expect(lines).toHaveLength(6);
});

test("drift is reported with the tables that differ", () => {
  const notices: Notice[] = [];
  const notify = (notice: Notice) => void notices.push(notice);
  const table = (name: string, differences: number) => ({ name, compared: 9, differences });
  notifyDrift(notify, { differences: 0, tables: [table("clerk_users", 0)] });
  notifyDrift(notify, { differences: 2, tables: [table("clerk_users", 2), table("clerk_organizations", 0)] });
  expect(notices).toEqual([{ kind: "drift", tables: [{ table: "clerk_users", rows: 2 }] }]);
});
