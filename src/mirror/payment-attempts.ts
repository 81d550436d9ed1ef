// `clerk_payment_attempts`: each attempt to charge a payer. Clerk's API lists them by statement.

import { newestFirst, pageOf } from "./lists.ts";
import { payerColumns } from "./payer.ts";
import { type ClerkObject, integer, json, type Table, text, time } from "./table.ts";

export const paymentAttempts: Table = {
  name: "payment_attempts",
  kind: "paymentAttempt",
  columns: {
    status: text(({ status }) => status, { index: true }),
    ...payerColumns,
    payment_id: text(({ payment_id }) => payment_id),
    statement_id: text(({ statement_id }) => statement_id, { index: true }),
    charge_type: text(({ charge_type }) => charge_type),
    /** In the smallest unit of the currency: cents. */
    amount: integer((attempt) => totalOf(attempt)?.["amount"]),
    currency: text((attempt) => totalOf(attempt)?.["currency"]),
    gateway_external_id: text(({ gateway_external_id }) => gateway_external_id),
    paid_at: time(({ paid_at }) => paid_at),
    failed_at: time(({ failed_at }) => failed_at),
    // Only events have these two.
    failed_reason: json(({ failed_reason }) => failed_reason),
    billing_date: time(({ billing_date }) => billing_date),
    created_at: time(({ created_at }) => created_at, { index: true }),
    updated_at: time(({ updated_at }) => updated_at),
  },
  eventsHaveMore: true,
  source: {
    parents: [{ column: "statement_id", ...newestFirst("/billing/statements") }],
    listOf: (get, { id }, span) =>
      pageOf(get, `/billing/statements/${id as string}/payment_attempts`, { ...span, paginated: true }),
  },
};

/** Events have it in `totals`, the API also in `amount`. */
function totalOf({ totals, amount }: ClerkObject): ClerkObject | undefined {
  const total = (totals as ClerkObject | null | undefined)?.["grand_total"];
  return (total ?? amount) as ClerkObject | undefined;
}
