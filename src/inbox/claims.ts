// Which runs may go now: the heads of their lines that are due, within what room their handlers have.
// Reads only heads, so that no look grows with what is stored.

import type { Claim, Ticket } from "./inbox.ts";
import type { Statements } from "./statements.ts";

export function createClaims(sql: Statements, clock: () => number, ticket: (run: number) => Ticket) {
  /** Handlers that have runs which may go, now or later; more than those may stand in it. Unknown at first. */
  let headed: string[] | undefined;

  /** Of these handlers, those that have something to claim, now or later: most often, few of many. */
  function waiting(rooms: ReadonlyMap<string, number>): string[] {
    headed ??= sql.headed.all().map(({ handler }) => handler);
    return headed.filter((handler) => rooms.has(handler));
  }

  function* dueRuns(handlers: readonly string[], rooms: ReadonlyMap<string, number>, now: number) {
    for (const handler of handlers) {
      let left = rooms.get(handler) ?? 0;
      // Live ones first; then what was asked for in bulk.
      for (const bulk of [0, 1]) {
        if (left <= 0) break;
        const due = sql.due.all(handler, bulk, now, left);
        left -= due.length;
        yield* due;
      }
    }
  }

  function nextDue(handlers: readonly string[], now: number): number | null {
    let next: number | null = null;
    for (const handler of handlers)
      for (const bulk of [0, 1]) {
        const due = sql.nextDue.get(handler, bulk, now)?.due;
        if (due !== undefined && (next === null || due - now < next)) next = due - now;
      }
    return next;
  }

  return {
    headsChanged: () => void (headed = undefined),

    /** What `claim` would find, without writing. */
    look(rooms: ReadonlyMap<string, number>, alone: boolean): { any: boolean; claim: Claim } {
      const now = clock();
      const handlers = waiting(rooms);
      // Most often nothing waits at all, and nothing has to be looked for.
      if (headed?.length === 0) return { any: false, claim: { tickets: [], next: null, alone: false } };
      const suspect = sql.alone.get(now) !== null;
      const any = alone ? suspect : dueRuns(handlers, rooms, now).next().done === false;
      const next = any ? null : nextDue(handlers, now);
      // Those that were known may all have gone since.
      if (!any && next === null) headed = undefined;
      return { any, claim: { tickets: [], next, alone: suspect } };
    },

    claim(owner: string, rooms: ReadonlyMap<string, number>, alone: boolean): Claim {
      const now = clock();
      const suspect = sql.alone.get(now);
      const handlers = waiting(rooms);
      const due = alone ? (suspect ? [suspect] : []) : [...dueRuns(handlers, rooms, now)];
      const tickets: Ticket[] = [];
      for (const { id } of due) {
        if (sql.begin.run(owner, id).changes > 0) tickets.push(ticket(id));
      }
      return { tickets, next: nextDue(handlers, now), alone: suspect !== null && !alone };
    },
  };
}
