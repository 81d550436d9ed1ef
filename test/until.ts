/** Resolves when `condition` returns a value other than false; rejects after `timeoutMs` with the description. */
export async function until<T>(
  description: string,
  condition: () => Promise<T | undefined> | T | undefined,
  timeoutMs = 10_000,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  while (performance.now() < end) {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    await Bun.sleep(5);
  }
  throw new Error(`waited ${timeoutMs} ms for ${description}`);
}
