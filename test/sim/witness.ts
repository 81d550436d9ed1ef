// Sees what happens, and says which promise was broken. It reads `inbox.db` by itself: what is asked of the code under
// test proves less.

import { Database } from "bun:sqlite";

import type { HandlerContext } from "../../src/bellhop.ts";
import type { Outcome, Ticket } from "../../src/inbox/inbox.ts";
import { EVERY_RUN } from "../inbox/every-run.ts";
import { PARTS, type Plan } from "./plan.ts";
import type { EffectRow } from "./postgres.ts";
import type { World } from "./world.ts";

export interface Witness {
  broken: string[];
  breaks(what: string): void;
  /** A 200 was given, and these handlers matched. */
  answered(id: string, status: "accepted" | "duplicate", handlers: string[]): void;
  /** Somebody was told that this replay runs. */
  promised(id: string, handler: string, replay: string): void;
  /** Attempts of a handler that began, by delivery and replay. */
  begunBy(handler: string): Map<string, number>;
  /** A handler's function was called; what is returned says that its attempt is over. */
  began(handler: string, context: HandlerContext, replay: string): () => void;
  ended(ticket: Ticket, outcome: Outcome): void;
  databaseFailed(): void;
  crashed(): void;
  /** No run is open, and every delivery was answered. */
  atRest(): boolean;
  /** At the end: looks at everything. Without `effects`, in the file. */
  settle(effects: readonly EffectRow[] | undefined, appFile: string): void;
}

interface RunRow {
  id: number;
  delivery: string;
  handler: string;
  replay: string;
  lane: string;
  line: string | null;
  at: number;
  seq: number;
  state: number;
  attempts: number;
  spent: number;
  interrupted: number;
  reason: string | null;
  parked: number;
  bulk: number;
}

const [DONE, DEAD, SKIPPED] = [2, 3, 4];
const RUNS = `select r.id, d.id as delivery, handler, replay, lane, line, r.at, r.seq, state, attempts, spent, interrupted, reason,
  parked_at is not null as parked, bulk from ${EVERY_RUN} r join delivery d on d.seq = r.seq`;

export function createWitness(world: World, plan: Plan, inboxFile: string): Witness {
  const broken: string[] = [];
  const promised = new Set<string>();
  const accepted = new Set<string>();
  const answered = new Set<string>();
  const begun = new Map<string, Map<string, number>>();
  const keys = new Map<string, string>();
  /** Attempts whose functions run and are not timed out, by lane and line. */
  const going = new Map<string, Set<string>>();
  let databaseFailures = 0;
  let opened: Database | undefined;
  const inbox = () => (opened ??= new Database(inboxFile, { readonly: true }));
  const name = (id: string, handler: string, replay: string) => `${id} ${handler}${replay && ` (replay ${replay})`}`;
  const breaks = (what: string) => {
    world.tell(`BROKEN ${what}`);
    broken.push(what);
  };

  /** The line's rules, at the moment when a run begins. */
  function checkOrder(run: RunRow, stale: boolean) {
    if (run.line === null) return;
    const values = [run.lane, run.line] as const;
    const others = inbox()
      .query<RunRow, [string, string]>(`${RUNS} where lane = ? and line = ? order by r.id`)
      .all(...values);
    for (const other of others) {
      if (other.id === run.id) continue;
      const earlier = other.at < run.at || (other.at === run.at && other.seq < run.seq);
      // What came later than this run may have come after it began, and what was asked for in bulk waits for the others.
      if (earlier && other.bulk <= run.bulk && other.id < run.id && other.state < DONE && !other.parked)
        breaks(`${describe(run)} began before ${describe(other)}, which is earlier and open`);
    }
    const overtaken = others.some((other) => other.state === DONE && other.at > run.at);
    if (overtaken !== stale) breaks(`${describe(run)} was told that it is ${stale ? "" : "not "}stale`);
  }

  return {
    broken,
    breaks,
    answered(id, status, handlers) {
      if (status === "accepted") {
        if (accepted.has(id)) breaks(`${id} was accepted twice`);
        accepted.add(id);
        for (const handler of handlers) promised.add(name(id, handler, ""));
      }
      answered.add(id);
    },
    promised: (id, handler, replay) => void promised.add(name(id, handler, replay)),
    begunBy(handler) {
      if (!begun.has(handler)) begun.set(handler, new Map());
      return begun.get(handler)!;
    },
    began(handler, { delivery, run }, replay) {
      const row = inbox()
        .query<RunRow, [string, string, string]>(`${RUNS} where d.id = ? and handler = ? and replay = ?`)
        .get(delivery.id, handler, replay);
      if (!row) {
        breaks(`${name(delivery.id, handler, replay)} began, and is not stored`);
        return () => {};
      }
      if (row.state !== 1) breaks(`${describe(row)} began, and is not stored as running`);
      world.tell(`${describe(row)} begins, attempt ${row.attempts}`);
      const known = keys.get(run.idempotencyKey);
      if (known !== undefined && known !== describe(row))
        breaks(`${known} and ${describe(row)} have one idempotencyKey`);
      keys.set(run.idempotencyKey, describe(row));
      checkOrder(row, run.stale);
      const line = `${row.lane} ${row.line}`;
      const active = going.get(line) ?? new Set();
      going.set(line, active);
      if (row.line !== null && active.size > 0) breaks(`${describe(row)} began while ${[...active].join()} went on`);
      active.add(describe(row));
      return () => void active.delete(describe(row));
    },
    ended(ticket, outcome) {
      world.tell(
        `${name(ticket.delivery.id, ticket.handler, ticket.replay)} is ${outcome.kind}${"reason" in outcome ? `: ${outcome.reason}` : ""}`,
      );
    },
    databaseFailed: () => void (databaseFailures += 1),
    crashed() {
      opened?.close();
      opened = undefined;
      going.clear();
    },
    atRest() {
      if (answered.size < plan.deliveries.length) return false;
      return inbox().query<{ n: number }, []>(`select count(*) as n from ${EVERY_RUN} where state < 2`).get()?.n === 0;
    },
    settle(effects, appFile) {
      const runs = new Map(
        inbox()
          .query<RunRow, []>(RUNS)
          .all()
          .map((row) => [describe(row), row]),
      );
      for (const { id } of plan.deliveries) if (!answered.has(id)) breaks(`${id} was never answered 200`);
      for (const run of promised) if (!runs.has(run)) breaks(`${run} was promised, and is not stored`);
      for (const row of runs.values()) {
        if (row.state < DONE) breaks(`${describe(row)} never ended`);
        checkEnd(row);
      }
      checkEffects(runs, effects ?? readEffects(appFile));
      opened?.close();
    },
  };

  function describe({ delivery, handler, replay }: Pick<RunRow, "delivery" | "handler" | "replay">) {
    return name(delivery, handler, replay);
  }

  /** Whether it was given up on, or left out, with reason. */
  function checkEnd(row: RunRow) {
    const handler = plan.handlers.find((each) => each.name === row.handler);
    const allowed = handler?.options.attempts ?? 8;
    const { kind } = plan.behaviour(row.handler, `${row.delivery} ${row.replay}`);
    if (row.spent > allowed + 1) breaks(`${describe(row)} spent ${row.spent} of ${allowed} attempts`);
    if (row.state === SKIPPED && row.reason?.startsWith("stale") && handler?.options.stale !== "skip")
      breaks(`${describe(row)} was skipped, and its handler takes stale ones`);
    if (row.state === SKIPPED && row.replay !== "" && row.reason?.startsWith("stale"))
      breaks(`${describe(row)} was asked for, and skipped`);
    if (row.state !== DEAD) return;
    const innocent = kind === "plain" || kind === "slow";
    if (innocent && databaseFailures === 0 && !row.reason?.startsWith("the process died"))
      breaks(`${describe(row)} is dead, and never failed: ${row.reason}`);
    // Its last attempt went alone, so that it died of its own crash, or of one that came just then.
  }

  /** Every run that is done wrote its parts once, in one attempt; nothing else wrote any. */
  function checkEffects(runs: ReadonlyMap<string, RunRow>, effects: readonly EffectRow[]) {
    const written = Map.groupBy(effects, describe);
    for (const [run, row] of runs) {
      const rows = written.get(run) ?? [];
      const writes = plan.handlers.find((each) => each.name === row.handler)?.writes ?? false;
      const expected = row.state === DONE && writes ? PARTS : 0;
      const whole =
        rows.length === expected &&
        new Set(rows.map(({ attempt }) => attempt)).size <= 1 &&
        new Set(rows.map(({ part }) => part)).size === rows.length;
      if (!whole)
        breaks(
          `${run} is in state ${row.state}, and wrote ${JSON.stringify(rows.map(({ attempt, part }) => [attempt, part]))}`,
        );
    }
    for (const run of written.keys()) if (!runs.has(run)) breaks(`${run} wrote, and is not stored`);
  }
}

function readEffects(file: string): EffectRow[] {
  using db = new Database(file, { readonly: true });
  return db.query<EffectRow, []>("select * from effects").all();
}
