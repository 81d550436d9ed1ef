// Listens to what the server tells, and brings it where it belongs. A break mends itself: the browser goes on from the last
// id it has; when the server refuses, it is asked again every few seconds.

import type { FeedEvents } from "../types.ts";
import { api, signedOut } from "./api.ts";
import { reloadOpen } from "./opened.ts";
import { refreshNewest, takeLive, throttled } from "./rows.ts";
import { connection, handlers, health, openId, refused } from "./state.ts";

const AGAIN_MS = 3_000;

let source: EventSource | undefined;
let timer: ReturnType<typeof setTimeout> | undefined;

export function listen() {
  source?.close();
  clearTimeout(timer);
  source = new EventSource("/api/feed");
  source.addEventListener("open", () => {
    connection.value = "live";
  });
  source.addEventListener("error", () => {
    connection.value = "lost";
    if (source?.readyState !== EventSource.CLOSED || signedOut.value) return;
    // Refused: a question says whether it is because nobody is signed in.
    api.server().catch(() => undefined);
    timer = setTimeout(listen, AGAIN_MS);
  });
  on("deliveries", (told) => {
    takeLive(told);
    if (told.some(({ id }) => id === openId.value)) reloadOpen();
  });
  on("summary", () => {
    refreshNewest();
    reloadOpen();
  });
  on("handlers", (table) => {
    handlers.value = table;
  });
  on("health", (hour) => {
    health.value = hour;
    lookAtRefused();
  });
}

export function stopListening() {
  source?.close();
  clearTimeout(timer);
}

/** Nothing tells of what is refused: it is asked for when the rest is told. */
const lookAtRefused = throttled(4_000, async () => {
  if (document.hidden) return;
  refused.value = await api.refused().catch(() => refused.value);
});

function on<Name extends keyof FeedEvents>(name: Name, take: (told: FeedEvents[Name]) => void) {
  source?.addEventListener(name, (message: MessageEvent<string>) => take(JSON.parse(message.data) as FeedEvents[Name]));
}
