// Repeats the background work of one server: a round begins now, and then every so often unless one is under way.

import { isOutage } from "../db/outage.ts";
import { InboxUnavailable } from "../errors.ts";

export interface RoundsOptions {
  /** Whether this server does the work. Two servers at once would only repeat each other's work. */
  isOurs?: (() => boolean) | undefined;
  /** Milliseconds between rounds. Infinity: there are none, only work that is asked for. */
  everyMs: number;
  /** Called with the error of a round. An outage is reported elsewhere, and a later round continues. */
  onTrouble?: ((error: unknown) => void) | undefined;
}

export interface Rounds {
  readonly stopped: boolean;
  /** Leaves the time to deliveries and runs: resolves after so many milliseconds, or at the stop. */
  rest(milliseconds: number): Promise<void>;
  /** Waits for the current round. */
  stop(): Promise<void>;
}

export function startRounds(work: (rounds: Rounds) => Promise<void>, options: RoundsOptions): Rounds {
  const { isOurs = () => true, everyMs, onTrouble } = options;
  const stopping = Promise.withResolvers<void>();
  let round: Promise<void> | undefined;
  const rounds = {
    stopped: false,
    async rest(milliseconds: number) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const waiting = setTimeout(resolve, milliseconds);
      await Promise.race([promise, stopping.promise]);
      clearTimeout(waiting);
    },
    async stop() {
      rounds.stopped = true;
      stopping.resolve();
      clearInterval(timer);
      await round;
    },
  };

  function start() {
    if (!isOurs()) return;
    round ??= work(rounds)
      .catch((error) => {
        if (!(error instanceof InboxUnavailable) && !isOutage(error)) onTrouble?.(error);
      })
      .finally(() => (round = undefined));
  }

  const timer = everyMs === Infinity ? undefined : setInterval(start, everyMs).unref();
  if (timer) start();
  return rounds;
}
