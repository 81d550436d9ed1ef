// Runs that began with their delivery. Most end within milliseconds: until then the delivery's own row is all that says
// so, and the run is written once, when it has ended. Whoever looks at runs, or touches their line, has them written first.
// After a crash the deliveries beyond a mark, which every commit moves on, tell which had begun.

import { lineOf } from "./inbox.ts";
import type { RunOf, Statements } from "./statements.ts";

/** One that is nowhere written yet. */
export interface BegunRun extends RunOf {
  run: number;
  handler: string;
  /** No other delivery of its subject is stored: nobody needs to know its mark. */
  only: boolean;
  since: number;
}

type Began = [run: number, handler: string, lane: string][];

export type Begun = ReturnType<typeof createBegun>;

// So that a crash leaves few deliveries to look through, also while a handler takes its time.
const LONGEST_MS = 250;

export function createBegun(sql: Statements, clock: () => number) {
  /** Who has begun them. */
  let owner = sql.metaText.get("owner")?.value ?? "";
  const open = new Map<number, BegunRun>();
  /** Of each lane and line at most one. */
  const busy = new Map<string, BegunRun>();
  let newest = sql.newestDelivery.get()?.seq ?? 0;
  // Those of a process that died, or of a connection that failed.
  for (const { seq, subject, sample, at, began } of sql.begun.all(sql.meta.get("begun")?.value ?? 0))
    for (const [run, handler, lane] of JSON.parse(began) as Began)
      if (!sql.runIsThere.get(run))
        add({ run, handler, seq, lane, line: lineOf(subject, sample === 1), at, only: false, since: 0 });

  function add(begun: BegunRun) {
    open.set(begun.run, begun);
    if (begun.line !== null) busy.set(placeOf(begun.lane, begun.line), begun);
  }

  function remove(begun: BegunRun) {
    open.delete(begun.run);
    if (begun.line !== null) busy.delete(placeOf(begun.lane, begun.line));
  }

  function write(begun: BegunRun) {
    remove(begun);
    const { run, seq, handler, lane, line, at } = begun;
    sql.begunRun.run(run, seq, handler, lane, line, at, clock(), owner);
  }

  return {
    own(by: string) {
      if (by === owner) return;
      // Those of the one before are somebody else's.
      for (const begun of open.values()) write(begun);
      sql.setMeta.run("owner", (owner = by));
    },

    /** What the row of their delivery says of them. */
    textOf: (all: readonly Pick<BegunRun, "run" | "handler" | "lane">[]): string | null =>
      all.length === 0
        ? null
        : JSON.stringify(all.map(({ run, handler, lane }): Began[number] => [run, handler, lane])),

    /** Part of the commit that stores a delivery, also of one with which nothing begins. */
    stored(seq: number, all: readonly BegunRun[]) {
      newest = seq;
      for (const begun of all) add(begun);
    },

    isBusy: (lane: string, line: string | null): boolean => line !== null && busy.has(placeOf(lane, line)),

    /** For its end to be written: it is none of these any longer. */
    take(run: number): BegunRun | undefined {
      const begun = open.get(run);
      if (begun) remove(begun);
      return begun;
    },

    write(run: number) {
      const begun = open.get(run);
      if (begun) write(begun);
    },

    writeLine(lane: string, line: string | null) {
      const begun = line === null ? undefined : busy.get(placeOf(lane, line));
      if (begun) write(begun);
    },

    of: (seq: number): BegunRun[] => [...open.values()].filter((begun) => begun.seq === seq),

    /** Those of a delivery. */
    writeOf(seq: number) {
      for (const begun of open.values()) if (begun.seq === seq) write(begun);
    },

    writeAll() {
      for (const begun of open.values()) write(begun);
    },

    writeOld() {
      const before = clock() - LONGEST_MS;
      for (const begun of open.values()) {
        if (begun.since > before) return;
        write(begun);
      }
    },

    /** The last of their ids; 0 when there are none. */
    get newestRun() {
      return Math.max(0, ...open.keys());
    },

    get any() {
      return open.size > 0;
    },

    /** The last arrival up to which all is written. */
    get passed() {
      for (const { seq } of open.values()) return seq - 1;
      return newest;
    },
  };
}

function placeOf(lane: string, line: string): string {
  return `${lane}\n${line}`;
}
