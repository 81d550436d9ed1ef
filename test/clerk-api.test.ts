// Tests the stand-in for Clerk's Backend API with Clerk's real client.

import { describe, expect, test } from "bun:test";

import { createClerkClient, type User } from "@clerk/backend";
import { ClerkAPIResponseError } from "@clerk/backend/errors";

import { type ClerkApi, type ClerkApiOptions, startClerkApi } from "./clerk-api.ts";

async function start(options?: ClerkApiOptions) {
  const api = await startClerkApi(options);
  const client = createClerkClient({ secretKey: api.secretKey, apiUrl: api.url });
  return { api, client, [Symbol.asyncDispose]: () => api[Symbol.asyncDispose]() };
}

async function refusal(request: Promise<unknown>): Promise<ClerkAPIResponseError> {
  const error = await request.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(ClerkAPIResponseError);
  return error as ClerkAPIResponseError;
}

function get(api: ClerkApi, pathAndQuery: string): Promise<Response> {
  return fetch(`${api.url}/v1/${pathAndQuery}`, { headers: { authorization: `Bearer ${api.secretKey}` } });
}

const ids = (rows: readonly { id: string }[]) => rows.map(({ id }) => id);

describe("users", () => {
  test("paging through 1,203 users returns each once, in order, with the total count", async () => {
    await using clerk = await start();
    const added = clerk.api.fill(1_203);
    const seen: User[] = [];
    while (true) {
      const page = await clerk.client.users.getUserList({ limit: 500, offset: seen.length, orderBy: "+created_at" });
      expect(page.totalCount).toBe(1_203);
      if (page.data.length === 0) break;
      seen.push(...page.data);
    }
    expect(ids(seen)).toEqual(ids(added));
    expect(added[0]!.id).toMatch(/^user_[0-9A-Za-z]{27}$/);
    expect(await clerk.client.users.getCount()).toBe(1_203);
  });

  test("lists the ten newest users by default", async () => {
    await using clerk = await start();
    const added = clerk.api.fill(12);
    const { data } = await clerk.client.users.getUserList();
    expect(ids(data)).toEqual(ids(added).toReversed().slice(0, 10));
    const { data: last } = await clerk.client.users.getUserList({ offset: 10 });
    expect(ids(last)).toEqual(ids(added).slice(0, 2).toReversed());
  });

  test("filters by id and by creation time, and counts the matches", async () => {
    await using clerk = await start();
    const added = clerk.api.fill(20);
    const wanted = ids([added[3]!, added[7]!]);
    const chosen = await clerk.client.users.getUserList({ userId: [...wanted, "user_gone"], orderBy: "created_at" });
    expect(ids(chosen.data)).toEqual(wanted);
    expect(chosen.totalCount).toBe(2);
    const between = { createdAtAfter: added[4]!.created_at, createdAtBefore: added[8]!.created_at };
    const window = await clerk.client.users.getUserList({ ...between, orderBy: "created_at" });
    expect(ids(window.data)).toEqual(ids(added.slice(5, 8)));
    expect(window.totalCount).toBe(3);
  });

  test("a user that is changed in place, added or deleted is visible in the next response", async () => {
    await using clerk = await start();
    const [first, second] = clerk.api.fill(3);
    const latest = async () => (await clerk.client.users.getUserList({ orderBy: "-updated_at" })).data;
    await latest();
    first!.updated_at += 1_000;
    first!.first_name = "Renamed";
    expect((await latest())[0]!.firstName).toBe("Renamed");
    clerk.api.users.delete(second!.id);
    const added = clerk.api.addUser({ updated_at: first!.updated_at + 1 });
    expect(ids(await latest()).slice(0, 2)).toEqual([added.id, first!.id]);
    expect(await clerk.client.users.getCount()).toBe(3 - 1 + 1);
  });

  test("rows can change between two pages", async () => {
    await using clerk = await start();
    const added = clerk.api.fill(4);
    clerk.api.before = ({ query }) => {
      if (query.get("offset") === "2") clerk.api.users.delete(added[0]!.id);
    };
    const page = async (offset: number) =>
      ids((await clerk.client.users.getUserList({ limit: 2, offset, orderBy: "created_at" })).data);
    expect([...(await page(0)), ...(await page(2))]).toEqual(ids([added[0]!, added[1]!, added[3]!]));
  });

  test("serves a page of 100,000 users without copying all of them", async () => {
    await using clerk = await start();
    clerk.api.fill(100_000);
    await get(clerk.api, "users?limit=1");
    const listed = performance.now();
    const page = await get(clerk.api, "users?limit=500&offset=50000");
    expect(await page.json()).toHaveLength(500);
    // Some milliseconds; room for a busy machine.
    expect(performance.now() - listed).toBeLessThan(2_000);
  });
});

describe("organizations", () => {
  test("lists and filters organizations with the counts of their members", async () => {
    await using clerk = await start();
    const { api, client } = clerk;
    const [one, two] = [api.addOrganization({ name: "B" }), api.addOrganization({ name: "A" })];
    api.addMembership(one.id, api.addUser().id);
    const all = await client.organizations.getOrganizationList({ orderBy: "name", includeMembersCount: true });
    expect(all.data.map(({ id, membersCount }) => [id, membersCount])).toEqual([
      [two.id, 0],
      [one.id, 1],
    ]);
    expect(all.totalCount).toBe(2);
    expect(ids((await client.organizations.getOrganizationList({ organizationId: [one.id] })).data)).toEqual([one.id]);
    expect((await client.organizations.getOrganization({ slug: two.slug })).id).toBe(two.id);
  });

  test("lists the memberships of the instance, of an organization and of a user in it", async () => {
    await using clerk = await start();
    const { api, client } = clerk;
    const [one, two] = [api.addOrganization(), api.addOrganization()];
    const [zoe, ann] = api.fill(2);
    const members = [api.addMembership(one.id, zoe!.id), api.addMembership(one.id, ann!.id)];
    const other = api.addMembership(two.id, ann!.id);
    const all = await client.organizations.getInstanceOrganizationMembershipList({ orderBy: "created_at" });
    expect(ids(all.data)).toEqual(ids([...members, other]));
    const organizationId = one.id;
    const own = await client.organizations.getOrganizationMembershipList({ organizationId, limit: 1 });
    expect([ids(own.data), own.totalCount]).toEqual([[members[1]!.id], 2]);
    const ofUser = await client.organizations.getOrganizationMembershipList({ organizationId, userId: [zoe!.id] });
    expect(ids(ofUser.data)).toEqual([members[0]!.id]);
  });

  test("lists invitations by status and returns one by its organization and id", async () => {
    await using clerk = await start();
    const { api, client } = clerk;
    const [{ id: organizationId }, other] = [api.addOrganization(), api.addOrganization()];
    const [pending, revoked] = [
      api.addInvitation(organizationId),
      api.addInvitation(organizationId, { status: "revoked" }),
    ];
    api.addInvitation(organizationId, { status: "accepted" });
    const status = ["pending" as const, "revoked" as const];
    const some = await client.organizations.getOrganizationInvitationList({ organizationId, status });
    expect([ids(some.data), some.totalCount]).toEqual([[revoked.id, pending.id], 2]);
    const invitationId = pending.id;
    const one = await client.organizations.getOrganizationInvitation({ organizationId, invitationId });
    expect(one.id).toBe(pending.id);
    const request = client.organizations.getOrganizationInvitation({ organizationId: other.id, invitationId });
    expect((await refusal(request)).status).toBe(404);
  });

  test("the client's `raw` is the stored row", async () => {
    await using clerk = await start();
    const { api, client } = clerk;
    const user = api.addUser({ public_metadata: { plan: "gold" } });
    const organization = api.addOrganization();
    const membership = api.addMembership(organization.id, user.id);
    const invitation = api.addInvitation(organization.id);
    const organizationId = organization.id;
    expect((await client.users.getUser(user.id)).raw).toEqual(user);
    expect((await client.organizations.getOrganization({ organizationId })).raw).toEqual(organization);
    const memberships = await client.organizations.getOrganizationMembershipList({ organizationId });
    expect(memberships.data[0]!.raw).toEqual(membership);
    const invitations = await client.organizations.getOrganizationInvitationList({ organizationId });
    expect(invitations.data[0]!.raw).toEqual(invitation);
  });
});

describe("failures", () => {
  test("a missing object gives Clerk's 404 error", async () => {
    await using clerk = await start();
    const error = await refusal(clerk.client.users.getUser("user_gone"));
    expect([error.status, error.errors[0]!.code]).toEqual([404, "resource_not_found"]);
    expect(error.clerkTraceId).toMatch(/^[0-9a-f]{32}$/);
    const organizationId = "org_gone";
    expect((await refusal(clerk.client.organizations.getOrganizationMembershipList({ organizationId }))).status).toBe(
      404,
    );
    expect((await refusal(clerk.client.invitations.getInvitationList())).status).toBe(404);
  });

  test("answers 401 to a wrong secret key and to none", async () => {
    await using clerk = await start();
    const unauthorized = createClerkClient({ secretKey: "sk_test_other", apiUrl: clerk.api.url });
    expect((await refusal(unauthorized.users.getCount())).status).toBe(401);
    expect((await fetch(`${clerk.api.url}/v1/users`)).status).toBe(401);
  });

  test.each([
    "limit=501",
    "limit=0",
    "limit=ten",
    "offset=-1",
    "order_by=shoe_size",
    "query=zoe",
    "created_at_after=now",
  ])("rejects users?%s instead of ignoring it", async (query) => {
    await using clerk = await start();
    const response = await get(clerk.api, `users?${query}`);
    expect(response.status).toBe(422);
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(await response.json()).toMatchObject({ errors: [{ code: expect.stringMatching(/^form_param_/) }] });
  });

  test("rejects more than 100 ids in one request", async () => {
    await using clerk = await start();
    const userId = Array.from({ length: 101 }, (_, i) => `user_${i}`);
    expect((await refusal(clerk.client.users.getUserList({ userId }))).status).toBe(422);
  });

  test("answers 429 with Retry-After over the rate limit, and succeeds afterwards", async () => {
    await using clerk = await start({ rateLimit: { requests: 2, perMs: 300 } });
    await clerk.client.users.getUserList();
    const error = await refusal(clerk.client.users.getCount());
    expect([error.status, error.retryAfter, error.errors[0]!.code]).toEqual([429, 1, "too_many_requests"]);
    await Bun.sleep(320);
    expect(await clerk.client.users.getCount()).toBe(0);
    expect(clerk.api.requests.map(({ status }) => status)).toEqual([200, 200, 429, 200]);
  });

  test("fails the given number of requests, and the next one succeeds", async () => {
    await using clerk = await start();
    clerk.api.failNext(2, 503, { "Retry-After": "7" });
    const error = await refusal(clerk.client.users.getCount());
    expect([error.status, error.retryAfter]).toEqual([503, 7]);
    expect((await refusal(clerk.client.users.getCount())).status).toBe(503);
    expect(await clerk.client.users.getCount()).toBe(0);
  });

  test("a dropped connection rejects without a status, once per dropped request", async () => {
    await using clerk = await start();
    expect(await clerk.client.users.getCount()).toBe(0);
    clerk.api.failNext(1, "drop");
    const error = await refusal(clerk.client.users.getCount());
    expect([error.status as unknown, error.errors[0]!.code]).toEqual([undefined, "unexpected_error"]);
    expect(await clerk.client.users.getCount()).toBe(0);
    expect(clerk.api.requests.map(({ status }) => status)).toEqual([200, "drop", 200]);
  });

  test("delays a response", async () => {
    await using clerk = await start();
    clerk.api.delay = ({ path }) => (path === "/v1/users/count" ? 50 : 0);
    const began = performance.now();
    await clerk.client.users.getCount();
    expect(performance.now() - began).toBeGreaterThanOrEqual(49);
    expect(clerk.api.requests[0]).toMatchObject({ method: "GET", path: "/v1/users/count", status: 200 });
  });
});
