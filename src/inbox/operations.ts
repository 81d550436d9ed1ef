// What the inbox can be asked for, each as commits of a bounded size. Who looks at runs or subjects has those written first
// that are written late; what would write nothing costs no commit.

import type { Group } from "./group.ts";
import type { Accepted, Inbox, Ticket } from "./inbox.ts";
import { listSlices } from "./list.ts";
import { countSlices } from "./missing.ts";
import { countReplaySlices } from "./replays.ts";
import type { Runs } from "./runs.ts";

interface Operations extends Omit<Inbox, "writable" | "onWork" | "close" | typeof Symbol.asyncDispose> {
  /** What is written late has not to be looked for at the next start. */
  writeLate(): Promise<void>;
}

/** `current` is the state machine on the connection as it is now: after trouble it is another one. */
export function createOperations(group: Group, current: () => Runs): Operations {
  async function write<T>(operation: (runs: Runs) => T): Promise<T> {
    return group.write(() => {
      current().writeBegun();
      return operation(current());
    });
  }

  /** What begins with its delivery is written late, and so is of whom it is: whoever looks has it written first. */
  async function catchUp(bySubject: boolean): Promise<void> {
    const late = bySubject && current().hasSubjects;
    if (late || current().hasBegun) await write((runs) => late && runs.writeSubjects());
  }

  /** While the disk refuses, what is there can be read all the same. */
  async function read<T>(operation: (runs: Runs) => T, bySubject = false): Promise<T> {
    await catchUp(bySubject).catch(() => undefined);
    return operation(current());
  }

  /** As `read`, for what would be wrong if something were missing. */
  async function count<T>(operation: (runs: Runs) => T, bySubject = false): Promise<T> {
    await catchUp(bySubject);
    return operation(current());
  }

  /** A commit at a time, each of a bounded size, until `step` says that there is no more. */
  async function inSteps(step: (runs: Runs) => boolean): Promise<void> {
    while (await write(step));
  }

  let wanted: ReadonlySet<string> = new Set();
  let parking: Promise<void> | undefined;

  /** Two at a time would undo each other's steps for ever: whoever asks meanwhile is done when the last word is. */
  async function parkAll(): Promise<void> {
    try {
      let word: ReadonlySet<string> | undefined;
      while (word !== wanted) await inSteps((runs) => runs.park((word = wanted)));
    } finally {
      parking = undefined;
    }
  }

  return {
    accept(delivery, newRuns, begin) {
      let before: Accepted | undefined;
      return group.write(() => {
        const now = current().accept(delivery, newRuns, begin);
        // Called again when the commit failed. That commit was durable all the same: what it began is in our hands.
        if (now.status === "duplicate" && before) return before;
        return (before = now);
      });
    },
    async claim(owner, rooms, alone = false) {
      // Most wake-ups find nothing: looking costs no commit.
      const found = current().look(rooms, alone);
      if (!found.any) return found.claim;
      let begun: readonly Ticket[] = [];
      return group.writeSoon(() => {
        const runs = current();
        // Called again when the commit failed. That commit may be durable all the same: what it began goes back first.
        for (const ticket of begun) if (runs.isOf(ticket)) runs.settle(ticket, { kind: "released" });
        const claim = runs.claim(owner, rooms, alone);
        begun = claim.tickets;
        return claim;
      });
    },
    settle(ticket, outcome) {
      let before: "settled" | "lost" | undefined;
      return group.writeSoon(() => {
        const now = current().settle(ticket, outcome);
        if (now === "lost" && before) return before;
        return (before = now);
      });
    },
    note: (ticket, line) => write((runs) => runs.note(ticket, line)),
    orphans: (owner) => write((runs) => runs.orphans(owner)),
    reconcile: (owner, held) => write((runs) => runs.reconcile(owner, held)),
    park(loaded) {
      wanted = loaded;
      return (parking ??= parkAll());
    },
    replay: (id, replay, newRuns) => write((runs) => runs.replay(id, replay, newRuns)),
    missing: async (query, limit = Infinity) =>
      await count(() => countSlices((before) => current().countMissing(query, before), limit)),
    async addMissing(query, after, limit) {
      // A stretch without any costs no commit.
      const looked = await count((runs) => runs.lookForMissing(query, after, limit));
      return looked.added === 0 ? looked : write((runs) => runs.addMissing(query, after, limit));
    },
    states: (handler, added) => read((runs) => runs.states(handler, added)),
    replayable: async (query, handlers, limit = Infinity) =>
      await count(
        () => countReplaySlices((after) => current().countReplays(query, handlers, after), limit),
        query.subject !== null,
      ),
    async addReplays(query, handlers, replay, after, limit) {
      const asked = { query, handlers, replay, after, limit };
      // A stretch without any costs no commit.
      const looked = await count((runs) => runs.lookForReplays(asked), query.subject !== null);
      return looked.added === 0 ? looked : write((runs) => runs.addReplays(asked));
    },
    retryNow: (run) => write((runs) => runs.retryNow(run)),
    giveUp: (run, reason) => write((runs) => runs.giveUp(run, reason)),
    sweep: () => inSteps((runs) => runs.sweep()),
    get: (id) => read((runs) => runs.get(id)),
    list: async (filter, page) =>
      await read(
        () => listSlices((before, limit) => current().listSlice(filter, before, limit), page),
        filter.subject != null,
      ),
    async looked(id) {
      const seq = await read((runs) => runs.lookable(id));
      if (seq !== null) await write((runs) => runs.looked(seq));
    },
    prunable: async (retentionDays, limit) => current().prunable(retentionDays, limit),
    prune: (batch) => write((runs) => runs.prune(batch)),
    async writeLate() {
      if (current().hasSubjects) await write((runs) => runs.writeSubjects()).catch(() => undefined);
    },
  };
}
