// What Clerk's SDK says about the `data` of an event and its specification corrects, one reason each.
// Everything else is the SDK's own type, because handlers pass `data` on to functions that expect it.
// test/clerk/types.test.ts holds this list to the SDK, so that a correction goes when the SDK has caught up.

import type { DeletedObjectJSON, OrganizationDomainJSON } from "@clerk/backend";
import type { WebhookEvent } from "@clerk/backend/webhooks";

/**
 * The `data` of each event as `@clerk/backend` types it. Its `type` is a union for most events, so
 * `Extract<WebhookEvent, { type: "user.created" }>` would be `never`; this distributes.
 */
export type SdkPayloads = { [Event in WebhookEvent as Event["type"]]: Event["data"] };

/** The events whose `data` is not what the SDK says. */
export interface Corrections {
  // Missing from the SDK: a session that waits for a task, such as choosing an organization.
  "session.pending": SdkPayloads["session.created"];

  // Only what is left of the object is sent: `{ object, id, deleted: true }`.
  "role.deleted": DeletedObjectJSON;
  "permission.deleted": DeletedObjectJSON;

  "organizationDomain.created": OrganizationDomainPayload;
  "organizationDomain.updated": OrganizationDomainPayload;

  "paymentAttempt.created": PaymentAttemptPayload;
  "paymentAttempt.updated": PaymentAttemptPayload;

  "subscription.active": SubscriptionPayload;
  "subscription.created": SubscriptionPayload;
  "subscription.pastDue": SubscriptionPayload;
  "subscription.updated": SubscriptionPayload;

  "subscriptionItem.abandoned": SubscriptionItemPayload;
  "subscriptionItem.active": SubscriptionItemPayload;
  "subscriptionItem.canceled": SubscriptionItemPayload;
  "subscriptionItem.created": SubscriptionItemPayload;
  "subscriptionItem.ended": SubscriptionItemPayload;
  "subscriptionItem.freeTrialEnding": SubscriptionItemPayload;
  "subscriptionItem.incomplete": SubscriptionItemPayload;
  "subscriptionItem.pastDue": SubscriptionItemPayload;
  "subscriptionItem.upcoming": SubscriptionItemPayload;
  "subscriptionItem.updated": SubscriptionItemPayload;
}

type Replace<Sdk, Correct> = Omit<Sdk, keyof Correct> & Correct;

// The SDK has `expires_at` in the verification, where `expire_at` is sent, and knows three of the four modes.
export type OrganizationDomainPayload = Replace<
  OrganizationDomainJSON,
  {
    enrollment_mode: OrganizationDomainJSON["enrollment_mode"] | "enterprise_sso";
    verification: OrganizationDomainVerification | null;
  }
>;

export interface OrganizationDomainVerification {
  status: string;
  strategy: string;
  attempts: number | null;
  /** Milliseconds. */
  expire_at: number | null;
  /** Milliseconds. In the specification, and not in its examples. */
  verified_at?: number | null;
}

type SdkPaymentAttempt = SdkPayloads["paymentAttempt.created"];

// What has not happened is null; the SDK has it absent.
export type PaymentAttemptPayload = Replace<
  SdkPaymentAttempt,
  {
    paid_at: number | null;
    failed_at: number | null;
    failed_reason: NonNullable<SdkPaymentAttempt["failed_reason"]> | null;
  }
>;

// Null before the first payment and for what has not happened; the SDK has the former always and the latter absent.
export type SubscriptionPayload = Replace<
  SdkPayloads["subscription.created"],
  {
    active_at: number | null;
    canceled_at: number | null;
    ended_at: number | null;
    past_due_at: number | null;
    latest_payment_id: string | null;
    payment_source_id: string | null;
    items: SubscriptionItemPayload[];
  }
>;

type SdkSubscriptionItem = SdkPayloads["subscriptionItem.created"];
type SdkPlan = NonNullable<SdkSubscriptionItem["plan"]>;

// The SDK describes an older shape. What the specification no longer has may be absent, and its own is added.
export type SubscriptionItemPayload = Replace<
  Partial<SdkSubscriptionItem>,
  Pick<SdkSubscriptionItem, "object" | "id" | "status" | "period_start" | "period_end"> & {
    is_free_trial: boolean;
    created_at: number;
    updated_at: number;
    interval: string;
    plan_id: string | null;
    plan: SubscriptionPlan | null;
    /** Null where the item stands inside its subscription. */
    subscription_id: string | null;
    /** `quantity` is null for a plan without a limit of seats. */
    seats?: { quantity: number | null };
  }
>;

type SubscriptionPlan = Replace<
  Partial<SdkPlan>,
  Pick<SdkPlan, "id" | "slug" | "name" | "is_recurring" | "amount" | "currency">
>;
