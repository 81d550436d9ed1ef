// A local stand-in for Clerk's Backend API, on a real socket, for the real client:
// `createClerkClient({ secretKey: clerk.secretKey, apiUrl: clerk.url })`. It answers from maps that a test may change at any
// time, in Clerk's wire shapes, and has Clerk's troubles: slowness, refusals, lost connections and a rate limit. A parameter
// that it doesn't know is refused, never ignored, so that no test passes on a filter that was not applied.

import type {
  OrganizationInvitationJSON,
  OrganizationJSON,
  OrganizationMembershipJSON,
  UserJSON,
} from "@clerk/backend";

import { answer, json, Refusal } from "./clerk-api-routes.ts";
import { makers, type State, Table } from "./clerk-api-state.ts";

export interface ClerkRequest {
  method: string;
  /** With `/v1`, without the query. */
  path: string;
  query: URLSearchParams;
}

export interface RecordedRequest extends ClerkRequest {
  /** When it arrived, by `performance.now()`. */
  at: number;
  /** What it was answered with; `pending` until then. */
  status: number | "drop" | "pending";
}

export interface RateLimit {
  requests: number;
  perMs: number;
}

export interface ClerkApiOptions {
  secretKey?: string;
  rateLimit?: RateLimit;
  /** Organizations are turned off, as they are on a new instance. */
  withoutOrganizations?: boolean;
}

export interface ClerkApi extends AsyncDisposable {
  /** What `apiUrl` should be. */
  url: string;
  secretKey: string;

  /** All by id. What a test puts in, takes out or changes shows in the next answer. */
  readonly users: Map<string, UserJSON>;
  readonly organizations: Map<string, OrganizationJSON>;
  readonly memberships: Map<string, OrganizationMembershipJSON>;
  readonly invitations: Map<string, OrganizationInvitationJSON>;

  addUser(overrides?: Partial<UserJSON>): UserJSON;
  addOrganization(overrides?: Partial<OrganizationJSON>): OrganizationJSON;
  /** Of an organization and a user that are there. The organization is embedded as the same object. */
  addMembership(
    organizationId: string,
    userId: string,
    overrides?: Partial<OrganizationMembershipJSON>,
  ): OrganizationMembershipJSON;
  addInvitation(organizationId: string, overrides?: Partial<OrganizationInvitationJSON>): OrganizationInvitationJSON;
  /** Adds so many users. */
  fill(count: number): UserJSON[];

  rateLimit: RateLimit | undefined;
  /** Milliseconds before each answer. */
  delay: number | ((request: ClerkRequest) => number);
  /** Called before each answer is computed: the state can change between two pages. */
  before: ((request: ClerkRequest) => void | Promise<void>) | undefined;
  /**
   * The next `count` requests get this status, or lose their connection in the middle of the answer (before it, Bun's
   * `fetch` would quietly ask again on a reused connection). Replaces what an earlier call has left.
   */
  failNext(count: number, failure: number | "drop", headers?: Record<string, string>): void;
  /** What came, oldest first: the last 100,000. */
  requests: RecordedRequest[];
}

export async function startClerkApi(options: ClerkApiOptions = {}): Promise<ClerkApi> {
  const secretKey = options.secretKey ?? "sk_test_c3RhbmRpbi1mb3ItY2xlcms";
  const state: State = {
    users: new Table("user_id"),
    organizations: new Table("organization_id"),
    memberships: new Table("membership_id"),
    invitations: new Table("invitation_id"),
  };
  let failing: { count: number; failure: number | "drop"; headers: Record<string, string> } | undefined;
  let window = { from: -Infinity, count: 0 };

  /** Milliseconds to wait where the limit is reached, or undefined. */
  function overLimit(at: number): number | undefined {
    if (!clerk.rateLimit) return undefined;
    if (at >= window.from + clerk.rateLimit.perMs) window = { from: at, count: 0 };
    if (window.count >= clerk.rateLimit.requests) return window.from + clerk.rateLimit.perMs - at;
    window.count++;
    return undefined;
  }

  async function respond(request: RecordedRequest, authorization: string | null): Promise<Response> {
    const failed = failing && failing.count-- > 0 ? failing : undefined;
    const waitMs = failed ? undefined : overLimit(request.at);
    const delay = typeof clerk.delay === "function" ? clerk.delay(request) : clerk.delay;
    if (delay > 0) await Bun.sleep(delay);
    await clerk.before?.(request);
    if (failed?.failure === "drop") {
      request.status = "drop";
      return lostAnswer();
    }
    try {
      if (failed) throw new Refusal(failed.failure, "internal_clerk_error", "Told to fail.", {}, failed.headers);
      if (waitMs !== undefined) {
        const headers = { "Retry-After": String(Math.max(1, Math.ceil(waitMs / 1_000))) };
        throw new Refusal(429, "too_many_requests", "Too many requests. Please try again later.", {}, headers);
      }
      if (authorization !== `Bearer ${secretKey}`) {
        throw new Refusal(401, "clerk_key_invalid", "The provided Clerk Secret Key is invalid.");
      }
      return json(200, answer(state, request, options.withoutOrganizations));
    } catch (error) {
      if (error instanceof Refusal) return error.response();
      throw error;
    }
  }

  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    reusePort: false,
    async fetch({ method, url, headers }) {
      const { pathname: path, searchParams: query } = new URL(url);
      const request: RecordedRequest = { method, path, query, at: performance.now(), status: "pending" };
      clerk.requests.push(request);
      if (clerk.requests.length > 100_000) clerk.requests.shift();
      const response = await respond(request, headers.get("authorization"));
      if (request.status === "pending") request.status = response.status;
      return response;
    },
  });

  const clerk: ClerkApi = {
    url: `http://127.0.0.1:${server.port}`,
    secretKey,
    ...state,
    ...makers(state),
    rateLimit: options.rateLimit,
    delay: 0,
    before: undefined,
    failNext(count, failure, headers = {}) {
      failing = { count, failure, headers };
    },
    requests: [],
    [Symbol.asyncDispose]: () => server.stop(true),
  };
  return clerk;
}

/** Half an answer, and then a reset. */
function lostAnswer(): Response {
  const body = new ReadableStream({
    async pull(controller) {
      controller.enqueue('{"');
      await Bun.sleep(1);
      // Without a reason, since Bun prints one.
      controller.error();
    },
  });
  return new Response(body, { headers: { "Content-Type": "application/json" } });
}
