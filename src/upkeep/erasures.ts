// Carries out erasures: of the inbox in bounded steps, then of the mirror's tables, then of the files. Continues those that
// were interrupted or wait for unfinished runs, and begins those of users that were deleted long enough ago.

import type { Effects } from "../db/effects.ts";
import type { Erasure } from "../inbox/erasure.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { type RoundsOptions, startRounds } from "./rounds.ts";

export interface ErasuresOptions extends Partial<RoundsOptions> {
  inbox: Pick<Inbox, "erasures">;
  effects: Pick<Effects, "scrub">;
  /** The user's addresses in the handlers' database. */
  addressesOf: (user: string) => Promise<string[]>;
  /** Erases the user's rows in the handlers' database. Returns their number, by table. */
  eraseRows: (user: string, addresses: readonly string[]) => Promise<Record<string, number>>;
  /** Erase a user this long after its deletion. Undefined: only when a person asks. */
  afterMs?: number | undefined;
  onFinished?: ((erasure: Erasure) => void) | undefined;
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
  const { inbox, effects, addressesOf, eraseRows, afterMs, onFinished } = options;
  const underWay = new Map<string, Promise<Erasure | null>>();

  function track(user: string, working: Promise<Erasure | null>) {
    const tracked = working.finally(() => {
      // Another one may have been requested meanwhile.
      if (underWay.get(user) === tracked) underWay.delete(user);
    });
    underWay.set(user, tracked);
    return tracked;
  }

  async function work(user: string): Promise<Erasure | null> {
    const addresses = [...new Set([...(await inbox.erasures.identifiersOf(user)), ...(await addressesOf(user))])];
    const known = new Set(addresses);
    for (let isMore = true, start = performance.now(); isMore && !rounds.stopped; start = performance.now()) {
      isMore = await inbox.erasures.eraseNext(user, known);
      if (isMore) await rounds.rest(PAUSE_FACTOR * (performance.now() - start));
    }
    const found = await inbox.erasures.get(user);
    if (rounds.stopped || !found || found.held > 0) return found;
    const rows = await eraseRows(user, addresses);
    // A receipt is written only when the bytes are gone from the files too.
    if (!((await inbox.erasures.scrub()) && (await effects.scrub())))
      throw new Error("the databases' files are in use all the time, so erased bytes are still in them");
    const isFinished = await inbox.erasures.finish(user, rows);
    const ended = await inbox.erasures.get(user);
    if (isFinished && ended) onFinished?.(ended);
    return ended;
  }

  async function continueAll() {
    if (afterMs !== undefined) await inbox.erasures.requestDue(afterMs);
    for (const { user } of await inbox.erasures.open(AT_ONCE))
      if (!rounds.stopped) await (underWay.get(user) ?? track(user, work(user)));
  }

  const rounds = startRounds(continueAll, { everyMs: EVERY_MS, ...options });
  return {
    erase(user, { givesUp }) {
      const earlier = underWay.get(user);
      const request = async () => {
        // An erasure that is under way searches only what was stored when it was requested.
        await earlier?.catch(() => undefined);
        await inbox.erasures.request(user, "person", givesUp);
      };
      const requested = request();
      const finished = track(
        user,
        requested.then(() => work(user)),
      );
      return { requested, finished: finished.then((erasure) => erasure!) };
    },
    async find(user) {
      // In this order: it may end in between.
      const isUnderWay = underWay.has(user);
      return { erasure: await inbox.erasures.get(user), isUnderWay };
    },
    async stop() {
      await Promise.allSettled([rounds.stop(), ...underWay.values()]);
    },
  };
}
