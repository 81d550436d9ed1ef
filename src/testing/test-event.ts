// Creates the event that a test delivers (a sample or a raw event), and sends it as Svix does.

import { type ClerkEvent, type ClerkEvents, eventNames, type KnownEventName } from "../clerk/events.ts";
import { type DeepPartial, mergeDeep, sample } from "../clerk/samples.ts";
import { type Message, postEvent } from "../clerk/signed-message.ts";
import { UserError } from "../errors.ts";
import { didYouMean } from "../suggest.ts";

/** A raw event, for types that have no sample. It is sent unchanged. */
export interface RawEvent {
  type: string;
  data: object;
  [name: string]: unknown;
}

/** One of the 46 events by name, or a raw event. */
export type EventInput = KnownEventName | RawEvent;

/** The properties to merge into the event's data. */
export type DataInput<E extends EventInput> = E extends KnownEventName
  ? DeepPartial<ClerkEvents[E]>
  : { [name: string]: unknown };

/** The event that was sent. */
export type SentEvent<E extends EventInput> = E extends KnownEventName ? ClerkEvent<E> : E;

/** Returns the event to send; `now` is in milliseconds. Throws a `UserError` on a name that Clerk does not have. */
export function makeEvent<E extends EventInput>(event: E, data: DataInput<E> | undefined, now: number): SentEvent<E> {
  const input: EventInput = event;
  const complete = typeof input === "string" ? sample(checkName(input), { now }) : input;
  return (data === undefined ? complete : { ...complete, data: mergeDeep(complete.data, data) }) as SentEvent<E>;
}

function checkName(name: string): KnownEventName {
  const known = eventNames.find((eventName) => eventName === name);
  if (known) return known;
  throw new UserError(
    `Clerk has no event ${name}${didYouMean(name, eventNames)}\n\n` +
      `    To deliver an event that Bellhop does not list yet: deliver({ type: "${name}", data: { id: "…" } })`,
  );
}

/** The response of the webhook server. */
export interface Answer {
  status: number;
  /** The parsed body: `{ id, status: "accepted" }` when the event was accepted. */
  body: Record<string, unknown>;
}

/** Signs an event by Svix's rules and posts it over a real socket. */
export async function sendEvent(port: number, path: string, event: object, message: Message): Promise<Answer> {
  const url = `http://127.0.0.1:${port}${path}`;
  const { status, text } = await postEvent(url, event, { ...message, userAgent: "bellhop-test" });
  return { status, body: JSON.parse(text) as Record<string, unknown> };
}
