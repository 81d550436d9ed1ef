// Corrects the SDK's types for `data` where Clerk's specification differs, with the reason beside each correction.
// All other events use the SDK's own type, because handlers pass `data` to functions that expect it.
// test/clerk/types.test.ts compares this list with the SDK and fails when a correction is no longer needed.

import type { DeletedObjectJSON, OrganizationDomainJSON } from "@clerk/backend";
import type { WebhookEvent } from "@clerk/backend/webhooks";

/**
 * The `data` of each event as `@clerk/backend` types it. The SDK's `type` is a union for most events, so
 * `Extract<WebhookEvent, { type: "user.created" }>` would be `never`; a mapped type distributes over the union.
 */
export type SdkPayloads = { [Event in WebhookEvent as Event["type"]]: Event["data"] };

/** The events whose `data` differs from the SDK's type. */
export interface Corrections {
  // Missing from the SDK: a session with a pending task, such as choosing an organization.
  "session.pending": SdkPayloads["session.created"];

  // Clerk sends a tombstone, not the object: `{ object, id, deleted: true }`.
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

// The SDK names the field `expires_at`, Clerk sends `expire_at`. The SDK lists three of the four enrollment modes.
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
  /** Milliseconds. In the specification, but missing from Clerk's examples. */
  verified_at?: number | null;
}

type SdkPaymentAttempt = SdkPayloads["paymentAttempt.created"];

// Clerk sends null for what has not happened yet; the SDK types these fields as optional.
export type PaymentAttemptPayload = Replace<
  SdkPaymentAttempt,
  {
    paid_at: number | null;
    failed_at: number | null;
    failed_reason: NonNullable<SdkPaymentAttempt["failed_reason"]> | null;
  }
>;

// Clerk sends null for the payment fields before the first payment, where the SDK requires a value, and null for what
// has not happened yet, where the SDK types the field as optional.
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

// The SDK describes an older shape: fields that the specification dropped are optional here, and its new ones are added.
export type SubscriptionItemPayload = Replace<
  Partial<SdkSubscriptionItem>,
  Pick<SdkSubscriptionItem, "object" | "id" | "status" | "period_start" | "period_end"> & {
    is_free_trial: boolean;
    created_at: number;
    updated_at: number;
    interval: string;
    plan_id: string | null;
    plan: SubscriptionPlan | null;
    /** Null in an item that is embedded in its subscription. */
    subscription_id: string | null;
    /** `quantity` is null for a plan with unlimited seats. */
    seats?: { quantity: number | null };
  }
>;

type SubscriptionPlan = Replace<
  Partial<SdkPlan>,
  Pick<SdkPlan, "id" | "slug" | "name" | "is_recurring" | "amount" | "currency">
>;
