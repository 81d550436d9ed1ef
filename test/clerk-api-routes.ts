// The routes of the stand-in for Clerk's Backend API: filters, pagination and errors in Clerk's JSON formats.

import type { OrganizationJSON, OrganizationMembershipJSON, UserJSON } from "@clerk/backend";

import type { ApiObject } from "./clerk-api-objects.ts";
import type { State } from "./clerk-api-state.ts";
import type { Table } from "./clerk-api-table.ts";

/** Turns the values of a query parameter into a predicate on rows. */
type Filters<Row> = Record<string, (values: string[]) => (row: Row) => boolean>;

const userFilters: Filters<UserJSON> = {
  user_id: oneOf((user) => user.id),
  created_at_after: ([at]) => {
    const after = parseInteger("created_at_after", at, 0);
    return (user) => user.created_at > after;
  },
  created_at_before: ([at]) => {
    const before = parseInteger("created_at_before", at, 0);
    return (user) => user.created_at < before;
  },
};

/** The response body of a request; throws a `Refusal`. */
export function answer(
  state: State,
  { method, path, query }: { method: string; path: string; query: URLSearchParams },
  { withoutOrganizations = false, instanceId }: { withoutOrganizations?: boolean | undefined; instanceId: string },
): unknown {
  const { users, organizations, memberships, invitations } = state;
  const [version, collection, id, child, childId, ...rest] = path.split("/").slice(1).map(decodeURIComponent);
  if (method !== "GET" || version !== "v1" || rest.length > 0) throw notFound(`${method} ${path}`);
  if (collection === "instance" && !id)
    return { object: "instance", id: instanceId, environment_type: "development", allowed_origins: null };
  if (child === "billing" && childId === "subscription") return subscriptionOf(state, collection, id!);
  if (collection === "billing") return answerBilling(state, [id, child, childId], query);
  if (collection === "sessions" || collection === "waitlist_entries") return answerList(state, collection, id, query);
  if (collection === "users" && !child) {
    if (!id) return page(users, query, { orders: ["created_at", "updated_at"], filters: userFilters }).data;
    if (id !== "count") return users.get(id) ?? refuse(notFound(id));
    return { object: "total_count", total_count: rows(users, "created_at", query, userFilters).length };
  }
  if (withoutOrganizations && collection?.startsWith("organization"))
    throw new Refusal(403, "organization_not_enabled_in_instance", "Organizations are not enabled on this instance.");
  if (collection !== undefined && collection in lists) return answerList(state, collection as List, id, query);
  if (collection === "organization_memberships" && !id) return page(memberships, query, { orders: ["created_at"] });
  if (collection !== "organizations") throw notFound(path);
  if (!id) {
    const found = page(organizations, query, {
      orders: ["created_at", "name"],
      filters: { organization_id: oneOf((organization) => organization.id) },
      otherParameters: ["include_members_count"],
    });
    return { ...found, data: withCounts(found.data, memberships, query) };
  }
  const organization = organizations.get(id) ?? organizations.values().find(({ slug }) => slug === id);
  if (!organization) throw notFound(id);
  if (!child) return withCounts([organization], memberships, query)[0];
  if (child === "memberships" && !childId) {
    return page(memberships, query, {
      orders: ["created_at"],
      filters: { user_id: oneOf((membership) => membership.public_user_data.user_id) },
      where: (membership) => membership.organization.id === organization.id,
    });
  }
  if (child !== "invitations") throw notFound(path);
  if (!childId) {
    return page(invitations, query, {
      filters: { status: oneOf((invitation) => invitation.status ?? "pending") },
      where: (invitation) => invitation.organization_id === organization.id,
    });
  }
  const invitation = invitations.get(childId);
  return invitation?.organization_id === organization.id ? invitation : refuse(notFound(childId));
}

/** The lists that have no routes below their objects. */
const lists = {
  organization_domains: (state: State) => state.domains,
  organization_roles: (state: State) => state.roles,
  organization_permissions: (state: State) => state.permissions,
  waitlist_entries: (state: State) => state.waitlistEntries,
  sessions: (state: State) => state.sessions,
};
type List = keyof typeof lists;
// Clerk has no route for one domain or one entry.
const WITHOUT_ROUTE: string[] = ["organization_domains", "waitlist_entries"] satisfies List[];

function answerList(state: State, name: List, id: string | undefined, query: URLSearchParams): unknown {
  const table = lists[name](state);
  if (id) return (WITHOUT_ROUTE.includes(name) ? undefined : table.get(id)) ?? refuse(notFound(id));
  const field = (key: string) => oneOf<ApiObject>((row) => String(row[key]));
  if (name === "sessions") {
    if (!query.has("user_id") && !query.has("client_id")) throw badParameter("user_id", "is required", "missing");
    const filters = { user_id: field("user_id"), client_id: field("client_id"), status: field("status") };
    return paginated(query, page(table, query, { filters, otherParameters: ["paginated"] }));
  }
  const orders = ["created_at", name === "waitlist_entries" ? "email_address" : "name"];
  const filters: Filters<ApiObject> =
    name === "organization_domains"
      ? { organization_id: field("organization_id"), domains: field("name") }
      : {
          query:
            ([text]) =>
            (row) =>
              row.id === text || row["key"] === text || row["email_address"] === text,
        };
  return page(table, query, { orders, filters });
}

function answerBilling(state: State, [list, id, child]: (string | undefined)[], query: URLSearchParams): unknown {
  if (list === "subscription_items" && !id) {
    const free = query.get("include_free") === "true";
    const isPaid = ({ plan }: ApiObject) => (plan as { amount?: number } | null)?.amount !== 0;
    const otherParameters = ["paginated", "include_free"];
    const where = (item: ApiObject) => free || isPaid(item);
    return paginated(query, page(state.subscriptionItems, query, { otherParameters, where }));
  }
  if (list !== "statements") throw notFound(`billing/${list}`);
  if (!id) {
    const { data, total_count } = page(state.statements, query, { otherParameters: ["paginated"] });
    // A statement has a `timestamp`, and no `created_at`.
    const statements = data.map(({ id, created_at }) => ({ object: "commerce_statement", id, timestamp: created_at }));
    return paginated(query, { data: statements, total_count });
  }
  if (child !== "payment_attempts" || !state.statements.has(id)) throw notFound(id);
  const where = (attempt: ApiObject) => attempt["statement_id"] === id;
  return paginated(query, page(state.paymentAttempts, query, { otherParameters: ["paginated"], where }));
}

function subscriptionOf({ subscriptions }: State, collection: string | undefined, id: string): unknown {
  const name = collection === "users" ? "user_id" : "organization_id";
  const found = subscriptions.values().find((subscription) => subscription[name] === id);
  if (!found) throw notFound(id);
  const { user_id: _, organization_id: __, ...subscription } = found;
  return subscription;
}

/** Clerk answers these lists with an array, unless the request asks for pages. */
function paginated(query: URLSearchParams, found: { data: unknown[]; total_count: number }): unknown {
  return query.get("paginated") === "true" ? found : found.data;
}

interface PageOptions<Row> {
  /** The properties that `order_by` accepts. */
  orders?: (keyof Row & string)[];
  filters?: Filters<Row>;
  /** Other parameters that the route accepts. */
  otherParameters?: string[];
  where?: (row: Row) => boolean;
}

function page<Row extends { id: string; created_at: number }>(
  table: Table<Row>,
  query: URLSearchParams,
  { orders = [], filters = {}, otherParameters = [], where }: PageOptions<Row>,
): { data: Row[]; total_count: number } {
  const limit = parseInteger("limit", query.get("limit") ?? "10", 1, 500);
  const offset = parseInteger("offset", query.get("offset") ?? "0", 0);
  const order = query.get("order_by") ?? "-created_at";
  const key = ["created_at" as const, ...orders].find((name) => name === order.replace(/^[+-]/, ""));
  if (!key) throw badParameter("order_by", `${order} is not one of ${orders.join(", ")}`);
  const known = ["limit", "offset", ...(orders.length > 0 ? ["order_by"] : []), ...otherParameters];
  const found = rows(table, key, query, filters, known, where);
  const end = found.length - offset;
  const data = order.startsWith("-")
    ? found.slice(Math.max(0, end - limit), Math.max(0, end)).toReversed()
    : found.slice(offset, offset + limit);
  return { data, total_count: found.length };
}

/** The rows that match a query, ascending. */
function rows<Row extends { id: string }>(
  table: Table<Row>,
  key: keyof Row & string,
  query: URLSearchParams,
  filters: Filters<Row>,
  known: string[] = [],
  where?: (row: Row) => boolean,
): readonly Row[] {
  const predicates = where ? [where] : [];
  for (const name of new Set(query.keys())) {
    if (known.includes(name)) continue;
    const filter = filters[name] ?? refuse(badParameter(name, "is not a valid parameter for this request", "unknown"));
    const values = query.getAll(name);
    if (values.length > 100) throw badParameter(name, "must have at most 100 values");
    predicates.push(filter(values));
  }
  const sorted = table.sortedBy(key, query.getAll(table.idParameter));
  return predicates.length > 0 ? sorted.filter((row) => predicates.every((matches) => matches(row))) : sorted;
}

function oneOf<Row>(value: (row: Row) => string) {
  return (values: string[]) => {
    const wanted = new Set(values);
    return (row: Row) => wanted.has(value(row));
  };
}

function withCounts(
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

function parseInteger(name: string, text: string | undefined, min: number, max = Number.MAX_SAFE_INTEGER): number {
  const value = Number(text);
  if (text && /^\d+$/.test(text) && value >= min && value <= max) return value;
  throw badParameter(name, `must be a whole number from ${min} to ${max}`);
}

export class Refusal extends Error {
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

/** Clerk's client parses only exactly `application/json`; `Response.json` would add a charset. */
export function json(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers: { ...headers, "Content-Type": "application/json" } });
}
