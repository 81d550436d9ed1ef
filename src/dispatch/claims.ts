// Asks the inbox for runs that may go now, within the free slots: when there is something new, when the next one is due,
// and when a slot is free that something waits for. While nothing waits it asks nothing.

import type { Inbox, Ticket } from "../inbox/inbox.ts";
import type { Slots } from "./slots.ts";

interface ClaimsOptions {
  inbox: Pick<Inbox, "claim" | "reconcile">;
  owner: string;
  slots: Slots;
  /** The handlers that can run now. */
  loaded: () => ReadonlySet<string>;
  begin: (tickets: readonly Ticket[]) => void;
  /** Runs that we hold an attempt of. */
  held: () => ReadonlySet<number>;
  /** Resolves when we hold none. */
  rest: () => Promise<void>;
  /** Deliveries that are being stored, and may begin runs. */
  pending: ReadonlySet<Promise<void>>;
  stopping: Promise<void>;
  trouble: (error: unknown) => void;
}

export interface Claims {
  /** There may be something to claim. */
  wake(): void;
  /** A slot is free again: most often nothing waits for it, and nobody has to ask. */
  freed(): void;
  /** What was begun may be durable and in nobody's hands: before the next claim it goes back. */
  fail(): void;
  readonly failed: boolean;
  readonly going: boolean;
  /** One goes alone, or waits until it can: nothing may begin beside it. */
  readonly alone: boolean;
  /** Resolves when the claim that is under way is over. */
  readonly over: Promise<void>;
  stop(): void;
}

const HOUR_MS = 3_600_000;
/** Between two tries while the disk refuses. */
export const AFTER_TROUBLE_MS = 250;

export function createClaims(options: ClaimsOptions): Claims {
  const { inbox, owner, slots, loaded, begin, held, rest, pending, stopping, trouble } = options;
  let stopped = false;
  let going = false;
  let alone = false;
  /** Something may wait that no claim has looked for yet, or had no slot for. */
  let mayWait = true;
  let slotFreed = false;
  let failed = false;
  let over: Promise<void> = Promise.resolve();
  let timer: Timer | undefined;

  function wake() {
    mayWait = true;
    if (!going && !stopped) over = claim();
  }

  async function claim() {
    going = true;
    let more = true;
    while (more && !stopped) {
      mayWait = slotFreed = false;
      try {
        const left = await claimOnce();
        more = mayWait || left === "claimable" || (left === "without a slot" && slotFreed);
        mayWait ||= left !== "nothing";
      } catch (error) {
        failed = true;
        mayWait = true;
        trouble(error);
        wakeIn(AFTER_TROUBLE_MS);
        break;
      }
    }
    going = false;
  }

  /** Says what may be left to claim. */
  async function claimOnce(): Promise<"nothing" | "claimable" | "without a slot"> {
    if (failed) {
      while (pending.size > 0) await Promise.all(pending);
      await inbox.reconcile(owner, held());
    }
    failed = false;
    const all = loaded();
    const rooms = slots.reserve(all);
    const found = await inbox.claim(owner, rooms).finally(() => slots.release(rooms));
    begin(found.tickets);
    if (found.next !== null) wakeIn(found.next);
    if (found.alone) {
      alone = true;
      return await claimAlone().finally(() => (alone = false));
    }
    for (const { handler } of found.tickets) rooms.set(handler, rooms.get(handler)! - 1);
    if ([...rooms.values()].includes(0)) return "claimable";
    return rooms.size < all.size ? "without a slot" : "nothing";
  }

  /** One that was interrupted too often goes with nothing beside it, so that a crash now is its own. */
  async function claimAlone() {
    await rest();
    if (stopped) return "nothing";
    const found = await inbox.claim(owner, new Map(), true);
    begin(found.tickets);
    await Promise.race([stopping, rest()]);
    return "claimable";
  }

  function wakeIn(delay: number) {
    clearTimeout(timer);
    // An hour at a time: setTimeout overflows at 24.8 days.
    timer = setTimeout(wake, Math.min(delay, HOUR_MS));
  }

  return {
    wake,
    freed() {
      slotFreed = true;
      if (mayWait) wake();
    },
    fail() {
      failed = true;
      // Nobody else would hear of it.
      mayWait = true;
    },
    get failed() {
      return failed;
    },
    get alone() {
      return alone;
    },
    get going() {
      return going;
    },
    get over() {
      return over;
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
