// Carries out erasures: of the inbox in bounded steps, then of the mirror's tables, then of the files. Continues those that
// were interrupted or wait for unfinished runs, and begins those of users that were deleted long enough ago.

import type { Effects } from "../db/effects.ts";
import { isOutage } from "../db/outage.ts";
import { InboxUnavailable } from "../errors.ts";
import type { Erasure, Inbox } from "../inbox/inbox.ts";

export interface ErasuresOptions {
  inbox: Pick<
    Inbox,
    | "requestErasure"
    | "requestDueErasures"
    | "erasure"
    | "openErasures"
    | "identifiersOf"
    | "eraseNext"
    | "finishErasure"
    | "scrub"
  >;
  effects: Pick<Effects, "scrub">;
  /** The user's addresses in the handlers' database. */
  addressesOf: (user: string) => Promise<string[]>;
  /** Erases the user's rows in the handlers' database. Returns their number, by table. */
  eraseRows: (user: string, addresses: readonly string[]) => Promise<Record<string, number>>;
  /** Erase a user this long after its deletion. Undefined: only when a person asks. */
  afterMs?: number | undefined;
  /** Whether this server continues erasures. Two servers at once would only repeat each other's work. */
  isOurs?: () => boolean;
  everyMs?: number;
  onFinished?: ((erasure: Erasure) => void) | undefined;
  onTrouble?: ((error: unknown) => void) | undefined;
}

export interface Erasures {
  /**
   * Erases what is stored about a user. `requested` resolves when that survives a crash, `finished` when it has finished or
   * waits for unfinished runs.
   */
  erase(user: string, options: { givesUp: boolean }): { requested: Promise<void>; finished: Promise<Erasure> };
  find(user: string): Promise<{ erasure: Erasure | null; isUnderWay: boolean }>;
  stop(): Promise<void>;
}

const EVERY_MS = 60_000;
const AT_ONCE = 100;
// Deliveries and runs get most of the time.
const PAUSE_FACTOR = 3;

export function startErasures(options: ErasuresOptions): Erasures {
  const { inbox, effects, addressesOf, eraseRows, afterMs, isOurs = () => true, everyMs = EVERY_MS } = options;
  const { onFinished, onTrouble } = options;
  let isStopped = false;
  const underWay = new Map<string, Promise<Erasure | null>>();
  /** Users whose erasure is about to begin. */
  const requested = new Set<string>();
  let round: Promise<void> | undefined;

  /** One at a time for each user. */
  function carryOut(user: string): Promise<Erasure | null> {
    const running = underWay.get(user);
    if (running) return running;
    const working = work(user).finally(() => underWay.delete(user));
    underWay.set(user, working);
    return working;
  }

  async function work(user: string): Promise<Erasure | null> {
    const addresses = [...new Set([...(await inbox.identifiersOf(user)), ...(await addressesOf(user))])];
    const known = new Set(addresses);
    for (let isMore = true, start = performance.now(); isMore && !isStopped; start = performance.now()) {
      isMore = await inbox.eraseNext(user, known);
      if (isMore) await Bun.sleep(PAUSE_FACTOR * (performance.now() - start));
    }
    const found = await inbox.erasure(user);
    if (isStopped || !found || found.held > 0) return found;
    const rows = await eraseRows(user, addresses);
    // A receipt is written only when the bytes are gone from the files too.
    if (!((await inbox.scrub()) && (await effects.scrub())))
      throw new Error("the databases' files are in use all the time, so erased bytes are still in them");
    const isFinished = await inbox.finishErasure(user, rows);
    const ended = await inbox.erasure(user);
    if (isFinished && ended) onFinished?.(ended);
    return ended;
  }

  async function continueAll() {
    if (afterMs !== undefined) await inbox.requestDueErasures(afterMs);
    for (const { user } of await inbox.openErasures(AT_ONCE)) if (!isStopped) await carryOut(user);
  }

  function startRound() {
    if (!isOurs()) return;
    round ??= continueAll()
      // Outages are reported elsewhere, and the next round continues.
      .catch((error) => {
        if (!(error instanceof InboxUnavailable) && !isOutage(error)) onTrouble?.(error);
      })
      .finally(() => (round = undefined));
  }

  const timer = everyMs === Infinity ? undefined : setInterval(startRound, everyMs).unref();
  if (timer) startRound();
  return {
    erase(user, { givesUp }) {
      const request = async () => {
        // An erasure that is under way searches only what was stored when it was requested.
        await underWay.get(user)?.catch(() => undefined);
        await inbox.requestErasure(user, "person", givesUp);
      };
      requested.add(user);
      const stored = request();
      const finished = stored.then(() => {
        const working = carryOut(user);
        requested.delete(user);
        return working;
      });
      finished.catch(() => requested.delete(user));
      return { requested: stored, finished: finished.then((erasure) => erasure!) };
    },
    async find(user) {
      // In this order: it may end in between.
      const isUnderWay = underWay.has(user) || requested.has(user);
      return { erasure: await inbox.erasure(user), isUnderWay };
    },
    async stop() {
      isStopped = true;
      clearInterval(timer);
      await Promise.allSettled([round, ...underWay.values()]);
    },
  };
}
