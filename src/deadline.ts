// Bounds the time of something that may never end.

const RETRIES = 100;
const RETRY_MS = 50;

/** Settles as `promise` does, or rejects with `late()` after `milliseconds`. */
export async function withDeadline<T>(promise: Promise<T>, milliseconds: number, late: () => Error): Promise<T> {
  const { promise: expired, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(late()), milliseconds);
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until `promise` settles, for `milliseconds` at most. */
export async function settledWithin(promise: Promise<unknown>, milliseconds: number): Promise<void> {
  await withDeadline(promise, milliseconds, () => new Error("late")).catch(() => undefined);
}

/** Repeats `attempt` until it returns true. False if it has not within five seconds. */
export async function retryBriefly(attempt: () => boolean | Promise<boolean>): Promise<boolean> {
  for (let tries = 0; tries < RETRIES; tries += 1) {
    if (await attempt()) return true;
    await Bun.sleep(RETRY_MS);
  }
  return false;
}
