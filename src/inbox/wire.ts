// What crosses between the threads. Deliveries and ends of runs, which are many, cross as one text and one stretch of
// bytes: an object costs more to carry over than most of what is done with it. Everything else crosses as it is.

import { type Accepted, type Inbox, type NewDelivery, type Outcome, type Ticket, ticketOf } from "./inbox.ts";

/** What can be asked for from another thread. */
export type Method = Exclude<keyof Inbox, "writable" | "onWork" | symbol>;

export type Call = [id: number, method: Method, words: unknown[]];

/** Calls, those that are many apart. Ids tell their order. */
export interface Calls {
  text: string;
  bytes: Uint8Array<ArrayBuffer>;
  others: Call[];
}

type AcceptWords = Parameters<Inbox["accept"]>;
type SettleWords = [ticket: Pick<Ticket, "run" | "attempt">, outcome: Outcome];

type PackedSettle = [callId: number, end: typeof END, run: number, attempt: number, outcome: Outcome];

type PackedAccept = [
  callId: number,
  length: number,
  id: string,
  type: string,
  subject: string | null,
  at: number,
  sample: boolean,
  sensitive: boolean,
  receivedAt: number,
  headers: Record<string, string>,
  runs: AcceptWords[1],
  begin: AcceptWords[2] | null,
];

/** In the place of a body's length: it is the end of a run. */
const END = -1;

export function pack(calls: readonly Call[]): Calls {
  const many: (PackedAccept | PackedSettle)[] = [];
  const bodies: Uint8Array[] = [];
  const others: Call[] = [];
  let length = 0;
  for (const call of calls) {
    const [id, method, words] = call;
    if (method === "accept") {
      const [delivery, runs, begin] = words as AcceptWords;
      const { id: svixId, type, subject, at, sample, sensitive, receivedAt, headers, body } = delivery;
      bodies.push(body);
      length += body.length;
      many.push([
        id, body.length, svixId, type, subject, at, sample, sensitive, receivedAt, headers, runs, begin ?? null,
      ]); // prettier-ignore
    } else if (method === "settle") {
      const [{ run, attempt }, outcome] = words as SettleWords;
      many.push([id, END, run, attempt, outcome]);
    } else others.push(call);
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
  let next = 0;
  const many = (JSON.parse(text) as (PackedAccept | PackedSettle)[]).map((packed): Call => {
    if (packed[1] === END) {
      const [id, , run, attempt, outcome] = packed as PackedSettle;
      return [id, "settle", [{ run, attempt }, outcome] satisfies SettleWords];
    }
    const [callId, length, id, type, subject, at, sample, sensitive, receivedAt, headers, runs, begin] =
      packed as PackedAccept;
    const body = bytes.subarray(next, (next += length));
    const delivery: NewDelivery = { id, type, subject, at, sample, sensitive, receivedAt, headers, body };
    return [callId, "accept", [delivery, runs, begin ?? undefined] satisfies AcceptWords];
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

type PackedAccepted = [run: number, handler: string, stale: boolean][];

/** What crosses of an answer to one of those that are many: whoever asked has the delivery. */
export function packAnswer(value: unknown): unknown {
  const { begun } = value as { begun?: Ticket[] };
  return begun ? begun.map(({ run, handler, stale }): PackedAccepted[number] => [run, handler, stale]) : value;
}

/** The answer for whoever has the delivery. */
export function unpackAccepted(packed: Accepted | PackedAccepted, delivery: NewDelivery): Accepted {
  if (!Array.isArray(packed)) return packed;
  const begun = packed.map(([run, handler, stale]) => ticketOf(delivery, { run, handler, stale }));
  return { status: "accepted", begun };
}
