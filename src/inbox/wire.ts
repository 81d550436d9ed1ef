// What crosses between the threads. Deliveries and ends of runs, which are many, cross as one text and one stretch of
// bytes: an object costs more to carry over than most of what is done with it. Everything else crosses as it is.

import { type Accepted, type Inbox, type NewDelivery, type Outcome, type Ticket, ticketOf } from "./inbox.ts";

/** What can be asked for from another thread. */
export type Method = Exclude<keyof Inbox, "writable" | "onWork" | symbol>;

export type Call = [id: number, method: Method, words: unknown[]];

/** Calls in the order of their ids, those that are many apart. */
export interface Calls {
  text: string;
  bytes: Uint8Array<ArrayBuffer>;
  others: Call[];
}

type AcceptWords = Parameters<Inbox["accept"]>;
type SettleWords = [ticket: Pick<Ticket, "run" | "attempt">, outcome: Outcome];
type Packed =
  | [id: number, words: SettleWords]
  | [id: number, length: number, delivery: Omit<NewDelivery, "body">, ...rest: unknown[]];

export function pack(calls: readonly Call[]): Calls {
  const many: Packed[] = [];
  const bodies: Uint8Array[] = [];
  const others: Call[] = [];
  let length = 0;
  for (const call of calls) {
    const [id, method, words] = call;
    if (method === "accept") {
      const [{ body, ...delivery }, ...rest] = words as AcceptWords;
      bodies.push(body);
      length += body.length;
      many.push([id, body.length, delivery, ...rest]);
    } else if (method === "settle") many.push([id, words as SettleWords]);
    else others.push(call);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const body of bodies) {
    bytes.set(body, at);
    at += body.length;
  }
  return { text: JSON.stringify(many), bytes, others };
}

export function unpack({ text, bytes, others }: Calls): Call[] {
  let at = 0;
  const many = (JSON.parse(text) as Packed[]).map((packed): Call => {
    const [id, ...rest] = packed;
    if (typeof rest[0] !== "number") return [id, "settle", rest[0]];
    const [length, delivery, ...words] = rest as [number, Omit<NewDelivery, "body">, ...unknown[]];
    const body = bytes.subarray(at, (at += length));
    return [id, "accept", [{ ...delivery, body }, ...words]];
  });
  // What was asked for first is done first.
  return others.length === 0 ? many : [...many, ...others].toSorted(([a], [b]) => a - b);
}

/** What of an error crosses. */
export interface Failure {
  is: "InboxUnavailable" | "UserError" | "Error";
  message: string;
}

export type Answer = [id: number, value: unknown];

/** What the inbox's thread tells, together what a commit has ended together. */
export interface Told {
  /** Something may be claimed. */
  work?: true;
  /** The inbox can't be written, with the reason; null when it can again. */
  trouble?: string | null;
  /** Answers to what is many, as JSON. */
  text: string;
  others: Answer[];
  failures: [id: number, failure: Failure][];
}

/** Is it one of those that are many? */
export function isMany(method: Method): boolean {
  return method === "accept" || method === "settle";
}

/** What crosses of an answer to one of those that are many: whoever asked has the delivery. */
export function packAnswer(value: unknown): unknown {
  const { status, begun } = value as { status?: unknown; begun?: Ticket[] };
  if (!begun) return value;
  return { status, begun: begun.map(({ run, handler, stale }) => ({ run, handler, stale })) };
}

/** The answer for whoever has the delivery. */
export function unpackAccepted(accepted: Accepted, delivery: NewDelivery): Accepted {
  if (accepted.status === "duplicate" || !accepted.begun) return accepted;
  return { ...accepted, begun: accepted.begun.map((begun) => ticketOf(delivery, begun)) };
}
