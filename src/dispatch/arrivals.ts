// Deliveries that come while handlers have free slots: what they bring begins in the very commit that stores them.

import type { ReceivedEvent } from "../clerk/events.ts";
import type { Accepted, Inbox, NewDelivery, NewRun, Ticket } from "../inbox/inbox.ts";
import type { Slots } from "./slots.ts";

interface ArrivalsOptions {
  inbox: Pick<Inbox, "accept">;
  owner: string;
  slots: Slots;
  /** The handlers that can run now. */
  ready: () => ReadonlySet<string>;
  begin: (tickets: readonly Ticket[]) => void;
  /** It could not be stored; what it began may be durable all the same, and is in nobody's hands. */
  onFailed: () => void;
  /** A slot was reserved in vain: somebody else may want it. */
  onFreed: () => void;
}

export interface Arrivals {
  accept(delivery: NewDelivery, runs: readonly NewRun[], event?: ReceivedEvent): Promise<Accepted>;
  /** Of those that are under way: resolves when what each began has begun. */
  readonly pending: ReadonlySet<Promise<void>>;
}

export function createArrivals({ inbox, owner, slots, ready, begin, onFailed, onFreed }: ArrivalsOptions): Arrivals {
  const pending = new Set<Promise<void>>();

  /** Takes a slot of each handler that has one. */
  function reserve(runs: readonly NewRun[]): string[] {
    const can = ready();
    const taken: string[] = [];
    for (const { parked, handler } of runs)
      if (!parked && can.has(handler) && slots.takeFree(handler)) taken.push(handler);
    return taken;
  }

  /** What has been stored and answered begins, all of a turn together. */
  let arrived: (() => void)[] = [];
  function afterAnswers(begins: () => void) {
    if (arrived.length === 0)
      setImmediate(() => {
        const all = arrived;
        arrived = [];
        for (const each of all) each();
      });
    arrived.push(begins);
  }

  return {
    pending,
    async accept(delivery, runs, event) {
      const handlers = reserve(runs);
      if (handlers.length === 0) return inbox.accept(delivery, runs);
      const { promise, resolve } = Promise.withResolvers<void>();
      pending.add(promise);
      const over = (begun: readonly Ticket[]) =>
        afterAnswers(() => {
          for (const handler of handlers) slots.giveBack(handler);
          const [first, ...others] = begun;
          // What one handler does to the event is nothing to the others: they read it anew.
          if (first) begin([event ? { ...first, event } : first, ...others]);
          pending.delete(promise);
          resolve();
          if (begun.length < handlers.length) onFreed();
        });
      try {
        const accepted = await inbox.accept(delivery, runs, { owner, handlers });
        over(accepted.status === "accepted" ? (accepted.begun ?? []) : []);
        return accepted;
      } catch (error) {
        onFailed();
        over([]);
        throw error;
      }
    },
  };
}
