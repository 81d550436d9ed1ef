// Reports to people: collects notices, the news of problems and outages, and passes them to an outbox for each target of
// `ALERT_URLS`. Does nothing without one. No failure here affects a delivery or a run.

import { hostname } from "node:os";

import { withDeadline } from "../deadline.ts";
import { InboxUnavailable } from "../errors.ts";
import type { Inbox } from "../inbox/inbox.ts";
import type { ProblemNews } from "../problems/problem-views.ts";
import { type AlertError, sendAlert } from "./alert-channels.ts";
import type { AlertTarget } from "./alert-url.ts";
import type { Notice, Notify, OutageOf } from "./notices.ts";
import { createOutbox, type Timing } from "./outbox.ts";

export interface AlertsOptions {
  targets: readonly AlertTarget[];
  /** The reason of an error, for people. */
  describe: (error: unknown) => string;
  /** Why the log can't be written: an error code. */
  logTrouble: () => string | undefined;
  /** Called when a message could not be sent; `retryMs` is undefined when it is dropped. */
  onFailed: (target: string, error: AlertError, retryMs: number | undefined) => void;
  onBug: (error: unknown) => void;
  timing?: Partial<Timing & { pollMs: number }>;
  send?: typeof sendAlert;
}

/** The parts of a server that are watched for outages and news of problems. */
export interface Watched {
  inbox: { problems: Pick<Inbox["problems"], "takeNews" | "newsReported">; readonly trouble: unknown };
  effects: { readonly trouble: unknown };
  /** Only the first server reports outages and news: several at once would each report an outage of a shared database. */
  cluster: {
    readonly id: string;
    readonly fenced: unknown;
    alive(): Promise<ReadonlySet<string> | undefined>;
    isFirst(): boolean;
  };
}

export interface Alerts {
  notify: Notify;
  /** The inbox can't be opened yet. */
  unavailable(reason: unknown): void;
  watch(watched: Watched): void;
  /** The targets that the latest message did not reach. */
  readonly failing: readonly string[];
  /** Sends what waits, in one try of a few seconds. */
  stop(): Promise<void>;
}

/** About half an hour in all. */
const RETRIES_MS = [5_000, 20_000, 80_000, 320_000, 1_280_000];
const TIMING = { gatherMs: 5_000, intervalMs: 60_000, retriesMs: RETRIES_MS, pollMs: 2_000 };
const FLUSH_MS = 3_000;

export function startAlerts(options: AlertsOptions): Alerts {
  const { targets, describe, logTrouble, onFailed, onBug, send = sendAlert } = options;
  if (targets.length === 0) return { notify() {}, unavailable() {}, watch() {}, failing: [], stop: async () => {} };
  const timing = { ...TIMING, ...options.timing };
  const outboxes = targets.map((target) => ({ name: target.name, outbox: openOutbox(target) }));
  const outages = new Map<OutageOf, number>();
  let watched: Watched | undefined;
  let startTrouble: unknown;
  let polling: Promise<void> | undefined;
  const reports = new Set<Promise<void>>();
  let stopped = false;

  function openOutbox(target: AlertTarget) {
    return createOutbox({
      host: hostname(),
      timing,
      send: (alert) => send(target, alert),
      onFailed: (error, retryMs) => onFailed(target.name, error, retryMs),
    });
  }

  /** For each target, whether it got the notices. */
  function add(notices: readonly Notice[]): Promise<boolean[]> {
    return Promise.all(outboxes.map(({ outbox }) => outbox.add(notices)));
  }

  const notify: Notify = (notice) => {
    if (!stopped) add([notice]).catch(onBug);
  };

  const timer = setInterval(() => {
    reportOutages();
    polling ??= reportNews()
      // The outage of the inbox is reported itself.
      .catch((error) => void (error instanceof InboxUnavailable || onBug(error)))
      .finally(() => (polling = undefined));
  }, timing.pollMs).unref();

  function troubles(): Record<OutageOf, unknown> {
    const code = logTrouble();
    return {
      inbox: watched ? (watched.inbox.trouble ?? watched.cluster.fenced) : startTrouble,
      database: watched?.effects.trouble,
      log: code === undefined ? undefined : { code },
    };
  }

  function reportOutages() {
    const now = troubles();
    const isOurs = watched?.cluster.isFirst() ?? true;
    for (const of of ["inbox", "database", "log"] as const) {
      const [reason, since] = [now[of], outages.get(of)];
      if (reason !== undefined && since === undefined && isOurs) {
        outages.set(of, performance.now());
        notify({ kind: "outage", of, reason: describe(reason) });
      }
      if (reason !== undefined || since === undefined) continue;
      outages.delete(of);
      notify({ kind: "outage over", of, lastedMs: performance.now() - since });
    }
  }

  async function reportNews() {
    if (!watched?.cluster.isFirst() || stopped) return;
    const { inbox, cluster } = watched;
    const taker = cluster.id;
    const news = await inbox.problems.takeNews(taker, () => cluster.alive());
    // Not awaited: a target that is down must not delay the news for the others.
    if (news.length === 0) return;
    const report = reportAll(inbox, taker, news)
      .catch(() => undefined)
      .finally(() => reports.delete(report));
    reports.add(report);
  }

  /** Only afterwards does the inbox forget the news: after a crash, or a stop while no target answers, they are taken again. */
  async function reportAll(inbox: Watched["inbox"], taker: string, news: readonly ProblemNews[]) {
    const isSent = await add(news.map((item): Notice => ({ kind: "problem", ...item })));
    if (isSent.some(Boolean) || !stopped) await inbox.problems.newsReported(taker, news);
  }

  async function flush() {
    await polling;
    await Promise.all(outboxes.map(({ outbox }) => outbox.flush()));
    await Promise.all(reports);
  }

  return {
    notify,
    unavailable: (reason) => void (startTrouble = reason),
    watch: (given) => void (watched = given),
    get failing() {
      return outboxes.filter(({ outbox }) => outbox.trouble !== undefined).map(({ name }) => name);
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      clearInterval(timer);
      await withDeadline(flush(), FLUSH_MS, () => new Error("late")).catch(() => undefined);
    },
  };
}
