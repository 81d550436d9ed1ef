// `clerk_subscriptions`: one for each user or organization that has a plan. Clerk's API has no list of them, only the
// one of each user and organization.

import type { Get } from "../clerk/requests.ts";
import { ofOrganizations } from "./organizations.ts";
import { payerColumns } from "./payer.ts";
import { type ClerkObject, type Page, type Table, text, time } from "./table.ts";
import { ofUsers } from "./users.ts";

export const subscriptions: Table = {
  name: "subscriptions",
  kind: "subscription",
  columns: {
    status: text(({ status }) => status, { index: true }),
    ...payerColumns,
    active_at: time(({ active_at }) => active_at),
    past_due_at: time(({ past_due_at }) => past_due_at),
    // Only events have these four.
    canceled_at: time(({ canceled_at }) => canceled_at),
    ended_at: time(({ ended_at }) => ended_at),
    latest_payment_id: text(({ latest_payment_id }) => latest_payment_id),
    payment_source_id: text(({ payment_source_id }) => payment_source_id),
    created_at: time(({ created_at }) => created_at, { index: true }),
    updated_at: time(({ updated_at }) => updated_at),
  },
  eventsHaveMore: true,
  source: { parents: [ofUsers, ofOrganizations], listOf: subscriptionOf },
};

/** The API's subscription has no payer, so it gets the user or the organization that was asked for. */
async function subscriptionOf(get: Get, { id, object }: ClerkObject): Promise<Page> {
  const [path, name] = object === "organization" ? ["organizations", "organization_id"] : ["users", "user_id"];
  const found = (await get(`/${path}/${id as string}/billing/subscription`)) as ClerkObject;
  const payer = { id: found["payer_id"], user_id: null, organization_id: null, [name]: id };
  return { objects: [{ payer, ...found }], total: 1 };
}
