// A bulk replay that the server runs: it needs nobody who looks on.

import { expect, test } from "bun:test";

import type { BulkJobJson } from "../../src/api/types.ts";
import { sample } from "../../src/clerk/samples.ts";
import { inspected } from "../inspector/inspected.ts";
import { until } from "../until.ts";

const COUNTS = "export default ({ run }) => void (globalThis.ran = (globalThis.ran ?? 0) + (run.replay ? 1 : 0));";

test("it goes on after the request that started it, in several steps, and its progress is there for any page", async () => {
  await using it = await inspected({ "user.created.ts": COUNTS });
  for (let n = 0; n < 450; n += 1)
    await it.post(sample("user.created", { overrides: { data: { id: `user_${n}` } } }), { id: `msg_${n}` });
  const started = (await (await it.write("/api/bulk?type=user.created")).json()) as BulkJobJson;
  expect(started).toMatchObject({ isAdding: true, isFinished: false, reason: null });
  // Nothing is asked for until it must be over: more than the 200 runs of one step were added.
  const job = await until("its end", async () => {
    const answer = await it.json<{ job: BulkJobJson }>("/api/bulk");
    return answer.job.isFinished ? answer.job : undefined;
  });
  expect(job).toMatchObject({ id: started.id, added: 450, isAdding: false, runs: { done: 450, dead: 0 } });
  expect(await it.json<object>(`/api/bulk?job=${started.id}`)).toEqual({ job });
  expect(await it.json<object>("/api/bulk?job=unknown")).toEqual({ job: null });
});

test("it is stopped by its id, and adds no further runs", async () => {
  await using it = await inspected({ "user.created.ts": COUNTS });
  await it.post(sample("user.created"), { id: "msg_1" });
  const { id } = (await (await it.write("/api/bulk")).json()) as BulkJobJson;
  const stopped = (await (await it.write(`/api/bulk/stop?job=${id}`)).json()) as { job: BulkJobJson };
  expect(stopped.job).toMatchObject({ id, isStopped: true });
});

test("what can't be replayed is refused before it starts", async () => {
  await using it = await inspected({ "user.created.ts": COUNTS });
  expect((await it.write("/api/bulk?handler=nobody")).status).toBe(409);
  expect((await it.write("/api/bulk?neverSeenBy=user.craeted")).status).toBe(409);
  expect((await it.write("/api/bulk?rate=0")).status).toBe(422);
  expect(await it.json<object>("/api/bulk")).toEqual({ job: null });
});
