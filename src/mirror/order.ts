// Versions, which order the states of an object. Events may arrive in any order and repeatedly: a row ends with the
// greatest version, and a deletion, which is stored separately, is not undone by late events. Pure.

import { toMilliseconds } from "../clerk/milliseconds.ts";
import type { ClerkObject } from "./table.ts";

// Milliseconds up to the year 33658.
const DIGITS = 15;

/**
 * The version of a state, as text that sorts by bytes: the object's own `updated_at`, or else the event's time; the
 * event's time; the delivery's id.
 */
export function versionOf(object: ClerkObject, eventAt: number, delivery: string): string {
  const updatedAt = toMilliseconds(object["updated_at"]) ?? eventAt;
  return `${digits(updatedAt)} ${digits(eventAt)} ${delivery}`;
}

/**
 * The version of a state that Clerk's API returned at `readAt`. Where events have more than the API, it is below the
 * version of every event about the same state.
 */
export function versionOfRead(object: ClerkObject, readAt: number, eventsHaveMore = false): string {
  if (!eventsHaveMore) return versionOf(object, readAt, "read");
  return `${digits(toMilliseconds(object["updated_at"]) ?? readAt)} ${digits(0)} read`;
}

/** The position in a version, from 1, of the part after the object's own time, in the format of `deletionOf`. */
export const EVENT_TIME_FROM = DIGITS + 2;

/** The time of the object in a version, in milliseconds. */
export function versionedAt(version: unknown): number {
  return Number(String(version).slice(0, DIGITS));
}

/** The version of a deletion. */
export function deletionOf(eventAt: number, delivery: string): string {
  return `${digits(eventAt)} ${delivery}`;
}

/**
 * The version of the few fields in a deletion: below every version of a whole object, so that it never replaces one.
 */
export function versionOfRest(eventAt: number, delivery: string): string {
  return `${digits(0)} ${digits(eventAt)} ${delivery}`;
}

/** Whether an event has the whole object. Deletions of memberships do, others have only the id. */
export function isWhole(object: ClerkObject): boolean {
  return toMilliseconds(object["created_at"]) !== undefined;
}

function digits(milliseconds: number): string {
  return String(Math.max(0, Math.round(milliseconds))).padStart(DIGITS, "0");
}
