// Limits how often something is done.

/** Runs `work` at most once per interval: the first call at once, and the last call always. */
export function throttled(everyMs: number, work: () => Promise<unknown>): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let again = false;
  const run = () => {
    again = false;
    timer = setTimeout(() => {
      timer = undefined;
      if (again) run();
    }, everyMs);
    void work();
  };
  return () => {
    if (timer === undefined) run();
    else again = true;
  };
}
