// Notices that no delivery comes: for longer than a fixed time, or for much longer than the learned rhythm explains.
// Looks once a minute, and costs a delivery one assignment.

import { formatDuration } from "../duration.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { type History, HOURS_KEPT_MS } from "./history.ts";
import { learnRhythm, type Rhythm } from "./rhythm.ts";

export interface SilenceFacts {
  /** How long no delivery has come, or had come before the silence ended, in milliseconds. */
  silentMs: number;
  /** Unix time in milliseconds of the last delivery before the silence; null when there never was one. */
  lastDelivery: number | null;
  /** Deliveries that usually come in such a time; null without a learned rhythm. */
  expected: number | null;
}

export interface Silence {
  /** Undefined while deliveries come. */
  readonly facts: SilenceFacts | undefined;
  /** A verified delivery was received by this server. */
  delivered(): void;
  /** Looks now. */
  look(): Promise<void>;
  stop(): void;
}

interface SilenceOptions {
  inbox: Pick<Inbox, "newestDelivery">;
  history: Pick<History, "deliveriesPerHour">;
  /** Milliseconds, or `learned`. */
  after: number | "learned";
  /** Only one of several servers reports. */
  isFirst: () => boolean;
  onSilence: (isSilent: boolean, facts: SilenceFacts) => void;
  onError?: (error: unknown) => void;
  now?: () => number;
  monotonic?: () => number;
}

const LOOK_MS = 60_000;
// Svix retries within this time what it could not deliver while the server was down (docs.svix.com/retries).
const MIN_SILENCE_MS = 35 * 60_000;

export function startSilence(options: SilenceOptions): Silence {
  const { inbox, history, after, isFirst, onSilence, onError, now = Date.now } = options;
  const { monotonic = () => performance.now() } = options;
  const startedAt = monotonic();
  const grace = after === "learned" ? MIN_SILENCE_MS : Math.min(MIN_SILENCE_MS, after);
  /** On the monotonic clock: when the last delivery came, as far as this server knows. A wrong wall clock is not silence. */
  let deliveredAt = startedAt;
  /** The number of the newest delivery; undefined before the first look. */
  let newest: number | undefined;
  let lastDelivery: number | null = null;
  let facts: SilenceFacts | undefined;
  let learned: { from: number; rhythm: Rhythm | undefined } | undefined;
  let looking: Promise<void> | undefined;

  function delivered() {
    deliveredAt = monotonic();
    if (facts) end();
  }

  function end() {
    const ended = facts!;
    facts = undefined;
    onSilence(false, ended);
  }

  async function lookOnce() {
    const found = await inbox.newestDelivery();
    const arrival = found?.arrival ?? 0;
    // The delivery may have been stored by another server, or before this one started.
    if (newest === undefined && found)
      deliveredAt = Math.min(deliveredAt, monotonic() - Math.max(0, now() - found.receivedAt));
    if (newest !== undefined && arrival !== newest) delivered();
    newest = arrival;
    lastDelivery = found?.receivedAt ?? null;
    if (!isFirst()) {
      facts = undefined;
      return;
    }
    const silentMs = monotonic() - deliveredAt;
    if (silentMs < grace || monotonic() - startedAt < grace) return;
    const rhythm = await rhythmUntil(now() - silentMs);
    const expected = rhythm ? rhythm.expected(now() - silentMs, now()) : null;
    const isSilent = after === "learned" ? rhythm?.isSilent(expected!) === true : silentMs >= after;
    // A delivery may have come meanwhile.
    if (!isSilent || monotonic() - deliveredAt < grace) return;
    const isNew = facts === undefined;
    facts = { silentMs, lastDelivery, expected: expected === null ? null : Math.round(expected) };
    if (isNew) onSilence(true, facts);
  }

  /** Learned once for each last delivery: the silence itself must not become the rhythm. */
  async function rhythmUntil(last: number): Promise<Rhythm | undefined> {
    // The two clocks drift.
    if (learned && Math.abs(learned.from - last) < LOOK_MS) return learned.rhythm;
    learned = { from: last, rhythm: learnRhythm(await history.deliveriesPerHour(last - HOURS_KEPT_MS), last) };
    return learned.rhythm;
  }

  function look(): Promise<void> {
    return (looking ??= lookOnce()
      // An outage of the inbox is reported by itself.
      .catch((error) => onError?.(error))
      .finally(() => (looking = undefined)));
  }

  const timer = setInterval(() => void look(), LOOK_MS).unref();
  void look();
  return {
    get facts() {
      return facts;
    },
    delivered,
    look,
    stop: () => clearInterval(timer),
  };
}

/** `no delivery for 7 h; in such a time, 41 usually come`. */
export function describeSilence({ silentMs, expected }: SilenceFacts): string {
  const usual = expected === null ? "" : `; in such a time, ${expected} usually come`;
  return `no delivery for ${formatDuration(silentMs)}${usual}`;
}
