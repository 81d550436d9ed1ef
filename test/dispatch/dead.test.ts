// `_dead.ts` is called until it succeeds, a bounded number of times, and not after a stop.

import { expect, test } from "bun:test";

import { notifyDead } from "../../src/dispatch/dead.ts";
import type { Code } from "../../src/handlers/loader.ts";
import type { DeadRun } from "../../src/index.ts";
import { dead } from "../inbox/box.ts";
import { until } from "../until.ts";
import { claimedRun } from "./attempting.ts";

const DELAYS = [10, 10, 10];

function notifying(fails: (calls: number) => boolean, stopped = new AbortController()) {
  const calls: DeadRun[] = [];
  const errors: { message: string; retryMs: number | undefined }[] = [];
  const code = (version: number) => ({
    run: ((run: DeadRun) => {
      calls.push(run);
      if (fails(calls.length)) throw new Error(`version ${version}`);
    }) as unknown as Code["run"],
    version: { import: async () => ({}), enter: <T>(call: () => T) => call(), hold: () => () => undefined },
  });
  const loaded = { code: code(1) as Code | undefined };
  const first = notifyDead(
    () => loaded.code,
    claimedRun({ spent: 7 }),
    dead as never,
    stopped.signal,
    (error, retryMs) => errors.push({ message: (error as Error).message, retryMs }),
    DELAYS,
  );
  return { calls, errors, first, loaded, code, stopped };
}

test("a call that succeeds is the only one", async () => {
  const { calls, errors, first } = notifying(() => false);
  await first;
  await Bun.sleep(50);
  expect(calls).toMatchObject([
    { run: { handler: "user.created", attempts: 8, replay: false }, delivery: { id: "msg_1" } },
  ]);
  expect(errors).toEqual([]);
});

test("a call that fails is repeated, with the code that is loaded then, until it succeeds", async () => {
  const { calls, errors, first, loaded, code } = notifying((count) => count < 3);
  await first;
  expect(calls).toHaveLength(1);
  loaded.code = code(2);
  await until("the call that succeeds", () => calls.length === 3);
  await Bun.sleep(50);
  expect(calls).toHaveLength(3);
  expect(errors).toEqual([
    { message: "version 1", retryMs: 10 },
    { message: "version 2", retryMs: 10 },
  ]);
});

test("it is called four times at most", async () => {
  const { calls, errors } = notifying(() => true);
  await until("the last call", () => errors.at(-1)?.retryMs === undefined && errors.length > 0);
  await Bun.sleep(50);
  expect(calls).toHaveLength(4);
  expect(errors.map(({ retryMs }) => retryMs)).toEqual([...DELAYS, undefined]);
});

test("it is not called after the server has stopped, nor when its file is gone", async () => {
  const stopping = notifying(() => true);
  await stopping.first;
  stopping.stopped.abort();
  const gone = notifying(() => true);
  await gone.first;
  gone.loaded.code = undefined;
  await Bun.sleep(100);
  expect([stopping.calls.length, gone.calls.length]).toEqual([1, 1]);
});
