// The watchdog's thread: when the main thread has no heartbeat for a second while handlers run, logs their names.
// Writes to the log's stream itself, because the main thread can't.

import { createLogOutput, type LogOutput } from "../log-output.ts";
import { BEAT, FIRST, INSIDE } from "./watchdog.ts";

declare const self: Worker;

const CHECK_MS = 250;
const STALL_MS = 1_000;

let shared: Int32Array = new Int32Array(FIRST);
let json = false;
// Opened when there is something to report: a worker that is terminated does not close what it has opened.
let output: LogOutput | undefined;
const names = new Map<number, string>();
let beat = 0;
let since = performance.now();
let checkedAt = since;
let reported = false;

interface Message {
  shared?: Int32Array;
  format?: string;
  place?: number;
  handler?: string;
}

self.addEventListener("message", ({ data }: MessageEvent<Message>) => {
  if (data.shared) {
    shared = data.shared;
    json = data.format === "json";
  }
  if (data.place !== undefined && data.handler !== undefined) names.set(data.place, data.handler);
});

setInterval(() => {
  const now = performance.now();
  const current = Atomics.load(shared, BEAT);
  const suspects = findSuspects();
  // This thread is late too: the machine was suspended or is overloaded.
  const late = now - checkedAt > 2 * CHECK_MS;
  checkedAt = now;
  if (current !== beat || suspects.length === 0 || late) {
    if (reported) warn(`the thread is free again, after ${((now - since) / 1_000).toFixed(1)} s`);
    reported = false;
    beat = current;
    since = now;
  } else if (!reported && now - since >= STALL_MS) {
    reported = true;
    const who = suspects.length === 1 ? `${suspects[0]} has` : `one of ${suspects.join(", ")} has`;
    warn(`${who} blocked the thread for a second: no other run and no request is processed until it awaits`);
  }
}, CHECK_MS);

/** The handler in its synchronous part, otherwise all running handlers. */
function findSuspects(): string[] {
  const inside = names.get(Atomics.load(shared, INSIDE));
  if (inside) return [inside];
  return [...names].filter(([place]) => Atomics.load(shared, place) > 0).map(([, name]) => name);
}

function warn(message: string) {
  const time = new Date();
  const line = json
    ? JSON.stringify({ level: 40, time: time.toISOString(), msg: message })
    : `[${time.toTimeString().slice(0, 8)}] WARN: ${message}`;
  (output ??= createLogOutput()).write(`${line}\n`);
}
