// Lists the events that Clerk sends, types their `data`, and decides what is accepted as an event.
// The types know every event by name. A delivery is only checked for its envelope, because Clerk adds events and
// properties before any SDK release knows them.

import { isObject } from "../json.ts";
import type { Corrections, SdkPayloads } from "./payloads.ts";

/** Every event that Clerk documents, sorted. */
export const eventNames = [
  "email.created",
  "organization.created",
  "organization.deleted",
  "organization.updated",
  "organizationDomain.created",
  "organizationDomain.deleted",
  "organizationDomain.updated",
  "organizationInvitation.accepted",
  "organizationInvitation.created",
  "organizationInvitation.revoked",
  "organizationMembership.created",
  "organizationMembership.deleted",
  "organizationMembership.updated",
  "paymentAttempt.created",
  "paymentAttempt.updated",
  "permission.created",
  "permission.deleted",
  "permission.updated",
  "role.created",
  "role.deleted",
  "role.updated",
  "session.created",
  "session.ended",
  "session.pending",
  "session.removed",
  "session.revoked",
  "sms.created",
  "subscription.active",
  "subscription.created",
  "subscription.pastDue",
  "subscription.updated",
  "subscriptionItem.abandoned",
  "subscriptionItem.active",
  "subscriptionItem.canceled",
  "subscriptionItem.created",
  "subscriptionItem.ended",
  "subscriptionItem.freeTrialEnding",
  "subscriptionItem.incomplete",
  "subscriptionItem.pastDue",
  "subscriptionItem.upcoming",
  "subscriptionItem.updated",
  "user.created",
  "user.deleted",
  "user.updated",
  "waitlistEntry.created",
  "waitlistEntry.updated",
] as const satisfies readonly EventName[];

/** One of the 46 names above. */
export type KnownEventName = (typeof eventNames)[number];

/**
 * The `data` of each event. An interface, so that a new event can be typed before Bellhop lists it:
 *
 *     declare module "bellhop" {
 *       interface ClerkEvents { "passkey.created": { id: string } }
 *     }
 */
export interface ClerkEvents extends Omit<SdkPayloads, keyof Corrections>, Corrections {}

export type EventName = keyof ClerkEvents;

/** The events that a handler can subscribe to: one event, all events of a kind, or all events. */
export type EventPattern = EventName | `${KindOf<EventName>}.*` | "*";

type KindOf<Name extends string> = Name extends `${infer Kind}.${string}` ? Kind : never;

/** The names that a pattern matches. */
export type Matching<P extends EventPattern> = P extends "*"
  ? EventName
  : P extends `${infer Kind}.*`
    ? Extract<EventName, `${Kind}.${string}`>
    : P;

/** An event as passed to a handler: a union over the names that the pattern matches, so checking `type` narrows `data`. */
export type ClerkEvent<P extends EventPattern = "*"> = {
  [Name in Matching<P> & EventName]: EventOf<Name>;
}[Matching<P> & EventName];

interface EventOf<Name extends EventName> {
  type: Name;
  object: "event";
  data: ClerkEvents[Name];
  /** When the event happened, in milliseconds. */
  timestamp: number;
  instance_id?: string;
  event_attributes?: { http_request?: { client_ip?: string; user_agent?: string } };
}

/** An event as received: only `type` and `data` have been checked. */
export interface ReceivedEvent {
  type: string;
  data: { [name: string]: unknown };
  object?: unknown;
  timestamp?: unknown;
  instance_id?: unknown;
  event_attributes?: unknown;
}

// Event types and subjects are index columns, and a Postgres index entry holds at most 2,704 bytes. Clerk's names are
// under 50 characters.
const MAX_NAME_LENGTH = 256;

/**
 * Everything that is enforced on a received event: `type` is a text of 1 to 256 characters, `data` an object. Additional
 * and missing properties are accepted. Hand-written, so that nothing waits for a schema compiler.
 */
export function isEvent(value: unknown): value is ReceivedEvent {
  return isObject(value) && isName(value["type"]) && isObject(value["data"]);
}

/** The id of the object that an event is about; null when it has no usable id, so that the event has no order. */
export function subjectOf(event: { data: object }): string | null {
  const { id } = event.data as { id?: unknown };
  return isName(id) ? id : null;
}

function isName(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.length <= MAX_NAME_LENGTH;
}

/** Whether events of this type carry one-time codes, so that their payloads must be wiped. */
export function sensitive(type: string): boolean {
  return type === "email.created" || type === "sms.created";
}
