/** Resolves when `condition` gives a value; rejects after `timeoutMs`, with what it was waiting for. */
export async function until<T>(
  what: string,
  condition: () => Promise<T | undefined> | T | undefined,
  timeoutMs = 10_000,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  while (performance.now() < end) {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    await Bun.sleep(5);
  }
  throw new Error(`waited ${timeoutMs} ms for ${what}`);
}
