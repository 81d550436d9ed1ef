// The SQLite inbox on a thread of its own: whoever waits for a 200 waits for the disk, and nobody else does.

import type { Inbox } from "./inbox.ts";
import { askInbox } from "./remote.ts";

/** What the thread is told at its beginning. */
export interface ThreadOpening {
  dataDir: string;
}

/** Opens the inbox of a data folder. Rejects as `openSqliteInbox` does. */
export async function openInboxThread(
  dataDir: string,
  { onTrouble }: { onTrouble?: (reason?: unknown) => void } = {},
): Promise<Inbox> {
  const worker = new Worker(new URL("./thread.worker.ts", import.meta.url).href);
  // A mistake of ours: what was accepted is on the disk, and the next start goes on from there.
  worker.addEventListener("error", ({ message }) => {
    throw new Error(`the inbox's thread has ended: ${message}`);
  });
  try {
    const opening: ThreadOpening = { dataDir };
    return await askInbox(worker, opening, { onTrouble, onClosed: () => worker.terminate() });
  } catch (error) {
    worker.terminate();
    throw error;
  }
}
