// The load generator: raw sockets, one request at a time on each, prepared beforehand. Without a rate, every connection
// is always busy; with one, requests are due at even times, and one that has to wait for a connection waits on its clock.
// It counts only whole answers, and nothing is allocated for one but what Bun hands over.

import { createHistogram, type Histogram } from "./histogram.ts";
import type { Requests } from "./requests.ts";

export interface LoadOptions {
  port: number;
  requests: Requests;
  connections: number;
  /** No request is begun later. With 0 and no rate, each connection sends one. */
  seconds: number;
  /** Requests a second; without it, as many as there are answers to. */
  rate?: number;
  /** The status that is right. Default: 200. */
  expect?: number;
  /** Gets the ids that were answered as expected. */
  answered?: string[];
  /** Ends it before its time. */
  signal?: AbortSignal;
}

export interface Load {
  answers: number;
  /** Answers with another status than expected. */
  wrong: number;
  /** From the first request to the last answer. */
  seconds: number;
  /** Answers as expected, a second. */
  rate: number;
  /** When the first request was written, on `performance.now()`. */
  began: number;
  latency: Histogram;
}

interface Connection {
  place: number;
  /** When its request was due. */
  due: number;
  busy: boolean;
  /** What came of an answer that is not whole yet. */
  text: string;
  /** What of the request did not fit into the socket. */
  rest: number;
}

type Socket = Bun.Socket<Connection>;

const TICK_MS = 1;

export async function load(options: LoadOptions): Promise<Load> {
  const { port, requests, connections, seconds, rate, expect = 200, answered, signal } = options;
  const [first, second, third] = [...Buffer.from(String(expect))];
  const latency = createHistogram();
  const idle: Socket[] = [];
  /** When those were due that found no connection. */
  const waiting: number[] = [];
  const sockets: Socket[] = [];
  const over = Promise.withResolvers<void>();
  // Of a server's answers nearly all have one length: such a one needs no reading.
  let [usual, wrong, busy, last, end, ended] = [0, 0, 0, 0, Infinity, false];

  function write(socket: Socket, from: number, length: number) {
    const written = Math.max(0, socket.write(requests.bytes, from, length));
    socket.data.rest = length - written;
  }

  function send(socket: Socket, due: number) {
    const place = requests.take();
    socket.data.place = place;
    socket.data.due = due;
    socket.data.busy = true;
    busy += 1;
    write(socket, place * requests.size, requests.size);
  }

  function answer(socket: Socket, right: boolean) {
    const now = performance.now();
    latency.add(now - socket.data.due);
    last = now;
    if (right) answered?.push(requests.ids[socket.data.place]!);
    else wrong += 1;
    socket.data.busy = false;
    busy -= 1;
    goOn(socket, now);
  }

  function goOn(socket: Socket, now: number) {
    // The one that has waited longest: its clock runs since it was due.
    if (waiting.length > 0) send(socket, waiting.shift()!);
    else if (now >= end) finish();
    else if (rate === undefined) send(socket, now);
    else idle.push(socket);
  }

  function finish() {
    if (busy === 0 && waiting.length === 0) over.resolve();
  }

  const handler: Bun.SocketHandler<Connection> = {
    data(socket, bytes) {
      const { data } = socket;
      if (bytes.length === usual && data.text === "")
        return answer(socket, bytes[9] === first && bytes[10] === second && bytes[11] === third);
      data.text += bytes.toString("latin1");
      if (!isWhole(data.text)) return;
      if (data.text.length === bytes.length) usual = bytes.length;
      const right = data.text.slice(9, 12) === String(expect);
      data.text = "";
      answer(socket, right);
    },
    drain(socket) {
      const { rest, place } = socket.data;
      if (rest > 0) write(socket, (place + 1) * requests.size - rest, rest);
    },
    close() {
      if (!ended) over.reject(new Error(`port ${port} closed a connection after ${latency.count} answers`));
    },
    error: (_, error) => over.reject(error),
  };
  const data = () => ({ place: 0, due: 0, busy: false, text: "", rest: 0 });
  for (let n = 0; n < connections; n += 1)
    sockets.push(await Bun.connect({ hostname: "127.0.0.1", port, data: data(), socket: handler }));

  const began = performance.now();
  let sent = 0;
  end = began + seconds * 1_000;
  const stop = setTimeout(() => {
    end = 0;
    finish();
  }, seconds * 1_000);
  const abort = () => {
    end = 0;
    waiting.length = 0;
    finish();
  };
  signal?.addEventListener("abort", abort, { once: true });
  if (rate === undefined) for (const socket of sockets) send(socket, performance.now());
  else idle.push(...sockets);
  const tick = rate === undefined ? undefined : setInterval(() => dueNow(rate), TICK_MS);

  /** Sends what has become due since the last tick, from now on: the timer's own lateness is not the server's. */
  function dueNow(rate: number) {
    const now = performance.now();
    if (now >= end) return finish();
    for (; sent < ((now - began) / 1_000) * rate; sent += 1) {
      const socket = idle.shift();
      if (socket) send(socket, performance.now());
      else waiting.push(now);
    }
  }

  try {
    await over.promise;
  } finally {
    ended = true;
    clearTimeout(stop);
    clearInterval(tick);
    signal?.removeEventListener("abort", abort);
    for (const socket of sockets) socket.end();
  }
  const took = Math.max(last - began, 1) / 1_000;
  return {
    answers: latency.count,
    wrong,
    seconds: took,
    rate: (latency.count - wrong) / (rate === undefined ? took : Math.max(took, seconds)),
    began,
    latency,
  };
}

/** Whether an answer has ended: by its length, or by the last of its chunks. */
function isWhole(text: string): boolean {
  const head = text.indexOf("\r\n\r\n");
  if (head < 0) return false;
  const length = /^content-length: *(\d+)/im.exec(text.slice(0, head))?.[1];
  if (length !== undefined) return text.length >= head + 4 + Number(length);
  return text.endsWith("\r\n0\r\n\r\n") || /^HTTP\/1.1 (204|304)/.test(text);
}
