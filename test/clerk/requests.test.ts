// Requests to Clerk's Backend API are those of Clerk's own client, and so are their errors.

import { expect, test } from "bun:test";

import { createClerkClient } from "@clerk/backend";

import { createRequests } from "../../src/clerk/requests.ts";
import { startClerkApi } from "../clerk-api.ts";

test("asks for the API version of Clerk's client", async () => {
  const versions: (string | null)[] = [];
  using server = Bun.serve({
    port: 0,
    fetch({ headers }) {
      versions.push(headers.get("clerk-api-version"));
      return Response.json([]);
    },
  });
  const apiUrl = server.url.origin;
  await createRequests({ secretKey: "sk_test_x", apiUrl })("/users");
  await createClerkClient({ secretKey: "sk_test_x", apiUrl }).users.getUserList();
  expect(versions[0]).toMatch(/^\d{4}-\d\d-\d\d$/);
  expect(versions[0]).toBe(versions[1]);
});

test("repeats a parameter for each value of a list", async () => {
  await using api = await startClerkApi();
  const [first, , third] = api.fill(3).map(({ id }) => id) as [string, string, string];
  const get = createRequests({ secretKey: api.secretKey, apiUrl: `${api.url}/` });
  expect(await get("/users", { user_id: [first, third], limit: 2 })).toMatchObject([{ id: third }, { id: first }]);
});

test("fails as Clerk's client does", async () => {
  await using api = await startClerkApi();
  const client = createClerkClient({ secretKey: api.secretKey, apiUrl: api.url });
  const get = createRequests({ secretKey: api.secretKey, apiUrl: api.url });
  const failure = async (request: () => Promise<unknown>) => {
    const error = (await request().catch((error: unknown) => error)) as Record<string, any>;
    return [error["name"], error["status"], error["retryAfter"], error["errors"]?.[0]?.code];
  };
  for (const prepare of [
    () => undefined,
    () => api.failNext(1, 429, { "retry-after": "7" }),
    () => api.failNext(1, 503),
    () => api.failNext(1, "drop"),
  ]) {
    prepare();
    const expected = await failure(() => client.users.getUser("user_gone"));
    prepare();
    expect(await failure(() => get("/users/user_gone"))).toEqual(expected);
  }
});
