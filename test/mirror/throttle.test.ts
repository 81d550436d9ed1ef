import { expect, test } from "bun:test";

import { createClerkClient } from "@clerk/backend";

import { UserError } from "../../src/errors.ts";
import { createThrottle } from "../../src/mirror/throttle.ts";
import { startClerkApi } from "../clerk-api.ts";

test("questions keep to the rate, however fast Clerk answers", async () => {
  let clock = 0;
  const sleep = async (milliseconds: number) => void (clock += milliseconds);
  const ask = createThrottle({ rate: 10, now: () => clock, sleep });
  const began: number[] = [];
  for (let index = 0; index < 4; index += 1) await ask(async () => began.push(clock), 2);
  expect(began).toEqual([0, 200, 400, 600]);
});

test("Retry-After is obeyed, and being sent away is no failure", async () => {
  await using api = await startClerkApi({ rateLimit: { requests: 4, perMs: 1_000 } });
  const clerk = createClerkClient({ secretKey: api.secretKey, apiUrl: api.url });
  api.fill(3);
  const waits: number[] = [];
  const ask = createThrottle({ rate: 1_000, onWait: (wait) => waits.push(wait) });
  for (let index = 0; index < 4; index += 1) expect((await ask(() => clerk.users.getUserList())).data).toHaveLength(3);
  expect(waits.length).toBeGreaterThan(0);
  for (const wait of waits) expect(wait).toBe(1_000);
});

test("Clerk's own trouble and lost connections are met by asking again, each time after a longer wait", async () => {
  await using api = await startClerkApi();
  const clerk = createClerkClient({ secretKey: api.secretKey, apiUrl: api.url });
  const { id } = api.addUser();
  const waits: number[] = [];
  const ask = createThrottle({ rate: 1_000, onWait: (wait) => waits.push(wait), sleep: async () => {} });
  api.failNext(2, 503);
  expect((await ask(() => clerk.users.getUser(id))).id).toBe(id);
  api.failNext(1, "drop");
  expect((await ask(() => clerk.users.getUser(id))).id).toBe(id);
  expect(waits).toEqual([500, 1_000, 500]);
  api.failNext(100, 500);
  expect(await failure(ask(() => clerk.users.getUser(id)))).toContain("Clerk's API answered 500");
});

test("an answer that never comes is not waited for", async () => {
  const ask = createThrottle({ rate: 1_000, timeoutMs: 5, sleep: async () => {} });
  expect(await failure(ask(() => new Promise(() => {})))).toContain("no answer within 5 ms");
});

test("a key that Clerk does not accept is told as such, and what is not there as Clerk tells it", async () => {
  await using api = await startClerkApi();
  const stranger = createClerkClient({ secretKey: "sk_test_another", apiUrl: api.url });
  const clerk = createClerkClient({ secretKey: api.secretKey, apiUrl: api.url });
  const ask = createThrottle({ rate: 1_000 });
  expect(await failure(ask(() => stranger.users.getUserList()))).toContain("does not accept CLERK_SECRET_KEY");
  const missing = await ask(() => clerk.users.getUser("user_nobody")).catch((error: unknown) => error);
  expect(missing).toMatchObject({ status: 404 });
  expect(missing).not.toBeInstanceOf(UserError);
});

async function failure(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "nothing",
    (error: Error) => error.message,
  );
}
