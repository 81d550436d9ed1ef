// Subscriptions, their items, and attempts to pay for them. Money is in cents.

import type { ClerkEvents } from "../events.ts";
import { person } from "./people.ts";
import { DAY, type Source, type Stamps } from "./source.ts";

type ItemStatus = "abandoned" | "active" | "canceled" | "ended" | "incomplete" | "past_due" | "upcoming";

const MONTH = 30 * DAY;

export function subscription(source: Source, stamps: Stamps, status: "active" | "past_due") {
  const payer = payerOf(source, stamps);
  return {
    object: "commerce_subscription" as const,
    id: source.id("csub"),
    status,
    active_at: stamps.created_at,
    canceled_at: null,
    ended_at: null,
    past_due_at: status === "past_due" ? stamps.updated_at : null,
    latest_payment_id: source.id("cpa"),
    payer_id: payer.id,
    payer,
    payment_source_id: source.id("cps"),
    // Inside its subscription an item does not name it again.
    items: [{ ...item(source, stamps, status), subscription_id: null }],
    ...stamps,
  };
}

export function subscriptionItem(source: Source, stamps: Stamps, status: ItemStatus) {
  return { ...item(source, stamps, status), payer: payerOf(source, stamps), subscription_id: source.id("csub") };
}

/** Clerk tells three days before a free trial ends. */
export function endingFreeTrial(source: Source) {
  const stamps = { created_at: source.now - 11 * DAY, updated_at: source.now };
  return { ...subscriptionItem(source, stamps, "active"), is_free_trial: true, period_end: source.now + 3 * DAY };
}

export function paymentAttempt(source: Source, stamps: Stamps, status: "pending" | "paid" | "failed") {
  const net = source.pick([900, 1900, 4900]);
  const tax = Math.round(net * 0.2);
  const made = {
    object: "commerce_payment_attempt" as const,
    id: source.id("pa"),
    instance_id: source.id("ins"),
    payment_id: source.id("cpa"),
    invoice_id: source.id("inv"),
    statement_id: source.id("stmt"),
    gateway_external_id: `pi_${source.base62(24)}`,
    status,
    paid_at: status === "paid" ? stamps.updated_at : null,
    failed_at: status === "failed" ? stamps.updated_at : null,
    failed_reason: status === "failed" ? { code: "card_declined", decline_code: "insufficient_funds" } : null,
    billing_date: stamps.created_at,
    charge_type: source.pick(["checkout", "recurring"]),
    payee: {
      id: source.id("cpayee"),
      gateway_type: "stripe",
      gateway_external_id: `acct_${source.base62(16)}`,
      gateway_status: "active",
    },
    payer: payerOf(source, stamps),
    totals: { subtotal: money(net), tax_total: money(tax), grand_total: money(net + tax) },
    payment_source: {
      id: source.id("cps"),
      gateway: "stripe",
      gateway_external_id: `pm_${source.base62(24)}`,
      gateway_external_account_id: null,
      payment_method: "card",
      status: "active",
      card_type: source.pick(["visa", "mastercard"]),
      last4: source.digits(4),
    },
    subscription_items: [{ ...item(source, stamps, "active"), amount: money(net) }],
    ...stamps,
  };
  // The SDK's type has items in an older shape and no null for a payment source's account; the specification has these.
  return made as unknown as ClerkEvents["paymentAttempt.created"];
}

function item(source: Source, stamps: Stamps, status: ItemStatus) {
  const planId = source.id("cplan");
  const start = status === "upcoming" ? stamps.updated_at : stamps.created_at;
  return {
    object: "commerce_subscription_item" as const,
    id: source.id("csub_item"),
    status,
    is_free_trial: false,
    period_start: start,
    period_end: start + MONTH,
    interval: "month",
    plan_id: planId,
    plan: {
      id: planId,
      ...source.pick([
        { slug: "hobby", name: "Hobby", amount: 900 },
        { slug: "team", name: "Équipe", amount: 4900 },
      ]),
      is_recurring: true,
      currency: "USD",
    },
    ...stamps,
  };
}

/** A person pays, or an organization does; what does not apply is an empty string. */
function payerOf(source: Source, stamps: Stamps) {
  const { first_name, last_name, email } = person(source);
  const paid = source.chance(0.5)
    ? { user_id: source.id("user"), first_name, last_name, organization_id: "", organization_name: "" }
    : {
        user_id: "",
        first_name: "",
        last_name: "",
        organization_id: source.id("org"),
        organization_name: "Café Zürich",
      };
  return {
    object: "commerce_payer" as const,
    id: source.id("cpayer"),
    instance_id: source.id("ins"),
    ...paid,
    email,
    image_url: source.image(),
    ...stamps,
  };
}

function money(cents: number) {
  return {
    amount: cents,
    amount_formatted: `$${(cents / 100).toFixed(2)}`,
    currency: "USD",
    currency_symbol: "$",
  };
}
