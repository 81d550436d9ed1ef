// Receives the feed of the server and updates the page. One tab of the browser holds the stream and passes its messages
// to the others: a browser has only six connections to a server over HTTP/1.1. When that tab is closed, another takes
// over; its stream begins with a summary, which brings all tabs up to date.

import type { FeedEvents } from "../../api/types.ts";
import { api, signedOut, unreachableSince } from "./api.ts";
import { refreshOpen } from "./opened.ts";
import { refreshProblems } from "./problems.ts";
import { refreshRows, takeLive } from "./rows.ts";
import { connection, handlers, health, openId, refused } from "./state.ts";
import { throttled } from "./throttled.ts";

const RECONNECT_MS = 3_000;
const NAMES = ["deliveries", "summary", "handlers", "health"] as const;

type FeedMessage = { [Name in keyof FeedEvents]: { name: Name; data: FeedEvents[Name] } }[keyof FeedEvents];
type TabMessage = FeedMessage | { name: "connection"; data: "connecting" | "live" | "lost" } | { name: "hello" };

/** Returns a function that stops listening. */
export function listenToFeed(): () => void {
  const tabs = new BroadcastChannel("bellhop-feed");
  const stopped = new AbortController();
  let stream: { close: () => void } | undefined;
  const pass = (message: TabMessage) => {
    take(message);
    tabs.postMessage(message);
  };
  tabs.addEventListener("message", ({ data }: MessageEvent<TabMessage>) => {
    if (data.name !== "hello") take(data);
    // A tab that was just opened asks whether there is a stream.
    else if (stream) tabs.postMessage({ name: "connection", data: connection.value } satisfies TabMessage);
  });
  const lead = () => {
    stream = openStream(pass);
    return new Promise<void>((resolve) => stopped.signal.addEventListener("abort", () => resolve()));
  };
  // Without TLS, another host than localhost has no locks: each tab then has its own stream.
  const locks = navigator.locks as LockManager | undefined;
  if (locks) {
    locks.request("bellhop-feed", { signal: stopped.signal }, lead).catch(() => undefined);
    tabs.postMessage({ name: "hello" } satisfies TabMessage);
  } else void lead();
  return () => {
    stopped.abort();
    stream?.close();
    tabs.close();
  };
}

function openStream(pass: (message: TabMessage) => void) {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const connect = () => {
    source?.close();
    clearTimeout(timer);
    source = new EventSource("/api/feed");
    source.addEventListener("open", () => pass({ name: "connection", data: "live" }));
    source.addEventListener("error", () => {
      pass({ name: "connection", data: "lost" });
      if (source?.readyState !== EventSource.CLOSED || signedOut.value) return;
      // Refused. Another request finds out whether the session has ended.
      api.server().catch(() => undefined);
      timer = setTimeout(connect, RECONNECT_MS);
    });
    for (const name of NAMES)
      source.addEventListener(name, ({ data }: MessageEvent<string>) => {
        pass({ name, data: JSON.parse(data) });
      });
  };
  connect();
  return {
    close() {
      source?.close();
      clearTimeout(timer);
    },
  };
}

function take(message: TabMessage) {
  if (message.name === "hello") return;
  if (message.name === "connection") {
    connection.value = message.data;
    // The server is there again: what was shown as unreachable is asked for again.
    if (message.data === "live" && unreachableSince.value !== null) refreshRows();
    return;
  }
  connection.value = "live";
  unreachableSince.value = null;
  if (message.name === "handlers") handlers.value = message.data;
  else if (message.name === "health") {
    health.value = message.data;
    lookAtRefused();
    refreshProblems();
  } else {
    refreshProblems();
    if (message.name === "summary") refreshRows();
    else takeLive(message.data);
    if (message.name === "summary" || message.data.some(({ id }) => id === openId.value)) refreshOpen();
  }
}

/** The feed does not report refused requests, so they are loaded along with the other updates. */
const lookAtRefused = throttled(4_000, async () => {
  refused.value = await api.refused().catch(() => refused.value);
});
