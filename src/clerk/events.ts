// Which events Clerk sends, what their `data` is, and what counts as an event on arrival.
// Types know every event by name; on arrival only the envelope is checked, because Clerk adds events and properties
// before anybody's SDK knows them.

import { Type } from "@sinclair/typebox";

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
 * The `data` of each event. An interface, so that an event which Clerk has just added can be typed at once:
 *
 *     declare module "bellhop" {
 *       interface ClerkEvents { "passkey.created": { id: string } }
 *     }
 */
export interface ClerkEvents extends Omit<SdkPayloads, keyof Corrections>, Corrections {}

export type EventName = keyof ClerkEvents;

/** What a handler can be for: one event, every event of a kind, or every event. */
export type EventPattern = EventName | `${KindOf<EventName>}.*` | "*";

type KindOf<Name extends string> = Name extends `${infer Kind}.${string}` ? Kind : never;

/** The names that a pattern matches. */
export type Matching<P extends EventPattern> = P extends "*"
  ? EventName
  : P extends `${infer Kind}.*`
    ? Extract<EventName, `${Kind}.${string}`>
    : P;

/** An event as a handler gets it. A union over the names that the pattern matches: checking `type` narrows `data`. */
export type ClerkEvent<P extends EventPattern = "*"> = {
  [Name in Matching<P> & EventName]: EventOf<Name>;
}[Matching<P> & EventName];

interface EventOf<Name extends EventName> {
  type: Name;
  object: "event";
  data: ClerkEvents[Name];
  /** When it happened, in milliseconds. */
  timestamp: number;
  instance_id?: string;
  event_attributes?: { http_request?: { client_ip?: string; user_agent?: string } };
}

/** An event as it arrives: only `type` and `data` have been checked. */
export interface ReceivedEvent {
  type: string;
  data: { [name: string]: unknown };
  object?: unknown;
  timestamp?: unknown;
  instance_id?: unknown;
  event_attributes?: unknown;
}

/** All that is enforced of an event on arrival. Whatever else it has or lacks is let through. */
export const envelope = Type.Object({ type: Type.String({ minLength: 1 }), data: Type.Object({}) });

/** Whether a parsed body fits `envelope`. By hand, so that nothing has to be compiled before the first delivery. */
export function isEvent(value: unknown): value is ReceivedEvent {
  return isObject(value) && typeof value["type"] === "string" && value["type"] !== "" && isObject(value["data"]);
}

/** The id of the object that an event is about, or null for an event without one, which has no order either. */
export function subjectOf(event: { data: object }): string | null {
  const { id } = event.data as { id?: unknown };
  return typeof id === "string" && id !== "" ? id : null;
}

/** Whether events of this type carry one-time codes, so that their payloads must not be kept. */
export function sensitive(type: string): boolean {
  return type === "email.created" || type === "sms.created";
}

/**
 * The name that somebody meant, for messages only: the nearest of `among`, or undefined if none is near. Case, `_` and
 * `-` don't count, so `organization_membership.created` is found; beyond that, up to a third of the letters may be
 * wrong, missing, extra or swapped.
 */
export function suggest(name: string, among: readonly string[] = eventNames): string | undefined {
  const wanted = plain(name);
  let best: string | undefined;
  let least = Math.floor(wanted.length / 3) + 1;
  for (const candidate of among) {
    const distance = editDistance(wanted, plain(candidate), least);
    if (distance >= least) continue;
    best = candidate;
    least = distance;
  }
  return best;
}

function isObject(value: unknown): value is { [name: string]: unknown } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[_\s-]/g, "");
}

/** Damerau-Levenshtein distance (each pair swapped at most once); any number from `limit` up once it is out of reach. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const wrong = a[row - 1] === b[column - 1] ? 0 : 1;
      let cost = Math.min(last[column]! + 1, current[column - 1]! + 1, last[column - 1]! + wrong);
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1])
        cost = Math.min(cost, before[column - 2]! + 1);
      current.push(cost);
    }
    before = last;
    last = current;
  }
  return last[b.length]!;
}
