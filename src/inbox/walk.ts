// Walks over stored deliveries by arrival, up or down, a slice at a time: along the index that leads to the fewest when
// there is one, else along all of them. It may pass by what does not fit, and never leaves out what does.

import type { Database } from "bun:sqlite";

import { prepare } from "./prepare.ts";
import { distinctHandlers } from "./statements.ts";

/** What a walk can be narrowed by. */
export interface Narrowing {
  subject: string | null;
  /** An event or a pattern. */
  type: string | null;
  handler: string | null;
  standing: "waiting" | "running" | "dead" | "skipped" | "parked" | "unhandled" | null;
}

export type Direction = "up" | "down";

/** The next arrivals beyond `from`, at most `limit`, in the direction of the walk. */
type Stream = (from: number, limit: number) => number[];

/** `next`: where the walk goes on; null when it is over. */
export interface Slice {
  arrivals: number[];
  next: number | null;
}

const STATES = { waiting: 0, running: 1, dead: 3, skipped: 4 };

/** `user.*` as what a type has to begin with; null when it is one event. */
export function prefixOf(event: string): string | null {
  return event.endsWith("*") ? event.slice(0, -1) : null;
}

export type Walk = ReturnType<typeof prepareWalk>;

export function prepareWalk(db: Database, direction: Direction) {
  const [beyond, order] = direction === "up" ? [">", "asc"] : ["<", "desc"];
  const stream = (from: string, where: string) => {
    const statement = prepare<{ seq: number }, (string | number)[]>(
      db,
      `select seq from ${from} where ${where} and seq ${beyond} ? order by seq ${order} limit ?`,
    );
    return (...fixed: (string | number)[]): Stream =>
      (start, limit) =>
        statement.all(...fixed, start, limit).map(({ seq }) => seq);
  };
  const all = stream("delivery", "true");
  const ofSubject = stream("subject", "subject = ?");
  const ofType = stream("delivery indexed by delivery_type", "type = ?");
  const unhandled = stream("delivery indexed by delivery_unhandled", "unhandled = 1");
  const standing = stream(
    "run indexed by run_standing",
    "state = ? and state <> 2 and parked_at is null and handler = ?",
  );
  const parked = stream("run indexed by run_missing_file", "parked_at is not null and handler = ?");

  const types = prepare<{ type: string }, [string]>(
    db,
    `
    with recursive each(type) as (
      select (select type from delivery where type >= ? order by type limit 1)
      union all select (select type from delivery where delivery.type > each.type order by type limit 1)
      from each where type is not null
    ) select type from each where type is not null`,
  );
  const handlersIn = prepare<{ handler: string }, [number, number]>(
    db,
    distinctHandlers("run indexed by run_standing", "state = ? and state <> 2 and parked_at is null"),
  );
  const parkedHandlers = prepare<{ handler: string }, []>(
    db,
    distinctHandlers("run indexed by run_missing_file", "parked_at is not null"),
  );

  const inState = (state: number, handler: string | null) =>
    (handler === null ? handlersIn.all(state, state) : [{ handler }]).map((each) => standing(state, each.handler));
  const waitingForFile = (handler: string | null) =>
    (handler === null ? parkedHandlers.all() : [{ handler }]).map((each) => parked(each.handler));

  function streams({ subject, type, handler, standing }: Narrowing): Stream[] {
    if (subject !== null) return [ofSubject(subject)];
    if (standing === "unhandled") return [unhandled()];
    if (standing === "parked") return waitingForFile(handler);
    if (standing === "waiting") return [...inState(STATES.waiting, handler), ...waitingForFile(handler)];
    if (standing !== null) return inState(STATES[standing], handler);
    if (type === null || type === "*") return [all()];
    const prefix = prefixOf(type);
    if (prefix === null) return [ofType(type)];
    return types
      .all(prefix)
      .filter((each) => each.type.startsWith(prefix))
      .map((each) => ofType(each.type));
  }

  return {
    /** The handlers that have dead runs. */
    deadHandlers: () => handlersIn.all(STATES.dead, STATES.dead).map(({ handler }) => handler),

    /** The next slice beyond `from` of at most `size` deliveries, each once. */
    slice(narrowing: Narrowing, from: number, size: number): Slice {
      const found = new Set(streams(narrowing).flatMap((next) => next(from, size)));
      const sorted = [...found].toSorted((a, b) => (direction === "up" ? a - b : b - a));
      const arrivals = sorted.slice(0, size);
      return { arrivals, next: found.size < size ? null : (arrivals.at(-1) ?? null) };
    },
  };
}
