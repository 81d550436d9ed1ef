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

import * as samples from "../src/clerk/samples/organizations.ts";
import { createSource, type Source } from "../src/clerk/samples/source.ts";
import { user as sampleUser } from "../src/clerk/samples/users.ts";
import { seeded } from "./random.ts";

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
      return json(200, answer(state, request));
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

interface State {
  users: Table<UserJSON>;
  organizations: Table<OrganizationJSON>;
  memberships: Table<OrganizationMembershipJSON>;
  invitations: Table<OrganizationInvitationJSON>;
}

/** Rows by id, and in an order that is kept until they change. */
class Table<Row extends { id: string }> extends Map<string, Row> {
  readonly #orders = new Map<string, readonly Row[]>();

  /** `idParameter` is what a query calls the id of a row. */
  constructor(readonly idParameter: string) {
    super();
  }

  override set(id: string, row: Row): this {
    this.#orders.clear();
    return super.set(id, row);
  }

  override delete(id: string): boolean {
    this.#orders.clear();
    return super.delete(id);
  }

  override clear(): void {
    this.#orders.clear();
    super.clear();
  }

  /** All, or those with these ids, ascending; equal ones in the order in which they were put in. */
  sortedBy(key: keyof Row & string, ids: string[] = []): readonly Row[] {
    const compare = (a: Row, b: Row) => (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0);
    if (ids.length > 0) return [...new Set(ids)].flatMap((id) => this.get(id) ?? []).toSorted(compare);
    const known = this.#orders.get(key);
    // A test may have changed a row in place.
    if (known?.every((row, i) => i === 0 || known[i - 1]![key] <= row[key])) return known;
    const sorted = [...this.values()].toSorted(compare);
    this.#orders.set(key, sorted);
    return sorted;
  }
}

/** What a parameter's values ask of a row. */
type Filters<Row> = Record<string, (values: string[]) => (row: Row) => boolean>;

const userFilters: Filters<UserJSON> = {
  user_id: oneOf((user) => user.id),
  created_at_after: ([at]) => {
    const after = whole("created_at_after", at, 0);
    return (user) => user.created_at > after;
  },
  created_at_before: ([at]) => {
    const before = whole("created_at_before", at, 0);
    return (user) => user.created_at < before;
  },
};

/** The body of the answer to a request; throws a `Refusal`. */
function answer(
  { users, organizations, memberships, invitations }: State,
  { method, path, query }: ClerkRequest,
): unknown {
  const [version, collection, id, below, belowId, ...more] = path.split("/").slice(1).map(decodeURIComponent);
  if (method !== "GET" || version !== "v1" || more.length > 0) throw notFound(`${method} ${path}`);
  if (collection === "users" && !below) {
    if (!id) return page(users, query, { orders: ["created_at", "updated_at"], filters: userFilters }).data;
    if (id !== "count") return users.get(id) ?? refuse(notFound(id));
    return { object: "total_count", total_count: rows(users, "created_at", query, userFilters).length };
  }
  if (collection === "organization_memberships" && !id) return page(memberships, query, { orders: ["created_at"] });
  if (collection !== "organizations") throw notFound(path);
  if (!id) {
    const found = page(organizations, query, {
      orders: ["created_at", "name"],
      filters: { organization_id: oneOf((organization) => organization.id) },
      others: ["include_members_count"],
    });
    return { ...found, data: counted(found.data, memberships, query) };
  }
  const organization = organizations.get(id) ?? organizations.values().find(({ slug }) => slug === id);
  if (!organization) throw notFound(id);
  if (!below) return counted([organization], memberships, query)[0];
  if (below === "memberships" && !belowId) {
    return page(memberships, query, {
      orders: ["created_at"],
      filters: { user_id: oneOf((membership) => membership.public_user_data.user_id) },
      where: (membership) => membership.organization.id === organization.id,
    });
  }
  if (below !== "invitations") throw notFound(path);
  if (!belowId) {
    return page(invitations, query, {
      filters: { status: oneOf((invitation) => invitation.status ?? "pending") },
      where: (invitation) => invitation.organization_id === organization.id,
    });
  }
  const invitation = invitations.get(belowId);
  return invitation?.organization_id === organization.id ? invitation : refuse(notFound(belowId));
}

interface PageOptions<Row> {
  /** What `order_by` may name. */
  orders?: (keyof Row & string)[];
  filters?: Filters<Row>;
  /** Further parameters that are known. */
  others?: string[];
  where?: (row: Row) => boolean;
}

function page<Row extends { id: string; created_at: number }>(
  table: Table<Row>,
  query: URLSearchParams,
  { orders = [], filters = {}, others = [], where }: PageOptions<Row>,
): { data: Row[]; total_count: number } {
  const limit = whole("limit", query.get("limit") ?? "10", 1, 500);
  const offset = whole("offset", query.get("offset") ?? "0", 0);
  const order = query.get("order_by") ?? "-created_at";
  const key = ["created_at" as const, ...orders].find((name) => name === order.replace(/^[+-]/, ""));
  if (!key) throw badParameter("order_by", `${order} is not one of ${orders.join(", ")}`);
  const known = ["limit", "offset", ...(orders.length > 0 ? ["order_by"] : []), ...others];
  const found = rows(table, key, query, filters, known, where);
  const end = found.length - offset;
  const data = order.startsWith("-")
    ? found.slice(Math.max(0, end - limit), Math.max(0, end)).toReversed()
    : found.slice(offset, offset + limit);
  return { data, total_count: found.length };
}

/** The rows that a query asks for, ascending. */
function rows<Row extends { id: string }>(
  table: Table<Row>,
  key: keyof Row & string,
  query: URLSearchParams,
  filters: Filters<Row>,
  known: string[] = [],
  where?: (row: Row) => boolean,
): readonly Row[] {
  const tests = where ? [where] : [];
  for (const name of new Set(query.keys())) {
    if (known.includes(name)) continue;
    const filter = filters[name] ?? refuse(badParameter(name, "is not a valid parameter for this request", "unknown"));
    const values = query.getAll(name);
    if (values.length > 100) throw badParameter(name, "must have at most 100 values");
    tests.push(filter(values));
  }
  const sorted = table.sortedBy(key, query.getAll(table.idParameter));
  return tests.length > 0 ? sorted.filter((row) => tests.every((test) => test(row))) : sorted;
}

function oneOf<Row>(value: (row: Row) => string) {
  return (values: string[]) => {
    const wanted = new Set(values);
    return (row: Row) => wanted.has(value(row));
  };
}

function counted(
  organizations: OrganizationJSON[],
  memberships: Table<OrganizationMembershipJSON>,
  query: URLSearchParams,
): OrganizationJSON[] {
  if (query.get("include_members_count") !== "true") return organizations;
  const counts = Map.groupBy(memberships.values(), ({ organization }) => organization.id);
  return organizations.map((organization) => ({
    ...organization,
    members_count: counts.get(organization.id)?.length ?? 0,
  }));
}

function whole(name: string, text: string | undefined, least: number, most = Number.MAX_SAFE_INTEGER): number {
  const value = Number(text);
  if (text && /^\d+$/.test(text) && value >= least && value <= most) return value;
  throw badParameter(name, `must be a whole number from ${least} to ${most}`);
}

class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly meta: object = {},
    readonly headers: Record<string, string> = {},
  ) {
    super(message);
  }

  response(): Response {
    const { status, message, code, meta, headers } = this;
    const errors = [{ message, long_message: message, code, meta }];
    return json(status, { errors, clerk_trace_id: crypto.randomUUID().replaceAll("-", "") }, headers);
  }
}

function refuse(refusal: Refusal): never {
  throw refusal;
}

function notFound(what: string): Refusal {
  return new Refusal(404, "resource_not_found", `Nothing was found for ${what}.`);
}

function badParameter(name: string, problem: string, code = "value_invalid"): Refusal {
  return new Refusal(422, `form_param_${code}`, `${name} ${problem}.`, { param_name: name });
}

/** The client reads JSON only where the type is exactly this; `Response.json` adds a charset. */
function json(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers: { ...headers, "Content-Type": "application/json" } });
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

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

function makers({ users, organizations, memberships, invitations }: State) {
  const random = seeded(1);
  let now = Date.UTC(2026, 0, 1);
  let made = 0;
  const source = createSource(now, random);
  const template = plainUser(source);
  const stamps = (created_at = ++now, updated_at = created_at) => ({ created_at, updated_at });
  const id = (prefix: string) => {
    let text = `${prefix}_`;
    for (let i = 0; i < 27; i++) text += BASE62[Math.floor(random() * 62)];
    return text;
  };
  const put = <Row extends { id: string }>(table: Table<Row>, row: Row): Row => {
    table.set(row.id, row);
    return row;
  };
  const there = <Row extends { id: string }>(table: Table<Row>, id: string): Row => {
    const row = table.get(id);
    if (!row) throw new Error(`${id} is not there: add it first`);
    return row;
  };

  /** Each has one address of its own; some of the samples have none, and making one takes too long for 100,000. */
  function addUser(overrides: Partial<UserJSON> = {}): UserJSON {
    const times = stamps(overrides.created_at, overrides.updated_at);
    const email = { ...template.email_addresses[0]!, id: id("idn"), email_address: `user${++made}@example.com` };
    return put(users, {
      ...template,
      id: id("user"),
      last_name: `${template.last_name} ${made}`,
      primary_email_address_id: email.id,
      email_addresses: [email],
      public_metadata: {},
      private_metadata: {},
      unsafe_metadata: {},
      ...times,
      ...overrides,
    });
  }

  return {
    addUser,
    fill: (count: number) => Array.from({ length: count }, () => addUser()),
    addOrganization(overrides: Partial<OrganizationJSON> = {}): OrganizationJSON {
      // Counts are told only to those who ask.
      const {
        members_count: _,
        pending_invitations_count: __,
        ...made
      } = samples.organization(source, stamps(overrides.created_at, overrides.updated_at));
      return put(organizations, { ...made, ...overrides });
    },
    addMembership(organizationId: string, userId: string, overrides: Partial<OrganizationMembershipJSON> = {}) {
      const organization = there(organizations, organizationId);
      const user = there(users, userId);
      const made = samples.membership(source, stamps(overrides.created_at, overrides.updated_at));
      const { first_name, last_name, image_url, has_image } = user;
      const identifier = user.email_addresses[0]?.email_address ?? user.username ?? user.id;
      const public_user_data = { user_id: userId, identifier, first_name, last_name, image_url, has_image };
      return put<OrganizationMembershipJSON>(memberships, { ...made, organization, public_user_data, ...overrides });
    },
    addInvitation(organizationId: string, overrides: Partial<OrganizationInvitationJSON> = {}) {
      const { id, name, slug, image_url, has_image } = there(organizations, organizationId);
      const times = stamps(overrides.created_at, overrides.updated_at);
      return put<OrganizationInvitationJSON>(invitations, {
        ...samples.invitation(source, times, "pending"),
        organization_id: id,
        public_organization_data: { object: "organization", id, name, slug, image_url: image_url ?? "", has_image },
        ...overrides,
      });
    },
  };
}

/** One who signs in by email address, and in no other way. */
function plainUser(source: Source): UserJSON {
  while (true) {
    const user = sampleUser(source, source.createdNow());
    const others = [...user.external_accounts, ...user.phone_numbers, ...user.web3_wallets];
    if (user.email_addresses.length === 1 && others.length === 0) return user;
  }
}
