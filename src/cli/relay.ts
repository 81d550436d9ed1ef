// One connection to Svix's public relay, kept open: it is dialled again with the same token until it is stopped.
// Never gives up a published address while the relay may still hold it for an earlier connection of this client.

import {
  answerFrame,
  CLOSE_TOKEN_IN_USE,
  type Incoming,
  makeToken,
  readFrame,
  receiveUrl,
  type RelayRequest,
  startFrame,
} from "./relay-frames.ts";

export interface RelayOptions {
  url: string;
  /** The token of an address that people may have pasted somewhere. Undefined: the first one is made here. */
  token: string | undefined;
  /** Handles one request. */
  answer: (request: RelayRequest) => Promise<Response>;
  onStatus: (status: RelayStatus) => void;
  clock?: Clock;
}

export type RelayStatus =
  /** Requests arrive. `lostUrl`: the address before, which another client has now. */
  | { kind: "connected"; url: string; token: string; lostUrl: string | undefined }
  /** Reported once per outage. */
  | { kind: "disconnected"; reason: string }
  /** Another connection has the address; reported once. The client waits for it for `waitMs`. */
  | { kind: "in-use"; url: string; waitMs: number };

export interface Relay {
  /** Waits for the answers to requests in flight, up to `graceMs`, and closes the connection. Idempotent. */
  stop(graceMs: number): Promise<void>;
}

/** Monotonic milliseconds, and a timer; returns a function that cancels it. */
export interface Clock {
  now(): number;
  after(milliseconds: number, call: () => void): () => void;
}

// The relay pings every 20 s, and idle connections are dropped by routers after a minute or more.
const PING_EVERY_MS = 10_000;
const SILENCE_MS = 30_000;
const HANDSHAKE_MS = 15_000;
// The relay needs about two of its pings to notice that this client's earlier connection is dead.
const KEEP_ADDRESS_MS = 90_000;
const IN_USE_RETRY_MS = 5_000;
const RETRY_MS = [250, 1_000, 2_000, 5_000, 10_000, 30_000];
// A connection that lasted this long ends a series of failures.
const STABLE_MS = 60_000;
// Svix waits 15 s for an answer (docs.svix.com/retries), the relay's own clients 30 s for the local server.
const ANSWER_MS = 30_000;

export function openRelay({ url, token: known, answer, onStatus, clock = systemClock }: RelayOptions): Relay {
  /** The address that the user knows, and the token that is asked for. They differ after a lost collision. */
  let published = known;
  let token = known ?? makeToken();
  let socket: WebSocket | undefined;
  let registeredAt: number | undefined;
  let inUseSince: number | undefined;
  /** Another client took the address from a connection that had it: the two may do so in turns, without end. */
  let wasReplaced = false;
  let failures = 0;
  let isOutageReported = false;
  let isStopped = false;
  let cancelTimers: () => void = () => undefined;
  const inFlight = new Set<Promise<void>>();
  /** Answers that were ready while there was no connection. */
  let unsent: { frame: string; at: number }[] = [];

  function dial() {
    if (isStopped) return;
    const dialled = new WebSocket(url);
    socket = dialled;
    registeredAt = undefined;
    let lastMessageAt = clock.now();
    let failure = "";
    const noteMessage = () => (lastMessageAt = clock.now());
    const isCurrent = () => socket === dialled;
    const abandon = (reason: string) => {
      if (!isCurrent()) return;
      ended(reason, undefined);
      dialled.terminate();
    };
    const check = () => {
      const silentMs = clock.now() - lastMessageAt;
      if (registeredAt === undefined && silentMs >= HANDSHAKE_MS) return abandon("it did not answer");
      if (silentMs >= SILENCE_MS) return abandon(`nothing came for ${SILENCE_MS / 1_000} s`);
      if (dialled.readyState === WebSocket.OPEN) dialled.ping();
      cancelTimers = clock.after(PING_EVERY_MS, check);
    };
    cancelTimers = clock.after(PING_EVERY_MS, check);

    dialled.addEventListener("open", () => dialled.send(startFrame(token)));
    for (const name of ["ping", "pong"]) dialled.addEventListener(name, noteMessage);
    dialled.addEventListener("error", ({ message }) => (failure = message));
    dialled.addEventListener("message", ({ data }) => {
      if (!isCurrent()) return;
      noteMessage();
      const frame = readFrame(typeof data === "string" ? data : new TextDecoder().decode(data as ArrayBuffer));
      if (frame) handle(frame);
    });
    dialled.addEventListener("close", ({ code, reason }) => {
      if (isCurrent()) ended(reason || failure || `it closed the connection (${code})`, code);
    });
  }

  function handle(frame: Incoming) {
    if (frame.kind === "start") return registered(frame.token);
    const task = respond(frame.request).finally(() => inFlight.delete(task));
    inFlight.add(task);
  }

  function registered(confirmed: string) {
    registeredAt = clock.now();
    isOutageReported = false;
    const lostUrl = published !== undefined && published !== confirmed ? receiveUrl(published) : undefined;
    if (lostUrl || !wasReplaced) inUseSince = undefined;
    [published, token] = [confirmed, confirmed];
    const waiting = unsent.filter(({ at }) => clock.now() - at < ANSWER_MS);
    unsent = [];
    for (const { frame } of waiting) socket?.send(frame);
    onStatus({ kind: "connected", url: receiveUrl(confirmed), token: confirmed, lostUrl });
  }

  async function respond(request: RelayRequest) {
    const frame = await answer(request)
      .then((response) => answerFrame(request.id, response))
      // No answer, or only a part of one.
      .catch(() => answerFrame(request.id, Response.json({ error: "unreachable" }, { status: 502 })));
    // The relay finds the request by its id, so the next connection may answer it.
    if (registeredAt !== undefined && socket?.readyState === WebSocket.OPEN) socket.send(frame);
    else if (!isStopped) unsent.push({ frame, at: clock.now() });
  }

  function ended(reason: string, code: number | undefined) {
    cancelTimers();
    socket = undefined;
    if (isStopped) return;
    if (registeredAt !== undefined && clock.now() - registeredAt >= STABLE_MS) [failures, inUseSince] = [0, undefined];
    wasReplaced = code === CLOSE_TOKEN_IN_USE && registeredAt !== undefined;
    registeredAt = undefined;
    const delay = code === CLOSE_TOKEN_IN_USE ? refused() : retryDelay(failures++);
    if (code !== CLOSE_TOKEN_IN_USE && !isOutageReported) {
      isOutageReported = true;
      onStatus({ kind: "disconnected", reason });
    }
    cancelTimers = clock.after(delay, dial);
  }

  /** Another connection has the token. Returns the delay until the next try. */
  function refused(): number {
    // An address that was never shown can be replaced at once.
    if (published === undefined) {
      token = makeToken();
      return retryDelay(failures++);
    }
    if (inUseSince === undefined) {
      inUseSince = clock.now();
      onStatus({ kind: "in-use", url: receiveUrl(published), waitMs: KEEP_ADDRESS_MS });
    }
    if (clock.now() - inUseSince >= KEEP_ADDRESS_MS) token = makeToken();
    return IN_USE_RETRY_MS;
  }

  dial();
  return {
    async stop(graceMs) {
      const deadline = Promise.withResolvers<void>();
      const cancel = clock.after(graceMs, deadline.resolve);
      await Promise.race([Promise.allSettled(inFlight), deadline.promise]);
      cancel();
      isStopped = true;
      cancelTimers();
      socket?.close(1000);
      socket = undefined;
    },
  };
}

/** Varies by a fifth, so that many clients do not return to a restarted relay at one moment. */
function retryDelay(failures: number): number {
  const base = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] ?? 0;
  return base * (0.8 + 0.4 * Math.random());
}

const systemClock: Clock = {
  now: () => performance.now(),
  after(milliseconds, call) {
    const timer = setTimeout(call, milliseconds).unref();
    return () => clearTimeout(timer);
  },
};
