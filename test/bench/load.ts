// The load generator: raw sockets, one request at a time on each, signed beforehand. Without a rate every connection is
// always busy. With a rate, requests are due at even intervals, and waiting for a connection counts as latency. It counts
// only complete responses and allocates nothing for them but the buffers that Bun passes.

import { createHistogram, type Histogram } from "./histogram.ts";
import type { Requests } from "./requests.ts";

export interface LoadOptions {
  /** Of several ports, each next connection gets the next one. */
  port: number | readonly number[];
  requests: Requests;
  connections: number;
  /** No request starts later than this. With 0 and no rate, each connection sends one request. */
  seconds: number;
  /** Requests a second. Default: each connection sends its next request after a response. */
  rate?: number;
  /** The expected status. Default: 200. */
  expect?: number;
  /** Receives the ids that were answered with the expected status. */
  answered?: string[];
  /** Stops the load early. */
  signal?: AbortSignal;
}

export interface Load {
  answers: number;
  /** Responses with another status. */
  wrong: number;
  /** From the first request to the last response. */
  seconds: number;
  /** Responses with the expected status, a second. */
  rate: number;
  /** When the first request was sent, on the clock of `performance.now()`. */
  began: number;
  latency: Histogram;
}

interface Connection {
  /** The place of the current request in `Requests`. */
  place: number;
  /** When the current request was due. */
  due: number;
  busy: boolean;
  /** The received part of an incomplete response. */
  text: string;
  /** Bytes of the request that are not written yet. */
  unsent: number;
}

type Socket = Bun.Socket<Connection>;

const TICK_MS = 1;

export async function load(options: LoadOptions): Promise<Load> {
  const { port, requests, connections, seconds, rate, expect = 200, answered, signal } = options;
  const [first, second, third] = [...Buffer.from(String(expect))];
  const latency = createHistogram();
  const idle: Socket[] = [];
  /** Due times of requests for which no connection was free. */
  const waiting: number[] = [];
  const sockets: Socket[] = [];
  const finished = Promise.withResolvers<void>();
  // Nearly all responses of a server have the same length; one with that length needs no parsing.
  let [usualLength, wrong, busy, last, end, ended] = [0, 0, 0, 0, Infinity, false];

  function write(socket: Socket, from: number, length: number) {
    const written = Math.max(0, socket.write(requests.bytes, from, length));
    socket.data.unsent = length - written;
  }

  function send(socket: Socket, due: number) {
    const place = requests.take();
    socket.data.place = place;
    socket.data.due = due;
    socket.data.busy = true;
    busy += 1;
    write(socket, place * requests.size, requests.size);
  }

  function onResponse(socket: Socket, isExpected: boolean) {
    const now = performance.now();
    latency.add(now - socket.data.due);
    last = now;
    if (isExpected) answered?.push(requests.ids[socket.data.place]!);
    else wrong += 1;
    socket.data.busy = false;
    busy -= 1;
    sendNext(socket, now);
  }

  function sendNext(socket: Socket, now: number) {
    // The request that has waited longest. Its latency counts from its due time.
    if (waiting.length > 0) send(socket, waiting.shift()!);
    else if (now >= end) finishIfIdle();
    else if (rate === undefined) send(socket, now);
    else idle.push(socket);
  }

  function finishIfIdle() {
    if (busy === 0 && waiting.length === 0) finished.resolve();
  }

  const handler: Bun.SocketHandler<Connection> = {
    data(socket, bytes) {
      const { data } = socket;
      if (bytes.length === usualLength && data.text === "")
        return onResponse(socket, bytes[9] === first && bytes[10] === second && bytes[11] === third);
      data.text += bytes.toString("latin1");
      if (!isComplete(data.text)) return;
      if (data.text.length === bytes.length) usualLength = bytes.length;
      const isExpected = data.text.slice(9, 12) === String(expect);
      data.text = "";
      onResponse(socket, isExpected);
    },
    drain(socket) {
      const { unsent, place } = socket.data;
      if (unsent > 0) write(socket, (place + 1) * requests.size - unsent, unsent);
    },
    close() {
      if (!ended)
        finished.reject(
          new Error(`port ${[port].flat().join(" or ")} closed a connection after ${latency.count} responses`),
        );
    },
    error: (_, error) => finished.reject(error),
  };
  const data = () => ({ place: 0, due: 0, busy: false, text: "", unsent: 0 });
  const ports = [port].flat();
  for (let n = 0; n < connections; n += 1) {
    const to = { hostname: "127.0.0.1", port: ports[n % ports.length]! };
    sockets.push(await Bun.connect({ ...to, data: data(), socket: handler }));
  }

  const began = performance.now();
  let sent = 0;
  end = began + seconds * 1_000;
  const stop = setTimeout(() => {
    end = 0;
    finishIfIdle();
  }, seconds * 1_000);
  const abort = () => {
    end = 0;
    waiting.length = 0;
    finishIfIdle();
  };
  signal?.addEventListener("abort", abort, { once: true });
  if (rate === undefined) for (const socket of sockets) send(socket, performance.now());
  else idle.push(...sockets);
  const tick = rate === undefined ? undefined : setInterval(() => sendDue(rate), TICK_MS);

  /**
   * Sends the requests that became due since the last tick. Their latency counts from now, so that a late timer is not
   * counted as the server's latency.
   */
  function sendDue(rate: number) {
    const now = performance.now();
    if (now >= end) return finishIfIdle();
    for (; sent < ((now - began) / 1_000) * rate; sent += 1) {
      const socket = idle.shift();
      if (socket) send(socket, performance.now());
      else waiting.push(now);
    }
  }

  try {
    await finished.promise;
  } finally {
    ended = true;
    clearTimeout(stop);
    clearInterval(tick);
    signal?.removeEventListener("abort", abort);
    for (const socket of sockets) socket.end();
  }
  const elapsed = Math.max(last - began, 1) / 1_000;
  return {
    answers: latency.count,
    wrong,
    seconds: elapsed,
    rate: (latency.count - wrong) / (rate === undefined ? elapsed : Math.max(elapsed, seconds)),
    began,
    latency,
  };
}

/** Whether a response is complete, by its content-length or its last chunk. */
function isComplete(text: string): boolean {
  const head = text.indexOf("\r\n\r\n");
  if (head < 0) return false;
  const length = /^content-length: *(\d+)/im.exec(text.slice(0, head))?.[1];
  if (length !== undefined) return text.length >= head + 4 + Number(length);
  return text.endsWith("\r\n0\r\n\r\n") || /^HTTP\/1.1 (204|304)/.test(text);
}
