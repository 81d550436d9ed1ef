// Bulk replays that run in the server, independent of the page or command that started them.

import { expect, test } from "bun:test";

import type { BulkJobJson } from "../../src/api/types.ts";
import { sample } from "../../src/clerk/samples.ts";
import { inspected } from "../inspector/inspected.ts";
import { until } from "../until.ts";

const COUNTS = "export default ({ run }) => void (globalThis.ran = (globalThis.ran ?? 0) + (run.replay ? 1 : 0));";

test("a bulk replay continues after the request that started it, in several steps, and every page sees its progress", async () => {
  await using bellhop = await inspected({ "user.created.ts": COUNTS });
  for (let n = 0; n < 450; n += 1)
    await bellhop.post(sample("user.created", { overrides: { data: { id: `user_${n}` } } }), { id: `msg_${n}` });
  const started = (await (await bellhop.write("/api/bulk?type=user.created&expected=450")).json()) as BulkJobJson;
  expect(started).toMatchObject({ isAdding: true, isFinished: false, reason: null });
  // 450 runs take several steps: one step adds at most 200.
  const job = await until("the end of the job", async () => {
    const answer = await bellhop.json<{ job: BulkJobJson }>("/api/bulk");
    return answer.job.isFinished ? answer.job : undefined;
  });
  expect(job).toMatchObject({ id: started.id, added: 450, isAdding: false, runs: { done: 450, dead: 0 } });
  expect(await bellhop.json<object>(`/api/bulk?job=${started.id}`)).toEqual({ job });
  expect(await bellhop.json<object>("/api/bulk?job=unknown")).toEqual({ job: null });
});

test("a bulk replay is stopped by its id", async () => {
  await using bellhop = await inspected({ "user.created.ts": COUNTS });
  await bellhop.post(sample("user.created"), { id: "msg_1" });
  const { id } = (await (await bellhop.write("/api/bulk?type=user.created")).json()) as BulkJobJson;
  const stopped = (await (await bellhop.write(`/api/bulk/stop?job=${id}`)).json()) as { job: BulkJobJson };
  expect(stopped.job).toMatchObject({ id, isStopped: true });
});

test("a filter that can't be replayed is refused before the job starts", async () => {
  await using bellhop = await inspected({ "user.created.ts": COUNTS });
  expect((await bellhop.write("/api/bulk?handler=user.deleted")).status).toBe(409);
  expect((await bellhop.write("/api/bulk?neverSeenBy=user.deleted")).status).toBe(409);
  expect((await bellhop.write("/api/bulk?rate=0")).status).toBe(422);
  expect(await bellhop.json<object>("/api/bulk")).toEqual({ job: null });
});
