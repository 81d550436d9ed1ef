// Pings a dead man's switch, such as healthchecks.io, every minute: success while all is well, else `/fail` with the reason.
// When Bellhop itself is gone, the pings are missing. Never blocks anything, and never logs the address, which is a secret.

export interface HeartbeatOptions {
  url: string;
  /** Why all is not well, in a sentence; undefined when it is. */
  trouble: () => Promise<string | undefined>;
  /** One of several servers pings. */
  isOurs?: () => boolean;
  /** Called with the reason when pings begin to fail, and without one when they succeed again. */
  onPing?: (reason?: string) => void;
  everyMs?: number;
  deadlineMs?: number;
}

const EVERY_MS = 60_000;
const DEADLINE_MS = 10_000;
// healthchecks.io keeps the first 100 KB of a body.
const MAX_BODY_CHARACTERS = 10_000;

export function startHeartbeat(options: HeartbeatOptions): { stop(): void } {
  const { url, trouble, isOurs = () => true, onPing, everyMs = EVERY_MS, deadlineMs = DEADLINE_MS } = options;
  const stopping = new AbortController();
  let isPinging = false;
  let isFailing = false;

  async function ping() {
    if (isPinging || !isOurs()) return;
    isPinging = true;
    try {
      const reason = await trouble().catch((error: Error) => `the state of the inbox is not known: ${error.message}`);
      await send(reason);
      if (isFailing && !stopping.signal.aborted) onPing?.();
      isFailing = false;
    } catch (error) {
      if (!isFailing && !stopping.signal.aborted) onPing?.(reasonOf(error));
      isFailing = true;
    } finally {
      isPinging = false;
    }
  }

  async function send(reason: string | undefined) {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(deadlineMs)]);
    const { ok, status } = await fetch(reason === undefined ? url : failUrl(url), {
      ...(reason !== undefined && { method: "POST", body: reason.slice(0, MAX_BODY_CHARACTERS) }),
      signal,
      keepalive: false,
    });
    if (!ok) throw new Error(`it answers ${status}`);
  }

  const timer = setInterval(() => void ping(), everyMs).unref();
  void ping();
  return {
    stop() {
      clearInterval(timer);
      stopping.abort();
    },
  };
}

/** https://healthchecks.io/docs/http_api/#fail-uuid */
function failUrl(text: string): string {
  const url = new URL(text);
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/fail`;
  return url.href;
}

/** Without the address. */
function reasonOf(error: unknown): string {
  const { name, code, message } = error as { name?: string; code?: unknown; message?: string };
  if (name === "TimeoutError") return "it does not answer in time";
  return typeof code === "string" ? code : message?.startsWith("it answers") ? message : "it can't be reached";
}
