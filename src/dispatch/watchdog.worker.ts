// The watchdog's thread: when the main thread has no heartbeat for a second while handlers run, logs their names; after
// BLOCKED_SECONDS it ends the process. Writes to the log's stream itself, because the main thread can't.

import { readFileSync } from "node:fs";

import { createLogOutput, type LogOutput } from "../log-output.ts";
import { BEAT, FIRST, INSIDE, type WatchdogOptions } from "./watchdog.ts";

declare const self: Worker;

const CHECK_MS = 250;
const STALL_MS = 1_000;
// Svix has given up on the requests by then (15 s): it is an outage, and an endless loop is more likely than slow work.
const STUCK_MS = 30_000;
// As after SIGKILL.
const KILLED = 128 + 9;

let shared: Int32Array = new Int32Array(FIRST);
let options: WatchdogOptions = { logFormat: "json", logLevel: "info", blockedSeconds: 0 };
// Opened when there is something to report: a worker that is terminated does not close what it has opened.
let output: LogOutput | undefined;
const names = new Map<number, string>();
let beat = 0;
let checkedAt = performance.now();
/** Time without a heartbeat in which this thread has run, and the main thread could have. */
let blockedMs = 0;
let reported: "blocked" | "stuck" | "ending" | undefined;

interface Message {
  shared?: Int32Array;
  options?: WatchdogOptions;
  place?: number;
  handler?: string;
}

self.addEventListener("message", ({ data }: MessageEvent<Message>) => {
  if (data.shared) ({ shared } = data);
  if (data.options) ({ options } = data);
  if (data.place !== undefined && data.handler !== undefined) names.set(data.place, data.handler);
});

setInterval(() => {
  const now = performance.now();
  const elapsed = now - checkedAt;
  checkedAt = now;
  const current = Atomics.load(shared, BEAT);
  if (current !== beat) {
    if (reported) log("WARN", `the thread is free again, after ${(blockedMs / 1_000).toFixed(1)} s`);
    reported = undefined;
    beat = current;
    blockedMs = 0;
    return;
  }
  // When this thread is late, too, the process was suspended or gets no CPU time.
  if (elapsed > 2 * CHECK_MS || isWaitingForDisk()) return;
  blockedMs += elapsed;
  report(findSuspects());
}, CHECK_MS);

function report(suspects: readonly string[]) {
  const { blockedSeconds, stuckMs = STUCK_MS } = options;
  if (reported === "ending") return;
  if (blockedSeconds > 0 && blockedMs >= blockedSeconds * 1_000) {
    reported = "ending";
    const effect = "this process ends now, to be restarted by its supervisor, and no delivery is lost";
    log("ERROR", `${blocked(suspects)} for ${seconds()} s: ${effect}. BLOCKED_SECONDS sets this limit`);
    if (output) output.flush(() => void endProcess());
    else void endProcess();
  } else if (reported !== "stuck" && blockedMs >= stuckMs) {
    reported = "stuck";
    const remedy =
      blockedSeconds > 0
        ? `After ${blockedSeconds} s (BLOCKED_SECONDS), this process ends, to be restarted by its supervisor`
        : `If it never ends, fix the file or move it away, and end this process with kill -9 ${process.pid}, which loses no delivery`;
    const effect = "no delivery is stored, and SIGTERM has no effect";
    log("ERROR", `${blocked(suspects)} for ${seconds()} s: ${effect}. ${remedy}`);
  } else if (!reported && blockedMs >= STALL_MS && suspects.length > 0) {
    reported = "blocked";
    log("WARN", `${blocked(suspects)} for a second: no other run and no request is processed until it awaits`);
  }
}

const seconds = () => Math.round(blockedMs / 1_000);

function blocked(suspects: readonly string[]): string {
  if (suspects.length === 0)
    return "code outside of runs, such as a timer that a handler has left, has blocked the thread";
  return `${suspects.length === 1 ? suspects[0] : `one of ${suspects.join(", ")}`} has blocked the thread`;
}

/** The handler in its synchronous part, otherwise all running handlers. */
function findSuspects(): string[] {
  const inside = names.get(Atomics.load(shared, INSIDE));
  if (inside) return [inside];
  return [...names].filter(([place]) => Atomics.load(shared, place) > 0).map(([, name]) => name);
}

/** Whether the main thread waits for a disk. If the disk hangs, no handler is at fault, and a restart does not help. */
function isWaitingForDisk(): boolean {
  try {
    // The main thread's state is the letter after the program's name in parentheses (man 5 proc_pid_stat).
    return /\) D [^)]*$/.test(readFileSync("/proc/self/stat", "latin1"));
  } catch {
    // Not Linux.
    return false;
  }
}

/** `process.exit` would only end this thread. */
async function endProcess() {
  process.kill(process.pid, "SIGKILL");
  // Linux ignores a SIGKILL that the first process of a container sends to itself. musl answers to this name, too.
  const { dlopen } = await import("bun:ffi");
  dlopen("libc.so.6", { _exit: { args: ["int"], returns: "void" } }).symbols._exit(KILLED);
}

const LEVELS = { WARN: 40, ERROR: 50 };

function log(level: keyof typeof LEVELS, message: string) {
  const { logFormat, logLevel } = options;
  if (logLevel === "silent" || (logLevel === "error" && level === "WARN")) return;
  const time = new Date();
  const line =
    logFormat === "json"
      ? JSON.stringify({ level: LEVELS[level], time: time.toISOString(), msg: message })
      : `[${time.toTimeString().slice(0, 8)}] ${level}: ${message}`;
  (output ??= createLogOutput()).write(`${line}\n`);
}
