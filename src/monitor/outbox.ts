// The notices that wait for one target: grouped into messages, at most one a minute, and retried. Never blocks its caller.

import { type Alert, AlertError } from "./alert-channels.ts";
import { composeMessage } from "./alert-text.ts";
import type { Notice } from "./notices.ts";

export interface OutboxOptions {
  /** The host, for people. */
  host: string;
  send: (alert: Alert) => Promise<void>;
  /** Called when a try failed; `retryMs` is undefined when the message is dropped. */
  onFailed: (error: AlertError, retryMs: number | undefined) => void;
  timing: Timing;
}

export interface Timing {
  /** How long a message waits for further notices. */
  gatherMs: number;
  /** The shortest time between two messages. */
  intervalMs: number;
  /** The delays before further tries. */
  retriesMs: readonly number[];
}

export interface Outbox {
  /** Resolves to whether the notices were sent; false when they were dropped. */
  add(notices: readonly Notice[]): Promise<boolean>;
  /** Why the latest message could not be sent. */
  readonly trouble: string | undefined;
  /** Sends what waits now, in one try. */
  flush(): Promise<void>;
}

// An outage of a mail server of a night. Older notices are dropped first.
const MAX_WAITING = 500;

export function createOutbox({ host, send, onFailed, timing }: OutboxOptions): Outbox {
  let waiting: { notice: Notice; resolve: (isSent: boolean) => void }[] = [];
  let timer: Timer | undefined;
  let sending: Promise<void> | undefined;
  let sentAt = -Infinity;
  let trouble: string | undefined;
  const stopping = Promise.withResolvers<void>();
  let isStopped = false;

  function schedule() {
    if (timer || sending || waiting.length === 0) return;
    const delay = isStopped ? 0 : Math.max(timing.gatherMs, sentAt + timing.intervalMs - performance.now());
    timer = setTimeout(() => {
      timer = undefined;
      sending = sendWaiting().finally(() => {
        sending = undefined;
        schedule();
      });
    }, delay);
    timer.unref();
  }

  async function sendWaiting() {
    const batch = waiting;
    waiting = [];
    const notices = batch.map(({ notice }) => notice);
    const alert: Alert = {
      id: `alert_${crypto.randomUUID()}`,
      at: Date.now(),
      message: composeMessage(notices, host),
      notices,
    };
    const isSent = await sendWithRetries(alert);
    sentAt = performance.now();
    for (const { resolve } of batch) resolve(isSent);
  }

  async function sendWithRetries(alert: Alert): Promise<boolean> {
    for (let failures = 0; ; failures += 1) {
      try {
        await send(alert);
        trouble = undefined;
        return true;
      } catch (error) {
        const failure = error instanceof AlertError ? error : new AlertError((error as Error).message, true);
        const retryMs = failure.isTransient && !isStopped ? timing.retriesMs[failures] : undefined;
        trouble = failure.message;
        const delay = retryMs === undefined ? undefined : Math.max(retryMs, failure.retryAfterMs);
        onFailed(failure, delay);
        if (delay === undefined) return false;
        await pause(delay);
        if (isStopped) return false;
      }
    }
  }

  /** Ends early when the server stops. */
  async function pause(milliseconds: number) {
    const { promise, resolve } = Promise.withResolvers<void>();
    const pausing = setTimeout(resolve, milliseconds);
    pausing.unref();
    await Promise.race([promise, stopping.promise]);
    clearTimeout(pausing);
  }

  return {
    async add(notices) {
      const added = notices.map((notice) => {
        const { promise, resolve } = Promise.withResolvers<boolean>();
        waiting.push({ notice, resolve });
        return promise;
      });
      for (const { resolve } of waiting.splice(0, waiting.length - MAX_WAITING)) resolve(false);
      schedule();
      return (await Promise.all(added)).every(Boolean);
    },
    get trouble() {
      return trouble;
    },
    async flush() {
      isStopped = true;
      stopping.resolve();
      clearTimeout(timer);
      timer = undefined;
      await sending;
      if (waiting.length > 0) await sendWaiting();
    },
  };
}
