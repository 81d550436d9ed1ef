// Logs events: for people, one line per event with the outcomes of its handlers; for machines, a record for each step,
// whose fields are in log.ts. Shows ids, and never a payload.

import { count } from "./count.ts";
import { formatDuration } from "./duration.ts";
import type { ClaimedRun, Outcome } from "./inbox/inbox.ts";
import { describeOutcome, describeStored, logDelivery, logOutcome } from "./log.ts";
import type { Logger } from "./logger.ts";
import type { ReceivedDelivery } from "./receive/server.ts";

export interface EventLines {
  delivered: (received: ReceivedDelivery) => void;
  ended: (run: ClaimedRun, outcome: Outcome) => void;
}

interface EndedRun {
  run: ClaimedRun;
  outcome: Outcome;
}

interface PendingEvent {
  received: ReceivedDelivery;
  /** Handlers whose first attempt has not ended. */
  running: Set<string>;
  ended: EndedRun[];
  timer: Timer;
}

type Subject = Pick<ClaimedRun["delivery"], "id" | "type" | "subject">;

// After this time, an event is logged without the outcome of a slow or waiting handler.
const WAIT_MS = 1_000;
// Of events that only wait, as while their handler is paused, so many lines are printed in this time; then their number.
const MAX_WAITING_LINES = 5;
// Beyond this number of pending events, each run gets its own line.
const MAX_PENDING = 1_000;

export function createEventLines(log: Logger, { waitMs = WAIT_MS } = {}): EventLines {
  const pending = new Map<string, PendingEvent>();
  let waitingLines = 0;

  function print(of: Subject, ended: readonly EndedRun[], stillRunning: readonly string[] = []) {
    const outcomes = ended.map(({ run, outcome }) => ({ run, outcome, ...describeOutcome(run, outcome) }));
    const level =
      (["error", "warn"] as const).find((severity) => outcomes.some((outcome) => outcome.level === severity)) ?? "info";
    const done = outcomes.filter(({ outcome: { kind } }) => kind === "done");
    // The line begins with the event's type. A single handler of that name is not named again.
    const isOnly = outcomes.length === 1 && stillRunning.length === 0 && outcomes[0]?.run.handler === of.type;
    const parts = [
      done.map(({ run }) => nameOf(run)).join(", "),
      ...outcomes.filter((outcome) => !done.includes(outcome)).map(({ text }) => text),
      stillRunning.length > 0 && `${stillRunning.join(", ")} still running or waiting`,
    ];
    const took = Math.max(...outcomes.map(({ outcome }) => ("record" in outcome ? outcome.record.took : 0)), 0);
    const sign = level !== "info" ? "✗" : ended.length === 0 ? "…" : done.length === 0 ? "-" : "✓";
    const text = parts.filter(Boolean).join("; ");
    const columns = [
      `${sign} ${of.type}`,
      isOnly ? text.slice(of.type.length).trim() : text,
      ended.length > 0 && formatDuration(took),
    ];
    log[level]({ id: of.id, type: of.type, subject: of.subject, ms: took }, line(columns, of));
  }

  function flush(id: string) {
    const event = pending.get(id);
    if (!event) return;
    pending.delete(id);
    clearTimeout(event.timer);
    if (event.ended.length === 0) {
      if (waitingLines === 0) setTimeout(endWaitingLines, waitMs).unref();
      waitingLines += 1;
      if (waitingLines > MAX_WAITING_LINES) return;
    }
    print(event.received.delivery, event.ended, [...event.running]);
  }

  function endWaitingLines() {
    const more = waitingLines - MAX_WAITING_LINES;
    waitingLines = 0;
    if (more > 0) log.info({ more }, `… ${count(more, "more event")} still running or waiting`);
  }

  return {
    delivered(received) {
      const { delivery, status, runs } = received;
      const { id, type, subject } = delivery;
      const starting = runs.filter((run) => !run.parked).map(({ handler }) => handler);
      if (status === "duplicate") return log.info({ id, type, subject }, line([`= ${type}`, "duplicate"], delivery));
      if (starting.length < runs.length || starting.length === 0)
        log.info({ id, type, subject }, line([`○ ${type}`, describeStored(runs)], delivery));
      if (starting.length === 0 || pending.size >= MAX_PENDING) return;
      const timer = setTimeout(flush, waitMs, id).unref();
      pending.set(id, { received, running: new Set(starting), ended: [], timer });
    },
    ended(run, outcome) {
      const { delivery, handler, replay } = run;
      const { level, text, fields } = describeOutcome(run, outcome);
      // The run was not at fault and is retried, so this is not a result of the event.
      if (outcome.kind === "postponed" || outcome.kind === "released") return log[level](fields, text);
      const event = replay === "" ? pending.get(delivery.id) : undefined;
      if (!event?.running.delete(handler)) return print(delivery, [{ run, outcome }]);
      event.ended.push({ run, outcome });
      if (event.running.size === 0) flush(delivery.id);
    },
  };
}

/** A record for each delivery and each attempt, for machines to read. */
export function createRecords(log: Logger): EventLines {
  return {
    delivered: (received) => logDelivery(log, received),
    ended: (run, outcome) => logOutcome(log, run, outcome),
  };
}

function line(columns: readonly (string | false)[], { id, subject }: Subject): string {
  return [...columns, subject, id].filter(Boolean).join("  ");
}

function nameOf({ handler, spent, replay }: ClaimedRun): string {
  const notes = [replay !== "" && "replay", spent > 0 && `attempt ${spent + 1}`].filter(Boolean);
  return notes.length === 0 ? handler : `${handler} (${notes.join(", ")})`;
}
