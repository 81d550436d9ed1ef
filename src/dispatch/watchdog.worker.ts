// The watchdog's thread: when the main thread has no heartbeat for a second while handlers run, logs their names.
// Writes to the log's stream itself, because the main thread can't.

import { createLogOutput, type LogOutput } from "../log-output.ts";
import { BEAT, FIRST, INSIDE } from "./watchdog.ts";

declare const self: Worker;

const CHECK_MS = 250;
const STALL_MS = 1_000;
// Svix has given up on the requests by then (15 s): it is an outage, and an endless loop is more likely than slow work.
const STUCK_MS = 30_000;

let shared: Int32Array = new Int32Array(FIRST);
let json = false;
// Opened when there is something to report: a worker that is terminated does not close what it has opened.
let output: LogOutput | undefined;
const names = new Map<number, string>();
let beat = 0;
let since = performance.now();
let checkedAt = since;
let reported = false;
let stuckMs = STUCK_MS;
let reportedStuck = false;

interface Message {
  shared?: Int32Array;
  format?: string;
  stuckMs?: number;
  place?: number;
  handler?: string;
}

self.addEventListener("message", ({ data }: MessageEvent<Message>) => {
  if (data.shared) {
    shared = data.shared;
    json = data.format === "json";
    stuckMs = data.stuckMs ?? STUCK_MS;
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
    if (reported) log("WARN", `the thread is free again, after ${((now - since) / 1_000).toFixed(1)} s`);
    reported = false;
    reportedStuck = false;
    beat = current;
    since = now;
  } else if (!reported && now - since >= STALL_MS) {
    reported = true;
    log("WARN", `${blocked(suspects)} for a second: no other run and no request is processed until it awaits`);
  } else if (!reportedStuck && now - since >= stuckMs) {
    reportedStuck = true;
    const remedy = `fix the file or move it away, and end this process with kill -9 ${process.pid}, which loses no delivery`;
    const effect = "no delivery is stored, and SIGTERM has no effect";
    log(
      "ERROR",
      `${blocked(suspects)} for ${Math.round((now - since) / 1_000)} s: ${effect}. If it never ends, ${remedy}`,
    );
  }
}, CHECK_MS);

function blocked(suspects: readonly string[]): string {
  return `${suspects.length === 1 ? suspects[0] : `one of ${suspects.join(", ")}`} has blocked the thread`;
}

/** The handler in its synchronous part, otherwise all running handlers. */
function findSuspects(): string[] {
  const inside = names.get(Atomics.load(shared, INSIDE));
  if (inside) return [inside];
  return [...names].filter(([place]) => Atomics.load(shared, place) > 0).map(([, name]) => name);
}

const LEVELS = { WARN: 40, ERROR: 50 };

function log(level: keyof typeof LEVELS, message: string) {
  const time = new Date();
  const line = json
    ? JSON.stringify({ level: LEVELS[level], time: time.toISOString(), msg: message })
    : `[${time.toTimeString().slice(0, 8)}] ${level}: ${message}`;
  (output ??= createLogOutput()).write(`${line}\n`);
}
