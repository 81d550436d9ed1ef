// Detects whether the inbox can be written, from failing commits and the oldest unanswered operation.
// An outage is reported once when it begins and once when it ends. An intermittent one counts as one outage.

interface HealthOptions {
  /** Why nothing should be written now, or undefined. Called about once a second, and before an outage ends. */
  look: () => unknown;
  /** Writes, and calls `succeeded` or `failed`. */
  probe: () => void;
  onTrouble: (reason?: unknown) => void;
  onWell: () => void;
}

const CHECK_MS = 1_000;
const PROBE_MS = 500;
// An outage that begins within this time after another one is the same outage.
const RECURRENCE_MS = 60_000;
const FIRST_CALM_MS = 1_000;
const LONGEST_CALM_MS = 60_000;
// A SQLite commit blocks the thread, so a slow one is reported after it has ended.
const UNANSWERED_SECONDS = 5;

export function createHealth({ look, probe, onTrouble, onWell }: HealthOptions) {
  let trouble: { reason: unknown } | undefined;
  let failedAt = -Infinity;
  let endedAt = -Infinity;
  /** How long no commit may fail before an outage counts as over. */
  let calmMs = 0;
  let probing: Timer | undefined;
  let closed = false;
  /** Operations without an answer, oldest first. */
  const unanswered = new Set<object>();
  let oldest: { operation: object | undefined; seen: number } = { operation: undefined, seen: 0 };

  // Deliveries may be hours apart, and /health must not depend on one.
  const checking = setInterval(() => {
    // Counts checks instead of time, which also passes while a handler blocks the thread.
    const [operation] = unanswered;
    if (operation !== oldest.operation) oldest = { operation, seen: 0 };
    else oldest.seen += CHECK_MS / 1_000;
    const reason = findTrouble();
    if (reason !== undefined) failed(reason);
  }, CHECK_MS).unref();

  function findTrouble(): unknown {
    const isLate = oldest.operation && unanswered.has(oldest.operation) && oldest.seen >= UNANSWERED_SECONDS;
    return look() ?? (isLate ? new Error("a commit has not been answered for five seconds") : undefined);
  }

  function failed(reason: unknown) {
    failedAt = performance.now();
    if (trouble || closed) return;
    trouble = { reason };
    const isRecurrence = failedAt - endedAt < RECURRENCE_MS;
    calmMs = isRecurrence ? Math.min(Math.max(FIRST_CALM_MS, 4 * calmMs), LONGEST_CALM_MS) : 0;
    onTrouble(reason);
    probing = setInterval(probe, PROBE_MS).unref();
  }

  return {
    get trouble() {
      return trouble;
    },
    unanswered,
    failed,
    /** Called when a commit has written. */
    succeeded() {
      if (!trouble || performance.now() - failedAt < calmMs || findTrouble() !== undefined) return;
      trouble = undefined;
      endedAt = performance.now();
      clearInterval(probing);
      onTrouble();
      onWell();
    },
    /** Called with how long a commit took. A slow one was an outage that is over by now. */
    took(milliseconds: number) {
      const seconds = milliseconds / 1_000;
      if (trouble || seconds < UNANSWERED_SECONDS) return;
      onTrouble(new Error(`a commit took ${seconds.toFixed(1)} s`));
      onTrouble();
    },
    stop() {
      closed = true;
      clearInterval(checking);
      clearInterval(probing);
    },
  };
}
