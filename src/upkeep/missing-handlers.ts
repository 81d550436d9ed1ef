// Reports runs whose handler no server has, as after a deploy that has renamed or removed it. Nothing else would report
// them before they are skipped. A file that does not load is reported when it is loaded.

import type { BacklogCount } from "../inbox/backlog.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { type Rounds, type RoundsOptions, startRounds } from "./rounds.ts";

interface ParkedOptions extends Partial<RoundsOptions> {
  inbox: Pick<Inbox, "parked">;
  /** Whether this server has a file for the handler. */
  knows: (handler: string) => boolean;
  /** Called once for each handler, and again when it was gone for a second time. */
  onParked: (count: BacklogCount) => void;
  delayMs?: number;
}

const EVERY_MS = 60_000;
// A server that starts parks the runs of missing handlers only then.
const DELAY_MS = 2_000;

export function startParkedReports(options: ParkedOptions): Rounds {
  const { inbox, knows, onParked, delayMs = DELAY_MS } = options;
  let reported = new Set<string>();
  return startRounds(
    async (rounds) => {
      await rounds.rest(delayMs);
      if (rounds.stopped) return;
      const unknown = (await inbox.parked()).filter(({ handler }) => !knows(handler));
      for (const found of unknown) if (!reported.has(found.handler)) onParked(found);
      reported = new Set(unknown.map(({ handler }) => handler));
    },
    { everyMs: EVERY_MS, ...options },
  );
}
