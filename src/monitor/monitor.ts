// Watches a running server: counts, keeps the figures of the past, notices silence, and pings the heartbeat. Everything is
// off the path of a delivery, and may fail without an effect on it.

import { COMMAND } from "../command.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { startHeartbeat } from "./heartbeat.ts";
import { createHistory, type History } from "./history.ts";
import { createFiguresReader, type ReadFigures } from "./inbox-figures.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { createPrometheus, type Scrape } from "./prometheus.ts";
import { describeSilence, type SilenceFacts, startSilence } from "./silence.ts";

export interface Monitor extends AsyncDisposable {
  metrics: Metrics;
  history: History;
  figures: ReadFigures;
  /** The answer to a scrape of Prometheus. */
  scrape: () => Promise<Scrape>;
  /** A delivery was verified and answered. */
  delivered: Metrics["delivered"];
}

interface MonitorOptions {
  inbox: Pick<Inbox, "backlog" | "newestDelivery" | "rollups">;
  /** Why this server can't store deliveries now; undefined when it can. */
  trouble: () => string | undefined;
  /** Whether this server reports for all that share the inbox. */
  isFirst: () => boolean;
  /** Milliseconds, learned, or off. */
  silenceAfter: number | "learned" | "off";
  heartbeatUrl: string | undefined;
  /** The number of open problems with dead runs. */
  openProblems: () => Promise<number>;
  onSilence: (isSilent: boolean, facts: SilenceFacts) => void;
  /** Called with the reason when pings of HEARTBEAT_URL begin to fail, and without one when they succeed again. */
  onHeartbeat: (reason?: string) => void;
  onError: (error: unknown) => void;
}

export function startMonitor(options: MonitorOptions): Monitor {
  const { inbox, trouble, isFirst, silenceAfter, heartbeatUrl, openProblems, onSilence, onHeartbeat, onError } =
    options;
  const history = createHistory({ inbox, onError });
  const metrics = createMetrics(history);
  const figures = createFiguresReader(inbox);
  const silence =
    silenceAfter === "off"
      ? undefined
      : startSilence({ inbox, history, after: silenceAfter, isFirst, onSilence, onError });
  const heartbeat =
    heartbeatUrl === undefined
      ? undefined
      : startHeartbeat({ url: heartbeatUrl, trouble: findTrouble, isOurs: isFirst, onPing: onHeartbeat });

  async function findTrouble(): Promise<string | undefined> {
    const storing = trouble();
    if (storing !== undefined) return storing;
    if (silence?.facts) return describeSilence(silence.facts);
    const problems = await openProblems();
    return problems > 0 ? `open problems with dead runs: ${problems}; ${COMMAND} problems lists them` : undefined;
  }

  return {
    metrics,
    history,
    figures,
    scrape: createPrometheus({ counts: metrics.counts, figures, writable: () => trouble() === undefined }),
    delivered(type, status) {
      metrics.delivered(type, status);
      silence?.delivered();
    },
    async [Symbol.asyncDispose]() {
      silence?.stop();
      heartbeat?.stop();
      await history.stop();
    },
  };
}
