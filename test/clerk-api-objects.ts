// Objects of Clerk's Backend API beyond users and organizations, in the API's form, made from events. Billing differs
// between the two: the API has no `items`, `interval` or `billing_date`, events have no `plan_period` or `fee`.

import { type KnownEventName } from "../src/clerk/events.ts";
import { sample } from "../src/clerk/samples.ts";
import { Table } from "./clerk-api-table.ts";

export interface ApiObject {
  id: string;
  created_at: number;
  updated_at: number;
  [name: string]: unknown;
}

/** An object in an event's form. */
type EventObject = { readonly [name: string]: any };

export function createTables() {
  return {
    domains: new Table<ApiObject>("domain_id"),
    roles: new Table<ApiObject>("role_id"),
    permissions: new Table<ApiObject>("permission_id"),
    waitlistEntries: new Table<ApiObject>("entry_id"),
    sessions: new Table<ApiObject>("session_id"),
    subscriptions: new Table<ApiObject>("subscription_id"),
    subscriptionItems: new Table<ApiObject>("subscription_item_id"),
    statements: new Table<ApiObject>("statement_id"),
    paymentAttempts: new Table<ApiObject>("payment_attempt_id"),
  };
}

export type Tables = ReturnType<typeof createTables>;
export type Kind = Exclude<keyof Tables, "statements">;

const EVENTS: Record<Kind, KnownEventName> = {
  domains: "organizationDomain.created",
  roles: "role.created",
  permissions: "permission.created",
  waitlistEntries: "waitlistEntry.created",
  sessions: "session.created",
  subscriptions: "subscription.created",
  subscriptionItems: "subscriptionItem.created",
  paymentAttempts: "paymentAttempt.created",
};

export function makers(tables: Tables, { random, stamps }: { random: () => number; stamps: () => object }) {
  return {
    /** Adds an object made from the sample of its event, in the API's form. */
    add(kind: Kind, overrides: EventObject = {}): ApiObject {
      return put(tables, kind, { ...sample(EVENTS[kind], { random }).data, ...stamps(), ...overrides });
    },
    /** Adds the object of an event in the API's form. */
    put: (kind: Kind, object: EventObject) => put(tables, kind, object),
  };
}

function put(tables: Tables, kind: Kind, object: EventObject): ApiObject {
  const made = (forms[kind]?.(object) ?? object) as ApiObject;
  tables[kind].set(made.id, made);
  const { created_at, updated_at } = made;
  if (kind === "paymentAttempts") {
    const id = made["statement_id"] as string;
    tables.statements.set(id, { object: "commerce_statement", id, created_at, updated_at });
  }
  return made;
}

/** The API's form of an event's object, where they differ. */
const forms: Partial<Record<Kind, (object: EventObject) => EventObject>> = {
  sessions: ({ user: _, ...session }) => session,
  subscriptions({ items, payer, canceled_at: _, ended_at: __, latest_payment_id: ___, payment_source_id, ...rest }) {
    // The stand-in finds subscriptions by their payer, and does not send it.
    const subscription_items = items.map((item: EventObject) => itemOf({ ...item, payer }));
    return { ...rest, instance_id: "ins_1", subscription_items, ...payerOf(payer) };
  },
  subscriptionItems: itemOf,
  paymentAttempts({ billing_date: _, failed_reason: __, payment_source, payer, subscription_items: ___, ...rest }) {
    return {
      ...rest,
      amount: rest["totals"].grand_total,
      payment_method_id: payment_source.id,
      payment_method: payment_source,
      payer_id: payer.id,
      payer: { ...payer, ...payerOf(payer) },
    };
  },
};

function itemOf({ interval, plan, payer, subscription_id: _, ...rest }: EventObject): EventObject {
  return {
    ...rest,
    instance_id: "ins_1",
    plan_period: interval,
    canceled_at: null,
    past_due_at: null,
    ended_at: null,
    payer_id: payer.id,
    payer: { ...payer, ...payerOf(payer) },
    plan: plan && { ...plan, object: "commerce_plan", fee: { amount: plan.amount, currency: plan.currency } },
  };
}

function payerOf({ user_id, organization_id }: EventObject) {
  return { user_id: user_id || null, organization_id: organization_id || null };
}
