// Which of two states of an object is the later one. Events may come in any order and as often as they like: a row ends as
// the greatest of them, and a deletion, which is kept apart, holds against whatever comes late. Pure.

import { toMilliseconds } from "../clerk/time.ts";
import type { ClerkObject } from "./table.ts";

// Milliseconds up to the year 33658.
const DIGITS = 15;

/**
 * Where a state of an object stands among the others, as text that sorts by bytes: the object's own `updated_at`, or else
 * the event's time; the event's time; the delivery's id.
 */
export function versionOf(object: ClerkObject, eventAt: number, delivery: string): string {
  const updatedAt = toMilliseconds(object["updated_at"]) ?? eventAt;
  return `${digits(updatedAt)} ${digits(eventAt)} ${delivery}`;
}

/** The time of the object in a version, in milliseconds. */
export function versionedAt(version: unknown): number {
  return Number(String(version).slice(0, DIGITS));
}

/** Of a deletion; and of the little that it says about the object, which must not stand against anything that is whole. */
export function deletionOf(eventAt: number, delivery: string): string {
  return `${digits(eventAt)} ${delivery}`;
}

/** Below every version of a whole object. */
export function versionOfRest(eventAt: number, delivery: string): string {
  return `${digits(0)} ${digits(eventAt)} ${delivery}`;
}

/** A deletion is whole when it carries the object as it last was, as those of memberships do. */
export function isWhole(object: ClerkObject): boolean {
  return toMilliseconds(object["created_at"]) !== undefined;
}

function digits(milliseconds: number): string {
  return String(Math.max(0, Math.round(milliseconds))).padStart(DIGITS, "0");
}
