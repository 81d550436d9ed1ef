// `clerk_subscription_items`: the plans of each subscription, also past and upcoming ones.

import { newestFirst } from "./lists.ts";
import { payerColumns } from "./payer.ts";
import { boolean, type ClerkObject, integer, type Table, text, time } from "./table.ts";

export const subscriptionItems: Table = {
  name: "subscription_items",
  kind: "subscriptionItem",
  columns: {
    // Only events have it.
    subscription_id: text(({ subscription_id }) => subscription_id, { index: true }),
    status: text(({ status }) => status, { index: true }),
    ...payerColumns,
    plan_id: text(({ plan_id }) => plan_id, { index: true }),
    plan_slug: text(({ plan }) => plan && (plan as ClerkObject)["slug"]),
    // `interval` in events, `plan_period` in the API.
    period: text(({ interval, plan_period }) => interval ?? plan_period),
    is_free_trial: boolean(({ is_free_trial }) => is_free_trial),
    seat_count: integer(({ seats }) => seats && (seats as ClerkObject)["quantity"]),
    period_start: time(({ period_start }) => period_start),
    period_end: time(({ period_end }) => period_end),
    created_at: time(({ created_at }) => created_at, { index: true }),
    updated_at: time(({ updated_at }) => updated_at),
  },
  eventsHaveMore: true,
  source: newestFirst("/billing/subscription_items", { include_free: true }),
};
