// Counts the deliveries that a new handler missed because they were received before its file was added.

import type { Change } from "../handlers/folder.ts";
import type { Handler } from "../handlers/loader.ts";
import type { Inbox } from "../inbox/inbox.ts";
import type { ReplayCount } from "../inbox/views.ts";

/** Counts up to 10,000 deliveries for each new handler, one handler after the other. */
export async function countMissed(
  inbox: Pick<Inbox, "countReplay">,
  changes: readonly Change[],
  onMissed: (handler: Handler, missed: ReplayCount) => void,
): Promise<void> {
  for (const change of changes) {
    if (change.kind !== "live" || !change.isNew) continue;
    const { name, lane, event } = change.handler;
    const handler = { handler: name, lane, event, parked: false };
    const selection = { filter: { neverSeenBy: handler }, handlers: [handler], stale: false };
    // Fails when the server stops meanwhile.
    const missed = await inbox.countReplay(selection, 10_000).catch(() => undefined);
    if (missed) onMissed(change.handler, missed);
  }
}
