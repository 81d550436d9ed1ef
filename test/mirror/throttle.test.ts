// The rate limit, timeout and retries of requests to Clerk's API.

import { expect, test } from "bun:test";

import { createClerkClient } from "@clerk/backend";

import { UserError } from "../../src/errors.ts";
import { createThrottle } from "../../src/mirror/throttle.ts";
import { startClerkApi } from "../clerk-api.ts";
import { rejection } from "../rejection.ts";

test("sends requests at the configured rate, regardless of how fast Clerk answers", async () => {
  let clock = 0;
  const sleep = async (milliseconds: number) => void (clock += milliseconds);
  const ask = createThrottle({ rate: 10, now: () => clock, sleep });
  const starts: number[] = [];
  for (let index = 0; index < 4; index += 1) await ask(async () => starts.push(clock), 2);
  expect(starts).toEqual([0, 200, 400, 600]);
});

test("waits for Retry-After, and does not count a 429 as a failure", async () => {
  await using api = await startClerkApi({ rateLimit: { requests: 4, perMs: 1_000 } });
  const clerk = createClerkClient({ secretKey: api.secretKey, apiUrl: api.url });
  api.fill(3);
  const waits: number[] = [];
  const ask = createThrottle({ rate: 1_000, onWait: (wait) => waits.push(wait) });
  for (let index = 0; index < 4; index += 1) expect((await ask(() => clerk.users.getUserList())).data).toHaveLength(3);
  expect(waits.length).toBeGreaterThan(0);
  for (const wait of waits) expect(wait).toBe(1_000);
});

test("retries server errors and lost connections with increasing delays", async () => {
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
  expect(await rejection(ask(() => clerk.users.getUser(id)))).toContain("Clerk's API answered 500");
});

test("fails when there is no answer within the timeout", async () => {
  const ask = createThrottle({ rate: 1_000, timeoutMs: 5, sleep: async () => {} });
  expect(await rejection(ask(() => new Promise(() => {})))).toContain("no answer within 5 ms");
});

test("reports a wrong key as a user error, and passes on Clerk's 404", async () => {
  await using api = await startClerkApi();
  const unauthorized = createClerkClient({ secretKey: "sk_test_another", apiUrl: api.url });
  const clerk = createClerkClient({ secretKey: api.secretKey, apiUrl: api.url });
  const ask = createThrottle({ rate: 1_000 });
  expect(await rejection(ask(() => unauthorized.users.getUserList()))).toContain("does not accept CLERK_SECRET_KEY");
  const missing = await ask(() => clerk.users.getUser("user_missing")).catch((error: unknown) => error);
  expect(missing).toMatchObject({ status: 404 });
  expect(missing).not.toBeInstanceOf(UserError);
});
