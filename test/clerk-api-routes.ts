// The routes of the stand-in for Clerk's Backend API: filters, pagination and errors in Clerk's JSON formats.

import type { OrganizationJSON, OrganizationMembershipJSON, UserJSON } from "@clerk/backend";

import type { State, Table } from "./clerk-api-state.ts";

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
  { users, organizations, memberships, invitations }: State,
  { method, path, query }: { method: string; path: string; query: URLSearchParams },
  { withoutOrganizations = false, instanceId }: { withoutOrganizations?: boolean | undefined; instanceId: string },
): unknown {
  const [version, collection, id, child, childId, ...rest] = path.split("/").slice(1).map(decodeURIComponent);
  if (method !== "GET" || version !== "v1" || rest.length > 0) throw notFound(`${method} ${path}`);
  if (collection === "instance" && !id)
    return { object: "instance", id: instanceId, environment_type: "development", allowed_origins: null };
  if (collection === "users" && !child) {
    if (!id) return page(users, query, { orders: ["created_at", "updated_at"], filters: userFilters }).data;
    if (id !== "count") return users.get(id) ?? refuse(notFound(id));
    return { object: "total_count", total_count: rows(users, "created_at", query, userFilters).length };
  }
  if (withoutOrganizations && collection?.startsWith("organization"))
    throw new Refusal(403, "organization_not_enabled_in_instance", "Organizations are not enabled on this instance.");
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
