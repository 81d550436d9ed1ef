// Receives the feed of the server and updates the page. After a lost connection the browser continues from its last
// event id; after a refused one, the page reconnects every few seconds.

import type { FeedEvents } from "../../api/types.ts";
import { api, signedOut, unreachable } from "./api.ts";
import { reloadOpen } from "./opened.ts";
import { refreshNewest, takeLive, throttled } from "./rows.ts";
import { connection, deadRuns, handlers, health, openId, refused } from "./state.ts";

const RECONNECT_MS = 3_000;
// At most a twentieth of the time is spent counting.
const COUNT_SHARE = 20;

let source: EventSource | undefined;
let timer: ReturnType<typeof setTimeout> | undefined;

function listen() {
  source?.close();
  clearTimeout(timer);
  source = new EventSource("/api/feed");
  source.addEventListener("open", () => {
    connection.value = "live";
  });
  source.addEventListener("error", () => {
    connection.value = "lost";
    if (source?.readyState !== EventSource.CLOSED || signedOut.value) return;
    // Refused. Another request finds out whether the session has ended.
    api.server().catch(() => undefined);
    timer = setTimeout(listen, RECONNECT_MS);
  });
  on("deliveries", (changed) => {
    takeLive(changed);
    countDead();
    if (changed.some(({ id }) => id === openId.value)) reloadOpen();
  });
  on("summary", () => {
    countDead();
    refreshNewest();
    reloadOpen();
  });
  on("handlers", (table) => {
    handlers.value = table;
  });
  on("health", (hour) => {
    health.value = hour;
    lookAtRefused();
    countDead();
  });
}

function stopListening() {
  source?.close();
  clearTimeout(timer);
}

/**
 * Closes the stream while the page is hidden: a browser has six connections to a server over HTTP/1.1, and a stream in
 * each tab would leave none to load another page. The next stream begins with a summary, which brings the list up to
 * date.
 */
export function listenWhileVisible(): () => void {
  const follow = () => {
    if (!document.hidden) return listen();
    stopListening();
    connection.value = "paused";
  };
  follow();
  document.addEventListener("visibilitychange", follow);
  return () => {
    document.removeEventListener("visibilitychange", follow);
    stopListening();
  };
}

/** The feed does not report refused requests, so they are loaded along with the other updates. */
const lookAtRefused = throttled(4_000, async () => {
  if (document.hidden) return;
  refused.value = await api.refused().catch(() => refused.value);
});

let countDeadAfter = 0;

/** Counting reads every dead run: the more there are, the less often it is done. */
const countDead = throttled(2_000, async () => {
  const startedAt = performance.now();
  if (document.hidden || startedAt < countDeadAfter) return;
  const counted = await api.countReplay({ state: "dead", stale: true }).catch(() => null);
  countDeadAfter = performance.now() + COUNT_SHARE * (performance.now() - startedAt);
  // Dead runs that can't be replayed count as well.
  if (counted) deadRuns.value = { found: counted.found + counted.wiped + counted.gone, more: counted.more };
});

function on<Name extends keyof FeedEvents>(name: Name, take: (changed: FeedEvents[Name]) => void) {
  source?.addEventListener(name, (message: MessageEvent<string>) => {
    unreachable.value = false;
    take(JSON.parse(message.data) as FeedEvents[Name]);
  });
}
