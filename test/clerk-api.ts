// A local stand-in for Clerk's Backend API, on a real socket, for the real client. It serves maps that a test may change at
// any time, and can be slow, fail, drop connections and limit the rate. An unknown query parameter is rejected, never
// ignored, so that no test passes because of a filter that was not applied.

import type {
  OrganizationInvitationJSON,
  OrganizationJSON,
  OrganizationMembershipJSON,
  UserJSON,
} from "@clerk/backend";

import { type ApiObject, createTables, type Kind, type Tables } from "./clerk-api-objects.ts";
import { answer, json, Refusal } from "./clerk-api-routes.ts";
import { makers, type State } from "./clerk-api-state.ts";
import { Table } from "./clerk-api-table.ts";

export interface ClerkRequest {
  method: string;
  /** Includes `/v1`, without the query. */
  path: string;
  query: URLSearchParams;
}

export interface RecordedRequest extends ClerkRequest {
  /** When the request arrived, on the clock of `performance.now()`. */
  at: number;
  /** The status of the response; `pending` until it is sent. */
  status: number | "drop" | "pending";
}

export interface RateLimit {
  requests: number;
  perMs: number;
}

export interface ClerkApiOptions {
  secretKey?: string;
  rateLimit?: RateLimit;
  /** Organizations are disabled, as on a new instance. */
  withoutOrganizations?: boolean;
}

/** For `createClerkClient({ secretKey: clerk.secretKey, apiUrl: clerk.url })`. */
export interface ClerkApi extends AsyncDisposable, Readonly<Tables> {
  /** The `apiUrl` of the client. */
  url: string;
  secretKey: string;
  /** The instance that the key belongs to. */
  instanceId: string;

  /** Rows by id. A row that a test adds, deletes or changes is visible in the next response. */
  readonly users: Map<string, UserJSON>;
  readonly organizations: Map<string, OrganizationJSON>;
  readonly memberships: Map<string, OrganizationMembershipJSON>;
  readonly invitations: Map<string, OrganizationInvitationJSON>;

  addUser(overrides?: Partial<UserJSON>): UserJSON;
  addOrganization(overrides?: Partial<OrganizationJSON>): OrganizationJSON;
  /** Both must have been added. The membership embeds the organization as the same object. */
  addMembership(
    organizationId: string,
    userId: string,
    overrides?: Partial<OrganizationMembershipJSON>,
  ): OrganizationMembershipJSON;
  addInvitation(organizationId: string, overrides?: Partial<OrganizationInvitationJSON>): OrganizationInvitationJSON;
  /** Adds an object of another kind, made from the sample of its event. */
  add(kind: Kind, overrides?: { readonly [name: string]: unknown }): ApiObject;
  /** Adds the object of an event in the API's form. */
  put(kind: Kind, object: { readonly [name: string]: unknown }): ApiObject;
  /** Adds `count` users. */
  fill(count: number): UserJSON[];

  rateLimit: RateLimit | undefined;
  /** Milliseconds to wait before each response. */
  delay: number | ((request: ClerkRequest) => number);
  /** Called before each response is computed, so that a test can change rows between two pages. */
  before: ((request: ClerkRequest) => void | Promise<void>) | undefined;
  /**
   * The next `count` requests get this status, or lose their connection in the middle of the response: before it, Bun's
   * `fetch` would silently retry on a reused connection. Replaces the rest of an earlier call.
   */
  failNext(count: number, failure: number | "drop", headers?: Record<string, string>): void;
  /** The last 100,000 requests, oldest first. */
  requests: RecordedRequest[];
}

export async function startClerkApi(options: ClerkApiOptions = {}): Promise<ClerkApi> {
  const secretKey = options.secretKey ?? "sk_test_c3RhbmRpbi1mb3ItY2xlcms";
  const state: State = {
    users: new Table("user_id"),
    organizations: new Table("organization_id"),
    memberships: new Table("membership_id"),
    invitations: new Table("invitation_id"),
    ...createTables(),
  };
  let failing: { count: number; failure: number | "drop"; headers: Record<string, string> } | undefined;
  let window = { from: -Infinity, count: 0 };

  /** Milliseconds until the rate limit allows another request, or undefined when it is not reached. */
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
      return truncatedResponse();
    }
    try {
      if (failed)
        throw new Refusal(failed.failure, "internal_clerk_error", "Failure requested by the test.", {}, failed.headers);
      if (waitMs !== undefined) {
        const headers = { "Retry-After": String(Math.max(1, Math.ceil(waitMs / 1_000))) };
        throw new Refusal(429, "too_many_requests", "Too many requests. Please try again later.", {}, headers);
      }
      if (authorization !== `Bearer ${secretKey}`) {
        throw new Refusal(401, "clerk_key_invalid", "The provided Clerk Secret Key is invalid.");
      }
      return json(200, answer(state, request, { ...options, instanceId: clerk.instanceId }));
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
    instanceId: "ins_2n0aPc4yXQ8mJt6KfVbD1eRwS9u",
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

/** Sends half a response and then resets the connection. */
function truncatedResponse(): Response {
  const body = new ReadableStream({
    async pull(controller) {
      controller.enqueue('{"');
      await Bun.sleep(1);
      // Without a reason, because Bun would print it.
      controller.error();
    },
  });
  return new Response(body, { headers: { "Content-Type": "application/json" } });
}
