// What is delivered: a sample of an event that Clerk sends, or an event that the test brings along.

import { type ClerkEvent, type ClerkEvents, eventNames, type KnownEventName, suggest } from "../clerk/events.ts";
import { sample } from "../clerk/samples.ts";
import { type DeepPartial, mergeDeep } from "../clerk/samples/merge.ts";
import { UserError } from "../errors.ts";

/** An event as it is sent: for what no sample can be. */
export interface WholeEvent {
  type: string;
  data: object;
  [name: string]: unknown;
}

/** One of the 46 events by name, or a whole one. */
export type EventInput = KnownEventName | WholeEvent;

/** What may be laid over the event's data. */
export type DataInput<E extends EventInput> = E extends KnownEventName
  ? DeepPartial<ClerkEvents[E]>
  : { [name: string]: unknown };

/** The event that was sent. */
export type SentEvent<E extends EventInput> = E extends KnownEventName ? ClerkEvent<E> : E;

/** The event to send, at `now` in milliseconds. Throws a `UserError` on a name that Clerk does not have. */
export function makeEvent<E extends EventInput>(event: E, data: DataInput<E> | undefined, now: number): SentEvent<E> {
  const given: EventInput = event;
  const whole = typeof given === "string" ? sample(known(given), { now }) : given;
  return (data === undefined ? whole : { ...whole, data: mergeDeep(whole.data, data) }) as SentEvent<E>;
}

function known(name: string): KnownEventName {
  const found = eventNames.find((each) => each === name);
  if (found) return found;
  const meant = suggest(name);
  throw new UserError(
    `Clerk has no event ${name}${meant ? `; did you mean ${meant}?` : ""}\n\n` +
      `    One that Bellhop does not know yet is delivered whole: deliver({ type: "${name}", data: { id: "…" } })`,
  );
}
